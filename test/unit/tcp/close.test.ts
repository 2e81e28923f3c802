import t, { type Test } from 'tap'
import * as st from '../../../src/tcp/state.js'
import { Packet, parsePacket } from '../../../src/wire/packet.js'
import { parseOptionsOf, TcpOptions } from '../../../src/wire/tcp-options.js'
import { Dialogue, type DialogueSetup, MS, S } from './dialogue.js'

const TIME_WAIT_MS = 60_000

t.test('rfc9293 3.6 case 1: we close first', (t) => {
  const d = Dialogue.connected(t)
  d.end()
  d.expect('[F.] 1 ack 1 win 65535')
  t.equal(d.ep.state, st.FIN_WAIT_1)
  d.on('[.] 1 ack 2')
  t.equal(d.ep.state, st.FIN_WAIT_2)
  d.on('[F.] 1 ack 2', '[.] 2 ack 2 win 65534')
  t.equal(d.ep.state, st.TIME_WAIT)
  t.equal(d.ep.cause, st.CAUSE_FIN)
  t.equal(d.ep.takeEvents() & (st.EV_PEER_FIN | st.EV_CLOSED), st.EV_PEER_FIN | st.EV_CLOSED)
  d.wait((TIME_WAIT_MS - 1) * MS)
  t.equal(d.ep.state, st.TIME_WAIT)
  d.wait(1 * MS)
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.isDone, true)
  t.end()
})

t.test('rfc9293 3.6 case 2: the peer closes first', (t) => {
  const d = Dialogue.connected(t)
  d.on('[F.] 1 ack 1', '[.] 1 ack 2 win 65534')
  t.equal(d.ep.state, st.CLOSE_WAIT)
  t.equal(d.ep.takeEvents() & st.EV_PEER_FIN, st.EV_PEER_FIN)
  d.wait(1000 * S)
  d.end()
  d.expect('[F.] 1 ack 2 win 65534')
  t.equal(d.ep.state, st.LAST_ACK)
  d.on('[.] 2 ack 2')
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.cause, st.CAUSE_FIN)
  t.equal(d.ep.isDone, true)
  d.wait(1000 * S)
  t.end()
})

t.test('rfc9293 3.6 case 3: both close at once', (t) => {
  const d = Dialogue.connected(t)
  d.end()
  d.expect('[F.] 1 ack 1 win 65535')
  d.on('[F.] 1 ack 1', '[.] 2 ack 2 win 65534')
  t.equal(d.ep.state, st.CLOSING)
  d.on('[.] 2 ack 2')
  t.equal(d.ep.state, st.TIME_WAIT)
  d.wait(2 * TIME_WAIT_MS * MS)
  t.equal(d.ep.state, st.CLOSED)
  t.end()
})

t.test('rfc9293 3.10.7.4: a FIN that acknowledges ours goes straight to TIME-WAIT', (t) => {
  const d = Dialogue.connected(t)
  d.write(100, true)
  d.expect('[FP.] 1+100 ack 1 win 65535')
  d.on('[F.] 1+50 ack 102', '[.] 102 ack 52 win 65484')
  d.received(50)
  t.equal(d.ep.state, st.TIME_WAIT)
  t.end()
})

t.test('rfc9293 3.6: half-closed by us, the peer sends on for hours', (t) => {
  const d = Dialogue.connected(t)
  d.end()
  d.take()
  d.on('[.] 1 ack 2')
  for (let i = 0; i < 20; i++) {
    d.now += 1000 * S
    d.hear(`[P.] ${1 + 1000 * i}+1000 ack 2`)
    d.elapse(100 * MS)
    t.equal(d.ep.rcvNxt, 1001 + 1000 * i)
  }
  d.on('[F.] 20001 ack 2', '[.] 2 ack 20002 win 65534')
  d.received(20_000)
  t.equal(d.ep.state, st.TIME_WAIT)
  t.end()
})

