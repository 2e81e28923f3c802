import { randomInt } from 'node:crypto'
import type { IpAddress } from '../../base/address.js'
import { parseAddress } from '../../config/address-text.js'
import {
  answerLen,
  MAP_ANY_PORT,
  type MapOp,
  type MappedOp,
  type ReplyOp,
  type RequestOp,
  RESULT_DENIED,
  RESULT_OK,
  type Result,
} from '../protocol/ops.js'
import { decodeV1, encodeV1, V1_REQUEST, V1_RESPONSE, V1_VERSION } from '../protocol/v1.js'
import { makeNonce, openRequest, readHeader, sealBye, sealReply, V2_REQUEST, V2_VERSION } from '../protocol/v2.js'
import { type KeyRing, type KeyState, type Owner, TIME_TOLERANCE_MS } from './keys.js'
import type { Mapped, Mapper } from './mapper.js'
import type { Peers } from './peers.js'
import { RateLimit } from './rate.js'
import type { Listener } from './sockets.js'

/** Header and tag of a datagram. */
const OVERHEAD_LEN = 40
/** TIME answers a second, of one key: a client needs one. */
const TIME_PER_SECOND = 10
/** Version 1 knows no renewal; its mappings end all the same. */
const V1_LEASE_MS = 86_400_000
/** Answers that may wait for the kernel; more requests are not taken up, their clients ask again. */
const MAX_WAITING = 4096

/** What became of datagrams, for `status`. */
export class ServiceCounters {
  received = 0
  receivedBytes = 0
  sent = 0
  sentBytes = 0
  /** No version, type or length of ours. */
  malformed = 0
  unknownKey = 0
  /** The seal does not fit. */
  forged = 0
  replayed = 0
  wrongTime = 0
  /** Too much was waiting. */
  busy = 0
  maps = 0
  denied = 0
  unmaps = 0
  pings = 0
  v1 = 0
  v1Refused = 0
}

/** The world of the service; tests bring their own. */
export interface ServiceWorld {
  /** Monotonic milliseconds. */
  nowMs(): number
  /** Microseconds since 1970. */
  wallUs(): number
}

export interface ServiceOptions {
  readonly maxLeaseS: number
  /** Addresses to be told instead of the one that was asked. */
  readonly advertise: readonly IpAddress[]
  /** Whether a key's (or, with null, any) client may send there. */
  mayReach(address: IpAddress, port: number, owner: Owner): boolean
  /** The owner behind a version 1 client; null: it may not speak version 1. */
  v1Owner(client: IpAddress): Owner | null
}

/**
 * Answers datagrams. Silent on all that is malformed, unknown, forged or replayed; cheapest checks first, so that a flood costs little:
 *
 *     length, version, type -> key id known -> nonce new -> seal fits -> time is ours -> operations
 */
export class Service {
  readonly counters = new ServiceCounters()
  private readonly keys: KeyRing
  private readonly mapper: Mapper
  private readonly peers: Peers
  private readonly options: ServiceOptions
  private readonly world: ServiceWorld
  private readonly startUs: number
  private readonly timeLimits = new WeakMap<KeyState, RateLimit>()
  private waiting = 0

  constructor(keys: KeyRing, mapper: Mapper, peers: Peers, options: ServiceOptions, world: ServiceWorld) {
    this.keys = keys
    this.mapper = mapper
    this.peers = peers
    this.options = options
    this.world = world
    this.startUs = world.wallUs()
  }

  /** Never throws, whatever comes. */
  onDatagram(listener: Listener, datagram: Buffer, from: string, port: number): void {
    this.counters.received++
    this.counters.receivedBytes += datagram.length
    if (datagram[0] === V2_VERSION) this.onV2(listener, datagram, from, port)
    else if (datagram[0] === V1_VERSION) this.onV1(listener, datagram, from, port)
    else this.counters.malformed++
  }

  private onV2(listener: Listener, datagram: Buffer, from: string, port: number): void {
    const { counters } = this
    const header = readHeader(datagram)
    if (header === null || header.type !== V2_REQUEST) {
      counters.malformed++
      return
    }
    const state = this.keys.find(header.keyId)
    if (state === undefined) {
      counters.unknownKey++
      return
    }
    const now = this.world.nowMs()
    if (state.replay.has(header.nonce, now)) {
      counters.replayed++
      return
    }
    const ops = openRequest(state.seal, datagram)
    if (ops === null) {
      counters.forged++
      return
    }
    // Also of requests of a wrong time: what is answered once is not answered again.
    if (!state.replay.add(header.nonce, now)) {
      counters.busy++
      return
    }
    const nonce = Buffer.from(header.nonce, 'latin1')
    const asker: Asker = { state, listener, address: parseAddress(from), from, port, nonce, len: datagram.length }
    if (!this.isTimely(header.timeUs)) {
      counters.wrongTime++
      if (!this.timeLimit(state, now).take(now)) return
      state.replay.keep(header.nonce)
      this.reply(asker, [{ op: 'time', timeUs: this.world.wallUs() }])
      return
    }
    this.peers.seen({ key: state, listener, address: from, port, seenAt: now })
    void this.answer(asker, ops)
  }

