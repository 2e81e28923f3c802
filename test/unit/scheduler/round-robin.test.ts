import t from 'tap'
import { roundRobin } from '../../../src/scheduler/round-robin.js'
import { Grant } from '../../../src/scheduler/scheduler.js'
import { conformance, fake, viewOf } from './conformance.js'

conformance(t, roundRobin)

t.test('the subflows take turns; one without room is passed over', async (tt) => {
  const s = roundRobin()
  const g = new Grant()
  const view = viewOf([fake(), fake({ space: 0 }), fake({ space: 3000 })])
  const masks: number[] = []
  for (let i = 0; i < 4; i++) {
    g.clear()
    tt.ok(s.select(view, 100_000, 100_000, 0, g))
    masks.push(g.mask)
    tt.ok(g.len <= (view.subflows[g.mask >> 1] as { space: number }).space, 'no more than its room, so that the next one has its turn')
  }
  tt.same(masks, [0b001, 0b100, 0b001, 0b100])
})
