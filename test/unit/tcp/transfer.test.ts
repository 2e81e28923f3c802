import t from 'tap'
import { Rng } from '../../../src/base/rng.js'
import * as st from '../../../src/tcp/state.js'
import { Pair, pattern } from './harness.js'

const S = 1_000_000

function sendAll(p: Pair, side: 'a' | 'b', data: Uint8Array, fin = true): () => void {
  let at = 0
  const q = p[side].out
  return () => {
    if (at < data.length) at += q.append(data, at, Math.min(data.length - at, q.edge() - q.readyEnd))
    if (at === data.length && fin && q.finAt < 0) q.setFin(data.length)
  }
}

t.test('a transfer each way, byte-exact, then an orderly close', (t) => {
  const p = Pair.of({ timeWaitUs: S })
  const data = pattern(3_000_000)
  const back = pattern(500_000, 77)
  p.a.connect(p.now)
  const feedA = sendAll(p, 'a', data)
  const feedB = sendAll(p, 'b', back)
  const ok = p.run(60 * S, () => {
    feedA()
    feedB()
    return p.a.ep?.state === st.CLOSED && p.b.ep?.state === st.CLOSED
  })
  t.ok(ok, 'both closed')
  t.ok(p.b.hasReceived(data), 'byte-exact')
  t.ok(p.a.hasReceived(back), 'byte-exact')
  t.equal(p.a.ep?.cause, st.CAUSE_FIN)
  t.equal(p.b.ep?.cause, st.CAUSE_FIN)
  t.equal(p.a.ep?.retransSegs, 0)
  t.equal(p.a.arena.pagesInUse, 0)
  t.equal(p.b.arena.pagesInUse, 0)
  t.end()
})

for (const gso of [true, false]) {
  for (const loss of [0.03, 0.1, 0.2]) {
    t.test(`random loss of ${loss}, gso ${gso}: byte-exact`, (t) => {
      const seed = Number(process.env.SEED ?? 7)
      const rng = new Rng(seed)
      const p = Pair.of({ gso, timeWaitUs: S })
      const data = pattern(400_000)
      p.filter = () => (rng.float() < loss ? -1 : 0)
      p.a.connect(p.now)
      const feedA = sendAll(p, 'a', data)
      const feedB = sendAll(p, 'b', new Uint8Array(0))
      const ok = p.run(4000 * S, () => {
        feedA()
        feedB()
        return p.a.ep?.state === st.CLOSED && p.b.ep?.state === st.CLOSED
      })
      t.ok(ok, `closed at ${p.now / S} s, states ${p.a.ep?.state} ${p.b.ep?.state}`)
      t.ok(p.dropped > 0, `dropped ${p.dropped}`)
      t.ok(p.b.hasReceived(data), 'byte-exact')
      t.end()
    })
  }
}
