import t from 'tap'
import { ICMP_REFUSED, ICMP_TOO_BIG, ICMP_UNREACHABLE } from '../../../src/tcp/endpoint.js'
import * as st from '../../../src/tcp/state.js'
import { seeds } from '../../oracle/seeds.js'
import { Rng } from '../../../src/base/rng.js'
import { Dialogue, S } from './dialogue.js'

// What must not cost much, or change anything, however often it comes.

const FORGED = 100_000
/** Ranges that a stream queue keeps; what would make more is not taken. */
const RANGES_MAX = 4096

t.test('rfc5927 4: forged ICMP errors with guessed sequence numbers change nothing', async (t) => {
  for (const seed of seeds([5927])) {
    const rng = new Rng(seed)
    const d = Dialogue.connected(t, { cfg: { mtuProbing: true } })
    d.write(5_000)
    d.take()
    const { mss } = d.ep
    const flight = d.ep.sndNxt - d.ep.sndUna
    for (let i = 0; i < FORGED; i++) {
      const kind = [ICMP_UNREACHABLE, ICMP_REFUSED, ICMP_TOO_BIG][i % 3] as 0 | 1 | 2
      let seq = rng.int32()
      if ((seq - d.iss - d.ep.sndUna) >>> 0 < flight) seq = (seq + flight) | 0 // a lucky guess is another matter
      d.ep.onIcmp(kind, 68 + (i % 1400), seq)
    }
    t.equal(d.ep.mss, mss, 'the MSS is what it was')
    t.equal(d.ep.state, st.ESTABLISHED)
    t.equal(d.ep.retransSegs, 0)
    // in the flight: hard errors still end nothing (RFC 5461), Too Big counts
    d.ep.onIcmp(ICMP_REFUSED, 0, (d.iss + 1) | 0)
    t.equal(d.ep.state, st.ESTABLISHED)
    d.ep.onIcmp(ICMP_TOO_BIG, 1000, (d.iss + 1) | 0)
    t.equal(d.ep.mss, 960)
  }
})

t.test('SegmentSmack: gaps without end are bounded in number and in cost', (t) => {
  const smack = (n: number): number => {
    const d = Dialogue.connected(t, { capacity: 1 << 20, cfg: { windowScale: 5 } }, 'win 65535 mss 1460 sackOK wscale 5')
    const at = d.bytesOf('[.] 3+1 ack 1')
    const seqAt = 10 + 20 + 4
    const view = new DataView(at.buffer, at.byteOffset, at.length)
    const base = view.getInt32(seqAt)
    let most = 0
    const from = process.hrtime.bigint()
    for (let i = 0; i < n; i++) {
      // every other byte of the window, over and over; the checksum was verified before the endpoint sees it
      view.setInt32(seqAt, (base + 2 * (i % 16_000)) | 0)
      d.side.deliver(at, d.now, d.iss)
      if ((i & 63) === 0) {
        d.take()
        most = Math.max(most, d.side.in.sparse?.count ?? 0)
      }
    }
    const each = Number(process.hrtime.bigint() - from) / n
    t.ok(most > 500 && most <= RANGES_MAX, `${most} ranges at most`)
    t.equal(d.ep.state, st.ESTABLISHED)
    return each
  }
  smack(5_000) // warms up
  const few = Math.min(smack(1_500), smack(1_500))
  const many = Math.min(smack(100_000), smack(20_000))
  t.comment(`${Math.round(few)} ns a segment at first, ${Math.round(many)} ns later`)
  t.ok(many < 4 * few, `${Math.round(many)} ns after ${Math.round(few)} ns`)
  t.end()
})

t.test('rfc6093 3.1: urgent data in the middle of a stream is data', (t) => {
  const d = Dialogue.connected(t)
  for (let at = 1; at <= 901; at += 100) d.hear(at === 401 ? '[PU.] 401+100 ack 1 urg 50' : `[P.] ${at}+100 ack 1`)
  d.take()
  d.received(1000)
  t.end()
})

t.test('rfc5482 3: a user timeout option of the peer is let pass, and changes nothing', (t) => {
  const d = Dialogue.connected(t)
  const plain = d.bytesOf('[P.] 1+100 ack 1 sack 5000:5001')
  // the SACK option (NOP NOP kind 5, 10 bytes, of what was never sent) becomes NOP NOP UTO(28, 4, 1 s) NOPs
  const at = 10 + 20 + 20
  plain.set([1, 1, 28, 4, 0, 1, 1, 1, 1, 1, 1, 1], at)
  d.side.deliver(plain, d.now, d.iss)
  d.take()
  d.received(100)
  d.write(100)
  d.take()
  d.elapse(60 * S)
  t.equal(d.ep.state, st.ESTABLISHED, 'ours is what counts')
  t.end()
})
