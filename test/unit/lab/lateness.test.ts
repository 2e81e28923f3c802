import t from 'tap'
import { Lateness } from '../../../bench/lab/lateness.js'
import { forSeeds } from '../../oracle/seeds.js'

t.test('quantiles are those of the sorted values, exact below 64 µs and within 3 % above', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    const lateness = new Lateness()
    const values = Array.from({ length: 3000 }, () => rng.logUniform(1, 1_000_000) - 1)
    for (const value of values) lateness.record(value)
    values.sort((a, b) => a - b)
    for (const q of [0.01, 0.5, 0.9, 0.99, 1]) {
      const exact = values[Math.ceil(q * values.length) - 1] as number
      const found = lateness.quantile(q)
      t.ok(found <= exact && found >= exact * 0.968, `quantile ${q}`, { exact, found })
      if (exact < 64) t.equal(found, exact)
    }
    t.equal(lateness.maxUs, values.at(-1))
    t.equal(lateness.count, values.length)
  })
})

t.test('no packet is never late; a reset forgets; a stall of hours has a bucket', async (t) => {
  const lateness = new Lateness()
  t.equal(lateness.quantile(0.99), 0)
  lateness.record(4e9)
  t.ok(lateness.quantile(0.5) > 30e6)
  lateness.reset()
  t.equal(lateness.quantile(0.5), 0)
  t.equal(lateness.maxUs, 0)
  lateness.record(63.7)
  t.equal(lateness.quantile(0.5), 63, 'fractions are cut off')
})
