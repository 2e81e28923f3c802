import t from 'tap'
import * as st from '../../../src/tcp/state.js'
import { Dialogue, MS, S } from './dialogue.js'

/** Our window is 1000 bytes and the peer's next octet 1: [1, 1001). */
const small = { capacity: 1000 }
const ACK1 = '[.] 1 ack 1 win 1000'

function ackNow(d: Dialogue): string {
  return `[.] ${d.ep.sndNxt} ack ${d.ep.rcvNxt} win ${65_536 - d.ep.rcvNxt}`
}

/** An endpoint in each of the synchronized states; nothing waits to be sent. */
const states: Record<string, (t: Parameters<typeof Dialogue.connected>[0]) => Dialogue> = {
  ESTABLISHED: (t) => Dialogue.connected(t),
  'FIN-WAIT-1': (t) => closing(Dialogue.connected(t)),
  'FIN-WAIT-2': (t) => heard(closing(Dialogue.connected(t)), '[.] 1 ack 2'),
  'CLOSE-WAIT': (t) => heard(Dialogue.connected(t), '[F.] 1 ack 1'),
  CLOSING: (t) => heard(closing(Dialogue.connected(t)), '[F.] 1 ack 1'),
  'LAST-ACK': (t) => closing(heard(Dialogue.connected(t), '[F.] 1 ack 1')),
  'TIME-WAIT': (t) => heard(closing(Dialogue.connected(t)), '[F.] 1 ack 2'),
}

function closing(d: Dialogue): Dialogue {
  d.end()
  d.take()
  return d
}

function heard(d: Dialogue, text: string): Dialogue {
  d.hear(text)
  d.take()
  return d
}

t.test('rfc9293 3.4 table 6: a segment without length', (t) => {
  const d = Dialogue.connected(t, small)
  for (const [seq, answer] of [
    [1, []],
    [500, []],
    [1000, []],
    [1001, []], // the peer filled the window and acknowledges something
    [1002, [ACK1]],
    [0, [ACK1]],
    [-5, [ACK1]],
    [1 + 2 ** 31, [ACK1]],
  ] as const) {
    d.now += S
    d.on(`[.] ${seq} ack 1`, ...answer)
  }
  t.equal(d.ep.rcvNxt, 1)
  t.end()
})

t.test('rfc9293 3.4 table 6: a segment with length', (t) => {
  // 100 bytes are there: the window is [101, 1101)
  const old = '[.] 1 ack 101 win 1000'
  for (const [seq, len, answer, received] of [
    [101, 100, [], 200],
    [101, 1000, ['[.] 1 ack 1101 win 0'], 1100],
    [101, 1400, ['[.] 1 ack 1101 win 0'], 1100], // beyond the edge: cut
    [51, 50, [`${old} sack 51:101`], 100], // ends right before the window
    [52, 50, ['[.] 1 ack 102 win 999 sack 52:101'], 101], // one octet is new
    [52, 1400, ['[.] 1 ack 1101 win 0 sack 52:101'], 1100], // covers the window on both sides
    [1100, 1, [`${old} sack 1100:1101`], 100],
    [1100, 500, [`${old} sack 1100:1101`], 100],
    [1101, 1, [old], 100],
    [2000, 100, [old], 100],
    [101 + 2 ** 31, 100, [old], 100], // 2^31 ahead is 2^31 behind
    [100 + 2 ** 31, 100, [old], 100],
  ] as const) {
    const d = Dialogue.connected(t, { capacity: 1100 })
    d.side.isReading = false
    d.hear('[.] 1+100 ack 1')
    d.elapse(40 * MS)
    d.on(`[.] ${seq}+${len} ack 1`, ...answer)
    t.equal(d.ep.rcvNxt, 1 + received, `${seq}+${len}`)
    d.received(received)
  }
  t.end()
})

t.test('rfc9293 3.10.7.4: with a zero window only segments without length at the left edge are acceptable, but each is answered', (t) => {
  const d = Dialogue.connected(t, small)
  d.side.isReading = false
  d.on('[.] 1+1000 ack 1', '[.] 1 ack 1001 win 0')
  d.now += S
  d.on('[.] 1001+1 ack 1', '[.] 1 ack 1001 win 0')
  d.on('[.] 1001+1 ack 1', '[.] 1 ack 1001 win 0')
  d.write(10)
  d.expect('[P.] 1+10 ack 1001 win 0')
  d.on('[.] 1001 ack 11')
  t.equal(d.ep.sndUna, 11, 'a valid ACK is taken')
  t.end()
})

