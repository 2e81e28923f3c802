import t from 'tap'
import type { StreamQueue } from '../../../src/base/stream-queue.js'
import { type Micros, NEVER } from '../../../src/base/time.js'
import {
  ACK_ALONE,
  ACK_NONE,
  ACK_NOW,
  type AckWish,
  KIND_ACK3,
  KIND_DATA,
  KIND_FIN,
  KIND_PURE_ACK,
  KIND_RST,
  KIND_SYN,
  KIND_SYNACK,
  ON_CONTINUE,
  ON_DROP,
  ON_RESET,
  type OptionsVerdict,
  type Run,
  type SegmentKind,
  type SeqOff,
} from '../../../src/tcp/extension.js'
import { PlainFlow } from '../../../src/tcp/plain.js'
import * as st from '../../../src/tcp/state.js'
import { PARSE_OK, Packet, parsePacket } from '../../../src/wire/packet.js'
import { HalfOpen } from '../../../src/tcp/half-open.js'
import { FIN, RST, SYN } from '../../../src/wire/tcp.js'
import { parseOptionsOf, TcpOptions } from '../../../src/wire/tcp-options.js'
import { A_ADDR, B_ADDR, Pair, pattern, Side } from './harness.js'

const S = 1_000_000
/** RFC 6994: an experimental option kind, 8 bytes long here: kind, length, segment kind, flags, and the start of the mapping. */
const OPT_KIND = 253
const OPT_LEN = 8

/**
 * Stands in for MPTCP: writes an option into every segment until it falls back, cuts its stream into mappings of `mapLen` bytes that a
 * retransmission must not cross, can refuse payload, hold back data, and asks for ACKs.
 */
class Double extends PlainFlow {
  mapLen = 7_000
  isPlain = false
  optionsSeen = 0
  kindsWritten = new Set<number>()
  verdict: OptionsVerdict = ON_CONTINUE
  wish: AckWish = ACK_NONE
  isHeld = false
  /** Bytes per call that the sink takes; Infinity: all. */
  takeMax = Number.POSITIVE_INFINITY
  crossings = 0
  losses: [number, number][] = []
  rtos: number[] = []
  resets = 0
  after = 0
  timeoutAt: Micros = NEVER
  timeouts = 0
  committed: [number, number][] = []

  override prepare(seqOff: SeqOff, maxLen: number, now: Micros, run: Run): boolean {
    const left = this.mapLen - ((seqOff - 1) % this.mapLen)
    return super.prepare(seqOff, Math.min(maxLen, left), now, run)
  }
  override commit(seqOff: SeqOff, run: Run, n: number, now: Micros): void {
    this.committed.push([seqOff, n])
    super.commit(seqOff, run, n, now)
  }
  override runAt(seqOff: SeqOff, maxLen: number, run: Run): boolean {
    const left = this.mapLen - ((seqOff - 1) % this.mapLen)
    return super.runAt(seqOff, Math.min(maxLen, left), run)
  }
  override accept(seqOff: SeqOff, mem: Uint8Array, off: number, len: number, now: Micros): number {
    return super.accept(seqOff, mem, off, Math.min(len, this.takeMax), now)
  }
  /** Bytes of the option. */
  optLen = OPT_LEN
  override optionLen(_kind: SegmentKind, room: number): number {
    return this.isPlain || room < this.optLen ? 0 : this.optLen
  }
  override write(...args: unknown[]): number {
    const [kind, mem, off, , seqOff, run] = args as [SegmentKind, Uint8Array, number, number, SeqOff, Run | null]
    this.kindsWritten.add(kind)
    mem[off] = OPT_KIND
    mem[off + 1] = this.optLen
    mem[off + 2] = kind
    mem.fill(0, off + 3, off + this.optLen)
    if (run !== null && Math.floor((seqOff - 1) / this.mapLen) !== Math.floor((seqOff + run.len - 2) / this.mapLen)) this.crossings++
    return this.optLen
  }
  override onOptions(pkt: Packet): OptionsVerdict {
    for (let i = pkt.optOff; i < pkt.optOff + pkt.optLen; ) {
      const kind = pkt.mem[i]
      if (kind === 0) break
      if (kind === 1) {
        i++
        continue
      }
      if (kind === OPT_KIND) this.optionsSeen++
      i += Math.max(2, pkt.mem[i + 1] as number)
    }
    return this.verdict
  }
  override afterSegment(): void {
    this.after++
  }
  override maySendData(): boolean {
    return !this.isHeld
  }
  override wantsAck(): AckWish {
    const w = this.wish
    return w
  }
  override onLoss(...args: unknown[]): void {
    this.losses.push([args[0] as number, args[1] as number])
  }
  override onRto(...args: unknown[]): void {
    this.rtos.push(args[0] as number)
  }
  override onReset(): void {
    this.resets++
  }
  override nextTimeout(): Micros {
    return this.timeoutAt
  }
  override onTimeout(): void {
    this.timeouts++
    this.timeoutAt = NEVER
  }
}

