import t from 'tap'
import { PathMtu } from '../../../src/tcp/pmtud.js'
import { Dialogue, MS, S } from './dialogue.js'

/** Payload lengths of data segments that begin at `at`. */
function lengthsAt(lines: string[], at: number): number[] {
  return lines.map((line) => Number(new RegExp(`\\] ${at}\\+(\\d+)`).exec(line)?.[1] ?? 0)).filter((len) => len > 0)
}

t.test('rfc8899 4.4: at the second timeout full segments are cut to 1200 bytes, at the third to 576', (t) => {
  const d = Dialogue.connected(t, { rttUs: 50 * MS, cfg: { mtuProbing: true } })
  d.write(4380)
  t.equal(d.take().length, 3)
  const said = d.elapse(3 * S)
  t.same(lengthsAt(said, 1).slice(0, 5), [1460, 1160, 536, 536, 536], said.join('\n'))
  const at = said.filter((line) => line.includes('] 1+')).map((line) => Number(line.slice(1, line.indexOf(' '))))
  t.ok((at[1] as number) < 3 * 310, `no longer than three timeouts: ${at}`)
  t.end()
})

t.test('rfc8899 4.4: small segments that time out say nothing about the MTU', (t) => {
  const d = Dialogue.connected(t, { rttUs: 50 * MS, cfg: { mtuProbing: true } })
  d.write(500)
  d.take()
  d.elapse(5 * S)
  t.equal(d.ep.mss, 1460)
  t.equal(d.ep.snd.pmtu, null)
  t.end()
})

t.test('rfc4821 7.5: a lost probe is sent again in small segments, and is no congestion', (t) => {
  const d = Dialogue.connected(t, { rttUs: 50 * MS, cfg: { mtuProbing: true } })
  d.write(1460)
  d.take()
  d.elapse(1 * S)
  t.equal(d.ep.mss, 1160)
  d.hear('[.] 1 ack 1461')
  d.take()
  d.now += 2 * S
  d.write(1460 + 4 * 1160)
  const sent = d.take()
  t.same(lengthsAt(sent, 1461), [1460], 'the probe has the size that the SYNs settled')
  const { cwnd, ssthresh } = d.ep
  for (const right of [2921 + 1160, 2921 + 2 * 1160]) {
    d.now += 25 * MS
    d.hear(`[.] 1 ack 1461 sack 2921:${right}`)
  }
  const again = [...d.take(), ...d.elapse(100 * MS)]
  t.same([lengthsAt(again, 1461)[0], lengthsAt(again, 1461 + 1160)[0]], [1160, 300], again.join('\n'))
  t.equal(d.ep.ssthresh, ssthresh)
  t.ok(d.ep.cwnd >= cwnd)
  while (d.ep.sndUna < 2921 + 4 * 1160) {
    d.now += 50 * MS
    d.hear(`[.] 1 ack ${d.ep.sndNxt}`)
    d.take()
  }
  t.equal(d.ep.mss, 1160)
  d.now += 2 * S
  d.write(1310)
  const at = d.ep.sndNxt
  t.same(lengthsAt(d.take(), at), [1310], 'the next probe is half-way')
  d.now += 50 * MS
  d.hear(`[.] 1 ack ${at + 1310}`)
  t.equal(d.ep.mss, 1310)
  t.end()
})

t.test('rfc8899 5.1.1: the search ends, and begins anew after ten minutes; it finds every size', (t) => {
  for (const real of [537, 800, 1200, 1399, 1443, 1460]) {
    const pmtu = new PathMtu(1460)
    let mss = 536
    let now = 0
    let una = 1
    let probes = 0
    for (pmtu.dueAt = 0; now < 300 * S; now += 500 * MS) {
      const size = pmtu.wanted(mss, now)
      if (size === 0) continue
      t.ok(size > mss && size <= 1460, `${size} above ${mss}`)
      probes++
      pmtu.onProbeSent(una, una + size, size)
      t.equal(pmtu.wanted(mss, now + 1000 * S), 0, 'one at a time')
      pmtu.isProbeLost = size > real
      una += size
      mss = pmtu.onAck(una, mss, now)
    }
    t.ok(mss <= real && mss > real - 17, `found ${mss} of ${real}`)
    t.ok(probes <= 8, `${probes} probes`)
    t.equal(pmtu.wanted(mss, now + 200 * S), 0)
    if (mss < 1460) t.equal(pmtu.wanted(mss, now + 601 * S), 1460, 'the path may be better now')
  }
  t.end()
})
