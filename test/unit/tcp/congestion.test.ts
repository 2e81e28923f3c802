import t from 'tap'
import { NEVER } from '../../../src/base/time.js'
import { newReno } from '../../../src/tcp/cc/newreno.js'
import { CWND_MAX } from '../../../src/tcp/cc/controller.js'
import { tcpConfig } from '../../../src/tcp/config.js'
import { Dialogue, MS, S } from './dialogue.js'

const WIDE = 'win 65535 mss 1000 sackOK wscale 4'
const wide = { rttUs: 50 * MS, cfg: { windowScale: 4 } }

/** Established with 50 ms round trip, segments of 1000 bytes and a window that never limits. */
function wideOpen(test: Parameters<typeof Dialogue.connected>[0], cfg = {}): Dialogue {
  const d = Dialogue.connected(test, { ...wide, capacity: 1 << 20, cfg: { ...wide.cfg, ...cfg } }, WIDE)
  d.hear('[.] 1 ack 1 win 65535')
  return d
}

/** One round trip: everything that was sent is acknowledged, segment by segment. Returns the segments that this lets out. */
function round(d: Dialogue, sent: number): number {
  d.now += 50 * MS
  let out = 0
  const una = d.ep.sndUna
  for (let i = 1; i <= sent; i++) {
    d.hear(`[.] 1 ack ${una + 1000 * i} win 65535`)
    out += d.take().length
  }
  return out
}

t.test('rfc6928: ten segments to begin with', (t) => {
  const d = wideOpen(t)
  d.write(200_000)
  t.equal(d.take().length, 10)
  t.equal(d.ep.cwnd, 10_000)
  d.wait(110 * MS, '+102 [.] 10001+1000 ack 1 win 65535') // rfc8985 7.2: a tail loss probe with new data
  t.end()
})

t.test('rfc5681 3.1: slow start doubles the window each round trip', (t) => {
  const d = wideOpen(t)
  d.write(1_000_000)
  t.equal(d.take().length, 10)
  t.equal(round(d, 10), 20)
  t.equal(d.ep.cwnd, 20_000)
  t.equal(round(d, 20), 40)
  t.equal(d.ep.cwnd, 40_000)
  t.equal(round(d, 40), 80)
  t.equal(d.ep.cwnd, 80_000)
  t.end()
})

t.test('rfc5681 3.1: congestion avoidance adds one segment a round trip; a loss halves the flight once', (t) => {
  const d = wideOpen(t)
  d.write(1_000_000)
  t.equal(d.take().length, 10)
  t.equal(round(d, 10), 20)
  // 20 in flight from 10001 on; the first is lost
  d.now += 50 * MS
  const sent: string[] = []
  for (let i = 2; i <= 20; i++) {
    d.hear(`[.] 1 ack 10001 win 65535 sack 11001:${10_001 + 1000 * i}`)
    sent.push(...d.take())
  }
  t.equal(d.ep.ssthresh, 10_000)
  t.equal(sent.filter((line) => line.includes(' 10001+1000 ')).length, 1)
  const fresh = sent.length - 1
  t.ok(fresh >= 8 && fresh <= 10, `rfc9937: about half of the ACKs let out a segment: ${fresh}`)
  d.now += 50 * MS
  d.hear('[.] 1 ack 30001 win 65535')
  let flying = fresh + d.take().length
  t.ok(Math.abs(d.ep.cwnd - 10_000) <= 1000, `${d.ep.cwnd}`)
  const from = d.ep.cwnd
  for (let k = 1; k <= 5; k++) {
    flying = round(d, flying)
    t.ok(Math.abs(d.ep.cwnd - (from + 1000 * k)) <= 1000, `round ${k}: ${d.ep.cwnd}`)
  }
  t.end()
})

t.test('rfc7661: a window that the application does not use does not grow', (t) => {
  const d = wideOpen(t)
  for (let i = 0; i < 50; i++) {
    d.write(1000)
    t.equal(d.take().length, 1)
    d.now += 50 * MS
    d.hear(`[.] 1 ack ${1001 + 1000 * i} win 65535`)
  }
  t.equal(d.ep.cwnd, 10_000)
  t.end()
})

t.test('rfc5681 4.1: after an RTO of silence the window falls to the initial one', (t) => {
  const d = wideOpen(t)
  d.write(70_000)
  t.equal(d.take().length, 10)
  t.equal(round(d, 10), 20)
  t.equal(round(d, 20), 40)
  round(d, 40)
  const grown = d.ep.cwnd
  t.ok(grown > 40_000)
  d.now += 200 * MS
  d.write(100_000)
  const flying = d.take().length
  t.equal(flying, grown / 1000, 'not yet')
  round(d, 100 - round(d, flying))
  round(d, 100 - flying)
  t.equal(d.ep.inFlight, 0)
  t.ok(d.ep.cwnd >= grown)
  d.now += 2 * S
  d.write(200_000)
  t.equal(d.take().length, 10)
  t.end()
})

