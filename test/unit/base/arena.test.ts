import t from 'tap'
import { Arena, PAGE_LEN } from '../../../src/base/arena.js'
import { forSeeds } from '../../oracle/seeds.js'

t.test('reserved storage is aligned, disjoint and bounded', async (t) => {
  const arena = new Arena(1000, 1)
  t.equal(arena.reserve(100), 0)
  t.equal(arena.reserve(1), 128)
  t.throws(() => arena.reserve(PAGE_LEN), { name: 'InvariantError' })
})

t.test('a freed page is handed out only after recycle', async (t) => {
  const arena = new Arena(1, 2)
  const [a, b] = [arena.allocPage(), arena.allocPage()]
  t.same([a, b], [PAGE_LEN, 2 * PAGE_LEN], 'pages follow the reserved part')
  t.equal(arena.allocPage(), -1)
  arena.freePage(a)
  t.equal(arena.allocPage(), -1)
  t.equal(arena.pagesInUse, 1)
  arena.recycle()
  t.equal(arena.pagesFree, 1)
  t.equal(arena.allocPage(), a)
})

t.test('no page is ever handed out twice', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    const arena = new Arena(1, 20)
    const held: number[] = []
    let exhausted = 0
    for (let step = 0; step < 2000; step++) {
      if (rng.chance(0.52)) {
        const page = arena.allocPage()
        if (page < 0) exhausted++
        else {
          if (held.includes(page)) throw new Error(`page ${page} twice`)
          held.push(page)
        }
      } else if (held.length > 0) arena.freePage(held.splice(rng.below(held.length), 1)[0] as number)
      if (rng.chance(0.3)) arena.recycle()
      if (arena.pagesInUse !== held.length) throw new Error('pagesInUse')
    }
    t.ok(exhausted > 0)
  })
})
