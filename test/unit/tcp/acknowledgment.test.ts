import t from 'tap'
import { NEVER } from '../../../src/base/time.js'
import { Dialogue, MS } from './dialogue.js'

/** So large that windows do not move in these dialogues. */
const open = { capacity: 1 << 20 }
const W = 'win 65535'

t.test('rfc9293 3.8.6.3: an ACK is delayed by 40 ms at most', (t) => {
  const d = Dialogue.connected(t, open)
  d.on('[P.] 1+100 ack 1')
  t.equal(d.ep.nextTimeout(), d.now + 40 * MS)
  d.now += 30 * MS
  d.on('[P.] 101+100 ack 1')
  d.wait(100 * MS, '+10 [.] 1 ack 201 win 65335')
  t.equal(d.ep.nextTimeout(), NEVER)
  t.end()
})

t.test('rfc5681 4.2: every second full-sized segment is acknowledged', (t) => {
  const d = Dialogue.connected(t, open)
  d.on('[.] 1+1460 ack 1')
  d.on('[.] 1461+1460 ack 1', `[.] 1 ack 2921 ${W}`)
  d.on('[.] 2921+1460 ack 1')
  d.on('[.] 4381+1460 ack 1', `[.] 1 ack 5841 ${W}`)
  d.wait(1000 * MS)
  t.end()
})

t.test('rfc5681 4.2: a super-segment of several segments is acknowledged at once, by one ACK', (t) => {
  const d = Dialogue.connected(t, open)
  d.on('[.] 1+14600 ack 1 gso 1460', `[.] 1 ack 14601 ${W}`)
  d.on('[.] 14601+1460 ack 1')
  d.on('[.] 16061+2920 ack 1 gso 1460', `[.] 1 ack 18981 ${W}`)
  t.end()
})

t.test('rfc9293 3.8.6.3: an ACK rides on data', (t) => {
  const d = Dialogue.connected(t, open)
  d.on('[P.] 1+100 ack 1')
  d.write(10)
  d.expect('[P.] 1+10 ack 101 win 65435')
  t.notOk(
    d.elapse(40 * MS).some((line) => line.startsWith('+40 ')),
    'no ACK of its own',
  )
  t.end()
})

t.test('rfc5681 4.2: at once when out of order, when a gap is filled, and upon duplicates', (t) => {
  const d = Dialogue.connected(t, open)
  d.on('[.] 1001+100 ack 1', `[.] 1 ack 1 ${W} sack 1001:1101`)
  d.on('[.] 1+100 ack 1', '[.] 1 ack 101 win 65435 sack 1001:1101') // part of the gap
  d.on('[.] 101+900 ack 1', `[.] 1 ack 1101 ${W}`) // all of it
  d.on('[.] 1+100 ack 1', `[.] 1 ack 1101 ${W} sack 1:101`)
  d.on('[P.] 1101+10 ack 1') // in order again: delayed
  d.wait(1000 * MS, '+40 [.] 1 ack 1111 win 65525')
  t.end()
})

t.test('rfc2018 4: the first block holds the latest arrival, then the blocks reported most recently', (t) => {
  const d = Dialogue.connected(t, open)
  const ack = (sack: string) => `[.] 1 ack 1 ${W} sack ${sack}`
  d.on('[.] 101+10 ack 1', ack('101:111'))
  d.on('[.] 501+10 ack 1', ack('501:511 101:111'))
  d.on('[.] 301+10 ack 1', ack('301:311 501:511 101:111'))
  d.on('[.] 701+10 ack 1', ack('701:711 301:311 501:511 101:111'))
  d.on('[.] 901+10 ack 1', ack('901:911 701:711 301:311 501:511'))
  d.on('[.] 511+10 ack 1', ack('501:521 901:911 701:711 301:311')) // grows and comes first
  d.on('[.] 311+190 ack 1', ack('301:521 901:911 701:711 101:111')) // two grow together
  d.on('[.] 1+100 ack 1', '[.] 1 ack 111 win 65425 sack 301:521 901:911 701:711')
  d.on('[.] 111+190 ack 1', '[.] 1 ack 521 win 65015 sack 901:911 701:711')
  d.received(520)
  t.end()
})

t.test('rfc2018 4: every block is reported at least three times while ACKs are lost', (t) => {
  const d = Dialogue.connected(t, open)
  const seen = new Map<string, number>()
  const order = [9, 2, 7, 0, 5, 3, 8, 1, 6, 4]
  for (const k of order) {
    d.hear(`[.] ${101 + 100 * k}+10 ack 1`)
    for (const block of (d.take()[0] as string).split(' sack ')[1]?.split(' ') ?? []) seen.set(block, (seen.get(block) ?? 0) + 1)
  }
  for (const k of order.slice(0, 7)) t.equal(seen.get(`${101 + 100 * k}:${111 + 100 * k}`), 4, `block ${k}`)
  t.end()
})

