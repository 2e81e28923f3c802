import { Arena } from '../../../src/base/arena.js'
import { IpAddress, type Tuple } from '../../../src/base/address.js'
import { bytesEqual } from '../../../src/base/bytes.js'
import { TX_META_STRIDE, TxRing } from '../../../src/base/rings.js'
import { StreamQueue } from '../../../src/base/stream-queue.js'
import { NEVER, type Micros } from '../../../src/base/time.js'
import { type TcpConfig, tcpConfig } from '../../../src/tcp/config.js'
import { TcpEndpoint } from '../../../src/tcp/endpoint.js'
import type { SegmentSink, SegmentSource, TcpExtension } from '../../../src/tcp/extension.js'
import { HalfOpen } from '../../../src/tcp/half-open.js'
import { openFast } from '../../../src/tcp/opening.js'
import { PlainFlow } from '../../../src/tcp/plain.js'
import { PARSE_OK, Packet, parsePacket } from '../../../src/wire/packet.js'
import { parseOptionsOf, TcpOptions } from '../../../src/wire/tcp-options.js'

export type Flow = SegmentSource & SegmentSink & TcpExtension

export const A_ADDR = IpAddress.v4(0xc6120001)
export const B_ADDR = IpAddress.v4(0xcb007101)

/** A packet on the way, copied out of the sender's ring: vnet header first. */
export interface Flying {
  readonly bytes: Uint8Array
  readonly at: Micros
  readonly order: number
}

/** One endpoint with its memory and queues; the other side is another of these, or the test by hand. */
export class Side {
  readonly arena: Arena
  readonly tx: TxRing
  readonly out: StreamQueue
  readonly in: StreamQueue
  readonly cfg: TcpConfig
  readonly tuple: Tuple
  readonly flow: Flow
  ep: TcpEndpoint | null = null
  private readonly pkt = new Packet()
  private readonly opts = new TcpOptions()
  /** Everything that arrived, in order; released at once when `isReading`. */
  private store = new Uint8Array(1 << 16)
  receivedLen = 0
  isReading = true
  strays = 0
  /** The SYN that is accepted counts as one with a valid Fast Open cookie. */
  isFastOpen = false

  constructor(
    tuple: Tuple,
    cfg: Partial<TcpConfig> = {},
    capacity = 1 << 20,
    makeFlow: (out: StreamQueue, into: StreamQueue) => Flow = (o, i) => new PlainFlow(o, i),
  ) {
    this.arena = new Arena(1 << 20, 1024)
    this.tx = new TxRing(this.arena, 64)
    this.out = new StreamQueue(this.arena, capacity)
    this.in = new StreamQueue(this.arena, capacity)
    this.cfg = tcpConfig(cfg)
    this.tuple = tuple
    this.flow = makeFlow(this.out, this.in)
  }

  connect(now: Micros, iss = 1000, cookie: Uint8Array | null = null): TcpEndpoint {
    this.ep = new TcpEndpoint(this.cfg, this.tuple, iss, this.flow, this.flow, this.flow)
    this.ep.connect(now, cookie)
    return this.ep
  }

  /** Delivers raw bytes (vnet header first); a SYN to a side without endpoint is accepted. */
  deliver(bytes: Uint8Array, now: Micros, iss = 5000): boolean {
    if (parsePacket(bytes, 0, bytes.length, this.pkt) !== PARSE_OK) return false
    parseOptionsOf(this.pkt, this.opts)
    if (this.ep === null) {
      const half = new HalfOpen(this.cfg, this.tuple, this.pkt, this.opts, now)
      this.ep = half.accept(this.cfg, iss, this.flow, this.flow, this.flow, now)
      if (this.isFastOpen) openFast(this.ep, this.pkt, now)
      return true
    }
    if (!this.ep.onSegment(this.pkt, this.opts, now)) this.strays++
    return true
  }

  /** Reads what is there. */
  read(): void {
    const n = this.in.readyEnd - this.in.base
    if (n === 0) return
    if (this.receivedLen + n > this.store.length) {
      const bigger = new Uint8Array(2 * (this.receivedLen + n))
      bigger.set(this.store)
      this.store = bigger
    }
    this.in.copyOut(this.in.base, this.store, this.receivedLen, n)
    this.receivedLen += n
    this.in.release(this.in.readyEnd)
  }

