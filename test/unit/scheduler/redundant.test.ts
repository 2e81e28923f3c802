import t from 'tap'
import { redundant } from '../../../src/scheduler/redundant.js'
import { Grant } from '../../../src/scheduler/scheduler.js'
import { conformance, fake } from './conformance.js'

conformance(t, redundant)

t.test('every subflow with room gets the same bytes', async (tt) => {
  const s = redundant()
  const g = new Grant()
  const view = { subflows: [fake({ space: 5000 }), fake({ space: 0 }), fake({ space: 9000 }), fake({ isBackup: true })] }
  tt.ok(s.select(view, 100_000, 100_000, 0, g))
  tt.equal(g.mask, 0b0101)
  tt.equal(g.len, 5000, 'as much as all of them can')
  g.clear()
  tt.ok(s.reinject(view, 0b0001, 700, 0, 0, g))
  tt.same([g.mask, g.len], [0b0100, 700])
})
