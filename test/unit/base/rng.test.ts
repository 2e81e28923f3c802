import t from 'tap'
import { Rng } from '../../../src/base/rng.js'

t.test('the same seed gives the same numbers, another seed others', async (t) => {
  const draw = (seed: number): number[] => {
    const rng = new Rng(seed)
    return Array.from({ length: 20 }, () => rng.int32())
  }
  t.same(draw(7), draw(7))
  t.notSame(draw(7), draw(8))
  t.ok(new Set(draw(0)).size > 15, 'seed 0 is no fixed point')
})

t.test('numbers stay in their range and cover it', async (t) => {
  const rng = new Rng(1)
  const seen = new Set<number>()
  let mean = 0
  for (let i = 0; i < 10_000; i++) {
    const f = rng.float()
    if (f < 0 || f >= 1) t.fail(`float ${f}`)
    mean += f / 10_000
    seen.add(rng.below(10))
    const b = rng.between(-3, 3)
    if (b < -3 || b > 3) t.fail(`between ${b}`)
    const l = rng.logUniform(1, 4_194_304)
    if (l < 1 || l > 4_194_304 || !Number.isInteger(l)) t.fail(`logUniform ${l}`)
  }
  t.equal(seen.size, 10)
  t.ok(Math.abs(mean - 0.5) < 0.02, `mean ${mean}`)
  t.equal(rng.chance(0), false)
  t.equal(rng.chance(1), true)
})

t.test('logUniform gives every order of magnitude its share', async (t) => {
  const rng = new Rng(2)
  let small = 0
  for (let i = 0; i < 10_000; i++) if (rng.logUniform(1, 999_999) < 1000) small++
  t.ok(small > 4700 && small < 5300, `${small} of 10000 below the geometric middle`)
})

t.test('fill writes exactly the stretch; a fork goes its own way', async (t) => {
  const rng = new Rng(3)
  const mem = new Uint8Array(64)
  rng.fill(mem, 5, 50)
  t.ok(mem.subarray(0, 5).every((b) => b === 0) && mem.subarray(55).every((b) => b === 0))
  t.ok(new Set(mem.subarray(5, 55)).size > 25)
  const fork = rng.fork()
  t.not(fork.int32(), rng.int32())
})
