import t from 'tap'
import * as st from '../../../src/tcp/state.js'
import { Dialogue, MS, S } from './dialogue.js'

// rfc9293 3.8.4: keepalives; rfc5482: user timeout. How many unanswered keepalives end a plain flow: KEEPALIVES_LAST, 10.

const KEEPALIVE = { cfg: { keepaliveUs: 240 * S } }
const PROBE = '[.] 0 ack 1 win 65535'

t.test('rfc9293 3.8.4: off unless asked for', (t) => {
  const d = Dialogue.connected(t)
  d.wait(100_000 * S)
  t.equal(d.ep.state, st.ESTABLISHED)
  t.end()
})

t.test('rfc9293 3.8.4: a silent peer is asked once per interval as long as it answers', (t) => {
  const d = Dialogue.connected(t, KEEPALIVE)
  for (let i = 0; i < 20; i++) {
    d.wait(240 * S, `+240000 ${PROBE}`)
    d.on('[.] 1 ack 1')
  }
  t.equal(d.ep.state, st.ESTABLISHED)
  t.end()
})

t.test('rfc9293 3.8.4: what is heard puts it off, and data in flight takes its place', (t) => {
  const d = Dialogue.connected(t, KEEPALIVE)
  d.wait(200 * S)
  d.hear('[P.] 1+10 ack 1')
  d.elapse(1 * S) // the ACK of it
  d.wait(238 * S)
  d.wait(1 * S, '+1000 [.] 0 ack 11 win 65525')
  d.hear('[.] 11 ack 1')
  d.write(100)
  d.expect('[P.] 1+100 ack 11 win 65525')
  const said = d.elapse(300 * S)
  t.ok(said.length > 3, said.join('; '))
  t.ok(
    said.every((line) => line.includes('1+100')),
    'nothing but retransmissions',
  )
  t.end()
})

t.test('rfc9293 3.8.4: no single unanswered keepalive ends it; ten do, at doubling distances', (t) => {
  const d = Dialogue.connected(t, KEEPALIVE)
  const said = d.elapse(240 * S + 1022 * S)
  t.same(
    said,
    Array.from({ length: 10 }, (_, n) => `+${240_000 + (2 ** n - 1) * 1000} ${PROBE}`),
  )
  t.equal(d.ep.state, st.ESTABLISHED)
  d.wait(1 * S)
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.cause, st.CAUSE_TIMEOUT)
  t.end()
})

t.test('rfc9293 3.8.4: an answer in between begins the count anew', (t) => {
  const d = Dialogue.connected(t, KEEPALIVE)
  t.equal(d.elapse(240 * S + 8 * S).length, 4)
  d.on('[.] 1 ack 1')
  t.equal(d.ep.retries, 0)
  d.wait(239 * S)
  d.wait(1 * S, `+1000 ${PROBE}`)
  t.end()
})

t.test('data after unanswered keepalives has all its retransmissions', (t) => {
  const d = Dialogue.connected(t, { cfg: { keepaliveUs: 240 * S, dataRetries: 3, rtoMaxUs: 1 * S } })
  t.equal(d.elapse(240 * S + 8 * S).length, 4)
  d.write(100)
  d.expect('[P.] 1+100 ack 1 win 65535')
  t.equal(d.elapse(1000 * S).filter((line) => line.includes('1+100')).length, 4, 'a tail loss probe and three timeouts')
  t.equal(d.ep.cause, st.CAUSE_TIMEOUT)
  t.end()
})

t.test('a keepalive meets a peer that knows nothing of us: its RST ends the connection', (t) => {
  const d = Dialogue.connected(t, KEEPALIVE)
  d.wait(240 * S, `+240000 ${PROBE}`)
  d.on('[R] 1')
  t.equal(d.ep.cause, st.CAUSE_RESET)
  t.end()
})

t.test('in CLOSE-WAIT a peer may be asked although it is not while established', (t) => {
  const cfg = { closeWaitAskUs: 61 * S }
  const d = Dialogue.connected(t, { cfg })
  d.wait(10_000 * S)
  d.on('[F.] 1 ack 1', '[.] 1 ack 2 win 65534')
  d.wait(61 * S, '+61000 [.] 0 ack 2 win 65534')
  d.on('[.] 2 ack 1') // it waits for our data
  d.wait(61 * S, '+61000 [.] 0 ack 2 win 65534')
  d.on('[R] 2') // it does not any more
  t.equal(d.ep.cause, st.CAUSE_RESET)
  t.end()
})

t.test('rfc5482 2: data that is not acknowledged for the user timeout ends the connection', (t) => {
  const d = Dialogue.connected(t, { cfg: { userTimeoutUs: 20 * S } })
  d.write(200)
  d.expect('[P.] 1+200 ack 1 win 65535')
  d.elapse(15 * S)
  d.on('[.] 1 ack 101')
  d.elapse(19 * S)
  t.equal(d.ep.state, st.ESTABLISHED, 'progress begins it anew')
  d.elapse(1 * S)
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.cause, st.CAUSE_TIMEOUT)
  t.end()
})

t.test('rfc5482 2: a peer that answers probes of its closed window is waited for, one that does not is not', (t) => {
  const d = Dialogue.connected(t, { cfg: { userTimeoutUs: 20 * S } }, 'win 0 mss 1000')
  d.write(100)
  d.expect()
  for (let i = 0; i < 100; i++) {
    d.elapse(10 * S)
    d.hear('[.] 1 ack 1 win 0')
  }
  t.equal(d.ep.state, st.ESTABLISHED)
  d.elapse(21 * S)
  t.equal(d.ep.cause, st.CAUSE_TIMEOUT)
  t.end()
})

t.test('an idle connection has no user timeout', (t) => {
  const d = Dialogue.connected(t, { cfg: { userTimeoutUs: 20 * S } })
  d.wait(1000 * S)
  d.write(100)
  d.expect('[P.] 1+100 ack 1 win 65535')
  d.now += 10 * MS
  d.on('[.] 1 ack 101')
  d.wait(1000 * S)
  t.equal(d.ep.state, st.ESTABLISHED)
  t.end()
})
