import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { AREAS, type Mutation, mutated, mutationsOf, occurrences } from '../../../scripts/mutations.js'

const root = new URL('../../../', import.meta.url)
const MIN = 40

for (const area of AREAS) {
  t.test(`each mutation of src/${area} fits the source, and changes one line of it`, async (t) => {
    const list = mutationsOf(area)
    t.ok(list.length >= MIN, `${list.length} mutations`)
    t.equal(new Set(list.map((m) => m.id)).size, list.length, 'ids are unique')
    for (const m of list) {
      const text = readFileSync(new URL(m.file, root), 'utf8')
      t.ok(m.file.startsWith(`src/${area}/`), `${m.id}: ${m.file}`)
      t.equal(occurrences(m, text), 1, `${m.id} is found once`)
      const lines = text.split('\n')
      const changed = mutated(m, text).split('\n')
      t.equal(changed.length, lines.length, `${m.id} keeps the number of lines`)
      t.equal(changed.filter((line, i) => line !== lines[i]).length, 1, `${m.id} changes one line`)
      for (const test of m.tests) t.ok(existsSync(new URL(test, root)), `${m.id}: ${test}`)
      t.ok(m.why.length > 10, `${m.id} says which rule`)
    }
  })
}

t.test('a mutation that does not fit, or fits twice, is refused', async (t) => {
  const m: Mutation = { id: 'x', file: 'a.ts', find: 'a < b', replace: 'a <= b', why: 'order', tests: [] }
  t.equal(mutated(m, 'if (a < b) return'), 'if (a <= b) return')
  t.throws(() => mutated(m, 'if (a > b) return'), /occurs 0 times/)
  t.throws(() => mutated(m, 'a < b && a < b'), /occurs 2 times/)
})