function doubles(cfg = {}, capacity = 1 << 20): { p: Pair; a: Double; b: Double } {
  const made: Double[] = []
  const make = (o: StreamQueue, i: StreamQueue) => {
    const d = new Double(o, i)
    made.push(d)
    return d
  }
  const p = Pair.of(cfg, capacity, make, make)
  return { p, a: made[0] as Double, b: made[1] as Double }
}

const pkt = new Packet()
function parse(bytes: Uint8Array): Packet {
  if (parsePacket(bytes, 0, bytes.length, pkt) !== PARSE_OK) throw new Error('emitted a packet that does not parse')
  return pkt
}

t.test('every kind of segment carries the option, mappings are never crossed, losses are reported', (t) => {
  const { p, a, b } = doubles({ timeWaitUs: S })
  const data = pattern(200_000)
  let drop = 3
  p.filter = (fromA, bytes, n) => (fromA && parse(bytes).payLen > 0 && n > 5 && drop-- > 0 ? -1 : 0)
  p.a.connect(p.now)
  p.run(p.now + S)
  p.a.write(data)
  p.a.out.setFin(data.length)
  t.ok(p.run(30 * S, () => p.b.receivedLen === data.length && p.b.ep?.state === st.CLOSE_WAIT))
  p.b.out.setFin(0)
  t.ok(p.run(60 * S, () => p.b.ep?.state === st.CLOSED))
  t.ok(p.b.hasReceived(data), 'byte-exact')
  t.equal(p.dropped, 3)
  t.ok(a.losses.length > 0, 'losses reported')
  t.equal(a.crossings + b.crossings, 0)
  for (const kind of [KIND_SYN, KIND_ACK3, KIND_DATA]) t.ok(a.kindsWritten.has(kind), `a wrote kind ${kind}`)
  for (const kind of [KIND_SYNACK, KIND_PURE_ACK, KIND_FIN]) t.ok(b.kindsWritten.has(kind), `b wrote kind ${kind}`)
  t.ok(a.after > 0 && b.optionsSeen > 10 && a.optionsSeen > 10)
  t.ok(a.committed.length > 20)
  t.end()
})

t.test('a held SYN is answered only when the remote leg is there; its repetitions are the same attempt', (t) => {
  const { p, b } = doubles()
  p.a.connect(p.now)
  const [syn] = p.a.poll(p.now)
  const opts = new TcpOptions()
  const seg = parse(syn as Uint8Array)
  parseOptionsOf(seg, opts)
  const half = new HalfOpen(p.b.cfg, p.b.tuple, seg, opts, p.now)
  t.same(p.b.poll(p.now), [], 'nothing is said while it is held')
  p.a.ep?.onTimeout(p.now + S)
  const [again] = p.a.poll(p.now + S)
  t.ok(half.isSame(parse(again as Uint8Array)))
  p.now += 2 * S
  p.b.ep = half.accept(p.b.cfg, 77, b, b, b, p.now)
  p.a.write(pattern(10))
  t.ok(p.run(p.now + S, () => p.b.receivedLen === 10))
  t.equal(p.a.ep?.state, st.ESTABLISHED)
  t.end()
})

