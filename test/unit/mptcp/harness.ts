import { createHash, createHmac } from 'node:crypto'
import { IpAddress, type Tuple } from '../../../src/base/address.js'
import { Arena } from '../../../src/base/arena.js'
import { bytesEqual, readI32, readU16, writeI32, writeU16, writeU16le } from '../../../src/base/bytes.js'
import type { Host } from '../../../src/base/host.js'
import { TX_META_STRIDE, TxRing, VNET_HDR_LEN } from '../../../src/base/rings.js'
import { Rng } from '../../../src/base/rng.js'
import { StreamQueue } from '../../../src/base/stream-queue.js'
import { NEVER, type Micros } from '../../../src/base/time.js'
import { JOIN_ACCEPTED, MptcpConnection } from '../../../src/mptcp/connection.js'
import { MptcpCounters } from '../../../src/mptcp/counters.js'
import { type ConnectionEnv, type MptcpConfig, mptcpConfig } from '../../../src/mptcp/env.js'
import { takeFastOpen } from '../../../src/mptcp/fast-open.js'
import { type Path, path } from '../../../src/pathmgr/path.js'
import { type TcpConfig, tcpConfig } from '../../../src/tcp/config.js'
import type { TcpEndpoint } from '../../../src/tcp/endpoint.js'
import { HalfOpen } from '../../../src/tcp/half-open.js'
import { HAS_JOIN, OPT_MPTCP, RST_MPTCP_ERROR } from '../../../src/wire/mptcp-options.js'
import { PARSE_OK, Packet, parsePacket } from '../../../src/wire/packet.js'
import { ACK, RST, SYN } from '../../../src/wire/tcp.js'
import { parseOptionsOf, TcpOptions } from '../../../src/wire/tcp-options.js'

export function testHost(seed: number): Host {
  const rng = new Rng(seed)
  return {
    rng: () => rng.int32(),
    hash: {
      sha256: (data) => new Uint8Array(createHash('sha256').update(data).digest()),
      hmacSha256: (key, data) => new Uint8Array(createHmac('sha256', key).update(data).digest()),
    },
  }
}

export const CLIENT = IpAddress.v4(0xc6120001)
/** Further source addresses of the client, one per path. */
export const CLIENT_2 = IpAddress.v4(0xc6120101)
export const SERVER = IpAddress.v4(0xcb007101)
export const PORT = 80

/** A packet that was seen on the wire: a copy, and what it says. */
export interface Seen {
  readonly bytes: Uint8Array
  readonly pkt: Packet
  readonly opts: TcpOptions
  readonly fromClient: boolean
  /** Number among the packets of its direction and subflow, from 0. */
  readonly n: number
  /** 0: initial subflow, 1: first join, ... */
  readonly flow: number
  readonly at: Micros
}

function keyOf(a: IpAddress, aPort: number, b: IpAddress, bPort: number): string {
  return `${a}:${aPort}-${b}:${bPort}`
}

/** One host: memory, flows, and (at most) one connection with its application. */
export class TestHost implements ConnectionEnv {
  readonly host: Host
  readonly counters = new MptcpCounters()
  readonly arena = new Arena(1 << 15, 512)
  readonly ring = new TxRing(this.arena, 64)
  readonly cfg: MptcpConfig
  readonly flows = new Map<string, { ep: TcpEndpoint; conn: MptcpConnection }>()
  readonly tokens = new Map<number, MptcpConnection>()
  readonly addresses: IpAddress[]
  conn: MptcpConnection | null = null
  /** Accepts connections. */
  isListening = false
  /** SYNs that come count as ones with a valid Fast Open cookie. */
  isFastOpen = false
  /** Reads what arrives; off: a slow reader. */
  isReading = true
  capacity = 1 << 20
  events = 0
  strays = 0
  /** Why joins were refused: reasons of the MP_TCPRST that nobody sends here. */
  readonly refusals: number[] = []
  halves = new Map<string, HalfOpen>()
  private store = new Uint8Array(1 << 16)
  received = 0
  private port = 40_000

  constructor(seed: number, addresses: IpAddress[], tcp: Partial<TcpConfig>, over: Partial<MptcpConfig>) {
    this.host = testHost(seed)
    this.addresses = addresses
    this.cfg = mptcpConfig({ tcp: tcpConfig(tcp), ...over })
  }

