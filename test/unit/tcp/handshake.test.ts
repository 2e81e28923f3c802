import t from 'tap'
import * as st from '../../../src/tcp/state.js'
import { Dialogue, MS, S } from './dialogue.js'

const OFFER = 'mss 1460 sackOK wscale 0'

t.test('rfc9293 3.5: active open', (t) => {
  const d = new Dialogue(t)
  d.connect()
  d.expect(`[S] 0 win 65535 ${OFFER}`)
  t.equal(d.ep.state, st.SYN_SENT)
  d.now += 30 * MS
  d.on('[S.] 0 ack 1 win 5000 mss 1400 sackOK wscale 3', '[.] 1 ack 1 win 65535')
  t.equal(d.ep.state, st.ESTABLISHED)
  t.equal(d.ep.takeEvents() & st.EV_ESTABLISHED, st.EV_ESTABLISHED)
  t.equal(d.ep.sndEdge, 5001, 'rfc7323 2.2: the window of a SYN is never scaled')
  t.equal(d.ep.srttUs, 30 * MS)
  t.equal(d.ep.mss, 1400)
  d.wait(10 * S)
  t.end()
})

t.test('rfc9293 3.5: passive open', (t) => {
  const d = new Dialogue(t)
  d.on('[S] 0 win 5000 mss 1400 sackOK wscale 3', `[S.] 0 ack 1 win 65535 ${OFFER}`)
  t.equal(d.ep.state, st.SYN_RECEIVED)
  d.now += 30 * MS
  d.on('[.] 1 ack 1 win 1000')
  t.equal(d.ep.state, st.ESTABLISHED)
  t.equal(d.ep.takeEvents() & st.EV_ESTABLISHED, st.EV_ESTABLISHED)
  t.equal(d.ep.sndEdge, 8001, 'scaled from here on')
  t.equal(d.ep.srttUs, 30 * MS)
  d.wait(10 * S)
  t.end()
})

t.test('rfc9293 3.10.7.3: data and FIN may come with the SYN/ACK', (t) => {
  const d = new Dialogue(t)
  d.connect()
  d.take()
  d.on('[SF.] 0+100 ack 1 win 5000 mss 1400 sackOK', '[.] 1 ack 102 win 65434')
  d.received(100)
  t.equal(d.ep.state, st.CLOSE_WAIT)
  t.end()
})

t.test('rfc9293 3.5: data and FIN may come with the ACK that completes a passive open', (t) => {
  const d = new Dialogue(t)
  d.on('[S] 0 win 5000 mss 1400 sackOK', '[S.] 0 ack 1 win 65535 mss 1460 sackOK')
  d.on('[F.] 1+100 ack 1 win 5000')
  d.wait(50 * MS, '+40 [.] 1 ack 102 win 65434')
  d.received(100)
  t.equal(d.ep.state, st.CLOSE_WAIT)
  t.end()
})

t.test('rfc6298 5: a SYN is repeated with doubling intervals, then the connect fails', (t) => {
  const d = new Dialogue(t, { cfg: { synRetries: 3 } })
  d.connect()
  const syn = `[S] 0 win 65535 ${OFFER}`
  d.expect(syn)
  d.wait(60 * S, `+1000 ${syn}`, `+3000 ${syn}`, `+7000 ${syn}`)
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.cause, st.CAUSE_TIMEOUT)
  t.equal(d.ep.isDone, true, 'nothing more to say')
  t.end()
})

t.test('rfc6298 5: a SYN that is repeated because the way is open now takes no part in the back-off', (t) => {
  const d = new Dialogue(t, { cfg: { synRetries: 2 } })
  d.connect()
  const syn = `[S] 0 win 65535 ${OFFER}`
  d.ep.repeatSyn(d.now)
  d.expect(syn)
  for (let i = 0; i < 2; i++) {
    d.now += 100 * MS
    d.ep.repeatSyn(d.now)
    d.expect(syn)
  }
  d.wait(60 * S, `+1000 ${syn}`, `+3000 ${syn}`)
  t.equal(d.ep.cause, st.CAUSE_TIMEOUT)

  const answered = new Dialogue(t)
  answered.connect()
  answered.take()
  answered.ep.repeatSyn(answered.now)
  answered.take()
  answered.elapse(1 * S)
  answered.hear('[S.] 0 ack 1 win 65535 mss 1000')
  answered.take()
  answered.write(50_000)
  t.equal(answered.take().length, 10, 'one timeout, hence the whole initial window')
  answered.ep.repeatSyn(answered.now)
  answered.expect()
  t.end()
})

