import t, { type Test } from 'tap'
import { ICMP_REFUSED, ICMP_TOO_BIG, ICMP_UNREACHABLE, type IcmpKind } from '../../../src/tcp/endpoint.js'
import { seqOf } from '../../../src/wire/seq.js'
import * as st from '../../../src/tcp/state.js'
import { Dialogue, type DialogueSetup, MS, S } from './dialogue.js'

const W = 'ack 1 win 65535'

/** One segment of at most `len` bytes beginning at `at`, as the lines of a dialogue have it. */
interface Piece {
  at: number
  len: number
  gso: number
}

function pieces(lines: string[]): Piece[] {
  return lines.map((line) => {
    const [, at, len, gso = 0] = /\] (\d+)\+(\d+) .*?(?:gso (\d+))?$/.exec(line) as unknown as [string, number, number, number?]
    return { at: Number(at), len: Number(len), gso: Number(gso) }
  })
}

/** Sends as much as the window allows in super-segments. */
function burst(t: Test, setup: DialogueSetup, offer: string, window: number): Dialogue {
  const d = Dialogue.connected(
    t,
    { capacity: 1 << 20, rttUs: 50 * MS, ...setup, cfg: { gso: true, initialWindow: 1000, ...setup.cfg } },
    offer,
  )
  d.hear(`[.] 1 ack 1 win ${window}`)
  return d
}

t.test('super-segments are whole multiples of the MSS, carry its size, and never exceed an IP packet', (t) => {
  for (const isV6 of [false, true]) {
    for (const mss of [64, 536, 1000, 1440, 1460]) {
      const d = burst(t, { isV6 }, `win 65535 mss ${mss} wscale 14`, 65_535)
      const total = Math.min(400_000, 500 * mss)
      d.write(total)
      const sent = pieces(d.take())
      const seg = d.ep.mss
      let at = 1
      for (const p of sent) {
        t.equal(p.at, at)
        at += p.len
        const isLast = at === 1 + total
        if (!isLast && p.len % seg !== 0) t.equal(p.len % seg, 0, `${p.len} is a multiple of ${seg}`)
        if (p.len > seg && p.gso !== seg) t.equal(p.gso, seg, 'gso size')
        if (p.len <= seg && p.gso !== 0) t.equal(p.gso, 0, 'no gso size on a single segment')
        if (p.len + (isV6 ? 40 : 20) + 20 > 65_535) t.fail(`${p.len} bytes do not fit into a packet`)
      }
      t.equal(at, 1 + total, `mss ${mss}: all is sent`)
      t.ok(sent.length <= Math.ceil(total / (60_000 - (60_000 % seg))) + 1, `in ${sent.length} packets`)
    }
  }
  t.end()
})

t.test('timestamps shorten the segments of a super-segment', (t) => {
  const d = burst(t, { cfg: { timestamps: true } }, 'win 65535 mss 1460 TS 1 1000', 65_535)
  d.write(10_000)
  d.expect(`[P.] 1+10000 ${W} TS 1050 1 gso 1448`)
  t.end()
})

t.test('without GSO every segment goes by itself', (t) => {
  const d = burst(t, { cfg: { gso: false } }, 'win 65535 mss 1000', 65_535)
  d.write(3500)
  d.expect(`[.] 1+1000 ${W}`, `[.] 1001+1000 ${W}`, `[.] 2001+1000 ${W}`, `[P.] 3001+500 ${W}`)
  t.end()
})

t.test('a retransmission of a super-segment is one again', (t) => {
  const d = burst(t, {}, 'win 65535 mss 1000 sackOK', 65_535)
  d.write(20_000)
  d.expect(`[P.] 1+20000 ${W} gso 1000`)
  d.now += 50 * MS
  // the first five segments are lost
  d.hear('[.] 1 ack 1 sack 5001:12001')
  d.hear('[.] 1 ack 1 sack 5001:20001')
  const again = pieces(d.take())
  for (let i = 0; i < 10 && again.reduce((sum, p) => sum + p.len, 0) < 5000; i++) {
    d.hear('[.] 1 ack 1 sack 5001:20001')
    again.push(...pieces(d.take()))
  }
  t.equal(
    again.reduce((sum, p) => sum + p.len, 0),
    5000,
    'exactly what is missing',
  )
  for (const p of again) if (p.len > 1000) t.equal(p.gso, 1000)
  d.hear('[.] 1 ack 20001')
  t.equal(d.ep.inFlight, 0)
  t.end()
})

t.test('rfc9293 3.7.4: Nagle holds a small segment while data is in flight', (t) => {
  const d = Dialogue.connected(t, { cfg: { nagle: true } }, 'win 65535 mss 1000')
  d.write(10)
  d.expect(`[P.] 1+10 ${W}`)
  d.write(10)
  d.write(10)
  d.expect()
  d.on('[.] 1 ack 11', `[P.] 11+20 ${W}`)
  d.write(2500)
  d.expect(`[.] 31+1000 ${W}`, `[.] 1031+1000 ${W}`)
  d.on('[.] 1 ack 31')
  d.on('[.] 1 ack 2031', `[P.] 2031+500 ${W}`)
  t.end()
})

t.test('rfc9293 3.7.4: without Nagle small segments go at once', (t) => {
  const d = Dialogue.connected(t, {}, 'win 65535 mss 1000')
  for (let i = 0; i < 3; i++) {
    d.write(10)
    d.expect(`[P.] ${1 + 10 * i}+10 ${W}`)
  }
  t.end()
})

