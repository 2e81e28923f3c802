import t, { type Test } from 'tap'
import { parseAddress } from '../../../src/config/address-text.js'
import { COOKIE_INVALID, COOKIE_OLD, COOKIE_VALID, FastOpenKeys, parseFastOpenKey } from '../../../src/tcp/fast-open.js'
import * as st from '../../../src/tcp/state.js'
import { Dialogue, type DialogueSetup, MS, S } from './dialogue.js'

// The server's side of TCP Fast Open (RFC 7413): cookies, and a connection that carries data before its handshake is complete.

/** After a SYN with a valid cookie and `len` bytes, which the application reads at once. */
function opened(t: Test, len = 100, setup: DialogueSetup = {}): Dialogue {
  const d = new Dialogue(t, setup)
  d.side.isFastOpen = true
  d.hear(`[S] 0${len > 0 ? `+${len}` : ''} win 5000 mss 1000 sackOK`)
  return d
}

const synAck = (ack: number) => `[S.] 0 ack ${ack} win 65535 mss 1460 sackOK`

t.test('rfc7413 4.1.2: a cookie is a keyed hash of both addresses, as Linux computes it', async (t) => {
  const key = parseFastOpenKey('a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4')
  if (key === null) throw new Error('not a key')
  const keys = new FastOpenKeys(key)
  const [client, local] = [parseAddress('192.0.2.1'), parseAddress('192.168.0.1')]
  const [client6, local6] = [parseAddress('fd3d:fa7b:d17d::1'), parseAddress('fd3d:a0b:17d6::1')]
  const hex = (cookie: Uint8Array) => Buffer.from(cookie).toString('hex')
  t.equal(hex(keys.give(client, local)), '3021b9d889017eeb')
  t.equal(hex(keys.give(client6, local6)), 'c1d1e9742a47a9bc')
  t.equal(hex(new FastOpenKeys([0, 0, 0, 0]).give(client, local)), 'b7c12350a90dc8f5')
  const cookie = Uint8Array.of(9, ...keys.give(client, local))
  t.equal(keys.check(client, local, cookie, 1, 8), COOKIE_VALID)
  t.equal(keys.check(local, client, cookie, 1, 8), COOKIE_INVALID, 'of other addresses')
  t.equal(keys.check(client, local, cookie, 1, 6), COOKIE_INVALID, 'a part of it')
  for (let i = 1; i < 9; i++) t.equal(keys.check(client, local, cookie.with(i, (cookie[i] as number) ^ 1), 1, 8), COOKIE_INVALID)
  keys.rotate([1, 2, 3, 4])
  t.equal(keys.check(client, local, cookie, 1, 8), COOKIE_OLD, 'of the previous key')
  t.equal(keys.check(client, local, keys.give(client, local), 0, 8), COOKIE_VALID)
  keys.rotate([1, 2, 3, 5])
  t.equal(keys.check(client, local, cookie, 1, 8), COOKIE_INVALID, 'of the key before')
  for (const text of ['', 'a1a1a1a1-b2b2b2b2-c3c3c3c3', 'a1a1a1a1-b2b2b2b2-c3c3c3c3-xyz', '123456789-1-1-1'])
    t.equal(parseFastOpenKey(text), null)
})

t.test('rfc7413 4.2.2: the SYN/ACK acknowledges the data of the SYN, and data of ours leaves before the third ACK', async (t) => {
  const d = opened(t)
  t.equal(d.ep.state, st.SYN_RECEIVED)
  t.equal(d.ep.takeEvents() & st.EV_DATA, st.EV_DATA)
  d.received(100)
  d.expect(synAck(101))
  d.write(1500)
  d.expect('[.] 1+1000 ack 101 win 65535', '[P.] 1001+500 ack 101 win 65535')
  d.write(9000)
  d.expect('[.] 1501+1000 ack 101 win 65535', '[.] 2501+1000 ack 101 win 65535', '[.] 3501+1000 ack 101 win 65535') // 5000 is the SYN's window
  d.now += 30 * MS
  t.equal(d.hear('[.] 101 ack 1001 win 20000'), true)
  t.equal(d.take().length, 6, 'the rest')
  t.equal(d.ep.state, st.ESTABLISHED)
  t.equal(d.ep.takeEvents() & st.EV_ESTABLISHED, st.EV_ESTABLISHED)
  t.equal(d.ep.srttUs, 30 * MS, 'the handshake tells the round trip')
  d.received(100)
})