  openFlow(p: Path, remote: IpAddress, remotePort: number): Tuple | null {
    const local = p.source ?? (this.addresses[0] as IpAddress)
    return { local, localPort: this.port++, remote, remotePort }
  }

  isSparseOff?(tuple: Tuple): boolean
  noteSparseOff?(tuple: Tuple): void

  issOf(): number {
    return this.host.rng()
  }

  tsOffsetOf(): number {
    return 0
  }

  register(ep: TcpEndpoint, conn: MptcpConnection): void {
    const t = ep.tuple
    this.flows.set(keyOf(t.local, t.localPort, t.remote, t.remotePort), { ep, conn })
  }

  unregister(ep: TcpEndpoint): void {
    const t = ep.tuple
    this.flows.delete(keyOf(t.local, t.localPort, t.remote, t.remotePort))
  }

  claimToken(token: number, conn: MptcpConnection): boolean {
    if (this.tokens.has(token)) return false
    this.tokens.set(token, conn)
    return true
  }

  releaseToken(token: number): void {
    this.tokens.delete(token)
  }

  connect(now: Micros): MptcpConnection {
    this.conn = new MptcpConnection(this, this.cfg, new StreamQueue(this.arena, this.capacity), new StreamQueue(this.arena, this.capacity))
    const p = path()
    this.conn.connect(p, this.openFlow(p, SERVER, PORT) as Tuple, now)
    return this.conn
  }

  get c(): MptcpConnection {
    if (this.conn === null) throw new Error('no connection yet')
    return this.conn
  }

  write(bytes: Uint8Array): number {
    return this.c.sendQueue.append(bytes, 0, bytes.length)
  }

  /** Ends our direction of the stream. */
  end(): void {
    this.c.sendQueue.setFin(this.c.sendQueue.readyEnd)
  }

  read(): void {
    const q = this.conn?.recvQueue
    if (q === undefined || q.ready === 0) return
    const n = q.ready
    if (this.received + n > this.store.length) {
      const bigger = new Uint8Array(2 * (this.received + n))
      bigger.set(this.store)
      this.store = bigger
    }
    q.copyOut(q.base, this.store, this.received, n)
    this.received += n
    q.release(q.readyEnd)
  }

  hasReceived(data: Uint8Array): boolean {
    return this.received === data.length && bytesEqual(this.store, 0, data, 0, data.length)
  }

  onPacket(pkt: Packet, opts: TcpOptions, now: Micros): void {
    const local = new IpAddress(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3)
    const remote = new IpAddress(pkt.src0, pkt.src1, pkt.src2, pkt.src3)
    const key = keyOf(local, pkt.dstPort, remote, pkt.srcPort)
    const flow = this.flows.get(key)
    if (flow !== undefined) {
      if (!flow.ep.onSegment(pkt, opts, now)) this.strays++
      return
    }
    if ((pkt.flags & (SYN | ACK | RST)) !== SYN) {
      this.strays++
      return
    }
    const half = new HalfOpen(this.cfg.tcp, { local, localPort: pkt.dstPort, remote, remotePort: pkt.srcPort }, pkt, opts, now)
    if ((opts.mptcp.present & HAS_JOIN) !== 0) {
      const conn = this.tokens.get(opts.mptcp.joinToken)
      const reason = conn === undefined ? RST_MPTCP_ERROR : conn.acceptJoin(half, opts.mptcp, now)
      if (reason !== JOIN_ACCEPTED) this.refusals.push(reason)
    } else if (this.isListening && this.conn === null) {
      const send = new StreamQueue(this.arena, this.capacity)
      const recv = new StreamQueue(this.arena, this.capacity)
      this.conn = MptcpConnection.accept(this, this.cfg, send, recv, half, opts.mptcp, now)
      if (this.isFastOpen) takeFastOpen(this.conn, pkt, now)
    } else this.strays++
  }
}

