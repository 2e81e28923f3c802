import t from 'tap'
import { minRtt } from '../../../src/scheduler/min-rtt.js'
import { Grant } from '../../../src/scheduler/scheduler.js'
import { conformance, fake, viewOf } from './conformance.js'

conformance(t, minRtt)

t.test('the lowest RTT with room takes the next bytes', async (tt) => {
  const s = minRtt()
  const g = new Grant()
  const view = viewOf([fake({ srttUs: 30_000 }), fake({ srttUs: 10_000 }), fake({ srttUs: 20_000 })])
  tt.ok(s.select(view, 1000, 1000, 0, g))
  tt.equal(g.mask, 0b010)
  ;(view.subflows[1] as { space: number }).space = 0
  tt.ok(s.select(view, 1000, 1000, 0, g))
  tt.equal(g.mask, 0b100)
})
