import t from 'tap'
import { NEVER } from '../../../src/base/time.js'
import * as st from '../../../src/tcp/state.js'
import { forSeeds } from '../../oracle/seeds.js'
import { Dialogue, MS, S } from './dialogue.js'

/** RTO 250 ms: 50 ms and four times their half, at least 200. */
const rtt = { rttUs: 50 * MS }

t.test('rfc9293 3.8.6.1: a zero window is probed with doubling intervals for as long as the peer answers', (t) => {
  const d = Dialogue.connected(t, { ...rtt, cfg: { dataRetries: 3, rtoMaxUs: 4 * S } }, 'win 1000 mss 1000')
  d.write(3000)
  d.expect('[.] 1+1000 ack 1 win 65535')
  d.now += 50 * MS
  d.on('[.] 1 ack 1001 win 0')
  const probe = '[.] 1000 ack 1 win 65535'
  for (const ms of [250, 500, 1000, 2000, 4000, 4000, 4000, 4000, 4000]) {
    const said = d.elapse(ms * MS)
    t.equal(said.length, 1, `one probe within ${ms} ms: ${said}`)
    t.ok(said[0]?.endsWith(probe))
    d.on('[.] 1 ack 1001 win 0')
  }
  t.equal(d.ep.state, st.ESTABLISHED)
  d.on('[.] 1 ack 1001 win 1000', '[.] 1001+1000 ack 1 win 65535')
  t.ok(d.ep.rtoUs() < 300 * MS, 'the back-off of the probes ends with them')
  t.end()
})

t.test('rfc9293 3.8.6.1: a lost window update is recovered by a probe', (t) => {
  const d = Dialogue.connected(t, rtt, 'win 1000 mss 1000')
  d.write(1500)
  d.take()
  d.now += 50 * MS
  d.on('[.] 1 ack 1001 win 0')
  // '[.] 1 ack 1001 win 1000' is lost
  const [probe = ''] = d.elapse(250 * MS)
  t.match(probe, /\[\.\] 1000 ack 1 win 65535$/)
  d.on('[.] 1 ack 1001 win 1000', '[P.] 1001+500 ack 1 win 65535')
  t.end()
})

t.test('rfc9293 3.8.6.1: without any answer the connection is given up', (t) => {
  const d = Dialogue.connected(t, { ...rtt, cfg: { dataRetries: 4 } }, 'win 0 mss 1000')
  d.write(100)
  d.expect()
  const probes = d.elapse(1000 * S)
  t.equal(probes.length, 4)
  t.ok(
    probes.every((line) => line.endsWith('[.] 0 ack 1 win 65535')),
    probes.join(' | '),
  )
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.cause, st.CAUSE_TIMEOUT)
  t.end()
})

t.test('nothing to send: a zero window is not probed', (t) => {
  const d = Dialogue.connected(t, rtt, 'win 0 mss 1000')
  d.wait(1000 * S)
  t.equal(d.ep.nextTimeout(), NEVER)
  t.end()
})

t.test('rfc9293 3.8.6: probes of the peer are answered, also with data in them', (t) => {
  const d = Dialogue.connected(t, { capacity: 1000 })
  d.side.isReading = false
  d.on('[.] 1+1000 ack 1', '[.] 1 ack 1001 win 0')
  for (let i = 0; i < 5; i++) {
    d.now += S
    d.on('[.] 1000 ack 1', '[.] 1 ack 1001 win 0') // Linux
    d.on('[.] 1001+1 ack 1', '[.] 1 ack 1001 win 0') // BSD
  }
  d.side.isReading = true
  d.expect('[.] 1 ack 1001 win 1000')
  t.end()
})

t.test('rfc9293 3.8.6.2.1: the sender waits for a full segment or half of the largest window', (t) => {
  const d = Dialogue.connected(t, rtt, 'win 4000 mss 1000')
  d.write(10_000)
  t.equal(d.take().length, 4)
  d.on('[.] 1 ack 4001 win 999')
  d.on('[.] 1 ack 4001 win 1000', '[.] 4001+1000 ack 1 win 65535')

  const small = Dialogue.connected(t, rtt, 'win 600 mss 1000')
  small.write(5000)
  small.expect('[.] 1+600 ack 1 win 65535')
  small.on('[.] 1 ack 601 win 299')
  small.on('[.] 1 ack 601 win 300', '[.] 601+300 ack 1 win 65535')
  small.end()
  t.end()
})

