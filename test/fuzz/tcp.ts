import { IpAddress, type Tuple } from '../../src/base/address.js'
import { Arena } from '../../src/base/arena.js'
import { TX_HEADER_ROOM, TX_META_STRIDE, TxRing } from '../../src/base/rings.js'
import type { Rng } from '../../src/base/rng.js'
import { StreamQueue } from '../../src/base/stream-queue.js'
import { type Micros, NEVER, US_PER_MS } from '../../src/base/time.js'
import { bbr } from '../../src/tcp/cc/bbr.js'
import { CWND_MAX } from '../../src/tcp/cc/controller.js'
import { cubic } from '../../src/tcp/cc/cubic.js'
import { newReno } from '../../src/tcp/cc/newreno.js'
import { type TcpConfig, tcpConfig } from '../../src/tcp/config.js'
import { ICMP_REFUSED, ICMP_TOO_BIG, type IcmpKind, TcpEndpoint } from '../../src/tcp/endpoint.js'
import { HalfOpen } from '../../src/tcp/half-open.js'
import { PlainFlow } from '../../src/tcp/plain.js'
import { RECORDS_MAX } from '../../src/tcp/scoreboard.js'
import { CLOSED, EV_CLOSED, STATE_NAMES } from '../../src/tcp/state.js'
import { PARSE_OK, Packet, parsePacket } from '../../src/wire/packet.js'
import { ACK, RST, SYN } from '../../src/wire/tcp.js'
import { parseOptionsOf, TcpOptions } from '../../src/wire/tcp-options.js'
import { SegmentMutator } from './segment-mutator.js'

/** Rounds of one connection before another takes its place. */
const STEPS_PER_CONNECTION = 400
/** Copies of packets on the way; more are lost. */
const WIRE_MAX = 24
/** What one segment may make an endpoint say: all of a window in segments of the smallest MSS, and then some. */
const ANSWERS_MAX = 2000
/** Out-of-order ranges of a receiver (receiver.ts). */
const RANGES_MAX = 1024
const BUFFER = 16_384
const PACKET_ROOM = 2_200

/** What took place, to see that the segments reach all sides of the endpoint. */
export interface TcpFuzzCounts {
  /** Changed segments that an endpoint was given; those that do not parse are not among them. */
  segments: number
  unparsed: number
  icmp: number
  connections: number
  /** Connections that were established, that moved data, and that went on to move data after their first changed segment. */
  established: number
  advanced: number
  /** Changed segments that moved rcvNxt, moved sndUna, were answered, or reset the connection. */
  delivered: number
  acknowledged: number
  answered: number
  resets: number
  timeouts: number
  bytes: number
  /** Changed segments by the state of the endpoint that they met. */
  readonly byState: Map<string, number>
}

export function newTcpFuzzCounts(): TcpFuzzCounts {
  return {
    segments: 0,
    unparsed: 0,
    icmp: 0,
    connections: 0,
    established: 0,
    advanced: 0,
    delivered: 0,
    acknowledged: 0,
    answered: 0,
    resets: 0,
    timeouts: 0,
    bytes: 0,
    byState: new Map(),
  }
}

/** One end, its application, and what must only grow. */
class End {
  readonly tuple: Tuple
  readonly cfg: TcpConfig
  readonly out: StreamQueue
  readonly in: StreamQueue
  readonly flow: PlainFlow
  ep: TcpEndpoint | null = null
  /** Packets on the way to this end, oldest first. */
  readonly coming: Uint8Array[] = []
  rcvNxt = 0
  sndUna = 0
  sndNxt = 0
  edge = 0
  isEnded = false

  constructor(arena: Arena, tuple: Tuple, cfg: TcpConfig) {
    this.tuple = tuple
    this.cfg = cfg
    this.out = new StreamQueue(arena, BUFFER)
    this.in = new StreamQueue(arena, BUFFER)
    this.flow = new PlainFlow(this.out, this.in)
  }
}

const A = IpAddress.v4(0x0a000001)
const B = IpAddress.v4(0x0a000002)
const NOTHING = new Uint8Array(BUFFER)

/** Live connections, one after the other, between two endpoints of ours, with somebody who changes, repeats and invents segments. */
export class TcpFuzzer {
  readonly counts = newTcpFuzzCounts()
  private readonly rng: Rng
  private readonly arena = new Arena(16 * TX_HEADER_ROOM + 4096, 64)
  private readonly tx = new TxRing(this.arena, 16)
  private readonly pkt = new Packet()
  private readonly opts = new TcpOptions()
  private readonly mutator: SegmentMutator
  private readonly scratch = new Uint8Array(PACKET_ROOM)
  private now: Micros = 1_000_000
  private a!: End
  private b!: End
  /** The packet that changed segments are made of. */
  private template: Uint8Array = NOTHING
  private left = 0
  private wasEstablished = false
  private hadAdvanced = false

  constructor(rng: Rng) {
    this.rng = rng
    this.mutator = new SegmentMutator(rng)
    this.renew()
  }