t.test('rfc6298 5: a SYN/ACK is repeated with doubling intervals, then the connection is given up', (t) => {
  const d = new Dialogue(t, { cfg: { synRetries: 2 } })
  const synAck = '[S.] 0 ack 1 win 65535 mss 1460 sackOK'
  d.on('[S] 0 win 5000 mss 1460 sackOK', synAck)
  d.wait(60 * S, `+1000 ${synAck}`, `+3000 ${synAck}`)
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.cause, st.CAUSE_TIMEOUT)
  t.end()
})

t.test('rfc9293 3.10.7.4: a repeated SYN in SYN-RECEIVED is answered by the SYN/ACK again, not without limit', (t) => {
  const d = new Dialogue(t)
  const synAck = '[S.] 0 ack 1 win 65535 mss 1460 sackOK'
  d.on('[S] 0 win 5000 mss 1460 sackOK', synAck)
  d.now += 600 * MS
  d.on('[S] 0 win 5000 mss 1460 sackOK', synAck)
  d.on('[S] 0 win 5000 mss 1460 sackOK')
  d.now += 600 * MS
  d.on('[S] 0 win 5000 mss 1460 sackOK', synAck)
  d.on('[.] 1 ack 1 win 5000')
  t.equal(d.ep.state, st.ESTABLISHED)
  t.end()
})

t.test('rfc6298 3: no RTT sample from a SYN that was sent twice, unless its timestamp tells which one was answered', (t) => {
  const d = new Dialogue(t)
  d.connect()
  d.take()
  d.wait(S, `+1000 [S] 0 win 65535 ${OFFER}`)
  d.now += 20 * MS
  d.on('[S.] 0 ack 1 win 5000 mss 1400', '[.] 1 ack 1 win 65535')
  t.equal(d.ep.srttUs, 0)

  const ts = new Dialogue(t, { cfg: { timestamps: true } })
  ts.connect()
  ts.expect('[S] 0 win 65535 mss 1460 sackOK TS 1000 0 wscale 0')
  ts.wait(S, '+1000 [S] 0 win 65535 mss 1460 sackOK TS 2000 0 wscale 0')
  ts.now += 20 * MS
  ts.on('[S.] 0 ack 1 win 5000 mss 1400 TS 5 2000', '[.] 1 ack 1 win 65535 TS 2020 5')
  t.equal(ts.ep.srttUs, 20 * MS)
  t.end()
})

t.test('rfc6298 5.7: without a sample after a repeated SYN the first RTO is 3 s', (t) => {
  const d = new Dialogue(t)
  d.connect()
  d.take()
  d.wait(S, `+1000 [S] 0 win 65535 ${OFFER}`)
  d.on('[S.] 0 ack 1 win 5000 mss 1400', '[.] 1 ack 1 win 65535')
  d.write(10)
  d.expect('[P.] 1+10 ack 1 win 65535')
  d.wait(4 * S, '+3000 [P.] 1+10 ack 1 win 65535')
  t.end()
})

t.test('rfc6928 2: the initial window is ten segments, one after more than one repetition of the SYN (Linux)', (t) => {
  for (const [lost, segments] of [
    [0, 10],
    [1, 10],
    [2, 1],
  ] as const) {
    const d = new Dialogue(t)
    d.connect()
    d.take()
    for (let i = 0; i < lost; i++) d.elapse(S * 2 ** i)
    d.hear('[S.] 0 ack 1 win 65535 mss 1000')
    d.take()
    d.write(50_000)
    t.equal(d.take().length, segments, `${lost} SYNs lost`)
  }
  t.end()
})

t.test('rfc9293 3.10.7.3: SYN-SENT, an ACK of something never sent is stray, a RST with it ignored', (t) => {
  for (const ack of [0, 2, -1, 2 ** 31]) {
    const d = new Dialogue(t)
    d.connect()
    d.take()
    t.equal(d.hear(`[.] 5 ack ${ack}`), false, `ACK ${ack}`)
    t.equal(d.hear(`[S.] 0 ack ${ack}`), false, `SYN/ACK ${ack}`)
    d.on(`[R.] 5 ack ${ack}`)
    t.equal(d.ep.state, st.SYN_SENT)
    d.expect()
  }
  t.end()
})

t.test('rfc9293 3.10.7.3: SYN-SENT, a RST with the right ACK refuses; without ACK it is ignored', (t) => {
  const d = new Dialogue(t)
  d.connect()
  d.take()
  d.on('[R] 5')
  d.on('[.] 5 ack 1')
  d.on('[F.] 5+10 ack 1')
  t.equal(d.ep.state, st.SYN_SENT)
  d.on('[R.] 0 ack 1')
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.cause, st.CAUSE_REFUSED)
  d.wait(100 * S)
  t.end()
})