  /** Whether exactly `data` has arrived. */
  hasReceived(data: Uint8Array): boolean {
    return this.receivedLen === data.length && bytesEqual(this.store, 0, data, 0, data.length)
  }

  write(bytes: Uint8Array): number {
    return this.out.append(bytes, 0, bytes.length)
  }

  /** Polls until the endpoint has nothing more to say; returns the packets, linear. */
  poll(now: Micros, limit = 1000): Uint8Array[] {
    const got: Uint8Array[] = []
    if (this.isReading) this.read()
    while (got.length < limit && this.ep !== null && this.ep.pollTransmit(this.tx, now)) {
      while (this.tx.count > 0) got.push(linear(this.tx))
    }
    this.arena.recycle()
    return got
  }
}

/** Takes the oldest entry of `tx` as one piece. */
export function linear(tx: TxRing): Uint8Array {
  const at = tx.head * TX_META_STRIDE
  const [hdrOff, hdrLen, n, payload] = [tx.meta[at], tx.meta[at + 1], tx.meta[at + 2], tx.meta[at + 3]] as [number, number, number, number]
  const out = new Uint8Array(hdrLen + payload)
  out.set(tx.bytes.subarray(hdrOff, hdrOff + hdrLen))
  let off = hdrLen
  for (let i = 0; i < n; i++) {
    const from = tx.meta[at + 4 + 2 * i] as number
    const len = tx.meta[at + 5 + 2 * i] as number
    out.set(tx.bytes.subarray(from, from + len), off)
    off += len
  }
  tx.take(1)
  return out
}

/** Two sides and a path between them in virtual time; `filter` sees each packet and may drop, delay or change it. */
export class Pair {
  now: Micros = 1_000_000
  delayUs = 5_000
  readonly a: Side
  readonly b: Side
  private flying: { f: Flying; to: Side }[] = []
  private order = 0
  /** Returns extra delay in microseconds, or -1 to drop. `n` counts packets of this direction from 0. */
  filter: (fromA: boolean, bytes: Uint8Array, n: number) => number = () => 0
  sent = [0, 0]
  dropped = 0

  constructor(a: Side, b: Side) {
    this.a = a
    this.b = b
  }

  static of(
    cfg: Partial<TcpConfig> = {},
    capacity = 1 << 20,
    flowA?: (o: StreamQueue, i: StreamQueue) => Flow,
    flowB?: (o: StreamQueue, i: StreamQueue) => Flow,
  ): Pair {
    const a = new Side({ local: A_ADDR, localPort: 40_000, remote: B_ADDR, remotePort: 80 }, cfg, capacity, flowA)
    const b = new Side({ local: B_ADDR, localPort: 80, remote: A_ADDR, remotePort: 40_000 }, cfg, capacity, flowB)
    return new Pair(a, b)
  }

  private pump(): void {
    for (let again = true; again; ) {
      again = false
      for (const side of [this.a, this.b]) {
        const fromA = side === this.a
        for (const bytes of side.poll(this.now)) {
          again = true
          const n = this.sent[fromA ? 0 : 1] as number
          this.sent[fromA ? 0 : 1] = n + 1
          const extra = this.filter(fromA, bytes, n)
          if (extra < 0) this.dropped++
          else this.flying.push({ f: { bytes, at: this.now + this.delayUs + extra, order: this.order++ }, to: fromA ? this.b : this.a })
        }
      }
    }
  }

  /** Runs until `until`, or until `done()` holds; returns whether it does. */
  run(until: Micros, done: () => boolean = () => false): boolean {
    for (let steps = 0; steps < 2_000_000; steps++) {
      this.pump()
      if (done()) return true
      this.flying.sort((x, y) => x.f.at - y.f.at || x.f.order - y.f.order)
      const next = Math.min(this.flying[0]?.f.at ?? NEVER, this.a.ep?.nextTimeout() ?? NEVER, this.b.ep?.nextTimeout() ?? NEVER)
      if (next > until) {
        this.now = until
        return done()
      }
      this.now = Math.max(this.now, next)
      while (this.flying.length > 0 && (this.flying[0] as { f: Flying }).f.at <= this.now) {
        const { f, to } = this.flying.shift() as { f: Flying; to: Side }
        to.deliver(f.bytes, this.now)
      }
      for (const side of [this.a, this.b]) if ((side.ep?.nextTimeout() ?? NEVER) <= this.now) side.ep?.onTimeout(this.now)
    }
    throw new Error('the pair never comes to rest')
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
