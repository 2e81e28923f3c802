import t, { type Test } from 'tap'
import { cubic } from '../../../src/tcp/cc/cubic.js'
import { Dialogue, type DialogueSetup, MS, S } from './dialogue.js'

const W = 'ack 1 win 65535'
const seg = (k: number) => `[.] ${1 + 1000 * k}+1000 ${W}`
const last = (k: number) => `[P.] ${1 + 1000 * k}+1000 ${W}`

/** Established with 50 ms round trip and segments of 1000 bytes; `n` of them were just sent. */
function flying(t: Test, n: number, setup: DialogueSetup = {}, offer = 'win 65535 mss 1000 sackOK'): Dialogue {
  const d = Dialogue.connected(t, { rttUs: 50 * MS, ...setup }, offer)
  d.write(1000 * n)
  t.equal(d.take().length, n, `${n} segments`)
  d.now += 50 * MS
  return d
}

t.test('rfc6582 3.2: without SACK, the third duplicate ACK retransmits at once, a partial ACK the next hole', (t) => {
  const d = flying(t, 10, {}, 'win 65535 mss 1000')
  // segments 0 and 4 are lost
  d.on('[.] 1 ack 1')
  d.on('[.] 1 ack 1')
  d.on('[.] 1 ack 1', seg(0))
  t.equal(d.ep.ssthresh, 5000, 'rfc5681 (4): half of the flight')
  for (let i = 0; i < 5; i++) d.hear('[.] 1 ack 1')
  d.take()
  d.now += 50 * MS
  d.on('[.] 1 ack 4001', seg(4))
  d.now += 50 * MS
  d.on('[.] 1 ack 10001')
  t.ok(d.ep.cwnd >= 5000 && d.ep.cwnd <= 6000, `${d.ep.cwnd}`)
  t.equal(d.ep.retransSegs, 2)
  d.wait(10 * S)
  t.end()
})

t.test('rfc5681 2: what is no duplicate ACK: data, a window change, other numbers', (t) => {
  const d = flying(t, 10, {}, 'win 65535 mss 1000')
  d.on('[.] 1 ack 1 win 65000')
  d.on('[.] 1 ack 1 win 64000')
  d.on('[.] 1 ack 1 win 63000')
  d.hear('[.] 1+10 ack 1 win 63000')
  d.hear('[.] 11+10 ack 1 win 63000')
  d.hear('[.] 21+10 ack 1 win 63000')
  d.take()
  t.equal(d.ep.retransSegs, 0)
  t.end()
})

t.test(
  'rfc6675 5: with SACK, more than two segments above the hole make it lost; all holes go at once as far as the window allows',
  (t) => {
    const d = flying(t, 10)
    d.on('[.] 1 ack 1 sack 1001:2001')
    d.on('[.] 1 ack 1 sack 1001:3001')
    d.on('[.] 1 ack 1 sack 1001:4001', seg(0))
    t.equal(d.ep.ssthresh, 5000)
    d.on('[.] 1 ack 1 sack 1001:5001')
    const after = [
      ...sayAll(d, [
        '[.] 1 ack 1 sack 6001:7001 1001:5001',
        '[.] 1 ack 1 sack 6001:8001 1001:5001',
        '[.] 1 ack 1 sack 6001:10001 1001:5001',
      ]),
    ]
    t.same(after, [seg(5)], 'the second hole goes within the recovery')
    d.now += 50 * MS
    d.on('[.] 1 ack 10001')
    t.equal(d.ep.cwnd, 5000, 'one reduction for one round trip')
    t.equal(d.ep.retransSegs, 2)
    d.wait(10 * S)
    t.end()
  },
)

t.test('no retransmission without need: a partial ACK in SACK recovery says nothing about the rest', (t) => {
  const d = flying(t, 10)
  sayAll(d, ['[.] 1 ack 1 sack 1001:2001', '[.] 1 ack 1 sack 1001:3001', '[.] 1 ack 1 sack 1001:4001'])
  t.equal(d.ep.retransSegs, 1)
  d.now += 10 * MS
  // the path reordered: the retransmission overtook segments 4 to 9
  d.on('[.] 1 ack 4001')
  d.on('[.] 1 ack 6001')
  d.on('[.] 1 ack 8001')
  d.on('[.] 1 ack 10001')
  t.equal(d.ep.retransSegs, 1)
  t.end()
})

t.test('rfc2018 8: SACKed data that is never acknowledged is sent again after a timeout', (t) => {
  const d = flying(t, 3)
  // the receiver reports all but the first, then discards it (it reneges) and acknowledges the first alone
  d.hear('[.] 1 ack 1 sack 1001:3001')
  d.take()
  d.hear('[.] 1 ack 1001')
  d.take()
  const resent = d.elapse(10 * S)
  t.ok(
    resent.some((line) => line.includes(' 1001+1000 ')),
    resent.join(' | '),
  )
  t.end()
})