t.test('rfc9293 3.10.7.4: SYN-RECEIVED', (t) => {
  const half = () => {
    const d = new Dialogue(t)
    d.on('[S] 0 win 5000 mss 1460 sackOK', '[S.] 0 ack 1 win 65535 mss 1460 sackOK')
    d.now += 600 * MS
    return d
  }
  const synAck = '[S.] 0 ack 1 win 65535 mss 1460 sackOK'
  for (const ack of [0, 2, -5, 2 ** 31]) {
    const d = half()
    t.equal(d.hear(`[.] 1 ack ${ack}`), false, `stray ACK ${ack}`)
    d.expect()
    t.equal(d.ep.state, st.SYN_RECEIVED)
  }
  const reset = half()
  reset.on('[R] 1')
  t.equal(reset.ep.cause, st.CAUSE_REFUSED)
  t.equal(reset.ep.state, st.CLOSED)

  half().on('[R] 2', synAck) // rfc5961 3.2: in the window, but not exact
  half().on('[R] 0')
  half().on('[R] 70000')
  half().on('[.] 70000 ack 1', synAck) // unacceptable: what we have to say is the SYN/ACK
  half().on('[] 1+10')
  t.end()
})

t.test('rfc9293 3.5: simultaneous open', (t) => {
  const d = new Dialogue(t)
  d.connect()
  d.expect(`[S] 0 win 65535 ${OFFER}`)
  d.on('[S] 0 win 5000 mss 1400 sackOK wscale 3', `[S.] 0 ack 1 win 65535 ${OFFER}`)
  t.equal(d.ep.state, st.SYN_RECEIVED)
  d.on('[S.] 0 ack 1 win 4000 mss 1400 sackOK wscale 3')
  t.equal(d.ep.state, st.ESTABLISHED)
  t.equal(d.ep.sndEdge, 4001, 'the window of a SYN/ACK is not scaled')
  d.write(10)
  d.expect('[P.] 1+10 ack 1 win 65535')
  t.end()
})

t.test('rfc6298 3: the round trip of a simultaneous open is that of our SYN, not of the SYN/ACK that crosses the peer’s', (t) => {
  const d = new Dialogue(t)
  d.connect()
  d.take()
  d.now += 10 * MS
  d.hear('[S] 0 win 5000 mss 1400')
  d.take()
  d.now += 40 * MS
  d.on('[S.] 0 ack 1 win 4000 mss 1400')
  t.equal(d.ep.srttUs, 50 * MS)
  t.end()
})

t.test('rfc9293 3.5: simultaneous open between two of us comes to rest, also when segments are lost', (t) => {
  for (let mask = 0; mask < 16; mask++) {
    const [a, b] = [new Dialogue(t), new Dialogue(t, { iss: 70_000, irs: 1_000 })]
    a.connect()
    b.connect()
    let n = 0
    for (let ms = 0; ms < 40_000; ms += 10) {
      const said = [a.take(), b.take()]
      // the k-th packet of the first four is lost when bit k is set
      for (const line of said[0] as string[]) if (((mask >> n++) & 1) === 0) b.hear(line)
      for (const line of said[1] as string[]) if (((mask >> n++) & 1) === 0) a.hear(line)
      for (const d of [a, b]) {
        d.now += 10 * MS
        d.ep.onTimeout(d.now)
      }
    }
    t.equal(a.ep.state, st.ESTABLISHED, `loss ${mask}`)
    t.equal(b.ep.state, st.ESTABLISHED, `loss ${mask}`)
    t.ok(n < 16, `${n} packets`)
  }
  t.end()
})

t.test('rfc9293 3.10.7.4: a repeated SYN/ACK gets the third ACK again', (t) => {
  const d = Dialogue.connected(t)
  d.on('[S.] 0 ack 1 win 65535 mss 1460 sackOK', '[.] 1 ack 1 win 65535')
  t.equal(d.ep.state, st.ESTABLISHED)
  t.end()
})

