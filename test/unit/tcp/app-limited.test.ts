import t from 'tap'
import { Bbr } from '../../../src/tcp/cc/bbr.js'
import { AckSample } from '../../../src/tcp/cc/controller.js'
import { newReno } from '../../../src/tcp/cc/newreno.js'
import { Dialogue, MS } from './dialogue.js'

// Delivery rates while the application is the limit: draft-cheng-iccrg-delivery-rate-estimation §3.4.

/** What congestion control was told of each ACK: whether its rate says little. */
function listening(limits: boolean[]): Dialogue {
  const congestion = (initialWindow: number) => {
    const cc = newReno(initialWindow)
    const { onAck } = cc
    cc.onAck = (s, now) => {
      limits.push(s.isRateAppLimited)
      onAck.call(cc, s, now)
    }
    return cc
  }
  return Dialogue.connected(t, { rttUs: 50 * MS, capacity: 1 << 20, cfg: { congestion } }, 'win 65535 mss 1000 sackOK')
}

t.test('a rate is marked when there was nothing more to send, and not when the window was the limit', (t) => {
  const limits: boolean[] = []
  const d = listening(limits)
  d.write(2000)
  d.take()
  d.now += 50 * MS
  d.hear('[.] 1 ack 1001')
  d.write(1000)
  d.take()
  d.now += 50 * MS
  d.hear('[.] 1 ack 3001')
  t.same(limits, [true, true], 'two segments of ten that were allowed, and one more while one was under way')
  d.write(50_000)
  t.equal(d.take().length, 10)
  d.now += 50 * MS
  d.hear('[.] 1 ack 5001')
  d.take()
  t.same(limits.slice(-1), [true], 'the first window behind a pause')
  for (let k = 7; k <= 15; k += 2) {
    d.now += 5 * MS
    d.hear(`[.] 1 ack ${k}001`)
    d.take()
  }
  d.now += 50 * MS
  d.hear('[.] 1 ack 20001')
  t.same(limits.slice(-1), [false], 'what was sent with more behind it')
  t.end()
})

t.test('bbr: rounds in which the application is the limit do not lower the bandwidth, others do', (t) => {
  const bbr = new Bbr(10_000)
  let now = 0
  let delivered = 0
  /** A round trip of 50 ms in which so much arrived. */
  const round = (bytes: number, isRateAppLimited: boolean): void => {
    now += 50 * MS
    const s = Object.assign(new AckSample(), { delivered: bytes, mss: 1000, rttUs: 50 * MS, srttUs: 50 * MS, minRttUs: 50 * MS })
    Object.assign(s, { rateBps: bytes * 20, isRateAppLimited, priorDelivered: delivered, isLimited: !isRateAppLimited })
    delivered += bytes
    s.deliveredTotal = delivered
    s.sentTotal = delivered
    bbr.onAck(s, now)
  }
  for (let i = 0; i < 15; i++) round(100_000, false)
  t.equal(bbr.bandwidth, 2_000_000)
  for (let i = 0; i < 40; i++) round(1_000, true)
  t.equal(bbr.bandwidth, 2_000_000, 'forty rounds of little')
  round(150_000, true)
  t.equal(bbr.bandwidth, 3_000_000, 'more than it was counts in any case')
  for (let i = 0; i < 10; i++) round(50_000, false)
  t.equal(bbr.bandwidth, 1_000_000, 'ten rounds in which the network was the limit')
  t.end()
})