t.test('rfc2018 3: three blocks beside timestamps', (t) => {
  const d = Dialogue.accepted(t, { ...open, cfg: { timestamps: true } }, 'win 65535 mss 1460 sackOK TS 1 0')
  for (const at of [101, 301, 501]) d.hear(`[.] ${at}+10 ack 1 TS 1 1000`)
  d.take()
  d.on('[.] 701+10 ack 1 TS 1 1000', `[.] 1 ack 1 ${W} TS 1000 1 sack 701:711 501:511 301:311`)
  t.end()
})

t.test('rfc2018 2: no SACK without permission of both', (t) => {
  for (const d of [Dialogue.connected(t, open, 'win 65535 mss 1460'), Dialogue.connected(t, { ...open, cfg: { sack: false } })]) {
    d.on('[.] 101+10 ack 1', `[.] 1 ack 1 ${W}`)
    d.on('[.] 101+10 ack 1', `[.] 1 ack 1 ${W}`)
    d.on('[.] 1+100 ack 1', '[.] 1 ack 111 win 65425')
    d.on('[.] 1+100 ack 1', '[.] 1 ack 111 win 65425')
  }
  t.end()
})

t.test('rfc2883 4: D-SACK of a duplicate below the ACK, above it, and of a partial one; each is reported once', (t) => {
  const d = Dialogue.connected(t, open)
  d.on('[.] 1+100 ack 1')
  d.wait(40 * MS, '+40 [.] 1 ack 101 win 65435')
  d.on('[.] 51+50 ack 1', '[.] 1 ack 101 win 65435 sack 51:101')
  d.on('[.] 201+100 ack 1', '[.] 1 ack 101 win 65435 sack 201:301')
  // 4.2.1: the second block is the one that contains the duplicate
  d.on('[.] 221+50 ack 1', '[.] 1 ack 101 win 65435 sack 221:271 201:301')
  d.on('[.] 401+10 ack 1', '[.] 1 ack 101 win 65435 sack 401:411 201:301')
  d.on('[.] 51+100 ack 1', '[.] 1 ack 151 win 65385 sack 51:101 401:411 201:301') // half of it is new
  d.on('[.] 151+50 ack 1', '[.] 1 ack 301 win 65235 sack 401:411')
  t.end()
})

t.test('SACK information that data segments have no room for follows on a pure ACK', (t) => {
  const d = Dialogue.connected(t, open)
  d.hear('[.] 101+10 ack 1')
  d.write(10)
  d.expect(`[P.] 1+10 ack 1 ${W}`, `[.] 11 ack 1 ${W} sack 101:111`)
  t.end()
})

t.test('a peer of tiny segments: ACKs stay delayed, and count bytes', (t) => {
  const d = Dialogue.connected(t, open)
  let acks = 0
  for (let i = 0; i < 536 * 4; i++) {
    d.hear(`[.] ${1 + i}+1 ack 1`)
    acks += d.take().length
  }
  t.equal(acks, 2, 'rfc9293 3.8.6.3: one for two full-sized segments')
  t.end()
})

t.test('many gaps: bounded, answered, and byte-exact in the end', (t) => {
  const d = Dialogue.connected(t, { ...open, cfg: { windowScale: 7 } }, 'win 65535 mss 1460 sackOK wscale 7')
  for (let i = 0; i < 3000; i++) {
    d.hear(`[.] ${2 + 2 * i}+1 ack 1`)
    const lines = d.take()
    if (lines.length !== 1) t.equal(lines.length, 1)
  }
  t.ok((d.ep.rcv.reorder?.ranges.count ?? 0) <= 1024)
  for (let i = 0; i < 3000; i++) {
    d.hear(`[.] ${1 + 2 * i}+2 ack 1`)
    d.take()
  }
  d.received(6000)
  t.equal(d.ep.rcvNxt, 6001)
  t.end()
})

t.test('what the sink cannot take is not acknowledged', (t) => {
  const d = Dialogue.connected(t, { capacity: 1000 })
  d.side.isReading = false
  d.on('[.] 1+600 ack 1', '[.] 1 ack 601 win 400') // less than a segment is left
  d.on('[.] 601+600 ack 1', '[.] 1 ack 1001 win 0')
  d.received(1000)
  t.end()
})
t.end()