t.test('rfc7323 2.2: a window scale counts only when both sides sent one', (t) => {
  const both = Dialogue.connected(t, { cfg: { windowScale: 7 } }, 'win 1000 mss 1460 wscale 5')
  t.equal(both.ep.sndWscale, 5)
  t.equal(both.ep.rcvWscale, 7)
  both.on('[.] 1 ack 1 win 1000')
  t.equal(both.ep.sndEdge, 32_001)
  both.write(1)
  both.expect('[P.] 1+1 ack 1 win 511')

  const without = Dialogue.connected(t, { cfg: { windowScale: 7 } }, 'win 1000 mss 1460')
  t.equal(without.ep.rcvWscale, 0)
  without.on('[.] 1 ack 1 win 1000')
  t.equal(without.ep.sndEdge, 1001)
  without.write(1)
  without.expect('[P.] 1+1 ack 1 win 65535')

  const passive = new Dialogue(t, { cfg: { windowScale: 7 } })
  passive.on('[S] 0 win 1000 mss 1460', '[S.] 0 ack 1 win 65535 mss 1460')

  const huge = Dialogue.connected(t, {}, 'win 1000 mss 1460 wscale 255')
  t.equal(huge.ep.sndWscale, 14, 'rfc7323 2.3')
  t.end()
})

t.test('rfc9293 3.7.1: MSS absent, tiny, huge', (t) => {
  const mssOf = (offer: string, isV6 = false) => Dialogue.connected(t, { isV6 }, `win 65535${offer}`).ep.mss
  t.equal(mssOf(''), 536)
  t.equal(mssOf('', true), 1220)
  t.equal(mssOf(' mss 0'), 64)
  t.equal(mssOf(' mss 1'), 64)
  t.equal(mssOf(' mss 64'), 64)
  t.equal(mssOf(' mss 1000'), 1000)
  t.equal(mssOf(' mss 65535'), 1460)
  t.equal(mssOf(' mss 65535', true), 1440)
  t.equal(Dialogue.connected(t, { cfg: { timestamps: true } }, 'win 65535 mss 1000 TS 1 1000').ep.mss, 988, 'options count against the MSS')
  t.end()
})

t.test('IPv6: open, data, close', (t) => {
  const d = new Dialogue(t, { isV6: true, cfg: { timeWaitUs: S } })
  d.connect()
  d.expect('[S] 0 win 65535 mss 1440 sackOK wscale 0')
  d.on('[S.] 0 ack 1 win 65535 mss 1440 sackOK', '[.] 1 ack 1 win 65535')
  d.write(2000, true)
  d.expect('[.] 1+1440 ack 1 win 65535', '[FP.] 1441+560 ack 1 win 65535')
  d.on('[F.] 1 ack 2002', '[.] 2002 ack 2 win 65534')
  t.equal(d.ep.state, st.TIME_WAIT)
  d.wait(2 * S)
  t.equal(d.ep.state, st.CLOSED)
  t.end()
})

t.test('rfc7323 3.2: timestamps on every segment, RSTs of our own accord included, once both sides offered them', (t) => {
  const d = Dialogue.accepted(t, { cfg: { timestamps: true } }, 'win 65535 mss 1460 sackOK TS 50 0')
  t.equal(d.ep.hasTimestamps, true)
  d.now += 10 * MS
  d.on('[P.] 1+100 ack 1 TS 60 1000')
  d.wait(40 * MS, '+40 [.] 1 ack 101 win 65435 TS 1050 60')
  d.write(10)
  d.expect('[P.] 1+10 ack 101 win 65435 TS 1050 60')
  d.end()
  d.expect('[F.] 11 ack 101 win 65435 TS 1050 60')
  d.ep.abort()
  d.expect('[R.] 12 ack 101 win 0 TS 1050 60')
  t.end()
})

t.test('options that only one side sent are not used', (t) => {
  const d = new Dialogue(t, { cfg: { timestamps: false, sack: false } })
  d.on('[S] 0 win 65535 mss 1460 sackOK TS 1 0', '[S.] 0 ack 1 win 65535 mss 1460')
  d.on('[.] 1 ack 1')
  d.on('[.] 101+100 ack 1', '[.] 1 ack 1 win 65535')
  const without = Dialogue.connected(t, { cfg: { timestamps: true } }, 'win 65535 mss 1460')
  without.on('[.] 101+100 ack 1', '[.] 1 ack 1 win 65535')
  t.end()
})

t.test('abort in every phase of an open', (t) => {
  const syn = new Dialogue(t)
  syn.connect()
  syn.take()
  syn.ep.abort()
  syn.expect()
  t.equal(syn.ep.cause, st.CAUSE_ABORTED)

  const half = new Dialogue(t)
  half.on('[S] 0 win 5000 mss 1460 sackOK', '[S.] 0 ack 1 win 65535 mss 1460 sackOK')
  half.ep.abort()
  half.expect('[R.] 1 ack 1 win 0') // the peer may be established already and expects our number behind the SYN
  half.ep.abort()
  half.expect()
  t.equal(half.ep.isDone, true)
  t.equal(half.hear('[.] 1 ack 1'), false, 'stray from now on')
  half.on('[R] 1')
  t.end()
})
t.end()