t.test('rfc9293 3.10.7.4: a zero window still lets in valid ACKs on data, and RSTs', (t) => {
  const full = () => {
    const d = Dialogue.connected(t, small)
    d.side.isReading = false
    d.on('[.] 1+1000 ack 1', '[.] 1 ack 1001 win 0')
    return d
  }
  const d = full()
  d.write(10)
  d.take()
  d.on('[.] 1001+100 ack 11', '[.] 11 ack 1001 win 0')
  t.equal(d.ep.sndUna, 11, 'the ACK of a window probe with data counts')
  const reset = full()
  reset.on('[R] 1001')
  t.equal(reset.ep.cause, st.CAUSE_RESET)
  const textual = full()
  textual.on('[R.] 1001+20 ack 1')
  t.equal(textual.ep.cause, st.CAUSE_RESET, 'with explanatory text')
  const fin = full()
  fin.hear('[F.] 1001 ack 1')
  fin.wait(50 * MS, '+40 [.] 1 ack 1002 win 0')
  t.equal(fin.ep.state, st.CLOSE_WAIT, 'a bare FIN needs no buffer (Linux)')
  t.end()
})

t.test('rfc5961 3.2: RST exact resets, in the window is challenged, outside is ignored', (t) => {
  const d = Dialogue.connected(t, small)
  d.on('[R] 0')
  d.on('[R] 1002')
  d.on('[R] 70000')
  d.on('[R.] -1 ack 1')
  d.on('[R] 2', ACK1)
  d.now += S
  d.on('[R.] 1000 ack 1', ACK1)
  t.equal(d.ep.state, st.ESTABLISHED)
  d.on('[R] 1')
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.cause, st.CAUSE_RESET)
  t.equal(d.ep.takeEvents() & st.EV_CLOSED, st.EV_CLOSED)
  t.equal(d.ep.isDone, true)
  d.wait(100 * S)
  t.end()
})

t.test('rfc5961 3.2: RST in every synchronized state; rfc1337: none in TIME-WAIT', (t) => {
  for (const [name, prepare] of Object.entries(states)) {
    const d = prepare(t)
    const next = d.ep.rcvNxt
    d.now += S
    d.on(`[R] ${next + 5}`, ...(name === 'TIME-WAIT' ? [] : [ackNow(d)]))
    d.on(`[R] ${next}`)
    t.equal(d.ep.state, name === 'TIME-WAIT' ? st.TIME_WAIT : st.CLOSED, name)
    if (name !== 'TIME-WAIT') t.equal(d.ep.cause, st.CAUSE_RESET)
  }
  t.end()
})

t.test('rfc5961 4.2: a SYN in a synchronized state is challenged, whatever its number', (t) => {
  for (const [name, prepare] of Object.entries(states)) {
    for (const seq of [-100, 0, 1, 2, 5, 100_000]) {
      const d = prepare(t)
      d.now += S
      const state = d.ep.state
      d.on(`[S] ${d.ep.rcvNxt + seq} win 65535 mss 1460`, ackNow(d))
      t.equal(d.ep.state, state, name)
    }
  }
  t.end()
})

t.test('rfc5961 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT, else the segment is challenged and its data ignored', (t) => {
  const fresh = () => {
    const d = Dialogue.connected(t, { iss: 5 }, 'win 3000 mss 1000 sackOK')
    d.write(6000)
    d.take()
    d.on('[.] 1 ack 3001 win 3000', '[.] 3001+1000 ack 1 win 65535', '[.] 4001+1000 ack 1 win 65535', '[P.] 5001+1000 ack 1 win 65535')
    return d
  }
  // una 3001, nxt 6001, largest window 3000
  for (const ack of [6002, 7000, 0, -1, 3001 + 2 ** 31, 3000 + 2 ** 31]) {
    const d = fresh()
    d.on(`[.] 1+10 ack ${ack}`, '[.] 6001 ack 1 win 65535')
    t.equal(d.ep.rcvNxt, 1, `ack ${ack}: the data is ignored`)
    t.equal(d.ep.sndUna, 3001)
  }
  for (const ack of [1, 1000, 3001, 4001, 6001]) {
    const d = fresh()
    d.hear(`[.] 1+10 ack ${ack} win 3000`)
    t.equal(d.ep.rcvNxt, 11, `ack ${ack}: the data is taken`)
    t.equal(d.ep.sndUna, Math.max(3001, ack))
  }
  t.end()
})

