import { IpAddress } from '../../../src/base/address.js'
import { Rng } from '../../../src/base/rng.js'
import { type Micros, NEVER } from '../../../src/base/time.js'
import { parseAddress } from '../../../src/config/address-text.js'
import { LeaseTable } from '../../../src/detour/daemon/leases.js'
import { RateLimit } from '../../../src/detour/daemon/rate.js'
import { NatClient } from '../../../src/detour/nat-client.js'
import { Demands } from '../../../src/detour/nat-memory.js'
import { type NatWire, RequestClock, WireV1, WireV2 } from '../../../src/detour/nat-wire.js'
import { DetourKeys } from '../../../src/detour/protocol/keys.js'
import { MAP_ANY_PORT, type MapOp, type MappedOp, type ReplyOp, type RequestOp } from '../../../src/detour/protocol/ops.js'
import { decodeV1, encodeV1 } from '../../../src/detour/protocol/v1.js'
import { makeNonce, openRequest, readHeader, sealBye, sealReply } from '../../../src/detour/protocol/v2.js'
import type { Path } from '../../../src/pathmgr/path.js'

export const MS = 1000
export const S = 1_000_000
export const PEER = parseAddress('192.0.2.7')
export const CLIENT = parseAddress('203.0.113.5')
export const server = (n: number): IpAddress => IpAddress.v4(0xc6336400 + n) // 198.51.100.n

/** Microseconds since 1970 when virtual time begins. */
const WALL_US = 1_790_000_000_000_000

/** The daemon's side with its real table of leases, and no kernel. */
export class TestDaemon {
  leases: LeaseTable
  epoch = 1
  /** Its clock against the client's. */
  aheadUs = 0
  isRunning = true
  /** Says something else than the table would. */
  override: ((op: MapOp) => Partial<MappedOp> | null) | null = null
  client = CLIENT
  /** Every operation that arrived, in order. */
  readonly asked: RequestOp[] = []
  readonly nonces = new Set<string>()
  replays = 0
  wrongTimes = 0
  lastTimeUs = 0
  readonly owner = { name: 'client', leases: 0, maxLeases: 1000, rate: new RateLimit(1e6, 1e6, 0) }
  /** Its clock. */
  wallUs: (now: Micros) => number = (now) => WALL_US + now + this.aheadUs
  private readonly keys: DetourKeys
  /** When each mapping was asked for first, by its id. */
  private readonly mappedAt = new Map<string, Micros>()

  constructor(keys: DetourKeys) {
    this.keys = keys
    this.leases = this.newTable()
  }

  /** Without its mappings, as after a restart. */
  restart(): void {
    this.leases = this.newTable()
    this.owner.leases = 0
    this.epoch++
    this.isRunning = true
  }

  onDatagram(datagram: Uint8Array, now: Micros): Uint8Array | null {
    if (!this.isRunning) return null
    if (datagram[0] === 1) return this.onV1(datagram, now)
    const header = readHeader(datagram)
    const ops = openRequest(this.keys, datagram)
    if (header === null || ops === null) throw new Error('the client has sent what is no request')
    const nonce = Buffer.from(header.nonce, 'latin1')
    if (this.nonces.has(header.nonce)) {
      this.replays++
      return null
    }
    this.nonces.add(header.nonce)
    this.lastTimeUs = header.timeUs
    const wall = this.wallUs(now)
    if (Math.abs(header.timeUs - wall) > 30 * S) {
      this.wrongTimes++
      return sealReply(this.keys, nonce, [{ op: 'time', timeUs: wall }], datagram.length)
    }
    for (const lease of this.leases.expire(now / MS)) this.leases.close(lease)
    this.asked.push(...ops)
    const answers = ops.map(
      (op): ReplyOp => (op.op === 'map' ? this.onMap(op, now) : { op: 'pong', echo: op.echo, seenAddress: this.client, seenPort: 61_000 }),
    )
    return sealReply(this.keys, nonce, answers, datagram.length)
  }