  private isTimely(timeUs: number): boolean {
    return timeUs >= this.startUs && Math.abs(timeUs - this.world.wallUs()) <= TIME_TOLERANCE_MS * 1000
  }

  private timeLimit(state: KeyState, now: number): RateLimit {
    const known = this.timeLimits.get(state)
    if (known !== undefined) return known
    const made = new RateLimit(TIME_PER_SECOND, TIME_PER_SECOND, now)
    this.timeLimits.set(state, made)
    return made
  }

  /** As many operations as their answers fit into a reply that is no longer than its request; the others are not done. */
  private async answer(asker: Asker, ops: readonly RequestOp[]): Promise<void> {
    let room = asker.len - OVERHEAD_LEN
    const answers: (ReplyOp | Promise<ReplyOp>)[] = []
    for (const op of ops) {
      room -= answerLen(op)
      if (room < 0) break
      if (op.op === 'map' && this.waiting >= MAX_WAITING) {
        this.counters.busy++
        return
      }
      answers.push(op.op === 'ping' ? this.pong(asker, op.echo) : this.map(asker, op))
    }
    if (answers.length === 0) return
    this.reply(asker, await Promise.all(answers))
  }

  private pong({ address, port }: Asker, echo: string): ReplyOp {
    this.counters.pings++
    return { op: 'pong', echo, seenAddress: address, seenPort: port }
  }

  private async map(asker: Asker, op: MapOp): Promise<MappedOp> {
    const { state, address: client } = asker
    this.waiting++
    try {
      if (op.leaseS === 0) {
        this.counters.unmaps++
        await this.mapper.unmap(state, op.mapId, client)
        return this.mapped(asker, op.mapId, RESULT_OK, 0, 0)
      }
      this.counters.maps++
      if (!this.options.mayReach(op.remote, op.remotePort, state)) {
        this.counters.denied++
        return this.mapped(asker, op.mapId, RESULT_DENIED, 0, 0)
      }
      const leaseS = Math.min(op.leaseS, this.options.maxLeaseS)
      const { mapId, remote, remotePort, detourPort: port } = op
      const { result, lease } = await this.mapper.map(state, {
        mapId,
        leaseMs: leaseS * 1000,
        client,
        remote,
        remotePort,
        port,
        isPortFlexible: (op.flags & MAP_ANY_PORT) !== 0,
      })
      return lease === null ? this.mapped(asker, mapId, result, 0, 0) : this.mapped(asker, mapId, result, leaseS, lease.port)
    } finally {
      this.waiting--
    }
  }

  private mapped({ state, listener }: Asker, mapId: string, result: Result, leaseS: number, port: number): MappedOp {
    const { address } = listener
    const detour = this.options.advertise.find((other) => other.isV4 === address.isV4) ?? address
    const quotaLeft = Math.min(0xffff, Math.max(0, state.maxLeases - state.leases))
    return { op: 'mapped', mapId, result, leaseS, detour, detourPort: port, epoch: this.mapper.epoch, quotaLeft }
  }

  private reply({ state, listener, nonce, port, from, len }: Asker, ops: readonly ReplyOp[]): void {
    const datagram = sealReply(state.seal, nonce, ops, len)
    if (datagram !== null) this.send(listener, datagram, port, from)
  }

  private send(listener: Listener, datagram: Buffer, port: number, to: string): void {
    this.counters.sent++
    this.counters.sentBytes += datagram.length
    listener.send(datagram, port, to)
  }

  /** The daemon ends: who was seen of late is told. */
  sayBye(): void {
    for (const { key, listener, address, port } of this.peers.recent(this.world.nowMs()))
      this.send(listener, sealBye(key.seal, makeNonce(this.world.wallUs(), randomInt(2 ** 32))), port, address)
  }

  private onV1(listener: Listener, datagram: Buffer, from: string, port: number): void {
    const request = decodeV1(datagram)
    if (request === null || request.op !== V1_REQUEST) {
      this.counters.malformed++
      return
    }
    const client = parseAddress(from)
    const owner = client.isV4 ? this.options.v1Owner(client) : null
    const { remote, remotePort } = request
    if (owner === null || this.waiting >= MAX_WAITING || !this.options.mayReach(remote, remotePort, owner)) {
      this.counters.v1Refused++
      return
    }
    this.counters.v1++
    const mapId = `${remote} ${remotePort}` // requests are idempotent: the target names the mapping
    this.waiting++
    const wanted = { mapId, leaseMs: V1_LEASE_MS, client, remote, remotePort, port: request.detourPort, isPortFlexible: true }
    void this.mapper.map(owner, wanted).then(({ lease }: Mapped) => {
      this.waiting--
      if (lease === null) this.counters.v1Refused++
      else this.send(listener, encodeV1({ op: V1_RESPONSE, remote, remotePort, detourPort: lease.port }), port, from)
    })
  }
}

/** Who has sent a request, and where its reply goes. */
interface Asker {
  readonly state: KeyState
  readonly listener: Listener
  readonly address: IpAddress
  readonly from: string
  readonly port: number
  readonly nonce: Uint8Array
  /** Bytes of the request. */
  readonly len: number
}