t.test('fallback in mid-connection: the option disappears, the stream goes on', (t) => {
  const { p, a, b } = doubles()
  const data = pattern(300_000)
  p.a.connect(p.now)
  p.a.write(data)
  t.ok(p.run(10 * S, () => p.b.receivedLen > 100_000))
  a.isPlain = true
  b.isPlain = true
  const seen = b.optionsSeen
  t.ok(seen > 0)
  t.ok(p.run(p.now + 60 * S, () => p.b.receivedLen === data.length))
  t.ok(p.b.hasReceived(data), 'byte-exact')
  t.end()
})

t.test('bytes that the sink does not take are not acknowledged and come again', (t) => {
  const { p, b } = doubles()
  b.takeMax = 1_000
  const data = pattern(50_000)
  p.a.connect(p.now)
  p.a.write(data)
  p.run(p.now + 50_000)
  const rcvNxt = p.b.ep?.rcvNxt ?? 0
  t.ok(rcvNxt > 1 && rcvNxt < data.length, `partly taken: ${rcvNxt}`)
  t.equal(p.b.receivedLen, rcvNxt - 1)
  b.takeMax = Number.POSITIVE_INFINITY
  t.ok(p.run(p.now + 60 * S, () => p.b.receivedLen === data.length))
  t.ok(p.b.hasReceived(data), 'byte-exact')
  t.ok((p.a.ep?.retransSegs ?? 0) > 0)
  t.end()
})

t.test('rfc1191 6.5: after an MSS change the flight is cut again, exact and without crossing a mapping', (t) => {
  const { p, a } = doubles({ gso: false })
  const data = pattern(100_000)
  let small = false
  let tooBig = 0
  let cut = 0
  p.filter = (fromA, bytes) => {
    const seg = parse(bytes)
    if (!fromA || !small || seg.payLen === 0) return 0
    if (seg.len > 1000) {
      tooBig++
      return -1
    }
    cut++
    return 0
  }
  p.a.connect(p.now)
  p.a.write(data)
  p.run(10 * S, () => p.b.receivedLen > 20_000)
  small = true
  const cwnd = p.a.ep?.cwnd
  p.a.ep?.setMtu(1000)
  t.equal(p.a.ep?.cwnd, cwnd, 'not a congestion event')
  t.ok(p.run(p.now + 60 * S, () => p.b.receivedLen === data.length))
  t.ok(p.b.hasReceived(data), 'byte-exact')
  t.equal(tooBig, 0)
  t.ok(cut > 50)
  t.equal(a.crossings, 0)
  t.end()
})

t.test('rfc7413 4.2: data in the SYN that the server does not take goes again as ordinary data', (t) => {
  const { p } = doubles()
  const data = pattern(2_500)
  let synData = 0
  p.filter = (fromA, bytes) => {
    const seg = parse(bytes)
    if (fromA && (seg.flags & SYN) !== 0) synData += seg.payLen
    return 0
  }
  p.a.write(data)
  p.a.connect(p.now, 1000, new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]))
  t.ok(
    p.run(10 * S, () => p.b.receivedLen === data.length),
    'all arrives',
  )
  t.ok(synData > 500 && synData < 1460, `the SYN carried ${synData}`)
  t.ok(p.b.hasReceived(data), 'byte-exact')
  t.end()
})

t.test('rfc7413 4.2: data in the SYN that the SYN/ACK acknowledges is not sent again', (t) => {
  const { p, a } = doubles()
  p.a.write(pattern(2_500))
  const ep = p.a.connect(p.now, 1000, new Uint8Array(8))
  const [syn] = p.a.poll(p.now)
  const taken = parse(syn as Uint8Array).payLen
  t.ok(taken > 500)
  p.b.deliver(syn as Uint8Array, p.now)
  const [synAck] = p.b.poll(p.now) as [Uint8Array]
  const seg = parse(synAck)
  const ackAt = seg.l4Off + 8
  const view = new DataView(synAck.buffer)
  view.setUint32(ackAt, view.getUint32(ackAt) + taken)
  p.a.deliver(synAck, p.now + 1000)
  t.equal(ep.state, st.ESTABLISHED)
  t.equal(ep.sndUna, 1 + taken)
  t.equal(a.pending(), 2_500 - taken)
  t.equal(parse(p.a.poll(p.now + 1000, 1)[0] as Uint8Array).seq, 1001 + taken)
  t.end()
})