  bye(now: Micros, random = 1): Uint8Array {
    return sealBye(this.keys, makeNonce(this.wallUs(now), random))
  }

  maps(): MapOp[] {
    return this.asked.filter((op) => op.op === 'map')
  }

  live(): number {
    return this.leases.live
  }

  private onMap(op: MapOp, now: Micros): MappedOp {
    const answer = { op: 'mapped', mapId: op.mapId, detour: PEER, epoch: this.epoch, quotaLeft: 0, leaseS: 0, detourPort: 0 } as const
    const other = this.override?.(op) ?? null
    if (other !== null) return { ...answer, result: 0, ...other }
    if (op.leaseS === 0) {
      const lease = this.leases.find(this.owner, op.mapId)
      if (lease !== undefined) {
        this.leases.end(lease, 'deleted', now / MS)
        this.leases.close(lease)
      }
      return { ...answer, result: 0 }
    }
    const { result, lease, moved } = this.map(op.mapId, op.leaseS, op.remote, op.remotePort, op.detourPort, op.flags, now)
    if (moved !== null) this.leases.close(moved)
    return lease === null ? { ...answer, result } : { ...answer, result, leaseS: op.leaseS, detourPort: lease.port }
  }

  /** When the mapping of `port` to a server's `remotePort` was made, NEVER: it is not there. */
  mappedSince(remotePort: number, port: number): Micros {
    const leases = this.leases.leasesOf(this.owner)
    const lease = leases.find((one) => one.remotePort === remotePort && one.port === port && one.isLive)
    return lease === undefined ? NEVER : (this.mappedAt.get(lease.mapId) ?? NEVER)
  }

  private map(mapId: string, leaseS: number, remote: IpAddress, remotePort: number, port: number, flags: number, now: Micros) {
    const isPortFlexible = (flags & MAP_ANY_PORT) !== 0
    if (!this.mappedAt.has(mapId)) this.mappedAt.set(mapId, now)
    const request = { mapId, leaseMs: leaseS * 1000, client: this.client, remote, remotePort, port, isPortFlexible }
    return this.leases.map(this.owner, request, now / MS)
  }

  private onV1(datagram: Uint8Array, now: Micros): Uint8Array {
    const request = decodeV1(datagram)
    if (request === null || request.op !== 0) throw new Error('the client has sent what is no request')
    const { remote, remotePort, detourPort } = request
    this.asked.push({ op: 'map', mapId: '', leaseS: 0, remote, remotePort, detourPort, flags: 0 })
    const { lease } = this.map(`${remote} ${remotePort}`, 1e6, remote, remotePort, detourPort, MAP_ANY_PORT, now)
    return encodeV1({ op: 1, remote, remotePort, detourPort: lease?.port ?? 0 })
  }

  private newTable(): LeaseTable {
    return new LeaseTable({ maxLeases: 1000, rate: new RateLimit(1e6, 1e6, 0), firstPort: 20_000, lastPort: 29_999 }, 1)
  }
}

/** A client and its daemon in virtual time, with a network between them. */
export class NatPair {
  now: Micros = 0
  readonly daemon: TestDaemon
  readonly client: NatClient
  readonly paths = new Map<number, Path>()
  /** `+id port?` tentative, `+id port` confirmed, `-id` removed. */
  readonly events: string[] = []
  /** When each datagram of the client left. */
  readonly sentAt: Micros[] = []
  readonly sentLens: number[] = []
  oneWayUs = 10 * MS
  /** What the daemon's kernel takes for a mapping: it is there, and answered, that long after its request came. */
  daemonUs: Micros = 0
  /** Faults: how many, and who decides. */
  dropped = 0
  drop: (direction: 'up' | 'down', n: number) => boolean = () => false
  /** Extra copies and delays of a datagram, one entry a copy. */
  copies: () => readonly Micros[] = () => [0]
  /** Whoever uses the paths. */
  onPath: (path: Path) => void = () => {}
  onRejoin: (id: number) => void = () => {}
  readonly clock: RequestClock
  readonly rng: Rng
  private readonly flying: { at: Micros; deliver: () => void }[] = []
  private ups = 0
  private downs = 0
  private nextId = 2