  /** Gives `n` changed segments to endpoints. @throws when an invariant does not hold. */
  run(n: number): void {
    const until = this.counts.segments + n
    while (this.counts.segments < until) {
      this.pass()
      this.act(this.a)
      this.act(this.b)
      const end = this.rng.chance(0.5) ? this.a : this.b
      this.deliver(end)
      for (let k = this.rng.below(7); k > 0; k--) this.attack(this.rng.chance(0.5) ? this.a : this.b)
      if (--this.left <= 0 || (this.isOver(this.a) && this.isOver(this.b))) this.renew()
    }
  }

  private isOver(end: End): boolean {
    return end.ep?.state === CLOSED && end.ep.isDone
  }

  private renew(): void {
    const { rng } = this
    for (const end of this.counts.connections === 0 ? [] : [this.a, this.b]) {
      end.out.clear()
      end.in.clear()
      end.ep?.snd.dispose()
    }
    this.tx.take(this.tx.count)
    this.arena.recycle()
    const cfg = (): TcpConfig =>
      tcpConfig({
        mss4: rng.between(64, 600),
        gso: rng.chance(0.5),
        timestamps: rng.chance(0.6),
        sack: rng.chance(0.8),
        windowScale: rng.below(4),
        congestion: [cubic, newReno, bbr][rng.below(3)] as TcpConfig['congestion'],
        ecn: rng.chance(0.3) ? 'request' : 'accept',
        nagle: rng.chance(0.3),
        timeWaitUs: 500 * US_PER_MS,
      })
    this.a = new End(this.arena, { local: A, localPort: 1, remote: B, remotePort: 2 }, cfg())
    this.b = new End(this.arena, { local: B, localPort: 2, remote: A, remotePort: 1 }, cfg())
    this.a.ep = new TcpEndpoint(this.a.cfg, this.a.tuple, rng.int32(), this.a.flow, this.a.flow, this.a.flow)
    this.a.ep.connect(this.now)
    this.counts.connections++
    this.left = STEPS_PER_CONNECTION
    this.wasEstablished = false
    this.hadAdvanced = false
    this.poll(this.a)
  }

  /** Time passes, timers fire. */
  private pass(): void {
    const { rng } = this
    // now and then so long that everything times out
    this.now += rng.chance(0.01) ? rng.logUniform(1000, 3_000_000) : rng.below(3000)
    for (const end of [this.a, this.b]) {
      const { ep } = end
      for (let k = 0; ep !== null && ep.nextTimeout() <= this.now; k++) {
        if (k > 100) throw new Error(`a timer that never comes to rest in ${STATE_NAMES[ep.state]}`)
        this.counts.timeouts++
        ep.onTimeout(this.now)
        this.poll(end)
      }
    }
  }

  /** The application of `end` writes, reads, ends its stream, gives up. */
  private act(end: End): void {
    const { rng } = this
    if (end.ep === null) return
    if (rng.chance(0.7) && end.in.ready > 0) {
      this.counts.bytes += end.in.ready
      end.in.release(end.in.readyEnd)
    }
    if (!end.isEnded && rng.chance(0.5)) end.out.append(NOTHING, 0, rng.logUniform(1, 4000))
    if (!end.isEnded && rng.chance(0.003)) {
      end.isEnded = true
      end.out.setFin(end.out.readyEnd)
    }
    if (rng.chance(0.0005)) end.ep.abort()
    this.poll(end)
  }

  /** The next packet arrives at `end` as it was sent, or is lost. */
  private deliver(end: End): void {
    const bytes = end.coming.shift()
    if (bytes === undefined) return
    this.template = bytes
    if (!this.rng.chance(0.05)) this.give(end, bytes, bytes.length)
  }

  /** A changed copy of a packet, or an ICMP error, arrives at `end`. */
  private attack(end: End): void {
    const { ep } = end
    if (ep !== null && this.rng.chance(0.01)) {
      this.counts.icmp++
      const kind = (this.rng.chance(0.8) ? ICMP_TOO_BIG : ICMP_REFUSED) as IcmpKind
      ep.onIcmp(kind, this.rng.below(1600), (ep.iss + ep.snd.sndUna + this.rng.between(-100, 2000)) | 0)
      this.poll(end)
      this.check(end)
      return
    }
    const from =
      end.coming.length > 0 && this.rng.chance(0.7) ? (end.coming[this.rng.below(end.coming.length)] as Uint8Array) : this.template
    const len = this.mutator.mutate(from, ep, this.scratch)
    const wasClosed = ep === null || ep.state === CLOSED
    const [rcvNxt, sndUna] = [end.rcvNxt, end.sndUna]
    const state = STATE_NAMES[ep?.state ?? CLOSED] as string
    const answers = this.give(end, this.scratch, len)
    if (answers < 0) {
      this.counts.unparsed++
      return
    }
    this.counts.segments++
    this.counts.byState.set(state, (this.counts.byState.get(state) ?? 0) + 1)
    if (answers > 0) this.counts.answered++
    if (end.rcvNxt > rcvNxt) this.counts.delivered++
    if (end.sndUna > sndUna) this.counts.acknowledged++
    if (!wasClosed && end.ep?.state === CLOSED) this.counts.resets++
  }