t.test('rfc6298 5: timeout, back-off, and reset by a sample', (t) => {
  const d = flying(t, 1, { cfg: { rtoMaxUs: 3 * S } })
  d.on('[.] 1 ack 1001')
  d.write(1000)
  d.expect(last(1))
  const times = d
    .elapse(12 * S)
    .filter((line) => line.endsWith(last(1)))
    .map((line) => Number(line.slice(1, line.indexOf(' '))))
  // the first may be a tail loss probe (rfc8985 7.2), then 250 ms doubling up to 3 s
  const gaps = times.map((ms, i) => ms - (times[i - 1] ?? 0))
  for (let i = 2; i < gaps.length; i++) t.ok(Math.abs((gaps[i] as number) - Math.min(3000, 2 * (gaps[i - 1] as number))) < 2, `${gaps}`)
  t.equal(d.ep.cwnd, 1000, 'rfc5681 3.1: one segment')
  // rfc6298 5, Karn: the ACK is ambiguous and does not end the back-off
  d.on('[.] 1 ack 2001')
  t.equal(d.ep.srttUs, 50 * MS, 'no sample from it')
  t.equal(d.ep.rtoUs(), 3 * S)
  d.write(1000)
  d.expect(last(2))
  d.now += 50 * MS
  d.on('[.] 1 ack 3001')
  t.ok(d.ep.rtoUs() < 300 * MS, 'a sample does')
  t.end()
})

t.test('rfc7323 4.1: an echo that is not older than the retransmission resolves the ambiguity', (t) => {
  const d = Dialogue.connected(t, { rttUs: 50 * MS, cfg: { timestamps: true } }, 'win 65535 mss 1012 sackOK TS 1 1000')
  d.write(1000)
  d.take()
  const said = d.elapse(2 * S)
  const sentMs = Number(/TS (\d+) 1$/.exec(said.at(-1) as string)?.[1])
  const srtt = d.ep.srttUs
  d.now = (sentMs + 80) * MS
  d.hear(`[.] 1 ack 1001 TS 2 ${sentMs}`)
  t.equal(d.ep.sndUna, 1001)
  t.ok(d.ep.srttUs > srtt, `a sample of 80 ms: ${d.ep.srttUs}`)
  t.ok(d.ep.srttUs <= 80 * MS)
  t.end()
})

t.test('rfc6298 2: SRTT and RTTVAR by numbers', (t) => {
  const d = flying(t, 1)
  t.equal(d.ep.srttUs, 50_000)
  t.equal(d.ep.rttvarUs, 25_000)
  d.now += 50 * MS
  d.hear('[.] 1 ack 1001') // 100 ms
  t.equal(d.ep.rttvarUs, 25_000 + (50_000 - 25_000) / 4)
  t.equal(d.ep.srttUs, 50_000 + 50_000 / 8)
  t.equal(d.ep.rtoUs(), 56_250 + 200_000, 'at least 200 ms above SRTT (Linux)')
  t.end()
})

t.test('rfc6298 5.3: an ACK of new data restarts the timer; without anything in flight there is none', (t) => {
  const d = flying(t, 4, { cfg: {} }, 'win 65535 mss 1000')
  d.hear('[.] 1 ack 1001')
  d.take()
  t.ok(d.ep.nextTimeout() > d.now)
  d.hear('[.] 1 ack 4001')
  t.equal(d.ep.snd.rexmitAt, Number.MAX_SAFE_INTEGER)
  t.end()
})

t.test('rfc5681 3.1: after a timeout everything goes again in slow start, also behind a FIN', (t) => {
  const d = Dialogue.connected(t, { rttUs: 50 * MS }, 'win 65535 mss 1000 sackOK')
  d.write(10_000, true)
  t.equal(d.take().length, 10)
  const said = d.elapse(400 * MS) // all is lost, and the tail loss probe too
  t.match(said.at(-1), /\] 1\+1000 /)
  const resent = (k: number) => `[.] ${1 + 1000 * k}+1000 ${W}`
  d.now += 50 * MS
  d.on('[.] 1 ack 1001', resent(1), resent(2))
  d.now += 50 * MS
  d.on('[.] 1 ack 3001', resent(3), resent(4), resent(5), resent(6))
  d.now += 50 * MS
  d.on('[.] 1 ack 7001', resent(7), resent(8), `[FP.] 9001+1000 ${W}`)
  d.now += 50 * MS
  d.on('[.] 1 ack 10002')
  d.wait(10 * S)
  t.end()
})

t.test('a FIN that is still in flight is not counted twice when the data before it goes again', (t) => {
  const d = Dialogue.connected(t, { rttUs: 50 * MS }, 'win 65535 mss 1000 sackOK')
  d.write(5000)
  t.equal(d.take().length, 5)
  d.end()
  d.expect(`[F.] 5001 ${W}`)
  d.now += 50 * MS
  // the first four arrive in part: 0 and 4 are lost, the FIN arrives
  sayAll(d, ['[.] 1 ack 1 sack 1001:2001', '[.] 1 ack 1 sack 1001:4001', '[.] 1 ack 1 sack 5001:5002 1001:4001'])
  const flight = d.ep.snd.flight
  t.ok(flight !== null)
  if (flight !== null) {
    t.ok(flight.retrans <= flight.lost, `retransmitted ${flight.retrans} of ${flight.lost} lost`)
    t.ok(flight.pipe >= 0 && flight.pipe <= 5001)
  }
  d.elapse(100 * MS)
  d.hear('[.] 1 ack 5002')
  t.equal(d.ep.inFlight, 0)
  d.wait(10 * S)
  t.end()
})

