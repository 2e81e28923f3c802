import t from 'tap'
import { NEVER } from '../../../src/base/time.js'
import { TimerQueue } from '../../../src/base/timers.js'
import { forSeeds } from '../../oracle/seeds.js'

t.test('timers come due in the order of their deadlines, and only once', async (t) => {
  const timers = new TimerQueue()
  const [a, b, c] = [timers.add(), timers.add(), timers.add()]
  t.equal(timers.next(), NEVER)
  timers.arm(a, 300)
  timers.arm(b, 100)
  timers.arm(c, 200)
  t.equal(timers.next(), 100)
  t.equal(timers.popDue(99), -1)
  t.equal(timers.popDue(250), b)
  t.equal(timers.popDue(250), c)
  t.equal(timers.popDue(250), -1)
  t.equal(timers.deadline(b), NEVER)
  t.equal(timers.size, 1)
})

t.test('a deadline moves both ways; NEVER disarms', async (t) => {
  const timers = new TimerQueue()
  const [a, b] = [timers.add(), timers.add()]
  timers.arm(a, 100)
  timers.arm(b, 200)
  timers.arm(a, 300)
  t.equal(timers.next(), 200)
  timers.arm(a, 50)
  t.equal(timers.next(), 50)
  timers.arm(a, NEVER)
  t.equal(timers.next(), 200)
  timers.arm(a, NEVER)
  t.equal(timers.size, 1)
})

t.test('an id is given out again after remove, not armed', async (t) => {
  const timers = new TimerQueue()
  const a = timers.add()
  timers.arm(a, 10)
  timers.remove(a)
  t.equal(timers.next(), NEVER)
  t.equal(timers.add(), a)
  t.equal(timers.deadline(a), NEVER)
})

t.test('random operations agree with a map that is searched', async (t) => {
  await forSeeds(t, [1, 2, 3], (rng) => {
    const timers = new TimerQueue()
    const twin = new Map<number, number>()
    const ids: number[] = []
    let popped = 0
    for (let step = 0; step < 5000; step++) {
      const kind = rng.below(10)
      if (ids.length === 0 || kind === 0) {
        const id = timers.add()
        if (ids.includes(id)) throw new Error(`id ${id} twice`)
        ids.push(id)
      } else if (kind < 7) {
        const id = ids[rng.below(ids.length)] as number
        const at = rng.chance(0.1) ? NEVER : rng.below(1000)
        timers.arm(id, at)
        if (at === NEVER) twin.delete(id)
        else twin.set(id, at)
      } else if (kind === 7 && rng.chance(0.5)) {
        const [id] = ids.splice(rng.below(ids.length), 1) as [number]
        timers.remove(id)
        twin.delete(id)
      } else {
        const now = rng.below(rng.chance(0.2) ? 1000 : 100)
        for (;;) {
          const id = timers.popDue(now)
          const least = Math.min(NEVER, ...twin.values())
          if (id < 0) {
            if (least <= now) throw new Error('a due timer was not popped')
            break
          }
          if (twin.get(id) !== least || least > now) throw new Error(`popped ${id} out of order`)
          twin.delete(id)
          popped++
        }
      }
      if (timers.next() !== Math.min(NEVER, ...twin.values())) throw new Error('next')
      if (timers.size !== twin.size) throw new Error('size')
    }
    t.ok(popped > 100 && ids.length > 100, `${popped} popped of ${ids.length} timers`)
  })
})
