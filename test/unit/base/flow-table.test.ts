import t from 'tap'
import { FlowTable } from '../../../src/base/flow-table.js'
import { forSeeds } from '../../oracle/seeds.js'

type Key = [number, number, number, number, number, number, number, number, number]

t.test('a flow is found by its exact tuple only', async (t) => {
  const table = new FlowTable<string>(1, 2)
  const key: Key = [0, 0, 0xffff, -1062731775, 0, 0, 0xffff, 134744072, (40_000 << 16) | 443]
  t.equal(table.find(...key), null)
  table.set(...key, 'one')
  t.equal(table.find(...key), 'one')
  for (let i = 0; i < 9; i++) {
    const other = [...key] as Key
    other[i] = (other[i] as number) ^ 1
    t.equal(table.find(...other), null)
  }
  table.set(...key, 'two')
  t.equal(table.size, 1)
  t.equal(table.find(...key), 'two')
  t.equal(table.delete(...key), true)
  t.equal(table.delete(...key), false)
  t.equal(table.size, 0)
})

t.test('random operations agree with a Map, through growth and shrinking', async (t) => {
  await forSeeds(t, [1, 2, 3], (rng) => {
    const table = new FlowTable<object>(rng.int32(), rng.int32())
    const twin = new Map<string, object>()
    let most = 0
    for (let step = 0; step < 20_000; step++) {
      // Few addresses and ports, so that keys come again; the bound first rises, then falls.
      const ports = (rng.below(4) << 16) | rng.below(step < 10_000 ? 300 : 40)
      const key: Key = [0, 0, 0xffff, rng.below(2), rng.below(2), 0, 0xffff, rng.below(2) - 1, ports]
      const name = key.join()
      if (rng.chance(step < 10_000 ? 0.6 : 0.3)) {
        const value = {}
        table.set(...key, value)
        twin.set(name, value)
      } else if (table.delete(...key) !== twin.delete(name)) throw new Error('delete')
      if (step >= 10_000 && rng.chance(0.5)) {
        const first = twin.keys().next()
        if (!first.done) {
          table.delete(...(first.value.split(',').map(Number) as Key))
          twin.delete(first.value)
        }
      }
      most = Math.max(most, table.size)
      if (table.size !== twin.size) throw new Error('size')
      if (step % 50 === 0) {
        for (const [other, value] of twin) {
          if (table.find(...(other.split(',').map(Number) as Key)) !== value) throw new Error(`lost ${other} at step ${step}`)
        }
        const all = new Set<object>()
        table.forEach((value) => {
          all.add(value)
        })
        if (all.size !== twin.size) throw new Error('forEach')
      }
    }
    t.ok(most > 1000, `${most} flows at most, ${table.size} at the end`)
  })
})

t.test('sequential ports of one peer spread evenly, whatever the seed', async (t) => {
  const table = new FlowTable<number>(0, 0)
  for (let port = 0; port < 30_000; port++) table.set(0, 0, 0xffff, 1, 0, 0, 0xffff, 2, port << 16, port)
  const started = process.cpuUsage().user
  let sum = 0
  for (let port = 0; port < 30_000; port++) sum += table.find(0, 0, 0xffff, 1, 0, 0, 0xffff, 2, port << 16) ?? -1
  t.equal(sum, (30_000 * 29_999) / 2)
  t.ok(process.cpuUsage().user - started < 500_000, 'no long chains')
})