t.test('rfc2883: a D-SACK alone is no duplicate ACK and no loss', (t) => {
  const d = flying(t, 5)
  d.on('[.] 1 ack 2001')
  for (let i = 0; i < 5; i++) d.on('[.] 1 ack 2001 sack 1:1001')
  t.equal(d.ep.retransSegs, 0)
  t.end()
})

t.test('SACK blocks that are nonsense are ignored', (t) => {
  const d = flying(t, 5)
  for (const sack of ['3001:2001', '6001:7001', '4001:9001', '-500:-100', '1001:1001', `${2 ** 31}:${2 ** 31 + 10}`]) {
    d.on(`[.] 1 ack 1 sack ${sack}`)
    const flight = d.ep.snd.flight
    t.equal(flight?.sacked, 0, sack)
    t.equal(flight?.pipe, 5000)
  }
  t.end()
})

t.test('rfc8985 7: a tail loss is repaired by a probe after two round trips, without a timeout', (t) => {
  const d = flying(t, 5)
  d.on('[.] 1 ack 4001') // the fifth is lost
  const said = d.elapse(320 * MS)
  t.match(said[0], /\[P?\.\] 4001\+1000 /)
  const ms = Number((said[0] as string).slice(1).split(' ')[0])
  t.ok(ms < 310, `after ${ms} ms`)
  t.end()
})

t.test('rfc8985 7.3: the probe is the last segment as it was sent', (t) => {
  const d = Dialogue.connected(t, { rttUs: 50 * MS }, 'win 65535 mss 1000 sackOK')
  d.write(2000)
  d.write(300)
  t.equal(d.take().length, 3)
  t.match(d.elapse(200 * MS)[0], /\] 2001\+300 /)
  t.end()
})

/** Five segments in flight time out, and `news` bytes more are waiting. */
function timedOut(t: Test, sackOk: string, news: number): Dialogue {
  const d = Dialogue.connected(t, { rttUs: 50 * MS, cfg: { congestion: cubic } }, `win 65535 mss 1000${sackOk}`)
  d.write(5000)
  t.equal(d.take().length, 5)
  const said = d.elapse(400 * MS)
  t.match(said.at(-1), /\] 1\+1000 /)
  t.equal(d.ep.cwnd, 1000)
  d.write(news)
  return d
}

for (const sackOk of ['', ' sackOK']) {
  const name = sackOk === '' ? 'without' : 'with'
  t.test(`rfc5682 2.1: a spurious timeout is undone by the ACKs of the originals, no timestamps, ${name} SACK`, (t) => {
    const d = timedOut(t, sackOk, 10_000)
    d.now += 10 * MS
    d.on('[.] 1 ack 1001', `[.] 5001+1000 ${W}`, `[.] 6001+1000 ${W}`) // step 2b: new data
    const { retransSegs } = d.ep
    d.now += 5 * MS
    d.hear('[.] 1 ack 2001')
    t.ok(
      d.take().every((line) => !line.includes('] 2001+')),
      'step 3b: nothing goes again',
    )
    t.ok(d.ep.cwnd >= 10_000, `the window is restored: ${d.ep.cwnd}`)
    for (const ack of [3001, 4001, 5001, 6001]) {
      d.now += 5 * MS
      d.hear(`[.] 1 ack ${ack}`)
      d.take()
    }
    t.equal(d.ep.retransSegs, retransSegs)
    t.end()
  })
}

t.test('rfc5682 2.1: a real timeout goes on in slow start: duplicate ACKs answer the new data', (t) => {
  const d = timedOut(t, ' sackOK', 10_000)
  d.now += 50 * MS
  d.on('[.] 1 ack 1001', `[.] 5001+1000 ${W}`, `[.] 6001+1000 ${W}`)
  d.now += 50 * MS
  d.hear('[.] 1 ack 1001 sack 5001:6001')
  const said = d.take()
  d.hear('[.] 1 ack 1001 sack 5001:7001')
  said.push(...d.take())
  t.ok(
    said.some((line) => line.includes('] 1001+1000 ')),
    said.join('\n'),
  ) // step 3a
  t.ok(d.ep.cwnd < 5000)
  t.end()
})

t.test('rfc5682 2.1: without new data everything goes again at once', (t) => {
  const d = timedOut(t, ' sackOK', 0)
  d.now += 50 * MS
  const said = sayAll(d, ['[.] 1 ack 1001'])
  t.match(said[0], /\] 1001\+1000 /)
  t.end()
})

function sayAll(d: Dialogue, lines: string[]): string[] {
  const said: string[] = []
  for (const line of lines) {
    d.hear(line)
    said.push(...d.take())
  }
  return said
}
t.end()
