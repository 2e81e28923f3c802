import t from 'tap'
import { AckSample, SSTHRESH_MAX } from '../../../src/tcp/cc/controller.js'
import { cubic } from '../../../src/tcp/cc/cubic.js'
import { HyStart } from '../../../src/tcp/cc/hystart.js'

const MSS = 1448
const S = 1_000_000

/** Feeds one round trip of `rttUs` in ACKs of two segments. */
function round(cc: ReturnType<typeof cubic>, at: { now: number; sent: number; delivered: number }, rttUs: number): void {
  const s = new AckSample()
  const acks = Math.max(1, Math.round(cc.cwnd / (2 * MSS)))
  at.sent += acks * 2 * MSS
  for (let i = 0; i < acks; i++) {
    at.now += rttUs / acks
    at.delivered += 2 * MSS
    s.delivered = 2 * MSS
    s.mss = MSS
    s.rttUs = rttUs
    s.srttUs = rttUs
    s.isLimited = true
    s.deliveredTotal = at.delivered
    s.sentTotal = at.sent
    cc.onAck(s, at.now)
  }
}

t.test('rfc9438 4.2: after a loss the window follows C (t - K)^3 + W_max', (t) => {
  const cc = cubic(10 * MSS)
  cc.cwnd = 1000 * MSS
  cc.onCongestion(cc.cwnd, MSS, 0)
  t.equal(cc.cwnd, 700 * MSS, 'beta 0.7')
  const at = { now: 0, sent: 0, delivered: 0 }
  const rtt = 100_000
  // K = cbrt(300 / 0.4) = 9.0856 s, computed by hand; compared after 5 s, at K, and at K + 3 s
  const expected = (sec: number) => 0.4 * (sec - 9.0856) ** 3 + 1000
  for (const sec of [5, 9.09, 12]) {
    while (at.now < sec * S) round(cc, at, rtt)
    const want = expected(at.now / S)
    t.ok(Math.abs(cc.cwnd / MSS - want) < 0.02 * want, `${(cc.cwnd / MSS).toFixed(1)} near ${want.toFixed(1)} at ${at.now / S} s`)
  }
  t.end()
})

t.test('rfc9438 4.3: at a small bandwidth-delay product the growth is Reno’s', (t) => {
  const cc = cubic(10 * MSS)
  cc.cwnd = 20 * MSS
  cc.onCongestion(cc.cwnd, MSS, 0)
  const at = { now: 0, sent: 0, delivered: 0 }
  for (let i = 0; i < 10; i++) round(cc, at, 10_000)
  // alpha = 3 (1 - 0.7) / (1 + 0.7) = 0.529 segments per round trip: 14 + 5.3
  t.ok(Math.abs(cc.cwnd / MSS - 19.3) < 0.5, `${cc.cwnd / MSS}`)
  t.end()
})

t.test('rfc9438 4.7: fast convergence lowers W_max below a former peak; 4.9: undo', (t) => {
  const cc = cubic(10 * MSS)
  cc.cwnd = 100 * MSS
  cc.onCongestion(cc.cwnd, MSS, 0)
  t.equal(cc.ssthresh, 70 * MSS)
  cc.onCongestion(cc.cwnd, MSS, 0)
  t.equal(cc.ssthresh, 49 * MSS)
  cc.onSpurious(0)
  t.equal(cc.cwnd, 70 * MSS)
  t.equal(cc.ssthresh, 70 * MSS)
  cc.onRto(cc.cwnd, MSS, true, 0)
  t.equal(cc.cwnd, MSS)
  t.equal(cc.ssthresh, 49 * MSS)
  cc.onRto(cc.cwnd, MSS, false, 0)
  t.equal(cc.ssthresh, 49 * MSS, 'a backed-off timeout is the same event')
  t.end()
})

t.test('rfc9438 5.8: time without use of the window is no part of the epoch; 4.9.1: an undo goes on in the former epoch', (t) => {
  const run = (between: (cc: ReturnType<typeof cubic>, at: { now: number; sent: number; delivered: number }) => void): number => {
    const cc = cubic(10 * MSS)
    cc.cwnd = 1000 * MSS
    cc.onCongestion(cc.cwnd, MSS, 0)
    const at = { now: 0, sent: 0, delivered: 0 }
    while (at.now < 5 * S) round(cc, at, 100_000)
    between(cc, at)
    const until = at.now + 4 * S
    while (at.now < until) round(cc, at, 100_000)
    return cc.cwnd / MSS
  }
  const plain = run(() => {})
  const paused = run((cc, at) => {
    const s = new AckSample()
    s.delivered = MSS
    s.mss = MSS
    for (let i = 0; i < 20; i++) {
      cc.onAck(s, at.now) // isLimited is false
      at.now += 1 * S
    }
  })
  t.ok(Math.abs(paused / plain - 1) < 0.005, `${paused.toFixed(0)} after a pause, ${plain.toFixed(0)} without`)
  const undone = run((cc, at) => {
    const before = cc.cwnd
    cc.onCongestion(cc.cwnd, MSS, at.now)
    t.ok(cc.cwnd < before)
    cc.onSpurious(at.now)
    t.equal(cc.cwnd, before)
  })
  t.equal(undone, plain)
  t.end()
})

t.test('rfc7661: a window that is not used does not grow', (t) => {
  const cc = cubic(10 * MSS)
  const s = new AckSample()
  s.delivered = MSS
  s.mss = MSS
  s.isLimited = false
  for (let i = 0; i < 100; i++) cc.onAck(s, i * 1000)
  t.equal(cc.cwnd, 10 * MSS)
  t.equal(cc.ssthresh, SSTHRESH_MAX)
  t.end()
})

t.test('rfc9406: a rising RTT ends slow start, jitter does not', (t) => {
  const run = (rttOf: (round: number, i: number) => number): number => {
    const h = new HyStart()
    let delivered = 0
    for (let r = 0; r < 40; r++) {
      const sent = delivered + 20
      for (let i = 0; i < 20; i++) if (h.onAck(rttOf(r, i), ++delivered, sent)) return r
    }
    return -1
  }
  t.equal(
    run(() => 50_000),
    -1,
    'constant',
  )
  t.equal(
    run((_r, i) => 50_000 + (i % 5) * 4_000),
    -1,
    'jitter above a constant minimum',
  )
  const left = run((r) => 50_000 + Math.max(0, r - 5) * 8_000)
  t.ok(left >= 6 && left <= 14, `left in round ${left}`)
  t.equal(
    run((r) => (r === 6 ? 70_000 : 50_000)),
    -1,
    'one round only: taken back from the conservative phase',
  )
  // twenty in flight at any time: a round is twenty ACKs, and the rise is seen in the sixth
  const steady = new HyStart()
  let acks = 1
  while (acks < 1000 && !steady.onAck(acks > 120 ? 70_000 : 50_000, acks, acks + 20)) acks++
  t.ok(acks > 120 + 5 * 20 && acks <= 120 + 7 * 20, `a rise that is far from doubling: five conservative rounds, ${acks} ACKs`)
  const doubled = run((r) => 50_000 * 1.25 ** Math.max(0, r - 5))
  t.ok(doubled >= 7 && doubled <= 9, `the round trip has doubled: left in round ${doubled}, not five after the first sign`)
  t.end()
})