t.test('rfc9293 3.6: half-closed by the peer, we send on for hours', (t) => {
  const d = Dialogue.connected(t)
  d.on('[F.] 1 ack 1', '[.] 1 ack 2 win 65534')
  for (let i = 0; i < 20; i++) {
    d.now += 1000 * S
    d.write(1000)
    d.expect(`[P.] ${1 + 1000 * i}+1000 ack 2 win 65534`)
    d.on(`[.] 2 ack ${1001 + 1000 * i}`)
  }
  d.write(500, true)
  d.expect('[FP.] 20001+500 ack 2 win 65534')
  t.equal(d.ep.state, st.LAST_ACK)
  d.on('[.] 2 ack 20502')
  t.equal(d.ep.state, st.CLOSED)
  t.end()
})

t.test('rfc9293 3.10.4: the FIN waits for the data before it', (t) => {
  const d = Dialogue.connected(t, {}, 'win 1000 mss 1000')
  d.write(2500, true)
  d.expect('[.] 1+1000 ack 1 win 65535')
  d.on('[.] 1 ack 1001 win 1000', '[.] 1001+1000 ack 1 win 65535')
  d.on('[.] 1 ack 2001 win 1000', '[FP.] 2001+500 ack 1 win 65535')
  d.on('[.] 1 ack 2502 win 1000')
  t.equal(d.ep.state, st.FIN_WAIT_2)
  t.end()
})

t.test('rfc9293 3.8.6: the FIN occupies the window: it is not sent beyond the right edge', (t) => {
  const d = Dialogue.connected(t, {}, 'win 1000 mss 1000')
  d.write(1000, true)
  d.expect('[P.] 1+1000 ack 1 win 65535')
  d.on('[.] 1 ack 1001 win 0')
  d.wait(300 * MS, '+200.001 [.] 1000 ack 1 win 65535') // a probe
  d.on('[.] 1 ack 1001 win 0')
  d.on('[.] 1 ack 1001 win 1000', '[F.] 1001 ack 1 win 65535')
  d.on('[.] 1 ack 1002 win 1000')
  t.equal(d.ep.state, st.FIN_WAIT_2)
  d.wait(1000 * S)
  t.end()
})

t.test('rfc6298 5: a FIN is retransmitted with back-off until the connection is given up', (t) => {
  const d = Dialogue.connected(t, { cfg: { dataRetries: 3 } })
  d.end()
  d.expect('[F.] 1 ack 1 win 65535')
  const fins = d.elapse(1000 * S)
  t.ok(fins.length >= 3 && fins.length <= 4, fins.join(' | '))
  t.ok(fins.every((line) => line.endsWith('[F.] 1 ack 1 win 65535')))
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.cause, st.CAUSE_TIMEOUT)
  t.end()
})

t.test('data and FIN are lost together: they go again together', (t) => {
  const d = Dialogue.connected(t)
  d.write(100, true)
  d.expect('[FP.] 1+100 ack 1 win 65535')
  const again = d.elapse(1500 * MS)
  t.ok(again.length >= 1)
  for (const line of again) t.match(line, /\[FP\.\] 1\+100 ack 1/)
  d.on('[.] 1 ack 102')
  t.equal(d.ep.state, st.FIN_WAIT_2)
  d.wait(1000 * S)
  t.end()
})

t.test('rfc9293 3.10.7.4: a FIN out of order counts once the gap is filled', (t) => {
  const d = Dialogue.connected(t)
  d.on('[F.] 101+50 ack 1', '[.] 1 ack 1 win 65535 sack 101:151')
  t.equal(d.ep.state, st.ESTABLISHED)
  d.on('[.] 1+100 ack 1', '[.] 1 ack 152 win 65384')
  d.received(150)
  t.equal(d.ep.state, st.CLOSE_WAIT)

  const bare = Dialogue.connected(t)
  bare.on('[F.] 101 ack 1', '[.] 1 ack 1 win 65535')
  bare.on('[.] 1+100 ack 1', '[.] 1 ack 102 win 65434')
  t.equal(bare.ep.state, st.CLOSE_WAIT)
  t.end()
})