t.test('rfc7413 4.2.2: without data in the SYN the server may speak first', async (t) => {
  const d = opened(t, 0)
  d.write(10)
  d.expect(synAck(1), '[P.] 1+10 ack 1 win 65535')
  d.on('[P.] 1+20 ack 11 win 5000')
  d.received(20)
})

t.test('rfc7413 4.2.2: until the third ACK only the SYN/ACK is repeated; data that was lost goes again once that has come', async (t) => {
  const d = opened(t)
  d.write(500)
  d.expect(synAck(101), '[P.] 1+500 ack 101 win 65535')
  d.wait(4 * S, `+1000 ${synAck(101)}`, `+3000 ${synAck(101)}`)
  d.on('[.] 101 ack 1 win 5000')
  t.equal(d.ep.state, st.ESTABLISHED)
  d.wait(3 * S + 100 * MS, '+3000 [P.] 1+500 ack 101 win 65535') // RFC 6298 §5.7: 3 s after a SYN/ACK that was repeated
  d.on('[.] 101 ack 501 win 5000')
})

t.test('rfc7413 4.2.2: a SYN/ACK that was never answered ends the connection', async (t) => {
  const d = opened(t, 100, { cfg: { synRetries: 2 } })
  d.write(500)
  d.expect(synAck(101), '[P.] 1+500 ack 101 win 65535')
  d.wait(60 * S, `+1000 ${synAck(101)}`, `+3000 ${synAck(101)}`)
  t.equal(d.ep.state, st.CLOSED)
  t.equal(d.ep.cause, st.CAUSE_TIMEOUT)
  d.received(100)
})

t.test('rfc7413 4.2.2: the SYN that is repeated, with its data or without, is answered by the same SYN/ACK', async (t) => {
  const d = opened(t)
  d.expect(synAck(101))
  d.now += 600 * MS
  d.on('[S] 0+100 win 5000 mss 1000 sackOK', synAck(101))
  d.now += 600 * MS
  d.on('[S] 0 win 5000 mss 1000 sackOK', synAck(101))
  d.on('[P.] 101+50 ack 1 win 5000')
  d.received(150)
})

t.test('rfc9293 3.10.4: an end of ours in SYN-RECEIVED waits for the third ACK', async (t) => {
  const d = opened(t)
  d.write(50, true)
  d.expect(synAck(101), '[P.] 1+50 ack 101 win 65535')
  d.on('[.] 101 ack 51 win 5000', '[F.] 51 ack 101 win 65535')
  d.on('[F.] 101 ack 52 win 5000', '[.] 52 ack 102 win 65534')
  t.equal(d.ep.state, st.TIME_WAIT)
})

t.test('rfc7413 4.2.2: a reset before the third ACK is one of a connection, and an abort of ours resets', async (t) => {
  const d = opened(t)
  d.expect(synAck(101))
  d.on('[R] 101')
  t.equal(d.ep.cause, st.CAUSE_RESET)
  d.received(100)

  const plain = new Dialogue(t)
  plain.on('[S] 0 win 5000 mss 1000 sackOK', synAck(1))
  plain.on('[R] 1')
  t.equal(plain.ep.cause, st.CAUSE_REFUSED, 'without Fast Open nobody had it in hand')

  const aborted = opened(t)
  aborted.write(50)
  aborted.expect(synAck(101), '[P.] 1+50 ack 101 win 65535')
  aborted.ep.abort()
  aborted.expect('[R.] 51 ack 101 win 0')
})

t.test('rfc7413 4.2.2: a receive buffer that is too small takes a part of the data of the SYN', async (t) => {
  const d = new Dialogue(t, { capacity: 64 })
  d.side.isFastOpen = true
  d.side.isReading = false
  d.hear('[S] 0+100 win 5000 mss 1000 sackOK')
  d.expect('[S.] 0 ack 65 win 0 mss 1460 sackOK')
  d.received(64)
})