/** Takes the oldest entry of a ring as one piece. */
function linear(tx: TxRing): Uint8Array {
  const at = tx.head * TX_META_STRIDE
  const [headOff, headLen, n, payload] = [tx.meta[at], tx.meta[at + 1], tx.meta[at + 2], tx.meta[at + 3]] as [
    number,
    number,
    number,
    number,
  ]
  const out = new Uint8Array(headLen + payload)
  out.set(tx.bytes.subarray(headOff, headOff + headLen))
  let off = headLen
  for (let i = 0; i < n; i++) {
    const from = tx.meta[at + 4 + 2 * i] as number
    const len = tx.meta[at + 5 + 2 * i] as number
    out.set(tx.bytes.subarray(from, from + len), off)
    off += len
  }
  tx.take(1)
  return out
}

/** Cuts a super-segment as a device without TSO does: identical options in every piece. */
export function segment(bytes: Uint8Array): Uint8Array[] {
  const pkt = new Packet()
  if (parsePacket(bytes, 0, bytes.length, pkt) !== PARSE_OK || pkt.gsoSize === 0 || pkt.payLen <= pkt.gsoSize) return [bytes]
  const out: Uint8Array[] = []
  for (let done = 0; done < pkt.payLen; done += pkt.gsoSize) {
    const n = Math.min(pkt.gsoSize, pkt.payLen - done)
    const one = new Uint8Array(pkt.payOff + n)
    one.set(bytes.subarray(0, pkt.payOff))
    one.set(bytes.subarray(pkt.payOff + done, pkt.payOff + done + n), pkt.payOff)
    one[1] = 0 // no GSO any more
    writeU16le(one, 4, 0)
    writeI32(one, pkt.l4Off + 4, (pkt.seq + done) | 0)
    if (done + n < pkt.payLen) one[pkt.l4Off + 13] = pkt.flags & ~9 // FIN and PSH belong to the last
    if (pkt.family === 4) {
      writeU16(one, VNET_HDR_LEN + 2, one.length - VNET_HDR_LEN)
      fixIpChecksum(one)
    } else writeU16(one, VNET_HDR_LEN + 4, one.length - VNET_HDR_LEN - 40)
    out.push(one)
  }
  return out
}

function fixIpChecksum(bytes: Uint8Array): void {
  writeU16(bytes, VNET_HDR_LEN + 10, 0)
  let sum = 0
  for (let i = 0; i < 20; i += 2) sum += readU16(bytes, VNET_HDR_LEN + i)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  writeU16(bytes, VNET_HDR_LEN + 10, ~sum & 0xffff)
}

/** Replaces every MPTCP option by NOPs: a middlebox that does not like kind 30. Returns how many. */
export function strip(bytes: Uint8Array): number {
  const pkt = new Packet()
  parsePacket(bytes, 0, bytes.length, pkt)
  let n = 0
  for (let at = pkt.optOff; at < pkt.optOff + pkt.optLen; ) {
    const kind = bytes[at] as number
    if (kind === 0) break
    const len = kind === 1 ? 1 : (bytes[at + 1] as number)
    if (kind === OPT_MPTCP) {
      bytes.fill(1, at, at + len)
      n++
    }
    at += len
  }
  return n
}

/** Offset of the MPTCP option of this subtype, -1: none. */
export function optionAt(seen: Seen, subtype: number): number {
  const { bytes, pkt } = seen
  for (let at = pkt.optOff; at < pkt.optOff + pkt.optLen; ) {
    const kind = bytes[at] as number
    if (kind === 0) break
    const len = kind === 1 ? 1 : (bytes[at + 1] as number)
    if (kind === OPT_MPTCP && (bytes[at + 2] as number) >>> 4 === subtype) return at
    at += len
  }
  return -1
}

export const PASS = 0
export const DROP = -1

export interface LinkOptions {
  readonly seed?: number
  readonly tcp?: Partial<TcpConfig>
  readonly client?: Partial<MptcpConfig>
  readonly server?: Partial<MptcpConfig>
  readonly capacity?: number
  /** Segments cross the wire one by one instead of as super-segments. */
  readonly isCut?: boolean
}

/** A client and a server in virtual time; `filter` sees every packet and may change it, drop it (DROP) or delay it further. */
export class Link {
  now: Micros = 1_000_000
  delayUs = 5_000
  readonly client: TestHost
  readonly server: TestHost
  readonly seen: Seen[] = []
  filter: (p: Seen) => number = () => PASS
  dropped = 0
  private readonly isCut: boolean
  private flying: { bytes: Uint8Array; at: Micros; order: number; toServer: boolean }[] = []
  private order = 0
  private readonly count = new Map<string, number>()
  private readonly ports: number[] = []