t.test('rfc9293 3.8.6.2.1: what fits and is the last may go whatever its size', (t) => {
  const d = Dialogue.connected(t, rtt, 'win 4000 mss 1000')
  d.write(4000)
  t.equal(d.take().length, 4)
  d.on('[.] 1 ack 4001 win 100')
  d.write(100)
  d.expect('[P.] 4001+100 ack 1 win 65535')
  t.end()
})

t.test('rfc9293 3.8.6.2.1: a small window that stays is used after the override timeout', (t) => {
  const d = Dialogue.connected(t, rtt, 'win 4000 mss 1000')
  d.write(5000)
  t.equal(d.take().length, 4)
  d.now += 50 * MS
  d.on('[.] 1 ack 4001 win 100')
  const said = d.elapse(250 * MS)
  t.match(said.at(-1), /\+\d.* \[\.\] 4001\+100 ack 1 win 65535$/)
  d.now += 50 * MS
  for (let una = 4101; una < 4901; una += 100) {
    d.on(`[.] 1 ack ${una} win 100`)
    t.match(d.elapse(300 * MS).at(-1), new RegExp(`\\] ${una}\\+100 `))
  }
  t.end()
})

t.test('rfc9293 3.8.6.2.2: the receiver opens its window by a segment or half of the buffer, not by less', (t) => {
  const d = Dialogue.connected(t, { capacity: 10_000 })
  d.side.isReading = false
  d.on('[.] 1+1000 ack 1')
  d.wait(40 * MS, '+40 [.] 1 ack 1001 win 9000')
  d.on('[.] 1001+9000 ack 1 gso 1000', '[.] 1 ack 10001 win 0')
  const queue = d.side.in
  queue.release(999)
  d.expect()
  queue.release(1000)
  d.expect('[.] 1 ack 10001 win 1000')
  queue.release(1500)
  d.expect()
  queue.release(5000)
  d.expect('[.] 1 ack 10001 win 5000')
  t.end()
})

t.test('rfc9293 3.8.6.2.2: half of a small buffer suffices', (t) => {
  const d = Dialogue.connected(t, { capacity: 600 })
  d.side.isReading = false
  d.on('[.] 1+600 ack 1', '[.] 1 ack 601 win 0')
  d.side.in.release(299)
  d.expect()
  d.side.in.release(300)
  d.expect('[.] 1 ack 601 win 300')
  t.end()
})

t.test('a window update says what it can: reading a full buffer at once is one ACK', (t) => {
  const d = Dialogue.connected(t, { capacity: 50_000 })
  d.side.isReading = false
  for (let i = 0; i < 50; i++) {
    d.hear(`[.] ${1 + 1000 * i}+1000 ack 1`)
    d.take()
  }
  t.equal(d.ep.rcvNxt, 50_001)
  d.side.isReading = true
  d.expect('[.] 1 ack 50001 win 50000')
  t.end()
})

for (const windowScale of [0, 3, 10, 14]) {
  t.test(`rfc9293 3.8.6: what was promised is taken, the edge never retreats by more than rounding; scale ${windowScale}`, async (t) => {
    await forSeeds(t, [1, 2, 3], (rng) => {
      // what is below one unit cannot be told, see the next test
      const capacity = rng.logUniform(Math.max(100, 2 ** windowScale), 500_000)
      const d = Dialogue.connected(t, { capacity, cfg: { windowScale } }, `win 65535 mss 1000 sackOK wscale ${windowScale}`)
      d.side.isReading = false
      const unit = 2 ** d.ep.rcvWscale
      let [sent, edge, shown, updates] = [1, 0, 0, 0]
      const look = (): void => {
        for (const line of d.take()) {
          const [, ack, win] = /ack (\d+) win (\d+)/.exec(line) as unknown as [string, string, string]
          const right = Number(ack) + Number(win) * unit
          if (shown - right >= unit) throw new Error(`the edge moved left by ${shown - right}: ${line}`)
          if (right > d.side.in.base + capacity + 1) throw new Error(`more than there is room for: ${line}`)
          shown = right
          edge = Math.max(edge, right)
          updates++
        }
      }
      d.hear('[.] 1 ack 1')
      edge = 1 + Math.min(65_535, capacity)
      for (let i = 0; i < 600; i++) {
        const n = Math.min(edge - sent, rng.logUniform(1, 1000))
        if (n > 0 && rng.chance(0.7)) {
          d.hear(`[.] ${sent}+${n} ack 1`)
          sent += n
          if (d.ep.rcvNxt !== sent) throw new Error(`promised up to ${edge}, but only ${d.ep.rcvNxt} of ${sent} was taken`)
        }
        look()
        if (rng.chance(0.3)) d.side.in.release(d.side.in.base + rng.below(d.side.in.ready + 1))
        look()
      }
      t.ok(updates > 0)
    })
    t.end()
  })
}