t.test('rfc9293 3.10.7.4: data behind the FIN is ignored, also when it comes first', (t) => {
  const d = Dialogue.connected(t)
  d.on('[F.] 1+100 ack 1')
  d.wait(50 * MS, '+40 [.] 1 ack 102 win 65434')
  d.on('[.] 102+50 ack 1', '[.] 1 ack 102 win 65434')
  d.on('[.] 101+50 ack 1', '[.] 1 ack 102 win 65434')
  d.received(100)

  const early = Dialogue.connected(t)
  early.on('[F.] 101 ack 1', '[.] 1 ack 1 win 65535')
  early.on('[.] 51+150 ack 1', '[.] 1 ack 1 win 65535 sack 51:101')
  early.on('[.] 1+50 ack 1', '[.] 1 ack 102 win 65434')
  early.received(100)
  t.equal(early.ep.state, st.CLOSE_WAIT)
  t.end()
})

t.test('a FIN that contradicts data already received is ignored; the stream goes on', (t) => {
  const d = Dialogue.connected(t)
  d.on('[.] 101+100 ack 1', '[.] 1 ack 1 win 65535 sack 101:201')
  d.on('[F.] 51 ack 1', '[.] 1 ack 1 win 65535 sack 101:201')
  d.on('[.] 1+100 ack 1', '[.] 1 ack 201 win 65335')
  t.equal(d.ep.state, st.ESTABLISHED)
  d.on('[F.] 201 ack 1')
  d.wait(50 * MS, '+40 [.] 1 ack 202 win 65334')
  d.received(200)
  t.equal(d.ep.state, st.CLOSE_WAIT)
  t.end()
})

t.test('a second FIN at another place is ignored', (t) => {
  const d = Dialogue.connected(t)
  d.on('[F.] 101 ack 1', '[.] 1 ack 1 win 65535')
  d.on('[F.] 151 ack 1', '[.] 1 ack 1 win 65535')
  d.on('[.] 1+100 ack 1', '[.] 1 ack 102 win 65434')
  t.equal(d.ep.state, st.CLOSE_WAIT)
  t.end()
})

t.test('rfc9293 3.10.7.4: a repeated FIN is acknowledged again, at once, in every state behind the FIN', (t) => {
  for (const state of [st.CLOSE_WAIT, st.LAST_ACK, st.CLOSING, st.TIME_WAIT]) {
    const d = Dialogue.connected(t)
    if (state === st.CLOSING || state === st.TIME_WAIT) d.end()
    d.take()
    d.hear(state === st.TIME_WAIT ? '[F.] 1 ack 2' : '[F.] 1 ack 1')
    if (state === st.LAST_ACK) d.end()
    d.take()
    t.equal(d.ep.state, state)
    const ack = `[.] ${d.ep.sndNxt} ack 2 win 65534`
    for (let i = 0; i < 3; i++) d.on(`[F.] 1 ack ${d.ep.sndUna}`, ack)
    t.equal(d.ep.state, state)
  }
  t.end()
})

t.test('rfc9293 3.10.7.4: a FIN in TIME-WAIT restarts the timeout, nothing else does', (t) => {
  const d = timeWait(t)
  d.wait(50 * S)
  d.on('[F.] 1 ack 2', '[.] 2 ack 2 win 65534')
  d.wait(50 * S)
  t.equal(d.ep.state, st.TIME_WAIT)
  d.on('[.] 2 ack 2')
  d.on('[.] 1 ack 2', '[.] 2 ack 2 win 65534')
  d.wait(11 * S)
  t.equal(d.ep.state, st.CLOSED)
  t.end()
})

t.test('no window updates once the peer has said its last', (t) => {
  const d = Dialogue.connected(t)
  d.side.isReading = false
  d.hear('[P.] 1+60000 ack 1')
  d.take()
  d.on('[F.] 60001 ack 1')
  d.wait(50 * MS, '+40 [.] 1 ack 60002 win 5534')
  d.side.isReading = true
  d.expect()
  d.end()
  d.expect('[F.] 1 ack 60002 win 65534')
  t.end()
})