t.test('rfc5681 3.1 (NewReno by itself): numbers', (t) => {
  const cc = newReno(10_000)
  const ack = (delivered: number, isLimited = true) => cc.onAck({ ...sampleOf(delivered), isLimited }, 0)
  t.equal(cc.cwnd, 10_000)
  ack(10_000)
  t.equal(cc.cwnd, 20_000)
  ack(20_000, false)
  t.equal(cc.cwnd, 20_000)
  cc.onCongestion(20_000, 1000, 0)
  t.same([cc.cwnd, cc.ssthresh], [10_000, 10_000])
  ack(9_999)
  t.equal(cc.cwnd, 10_000)
  ack(1)
  t.equal(cc.cwnd, 11_000)
  cc.onRto(11_000, 1000, true, 0)
  t.same([cc.cwnd, cc.ssthresh], [1000, 5500])
  cc.onRto(1000, 1000, false, 0)
  t.same([cc.cwnd, cc.ssthresh], [1000, 5500], 'rfc5681 3.1: held constant when the same data times out again')
  ack(6000)
  t.equal(cc.cwnd, 5500, 'slow start ends at ssthresh')
  ack(4000)
  t.equal(cc.cwnd, 6500, 'the rest counted for congestion avoidance')
  cc.onCongestion(1000, 1000, 0)
  t.same([cc.cwnd, cc.ssthresh], [2000, 2000], 'two segments at least')
  cc.onIdle(10_000)
  t.equal(cc.cwnd, 2000)
  t.end()
})

t.test('extremes: windows stay finite, at least one segment and at most CWND_MAX', (t) => {
  for (const factory of [newReno, tcpConfig().congestion]) {
    for (const mss of [1, 64, 1460, 65_535]) {
      for (const initial of [0, 1, mss, 10 * mss, CWND_MAX]) {
        const cc = factory(initial)
        for (let i = 0; i < 200; i++) {
          const delivered = [0, 1, mss, 65_535, 2 ** 31][i % 5] as number
          cc.onAck({ ...sampleOf(delivered), mss, isLimited: true, rttUs: [-1, 0, 1, 2 ** 40][i % 4] as number, srttUs: i % 3 }, i)
          if (i % 50 === 20) cc.onCongestion([0, 1, 2 ** 31][i % 3] as number, mss, i)
          if (i % 50 === 30) cc.onRto(0, mss, i % 2 === 0, i)
          if (i % 50 === 40) cc.onIdle(initial)
          if (!Number.isFinite(cc.cwnd) || !Number.isFinite(cc.ssthresh) || !Number.isFinite(cc.pacingBps)) {
            throw new Error(`${cc.name}: ${cc.cwnd} ${cc.ssthresh} ${cc.pacingBps}`)
          }
          if (cc.cwnd > CWND_MAX + 65_535) throw new Error(`${cc.name}: window ${cc.cwnd}`)
        }
        t.ok(cc.cwnd >= 0)
      }
    }
  }
  t.end()
})

function sampleOf(delivered: number) {
  return {
    delivered,
    mss: 1000,
    rttUs: 50_000,
    srttUs: 50_000,
    minRttUs: 50_000,
    priorInFlight: 0,
    inFlight: 0,
    lost: 0,
    isLimited: true,
    deliveredTotal: 0,
    sentTotal: 0,
    rateBps: 0,
    isRateAppLimited: false,
    priorDelivered: 0,
  }
}
t.test('rfc2861 3.1: after a pause the controller is let go of; the threshold stays, the window begins no larger than it was', (t) => {
  const d = Dialogue.connected(t, { cfg: { initialWindow: 10 } }, 'win 65535 mss 1000')
  d.write(1000)
  d.take()
  d.on('[.] 1 ack 1001')
  d.ep.snd.cc.ssthresh = 5_000
  d.ep.snd.cc.cwnd = 4_000
  const before = d.ep.snd.cc
  d.elapse(9 * S)
  t.equal(d.ep.snd.cc, before, 'not after a short one')
  d.elapse(2 * S)
  t.equal(d.ep.nextTimeout(), NEVER)
  t.equal(d.ep.cwnd, 4_000)
  t.equal(d.ep.ssthresh, 5_000)
  d.write(30_000)
  t.equal(d.take().length, 4)
  t.not(d.ep.snd.cc, before)
  t.equal(d.ep.snd.cc.ssthresh, 5_000)
  t.end()
})