t.test('PSH ends what the application has written so far', (t) => {
  const d = Dialogue.connected(t, {}, 'win 65535 mss 1000')
  d.write(1500)
  d.expect(`[.] 1+1000 ${W}`, `[P.] 1001+500 ${W}`)
  t.end()
})

const raw = (d: Dialogue, off: number) => seqOf(d.iss, off)

t.test('rfc1191 6.5: "too big" lowers the MSS and cuts what is in flight again, without a congestion event', (t) => {
  const d = Dialogue.connected(t, { rttUs: 50 * MS })
  d.write(2920)
  d.expect(`[.] 1+1460 ${W}`, `[P.] 1461+1460 ${W}`)
  const { cwnd } = d.ep
  d.ep.onIcmp(ICMP_TOO_BIG, 1000, raw(d, 1461))
  t.equal(d.ep.mss, 960)
  t.equal(d.ep.cwnd, cwnd)
  const again = pieces(d.take())
  t.same(
    again.map((p) => [p.at, p.len]),
    [
      [1, 960],
      [961, 960],
      [1921, 960],
      [2881, 40],
    ],
  )
  d.ep.onIcmp(ICMP_TOO_BIG, 1400, raw(d, 1))
  t.equal(d.ep.mss, 960, 'never raised')
  d.ep.onIcmp(ICMP_TOO_BIG, 68, raw(d, 1))
  t.equal(d.ep.mss, 512, 'Linux: min_pmtu 552')
  d.ep.onIcmp(ICMP_TOO_BIG, 0, raw(d, 1))
  t.equal(d.ep.mss, 512)
  t.end()
})

t.test('rfc1191 5: a router that does not tell its MTU has the next smaller one that links have', (t) => {
  const d = Dialogue.connected(t)
  d.write(1460)
  d.take()
  for (const mss of [1452, 966, 512, 512]) {
    d.ep.onIcmp(ICMP_TOO_BIG, 0, raw(d, 1))
    t.equal(d.ep.mss, mss)
  }
  t.end()
})

t.test('rfc1191 6.5: what fits into the smaller MTU does not go again', (t) => {
  const d = Dialogue.connected(t)
  d.write(500)
  d.expect(`[P.] 1+500 ${W}`)
  d.write(1460)
  d.expect(`[P.] 501+1460 ${W}`)
  d.ep.onIcmp(ICMP_TOO_BIG, 1000, raw(d, 501))
  t.same(
    pieces(d.take()).map((p) => [p.at, p.len]),
    [
      [501, 960],
      [1461, 500],
    ],
  )
  t.end()
})

t.test('rfc8201 4: an IPv6 path has 1280 bytes at least', (t) => {
  const d = Dialogue.connected(t, { isV6: true })
  d.write(1440)
  d.take()
  d.ep.onIcmp(ICMP_TOO_BIG, 100, raw(d, 1))
  t.equal(d.ep.mss, 1440, 'what says less is discarded')
  d.ep.onIcmp(ICMP_TOO_BIG, 1280, raw(d, 1))
  t.equal(d.ep.mss, 1220)
  t.end()
})

t.test('rfc5927 4: an ICMP error counts only when it quotes what is in flight', (t) => {
  const d = Dialogue.connected(t)
  d.ep.onIcmp(ICMP_TOO_BIG, 1000, raw(d, 1))
  t.equal(d.ep.mss, 1460, 'nothing is in flight')
  d.write(1000)
  d.take()
  for (const off of [0, 1001, 5000, -1, 2 ** 31]) {
    d.ep.onIcmp(ICMP_TOO_BIG, 1000, raw(d, off))
    t.equal(d.ep.mss, 1460, `quotes ${off}`)
  }
  d.ep.onIcmp(ICMP_TOO_BIG, 1000, raw(d, 1000))
  t.equal(d.ep.mss, 960)
  let lowered = 0
  const fresh = Dialogue.connected(t)
  fresh.write(1000)
  fresh.take()
  for (let i = 0; i < 100_000; i++) {
    fresh.ep.onIcmp(ICMP_TOO_BIG, 600, Math.imul(i, 42_949))
    if (fresh.ep.mss !== 1460) lowered++
  }
  t.ok(lowered <= 1 || fresh.ep.mss >= 512, 'forged ones hit the flight by chance only')
  t.end()
})

t.test('rfc1122 4.2.3.9: soft errors end a connection attempt, and no connection', (t) => {
  const kinds: [IcmpKind, number][] = [
    [ICMP_UNREACHABLE, st.CAUSE_UNREACHABLE],
    [ICMP_REFUSED, st.CAUSE_REFUSED],
  ]
  for (const [kind, cause] of kinds) {
    const d = Dialogue.connected(t)
    d.write(100)
    d.take()
    d.ep.onIcmp(kind, 0, raw(d, 1))
    t.equal(d.ep.state, st.ESTABLISHED)

    const syn = new Dialogue(t)
    syn.connect()
    syn.take()
    syn.ep.onIcmp(kind, 0, raw(syn, 5))
    t.equal(syn.ep.state, st.SYN_SENT, 'quotes something else')
    syn.ep.onIcmp(kind, 0, raw(syn, 0))
    t.equal(syn.ep.state, st.CLOSED)
    t.equal(syn.ep.cause, cause)
    syn.expect()
    syn.wait(100 * S)
  }
  t.end()
})
t.end()