t.test('rfc9293 3.10.7.4: without ACK flag a segment is dropped', (t) => {
  const d = Dialogue.connected(t)
  d.on('[] 1+10')
  d.on('[F] 1')
  d.on('[P] 1+10')
  t.equal(d.ep.rcvNxt, 1)
  t.equal(d.ep.state, st.ESTABLISHED)
  t.end()
})

t.test('rfc5961 7: at most one challenge ACK in 500 ms, counted for each connection alone', (t) => {
  const [a, b] = [Dialogue.connected(t, small), Dialogue.connected(t, small)]
  a.on('[R] 5', ACK1)
  a.on('[R] 6')
  a.on('[S] 1')
  a.on('[.] 1 ack 5000')
  a.on('[.] 1+10 ack 5000')
  a.on('[.] -5 ack 1')
  b.on('[R] 5', ACK1)
  a.now += 499 * MS
  a.on('[R] 6')
  a.now += 1 * MS
  a.on('[S] 1', ACK1)
  a.on('[R] 6')
  let answers = 0
  for (let i = 0; i < 10_000; i++) {
    a.now += MS
    a.hear(`[R] ${2 + (i % 900)}`)
    answers += a.take().length
  }
  t.ok(answers >= 19 && answers <= 20, `${answers} answers in 10 s`)
  t.equal(a.ep.state, st.ESTABLISHED)
  t.end()
})

t.test('rfc9293 3.10.7.4: old data is answered each time, since its sender waits for that', (t) => {
  const d = Dialogue.connected(t)
  d.on('[P.] 1+100 ack 1')
  d.wait(40 * MS, '+40 [.] 1 ack 101 win 65435')
  for (let i = 0; i < 5; i++) d.on('[P.] 1+100 ack 1', '[.] 1 ack 101 win 65435 sack 1:101')
  t.end()
})

const ts = { cfg: { timestamps: true } }

t.test('rfc7323 5.3: PAWS drops what is older than TS.Recent and answers; RST is exempt', (t) => {
  const d = Dialogue.accepted(t, ts, 'win 65535 mss 1460 sackOK TS 100 0')
  d.on('[P.] 1+10 ack 1 TS 200 1000')
  d.wait(40 * MS, '+40 [.] 1 ack 11 win 65525 TS 1040 200')
  d.on('[P.] 11+10 ack 1 TS 199 1000', '[.] 1 ack 11 win 65525 TS 1040 200')
  t.equal(d.ep.rcvNxt, 11)
  d.on('[P.] 11+10 ack 1 TS 200 1000') // equal is not old
  d.wait(40 * MS, '+40 [.] 1 ack 21 win 65515 TS 1080 200')
  d.now += S
  d.on('[.] 21 ack 1 TS 150 1000', '[.] 1 ack 21 win 65515 TS 2080 200')
  d.on('[.] 21 ack 1 TS 150 1000')
  d.on('[R] 21 TS 1 0')
  t.equal(d.ep.cause, st.CAUSE_RESET)
  t.end()
})

