import t from 'tap'
import { redundant } from '../../../src/scheduler/redundant.js'
import { Grant } from '../../../src/scheduler/scheduler.js'
import { conformance, fake, viewOf } from './conformance.js'

conformance(t, redundant)

t.test('every subflow with room gets the same bytes', async (tt) => {
  const s = redundant()
  const g = new Grant()
  const view = viewOf([fake({ space: 5000 }), fake({ space: 0 }), fake({ space: 9000 }), fake({ isBackup: true })])
  tt.ok(s.select(view, 100_000, 100_000, 0, g))
  tt.equal(g.mask, 0b0101)
  tt.equal(g.len, 9000, 'each as much as it can: nobody waits for the others')
  g.clear()
  tt.ok(s.reinject(view, 0b0001, 700, 0, 0, g))
  tt.same([g.mask, g.len], [0b0100, 700])
})

t.test(
  'each subflow has a send pointer: who is behind repeats from there before anything new, who has caught up gets the new bytes',
  async (tt) => {
    const s = redundant()
    const g = new Grant()
    const ahead = fake({ carriedTo: 9000 })
    const behind = fake({ carriedTo: 4000, space: 2000 })
    const fresh = fake({ carriedTo: 0 })
    const view = viewOf([ahead, behind, fresh], 1000, 9000)
    tt.ok(s.repeat?.(view, 0, 0, g))
    tt.same([g.mask, g.off, g.len], [0b010, 4000, 5000])
    behind.space = 0
    tt.ok(s.repeat?.(view, 0, 0, g))
    tt.same([g.mask, g.off, g.len], [0b100, 1000, 8000], 'what is acknowledged is not repeated')
    fresh.space = 0
    tt.notOk(s.repeat?.(view, 0, 0, g))
    tt.ok(s.select(view, 500, 500, 0, g))
    tt.same([g.mask, g.len], [0b001, 500])
    fresh.space = 5000
    tt.notOk(s.repeat?.(viewOf([ahead, fake({ isBackup: true })], 1000, 9000), 0, 0, g), 'a backup is left in peace')
  },
)
