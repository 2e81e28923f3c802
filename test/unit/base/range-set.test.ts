import t from 'tap'
import { RangeSet } from '../../../src/base/range-set.js'
import type { Rng } from '../../../src/base/rng.js'
import { forSeeds } from '../../oracle/seeds.js'

const list = (set: RangeSet): number[][] => Array.from({ length: set.count }, (_, i) => [set.startAt(i), set.endAt(i)])

t.test('overlapping and touching ranges merge', async (t) => {
  const set = new RangeSet()
  t.equal(set.add(10, 20), 10)
  t.equal(set.add(30, 40), 10)
  t.equal(set.add(20, 30), 10)
  t.same(list(set), [[10, 40]])
  t.equal(set.add(15, 25), 0)
  t.equal(set.add(5, 50), 15)
  t.same(list(set), [[5, 50]])
  t.equal(set.add(7, 7), 0)
})

t.test('a full set refuses what would be one range more, and takes what merges', async (t) => {
  const set = new RangeSet(2)
  set.add(0, 1)
  set.add(10, 11)
  t.equal(set.add(5, 6), -1)
  t.same(list(set), [
    [0, 1],
    [10, 11],
  ])
  t.equal(set.covered, 2)
  t.equal(set.add(1, 10), 9)
  t.equal(set.add(20, 21), 1)
})

t.test('questions about single bytes', async (t) => {
  const set = new RangeSet()
  set.add(10, 20)
  set.add(30, 40)
  t.equal(set.contains(9), false)
  t.equal(set.contains(10), true)
  t.equal(set.contains(20), false)
  t.equal(set.firstEndFrom(15), 20)
  t.equal(set.firstEndFrom(20), 20)
  t.equal(set.nextCovered(0), 10)
  t.equal(set.nextCovered(12), 12)
  t.equal(set.nextCovered(20), 30)
  t.equal(set.nextCovered(40), -1)
  t.equal(set.find(19), 0)
  t.equal(set.find(20), 1)
  t.equal(set.find(99), 2)
  t.equal(set.containsRange(31, 40), true)
  t.equal(set.containsRange(15, 31), false)
  t.equal(set.containsRange(25, 25), true)
  set.clear()
  t.equal(set.count, 0)
  t.equal(set.nextCovered(0), -1)
})

function compare(rng: Rng, origin: number, maxRanges: number): number {
  const set = new RangeSet(maxRanges)
  const cells = new Uint8Array(600)
  const runs = (): number[][] => {
    const out: number[][] = []
    for (let i = 0; i < cells.length; i++) {
      if (cells[i] === 0) continue
      const last = out.at(-1)
      if (last !== undefined && last[1] === origin + i) last[1] = origin + i + 1
      else out.push([origin + i, origin + i + 1])
    }
    return out
  }
  let refused = 0
  for (let step = 0; step < 600; step++) {
    const start = rng.below(580)
    const end = start + rng.below(rng.chance(0.1) ? 20 : 4)
    if (rng.chance(0.03)) {
      set.removeBelow(origin + start)
      cells.fill(0, 0, start)
    } else {
      const before = cells.slice()
      cells.fill(1, start, end)
      if (runs().length > maxRanges) {
        cells.set(before)
        refused++
        if (set.add(origin + start, origin + end) !== -1) throw new Error('took one range too many')
      } else {
        const fresh = cells.reduce((n, c, i) => n + (c === 1 && before[i] === 0 ? 1 : 0), 0)
        if (set.add(origin + start, origin + end) !== fresh) throw new Error('count of fresh bytes')
      }
    }
    const expected = runs()
    if (JSON.stringify(list(set)) !== JSON.stringify(expected)) throw new Error(`${list(set)} instead of ${expected}`)
    if (set.covered !== expected.reduce((n, [s = 0, e = 0]) => n + e - s, 0)) throw new Error('covered')
    const x = rng.below(600)
    if (set.contains(origin + x) !== (cells[x] === 1)) throw new Error('contains')
    const next = cells.indexOf(1, x)
    if (set.nextCovered(origin + x) !== (next < 0 ? -1 : origin + next)) throw new Error('nextCovered')
    const hole = cells.indexOf(0, x)
    if (set.firstEndFrom(origin + x) !== origin + (hole < 0 ? cells.length : hole)) throw new Error('firstEndFrom')
  }
  return refused
}

t.test('random operations agree with one cell per byte', async (t) => {
  await forSeeds(t, [1, 2, 3], (rng) => {
    compare(rng, 0, 1000)
    compare(rng, 2 ** 32 - 100, 1000)
    t.ok(compare(rng, 2 ** 50, 8) > 0, 'the bound was met')
  })
})