t.test('rfc9293 3.6.1, rfc6191 2: what may replace an endpoint in TIME-WAIT', (t) => {
  const plain = timeWait(t)
  t.equal(mayReuse(plain, '[S] 2 win 1000 mss 1460'), false, 'not beyond the FIN')
  t.equal(mayReuse(plain, '[S] 3 win 1000 mss 1460'), true, 'beyond it')
  t.equal(mayReuse(plain, '[S] -5 win 1000 mss 1460'), false)
  t.equal(mayReuse(plain, `[S] ${2 + 2 ** 31} win 1000 mss 1460`), false)

  const ts = timeWait(t, { cfg: { timestamps: true } }, ' TS 100 1000')
  t.equal(mayReuse(ts, '[S] -5 win 1000 mss 1460 TS 101 0'), true, 'a later timestamp')
  t.equal(mayReuse(ts, '[S] -5 win 1000 mss 1460 TS 100 0'), false)
  t.equal(mayReuse(ts, '[S] 3 win 1000 mss 1460 TS 100 0'), true, 'the same and a later number')
  t.equal(mayReuse(ts, '[S] 3 win 1000 mss 1460 TS 99 0'), false, 'an earlier timestamp is old, whatever the number')
  t.equal(mayReuse(ts, '[S] 3 win 1000 mss 1460'), true, 'no timestamp to compare')

  t.equal(mayReuse(Dialogue.connected(t), '[S] 30 win 1000 mss 1460'), false, 'only in TIME-WAIT')
  t.end()
})

t.test('rfc9293 3.10.5: abort in every synchronized state sends one RST, in TIME-WAIT none', (t) => {
  const make: Record<string, () => Dialogue> = {
    established: () => Dialogue.connected(t),
    finWait1: () => after(Dialogue.connected(t), (d) => d.end()),
    finWait2: () =>
      after(
        after(Dialogue.connected(t), (d) => d.end()),
        (d) => d.hear('[.] 1 ack 2'),
      ),
    closeWait: () => after(Dialogue.connected(t), (d) => d.hear('[F.] 1 ack 1')),
    withData: () =>
      after(Dialogue.connected(t), (d) => {
        d.write(5000)
      }),
  }
  for (const [name, prepare] of Object.entries(make)) {
    const d = prepare()
    const [nxt, ack] = [d.ep.sndNxt, d.ep.rcvNxt]
    d.ep.abort()
    t.equal(d.ep.isDone, false, name)
    d.expect(`[R.] ${nxt} ack ${ack} win 0`)
    t.equal(d.ep.isDone, true)
    d.ep.abort()
    d.wait(1000 * S)
    t.equal(d.ep.cause, st.CAUSE_ABORTED)
    t.equal(d.hear('[.] 1 ack 1'), false, 'unknown from now on')
    d.expect()
  }
  const d = timeWait(t)
  d.ep.abort()
  d.expect()
  t.equal(d.ep.state, st.CLOSED)
  t.end()
})

t.test('the last ACK leaves although the endpoint is closed already', (t) => {
  const d = Dialogue.connected(t)
  d.hear('[F.] 1 ack 1')
  d.take()
  d.end()
  d.take()
  t.equal(d.ep.state, st.LAST_ACK)
  // the repeated FIN asks for an ACK, which is not polled before ours arrives
  d.hear('[F.] 1 ack 1')
  d.hear('[.] 2 ack 2')
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.isDone, false)
  d.expect('[.] 2 ack 2 win 65534')
  t.equal(d.ep.isDone, true)
  t.end()
})

function after(d: Dialogue, act: (d: Dialogue) => void): Dialogue {
  act(d)
  d.take()
  return d
}

function timeWait(t: Test, setup: DialogueSetup = {}, ts = ''): Dialogue {
  const d = Dialogue.connected(t, setup, `win 65535 mss 1460${ts}`)
  d.end()
  d.take()
  d.hear(`[F.] 1 ack 2${ts}`)
  d.take()
  t.equal(d.ep.state, st.TIME_WAIT)
  return d
}

function mayReuse(d: Dialogue, syn: string): boolean {
  const [pkt, opts] = [new Packet(), new TcpOptions()]
  const bytes = d.bytesOf(syn)
  parsePacket(bytes, 0, bytes.length, pkt)
  parseOptionsOf(pkt, opts)
  return d.ep.mayReuse(pkt, opts)
}
t.end()
