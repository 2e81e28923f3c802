import { IpAddress } from '../base/address.js'
import type { DetourKeys } from './protocol/keys.js'
import { MAP_ANY_PORT, type ReplyOp, type RequestOp, RESULT_OK } from './protocol/ops.js'
import { decodeV1, encodeV1, V1_REQUEST, V1_RESPONSE } from './protocol/v1.js'
import { makeNonce, MAPS_PER_DATAGRAM, openReply, readHeader, sealRequest, V2_REPLY } from './protocol/v2.js'

/** A request that is ready to leave. */
export interface Sealed {
  /** What its answer is known by. */
  readonly tag: string
  readonly datagram: Uint8Array
}

/** An answer that may be genuine: `tag` must be that of a request without an answer. */
export interface Opened {
  /** null: it is said unasked. */
  readonly tag: string | null
  readonly ops: readonly ReplyOp[]
}

/** One version of the protocol as the client's state machine sees it. */
export interface NatWire {
  /** There are PINGs, and mappings have leases and can be deleted. */
  readonly hasLeases: boolean
  readonly opsPerDatagram: number
  /** An id for a new mapping. */
  newMapId(remote: IpAddress, port: number): string
  /** What port to ask for. @param isTaken whether another mapping of ours has a port */
  proposePort(remotePort: number, isTaken: (port: number) => boolean): number
  /** A request that has never been sent before. @param ops 1 to `opsPerDatagram` */
  seal(ops: readonly RequestOp[]): Sealed
  /** null for what cannot be an answer. */
  open(datagram: Uint8Array): Opened | null
  /** The daemon's clock says that, half a round trip ago. */
  onTime(timeUs: number, rttUs: number): void
}

/** How far the daemon's time may be from ours. */
const TOLERANCE_US = 30_000_000
/** Times of requests that are remembered: more than leave within the tolerance. */
const MAX_USED = 4096

/**
 * The time of requests: this host's clock with what the daemon's TIME corrected, never the same twice, and never backwards but for a
 * correction. One per key, shared by all who use it.
 */
export class RequestClock {
  private readonly wallUs: () => number
  private offsetUs = 0
  private lastUs = 0
  private lastByeUs = 0
  private readonly used = new Set<number>()
  corrections = 0

  /** @param wallUs microseconds since 1970 */
  constructor(wallUs: () => number) {
    this.wallUs = wallUs
  }

  /** Larger than all before. */
  next(): number {
    this.lastUs = Math.max(this.lastUs + 1, this.now())
    this.used.add(this.lastUs)
    if (this.used.size > MAX_USED) {
      const [oldest] = this.used
      if (oldest !== undefined) this.used.delete(oldest)
    }
    return this.lastUs
  }

  /** The daemon's clock shows `timeUs` now. Going back is safe: the random bits of a nonce are drawn anew for each. */
  correct(timeUs: number): void {
    this.corrections++
    this.offsetUs = timeUs - this.wallUs()
    this.lastUs = Math.min(this.lastUs, timeUs)
  }

  /**
   * Whether a BYE is of this time and later than those before, hence no recording. The nonce of a request of ours is none of a BYE: should a
   * daemon have answered one twice, in two lives, whoever heard both could seal a third reply under it.
   */
  isNewBye(timeUs: number): boolean {
    if (this.used.has(timeUs)) return false
    if (timeUs <= this.lastByeUs || Math.abs(timeUs - this.now()) > TOLERANCE_US) return false
    this.lastByeUs = timeUs
    return true
  }

  private now(): number {
    return this.wallUs() + this.offsetUs
  }
}

/** Ports of a detour daemon with default configuration: one of them is a good guess. */
const FIRST_PORT = 20_000
const PORTS = 10_000

/** Version 2: sealed, several operations in a datagram. */
export class WireV2 implements NatWire {
  readonly hasLeases = true
  readonly opsPerDatagram = MAPS_PER_DATAGRAM
  private readonly keys: DetourKeys
  private readonly clock: RequestClock
  private readonly random32: () => number

  /** @param random32 32 random bits */
  constructor(keys: DetourKeys, clock: RequestClock, random32: () => number) {
    this.keys = keys
    this.clock = clock
    this.random32 = random32
  }

  newMapId(_remote: IpAddress, _port: number): string {
    return hex32(this.random32()) + hex32(this.random32())
  }

  proposePort(_remotePort: number, isTaken: (port: number) => boolean): number {
    for (;;) {
      const port = FIRST_PORT + ((this.random32() >>> 0) % PORTS)
      if (!isTaken(port)) return port
    }
  }

  seal(ops: readonly RequestOp[]): Sealed {
    const nonce = makeNonce(this.clock.next(), this.random32())
    return { tag: Buffer.from(nonce).toString('latin1'), datagram: sealRequest(this.keys, nonce, ops) as Buffer }
  }

  open(datagram: Uint8Array): Opened | null {
    const header = readHeader(datagram)
    if (header === null || header.type !== V2_REPLY) return null
    const ops = openReply(this.keys, datagram)
    if (ops === null) return null
    if (ops.length === 1 && ops[0]?.op === 'bye') return this.clock.isNewBye(header.timeUs) ? { tag: null, ops } : null
    return { tag: header.nonce, ops }
  }

  onTime(timeUs: number, rttUs: number): void {
    this.clock.correct(timeUs + Math.round(rttUs / 2))
  }
}

const ANY_V4 = IpAddress.v4(0)
const FOREVER_S = 0xffff_ffff

/** Version 1: one mapping a datagram, known by its target, which never ends. */
export class WireV1 implements NatWire {
  readonly hasLeases = false
  readonly opsPerDatagram = 1

  newMapId(remote: IpAddress, port: number): string {
    return `${hex32(remote.w3)}${hex32(port)}`
  }

  proposePort(remotePort: number, isTaken: (port: number) => boolean): number {
    return isTaken(remotePort) ? 0 : remotePort
  }

  seal(ops: readonly RequestOp[]): Sealed {
    const [op] = ops
    if (op?.op !== 'map') throw new TypeError('version 1 has mappings only')
    const { mapId, remote, remotePort, detourPort } = op
    return { tag: mapId, datagram: encodeV1({ op: V1_REQUEST, remote, remotePort, detourPort }) }
  }

  open(datagram: Uint8Array): Opened | null {
    const message = decodeV1(datagram)
    if (message === null || message.op !== V1_RESPONSE || message.detourPort === 0) return null
    const mapId = this.newMapId(message.remote, message.remotePort)
    const granted = { detour: ANY_V4, detourPort: message.detourPort, leaseS: FOREVER_S, epoch: 0, quotaLeft: 0xffff }
    return { tag: mapId, ops: [{ op: 'mapped', mapId, result: RESULT_OK, ...granted }] }
  }

  onTime(): void {}
}

/** A MAP for a port that need not be that one. */
export function mapOp(mapId: string, leaseS: number, remote: IpAddress, remotePort: number, detourPort: number): RequestOp {
  return { op: 'map', mapId, leaseS, remote, remotePort, detourPort, flags: MAP_ANY_PORT }
}

function hex32(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0')
}