  /** Packets that the answer consists of; -1: `bytes` do not parse. */
  private give(end: End, bytes: Uint8Array, len: number): number {
    const { pkt, opts } = this
    if (parsePacket(bytes, 0, len, pkt) !== PARSE_OK || pkt.proto !== 6) return -1
    parseOptionsOf(pkt, opts)
    if (end.ep === null) {
      if ((pkt.flags & (SYN | ACK | RST)) !== SYN) return 0
      const half = new HalfOpen(end.cfg, end.tuple, pkt, opts, this.now)
      end.ep = half.accept(end.cfg, this.rng.int32(), end.flow, end.flow, end.flow, this.now)
    } else end.ep.onSegment(pkt, opts, this.now)
    const answers = this.poll(end)
    this.check(end)
    return answers
  }

  /** Sends what `end` has to say on its way. */
  private poll(end: End): number {
    const { ep } = end
    if (ep === null) return 0
    const other = end === this.a ? this.b : this.a
    let n = 0
    while (ep.pollTransmit(this.tx, this.now)) {
      if (++n > ANSWERS_MAX) throw new Error(`an endpoint in ${STATE_NAMES[ep.state]} that never stops talking`)
      for (; this.tx.count > 0; this.tx.take(1)) if (other.coming.length < WIRE_MAX) other.coming.push(this.copy())
    }
    if ((ep.takeEvents() & EV_CLOSED) !== 0) end.isEnded = true
    this.arena.recycle()
    if (!this.wasEstablished && this.a.ep?.isSynchronized === true && this.b.ep?.isSynchronized === true) {
      this.wasEstablished = true
      this.counts.established++
    }
    if (!this.hadAdvanced && ep.bytesAcked > 10_000) {
      this.hadAdvanced = true
      this.counts.advanced++
    }
    return n
  }

  private copy(): Uint8Array {
    const { tx } = this
    const at = tx.head * TX_META_STRIDE
    const hdrOff = tx.meta[at] as number
    const hdrLen = tx.meta[at + 1] as number
    const out = new Uint8Array(hdrLen + (tx.meta[at + 3] as number))
    out.set(tx.bytes.subarray(hdrOff, hdrOff + hdrLen)) // the payload is zeros anyway
    return out
  }

  private check(end: End): void {
    const ep = end.ep as TcpEndpoint
    const { snd, rcv } = ep
    const { flight } = snd
    claim(rcv.rcvNxt >= end.rcvNxt, 'rcvNxt went back')
    claim(snd.sndUna >= end.sndUna && snd.sndNxt >= end.sndNxt && snd.sndUna <= snd.sndNxt, 'sndUna or sndNxt went back')
    claim(rcv.edge >= end.edge && rcv.rcvNxt <= Math.max(rcv.edge, 1) + 1, 'the window went back, or more than it was received')
    end.rcvNxt = rcv.rcvNxt
    end.sndUna = snd.sndUna
    end.sndNxt = snd.sndNxt
    end.edge = rcv.edge
    claim(end.in.readyEnd - end.in.base <= BUFFER && end.out.readyEnd - end.out.base <= BUFFER, 'a queue beyond its bound')
    claim(rcv.reorder === null || rcv.reorder.ranges.count <= RANGES_MAX, 'too many ranges')
    claim(snd.cwnd > 0 && snd.cwnd <= CWND_MAX + 65_535 && snd.ssthresh > 0, `window ${snd.cwnd}, threshold ${snd.ssthresh}`)
    claim(ep.mss >= 40 && Number.isFinite(ep.rtoUs()) && ep.rtoUs() > 0, `mss ${ep.mss}, timeout ${ep.rtoUs()}`)
    const next = ep.nextTimeout()
    // an hour: no timer of ours is that long
    claim(next === NEVER || (next > this.now - 3_000_000 && next < this.now + 3_600_000_000), `a timer at ${next}, now ${this.now}`)
    if (flight === null) return
    claim(flight.start === snd.sndUna && flight.end === snd.sndNxt, `flight ${flight.start}-${flight.end} of ${snd.sndUna}-${snd.sndNxt}`)
    claim(flight.retrans >= 0 && flight.retrans <= flight.lost && flight.sacked >= 0, 'retransmitted more than lost')
    claim(flight.sacked + flight.lost <= flight.end - flight.start && flight.pipe >= 0, 'more lost and SACKed than sent')
    claim(flight.records <= RECORDS_MAX + 64, 'too many records')
    claim(ep.state === CLOSED || next !== NEVER, 'bytes in flight and no timer')
  }
}

function claim(cond: boolean, what: string): void {
  if (!cond) throw new Error(what)
}