t.test('held data, wanted ACKs, own timer, verdicts', (t) => {
  const { p, a, b } = doubles()
  a.isHeld = true
  p.a.connect(p.now)
  p.a.write(pattern(100))
  p.run(p.now + S)
  t.equal(p.a.ep?.state, st.ESTABLISHED)
  t.equal(p.b.receivedLen, 0, 'held back')
  a.isHeld = false
  t.ok(p.run(p.now + S, () => p.b.receivedLen === 100))

  a.wish = ACK_NOW
  t.equal(p.a.poll(p.now, 1).length, 1, 'a pure ACK on demand')
  a.wish = ACK_ALONE
  const opts = new TcpOptions()
  for (const [len, first] of [[OPT_LEN, 1] as const, [30, 8] as const]) {
    a.optLen = len
    const [alone] = p.a.poll(p.now, 1)
    const seg = parse(alone as Uint8Array)
    parseOptionsOf(seg, opts)
    t.ok(opts.hasTs && seg.mem[seg.optOff] === first, `an option of ${len} bytes: timestamps without padding only where they need its room`)
  }
  a.optLen = OPT_LEN
  a.wish = ACK_NONE

  a.timeoutAt = p.now + 1000
  t.equal(p.a.ep?.nextTimeout(), p.now + 1000)
  p.run(p.now + 2000)
  t.equal(a.timeouts, 1)

  b.verdict = ON_DROP
  p.a.write(pattern(10, 100))
  p.run(p.now + 2 * S) // a tail loss probe, then timeouts
  t.equal(p.b.receivedLen, 100, 'dropped before it had an effect')
  b.verdict = ON_CONTINUE
  t.ok(p.run(p.now + 5 * S, () => p.b.receivedLen === 110))
  t.ok(a.rtos.length > 0)

  b.verdict = ON_RESET
  let rst = 0
  p.filter = (fromA, bytes) => {
    if (!fromA && (parse(bytes).flags & RST) !== 0) rst++
    return 0
  }
  p.a.write(pattern(10, 110))
  p.run(p.now + S)
  t.equal(rst, 1)
  t.ok(b.kindsWritten.has(KIND_RST), 'the RST carries the extension’s option')
  t.equal(p.a.ep?.cause, st.CAUSE_RESET)
  t.equal(a.resets, 1)
  t.end()
})

t.test('a FIN is never sent without the extension knowing where the stream ends', (t) => {
  const { p } = doubles()
  let fins = 0
  p.filter = (_fromA, bytes) => {
    if ((parse(bytes).flags & FIN) !== 0) fins++
    return 0
  }
  p.a.connect(p.now)
  p.a.write(pattern(1000))
  p.run(p.now + S)
  t.equal(fins, 0)
  p.a.out.setFin(1000)
  p.run(p.now + S)
  t.equal(fins, 1)
  t.end()
})

t.test('side without a peer gives up after the configured SYN retransmissions', (t) => {
  const side = new Side({ local: A_ADDR, localPort: 1, remote: B_ADDR, remotePort: 2 }, { synRetries: 2 })
  const ep = side.connect(0)
  const at: number[] = []
  let now = 0
  while (ep.state === st.SYN_SENT) {
    for (const _ of side.poll(now)) at.push(now)
    now = ep.nextTimeout()
    if (now === NEVER) break
    ep.onTimeout(now)
  }
  t.same(at, [0, 1 * S, 3 * S], 'rfc6298 5.5: doubling from 1 s')
  t.equal(ep.cause, st.CAUSE_TIMEOUT)
  t.end()
})