  constructor(o: LinkOptions = {}) {
    const seed = o.seed ?? 1
    this.client = new TestHost(seed, [CLIENT, CLIENT_2], o.tcp ?? {}, o.client ?? {})
    this.server = new TestHost(seed + 1000, [SERVER], o.tcp ?? {}, o.server ?? {})
    if (o.capacity !== undefined) this.client.capacity = this.server.capacity = o.capacity
    this.server.isListening = true
    this.isCut = o.isCut ?? false
  }

  /** Connects and runs until both sides are up. */
  establish(): this {
    this.client.connect(this.now)
    this.run(200_000)
    return this
  }

  /** Runs for `us`, or until `done` holds; returns whether it does. */
  run(us: Micros, done: () => boolean = () => false): boolean {
    const until = this.now + us
    for (let steps = 0; steps < 1_000_000; steps++) {
      this.pump()
      if (done()) return true
      this.flying.sort((x, y) => x.at - y.at || x.order - y.order)
      const next = Math.min(this.flying[0]?.at ?? NEVER, this.client.conn?.nextTimeout() ?? NEVER, this.server.conn?.nextTimeout() ?? NEVER)
      if (next > until) {
        this.now = until
        return done()
      }
      this.now = Math.max(this.now, next)
      while (this.flying.length > 0 && (this.flying[0] as { at: Micros }).at <= this.now) {
        const f = this.flying.shift() as { bytes: Uint8Array; toServer: boolean }
        this.deliver(f.bytes, f.toServer)
      }
      for (const h of [this.client, this.server]) if ((h.conn?.nextTimeout() ?? NEVER) <= this.now) h.conn?.onTimeout(this.now)
    }
    throw new Error('the link never comes to rest')
  }

  /** Hands a packet to one side as if it came from the wire. */
  deliver(bytes: Uint8Array, toServer: boolean): void {
    const pkt = new Packet()
    const opts = new TcpOptions()
    const result = parsePacket(bytes, 0, bytes.length, pkt)
    if (result !== PARSE_OK) throw new Error(`packet does not parse: ${result}`)
    parseOptionsOf(pkt, opts)
    ;(toServer ? this.server : this.client).onPacket(pkt, opts, this.now)
  }

  private pump(): void {
    for (let again = true; again; ) {
      again = false
      for (const h of [this.client, this.server]) {
        const conn = h.conn
        if (conn === null) continue
        if (h.isReading) h.read()
        let hasMore = true
        while (hasMore) {
          hasMore = conn.pump(h.ring, this.now)
          h.events |= conn.takeEvents()
          while (h.ring.count > 0) {
            again = true
            const bytes = linear(h.ring)
            for (const piece of this.isCut ? segment(bytes) : [bytes]) this.send(piece, h === this.client)
          }
          h.arena.recycle()
        }
        if (h.isReading) h.read()
      }
    }
  }

  private send(bytes: Uint8Array, fromClient: boolean): void {
    const pkt = new Packet()
    const opts = new TcpOptions()
    if (parsePacket(bytes, 0, bytes.length, pkt) !== PARSE_OK) throw new Error('sent packet does not parse')
    parseOptionsOf(pkt, opts)
    const port = fromClient ? pkt.srcPort : pkt.dstPort
    if (!this.ports.includes(port)) this.ports.push(port)
    const flow = this.ports.indexOf(port)
    const key = `${fromClient}${flow}`
    const n = this.count.get(key) ?? 0
    this.count.set(key, n + 1)
    const seen: Seen = { bytes, pkt, opts, fromClient, n, flow, at: this.now }
    this.seen.push(seen)
    const extra = this.filter(seen)
    if (extra < 0) this.dropped++
    else this.flying.push({ bytes, at: this.now + this.delayUs + extra, order: this.order++, toServer: fromClient })
  }
}

/** Deterministic bytes whose position shows. */
export function pattern(len: number, from = 0): Uint8Array {
  const out = new Uint8Array(len)
  for (let i = 0; i < len; i++) {
    const x = from + i
    out[i] = (x * 131 + (x >>> 8) * 31 + (x >>> 16)) & 255
  }
  return out
}

export function word(bytes: Uint8Array, off: number): number {
  return readI32(bytes, off)
}