t.test('rfc7323 2.3: a buffer below one unit of the scale is announced as one unit, and again once it was read', (t) => {
  const d = Dialogue.connected(t, { capacity: 200, cfg: { windowScale: 10 } }, 'win 65535 mss 1000 sackOK wscale 10')
  d.side.isReading = false
  d.hear('[.] 1 ack 1')
  d.take()
  d.on('[P.] 1+100 ack 1')
  d.wait(50 * MS, '+40 [.] 1 ack 101 win 1')
  d.on('[P.] 101+300 ack 1', '[.] 1 ack 201 win 0')
  d.side.in.release(200)
  d.expect('[.] 1 ack 201 win 1')
  d.on('[P.] 201+200 ack 1')
  d.wait(50 * MS, '+40 [.] 1 ack 401 win 0')
  t.end()
})

t.test('rfc9293 3.8.6: a peer that shrinks its window is tolerated', (t) => {
  const d = Dialogue.connected(t, rtt, 'win 5000 mss 1000')
  d.write(8000)
  t.equal(d.take().length, 5)
  d.now += 50 * MS
  d.on('[.] 1 ack 1001 win 1000') // the edge moves left from 5001 to 2001
  t.equal(d.ep.sendSpace(), 0)
  d.on('[.] 1 ack 5001 win 0')
  t.equal(d.ep.sndUna, 5001, 'what was sent before may be acknowledged all the same')
  d.on('[.] 1 ack 5001 win 3000', '[.] 5001+1000 ack 1 win 65535', '[.] 6001+1000 ack 1 win 65535', '[P.] 7001+1000 ack 1 win 65535')
  t.end()
})

t.test('rfc9293 3.8.6: what lies beyond a shrunk window is retransmitted, and the connection lives while the peer answers', (t) => {
  const d = Dialogue.connected(t, { ...rtt, cfg: { dataRetries: 3, rtoMaxUs: S } }, 'win 2000 mss 1000')
  d.write(2000)
  t.equal(d.take().length, 2)
  d.now += 50 * MS
  d.on('[.] 1 ack 1001 win 0')
  let resent = 0
  for (let i = 0; i < 20; i++) {
    for (const line of d.elapse(S)) if (line.includes(' 1001+1000 ')) resent++
    d.hear('[.] 1 ack 1001 win 0')
  }
  t.ok(resent > 5, `${resent} retransmissions`)
  t.equal(d.ep.state, st.ESTABLISHED)
  d.hear('[.] 1 ack 2001 win 2000')
  t.equal(d.ep.sndUna, 2001)
  t.end()
})

t.test('rfc9293 3.10.7.4: an old segment does not take back a newer window', (t) => {
  const d = Dialogue.connected(t, rtt, 'win 5000 mss 1000 sackOK')
  d.on('[.] 101+10 ack 1 win 9000', '[.] 1 ack 1 win 65535 sack 101:111')
  t.equal(d.ep.sndEdge, 9001)
  d.hear('[.] 1+10 ack 1 win 2000') // sent before
  t.equal(d.ep.sndEdge, 9001)
  d.hear('[.] 111 ack 1 win 3000')
  t.equal(d.ep.sndEdge, 3001)
  t.end()
})

t.test('rfc1122 4.2.3.5: a black hole is noticed although the peer keeps talking', (t) => {
  const d = Dialogue.connected(t, { ...rtt, cfg: { dataRetries: 5, rtoMaxUs: 2 * S } })
  d.write(1000)
  d.take()
  let at = 1
  for (let i = 0; i < 100 && d.ep.state === st.ESTABLISHED; i++) {
    d.elapse(200 * MS)
    d.hear(`[P.] ${at}+10 ack 1`)
    at += 10
  }
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.cause, st.CAUSE_TIMEOUT)
  t.end()
})
t.end()