  constructor(options: { seed?: number; isV1?: boolean; demands?: Demands } = {}) {
    this.rng = new Rng(options.seed ?? 1)
    const keys = new DetourKeys(Buffer.alloc(8, 7), Buffer.alloc(32, 9))
    this.daemon = new TestDaemon(keys)
    this.clock = new RequestClock(() => WALL_US + this.now)
    const wire: NatWire = options.isV1 === true ? new WireV1() : new WireV2(keys, this.clock, () => this.rng.int32())
    this.demands = options.demands ?? new Demands(64)
    const look = { label: 'nat', peer: PEER, isBackup: false, cost: 0 }
    this.client = new NatClient(wire, look, this.demands, this, 0)
  }

  readonly demands: Demands

  send(datagram: Uint8Array): void {
    this.sentAt.push(this.now)
    this.sentLens.push(datagram.length)
    this.carry('up', this.ups++, () => {
      const reply = this.daemon.onDatagram(datagram, this.now)
      if (reply !== null) this.after(this.daemonUs, () => this.down(reply))
    })
  }

  /** Something arrives at the client, from the daemon or whoever. */
  down(datagram: Uint8Array): void {
    this.carry('down', this.downs++, () => this.client.onDatagram(datagram, this.now))
  }

  random32(): number {
    return this.rng.int32()
  }

  newPathId(): number {
    return this.nextId++
  }

  upsert(path: Path): void {
    this.paths.set(path.id, path)
    this.onPath(path)
    this.events.push(`+${path.id} ${path.destinationPort}${path.isTentative ? '?' : ''}`)
  }

  repeatJoins(id: number): void {
    this.onRejoin(id)
  }

  remove(id: number): void {
    if (!this.paths.delete(id)) throw new Error(`path ${id} was removed twice, or never there`)
    this.events.push(`-${id}`)
  }

  /** As the engine does: an application connects. */
  connect(n: number, port = 443): void {
    this.demands.touch(server(n), port, this.now)
    this.client.onConnect(server(n), port, this.now)
  }

  plain(n: number, port = 443): void {
    this.demands.forget(server(n), port)
    this.client.onPlain(server(n), port, this.now)
  }

  use(id: number, delta: 1 | -1): void {
    this.client.onUse(id, delta, this.now)
  }

  /** Something else happens after `span`. */
  after(span: Micros, deliver: () => void): void {
    this.flying.push({ at: this.now + span, deliver })
  }

  /** Lets `span` pass. */
  run(span: Micros): void {
    const end = this.now + span
    for (let n = 0; ; n++) {
      if (n > 1_000_000) throw new Error('it never rests')
      this.flying.sort((a, b) => a.at - b.at)
      const next = Math.min(this.flying[0]?.at ?? NEVER, this.client.nextTimeout())
      if (next > end) break
      this.now = Math.max(this.now, next)
      if ((this.flying[0]?.at ?? NEVER) <= this.now) this.flying.shift()?.deliver()
      else this.client.onTimeout(this.now)
    }
    this.now = end
  }

  private carry(direction: 'up' | 'down', n: number, deliver: () => void): void {
    if (this.drop(direction, n)) {
      this.dropped++
      return
    }
    for (const extra of this.copies()) this.flying.push({ at: this.now + this.oneWayUs + extra, deliver })
  }
}

/** A pair whose detour is up and idle. */
export function upPair(options?: ConstructorParameters<typeof NatPair>[0]): NatPair {
  const pair = new NatPair(options)
  if (options?.isV1 !== true) pair.client.onTimeout(0)
  pair.run(100 * MS)
  return pair
}

export const portOf = (op: MapOp | undefined): number => op?.detourPort ?? -1