t.test(
  'rfc7323 5.3, deviation: an original that a retransmission overtook fills its gap; without a gap, or much older, it is dropped',
  (t) => {
    const gaps = (): Dialogue => {
      const d = Dialogue.accepted(t, ts, 'win 65535 mss 1460 sackOK TS 100 0')
      d.hear('[P.] 11+10 ack 1 TS 200 1000') // 1 and 21 are missing
      d.hear('[P.] 31+10 ack 1 TS 200 1000')
      d.hear('[P.] 1+10 ack 1 TS 400 1000') // the retransmission of the first
      d.take()
      t.equal(d.ep.rcvNxt, 21)
      return d
    }
    const d = gaps()
    d.hear('[P.] 21+10 ack 1 TS 199 1000')
    t.equal(d.ep.rcvNxt, 41)
    d.received(40)
    d.take()
    d.hear('[P.] 41+10 ack 1 TS 199 1000')
    t.equal(d.ep.rcvNxt, 41, 'nothing is missing: as RFC 7323 says')
    const old = gaps()
    old.hear('[P.] 21+10 ack 1 TS 149 1000')
    t.equal(old.ep.rcvNxt, 21, 'a quarter of a second at most')
    old.hear('[P.] 21+10 ack 1 TS 150 1000')
    t.equal(old.ep.rcvNxt, 41)
    t.end()
  },
)

t.test('rfc7323 5.3: timestamps compare modulo 2^32', (t) => {
  const d = Dialogue.accepted(t, ts, 'win 65535 mss 1460 sackOK TS 4294967290 0')
  d.on('[P.] 1+10 ack 1 TS 5 1000')
  d.wait(40 * MS, '+40 [.] 1 ack 11 win 65525 TS 1040 5')
  d.on('[P.] 11+10 ack 1 TS 4294967295 1000', '[.] 1 ack 11 win 65525 TS 1040 5')
  t.end()
})

t.test('rfc7323 5.5: after 24 days TS.Recent proves nothing, and the next timestamp replaces it', (t) => {
  const DAY = 24 * 3600 * S
  const d = Dialogue.accepted(t, ts, 'win 65535 mss 1460 sackOK TS 1000 0')
  d.now += 23 * DAY
  d.on('[P.] 1+10 ack 1 TS 999 1000', `[.] 1 ack 1 win 65535 TS ${(23 * DAY) / MS + 1000} 1000`)
  d.now += 2 * DAY
  d.on('[P.] 1+10 ack 1 TS 999 1000')
  d.wait(40 * MS, `+40 [.] 1 ack 11 win 65525 TS ${((25 * DAY) / MS + 1040) | 0} 999`)
  d.on('[P.] 11+10 ack 1 TS 998 1000', `[.] 1 ack 11 win 65525 TS ${((25 * DAY) / MS + 1040) | 0} 999`)
  t.end()
})

t.test('rfc7323 4.3: TS.Recent comes from the segment at the left edge of what we acknowledged last', (t) => {
  const d = Dialogue.accepted(t, ts, 'win 65535 mss 1460 sackOK TS 100 0')
  d.on('[.] 1+1000 ack 1 TS 110 1000')
  // out of order: its timestamp is not echoed (the hole's sender needs the older one)
  d.on('[.] 2001+1000 ack 1 TS 120 1000', '[.] 1 ack 1001 win 65535 TS 1000 110 sack 2001:3001')
  d.on('[.] 3001+1000 ack 1 TS 130 1000', '[.] 1 ack 1001 win 65535 TS 1000 110 sack 2001:4001')
  d.on('[.] 1001+1000 ack 1 TS 140 1000', '[.] 1 ack 4001 win 65535 TS 1000 140')
  // two segments, one ACK: the earlier timestamp, since delaying is part of the round trip
  d.on('[.] 4001+1000 ack 1 TS 150 1000')
  d.on('[.] 5001+1000 ack 1 TS 160 1000', '[.] 1 ack 6001 win 65535 TS 1000 150')
  t.end()
})

t.test('rfc7323 3.2: a segment that lacks the timestamp is no reason to give up; what it carries is used', (t) => {
  const d = Dialogue.accepted(t, ts, 'win 65535 mss 1460 sackOK TS 100 0')
  d.on('[P.] 1+10 ack 1')
  d.wait(40 * MS, '+40 [.] 1 ack 11 win 65525 TS 1040 100')
  t.end()
})

t.test('the table of states above reaches all of them', (t) => {
  const names = Object.entries(states).map(([name, prepare]) => [name, st.STATE_NAMES[prepare(t).ep.state]])
  t.same(
    names.map(([, is]) => is),
    ['ESTAB', 'FIN-WAIT-1', 'FIN-WAIT-2', 'CLOSE-WAIT', 'CLOSING', 'LAST-ACK', 'TIME-WAIT'],
  )
  t.end()
})
t.end()
