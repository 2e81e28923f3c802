import t from 'tap'
import { Rng } from '../../../src/base/rng.js'
import { MAP_ADDED, MAP_CONTRADICTS, MAP_FULL, MAP_REPEATED, RxMappings } from '../../../src/mptcp/rx-mappings.js'

t.test('rfc8684 3.3.1: an identical repetition is absorbed, also by parts that are consumed', async (tt) => {
  const m = new RxMappings()
  tt.equal(m.add(1, 0, 1000, -1, 1), MAP_ADDED)
  tt.equal(m.add(1, 0, 1000, -1, 1), MAP_REPEATED)
  tt.equal(m.add(1, 0, 1000, -1, 500), MAP_REPEATED)
  m.dropBelow(1001)
  tt.equal(m.count, 0)
  tt.equal(m.add(1, 0, 1000, -1, 1001), MAP_REPEATED, 'wholly consumed')
})

t.test('rfc8684 3.3.1: a mapping is fixed: what puts bytes elsewhere is rejected', async (tt) => {
  const m = new RxMappings()
  m.add(100, 1000, 100, -1, 1)
  tt.equal(m.add(100, 1001, 100, -1, 1), MAP_CONTRADICTS)
  tt.equal(m.add(150, 1000, 100, -1, 1), MAP_CONTRADICTS)
  tt.equal(m.add(50, 1000, 100, -1, 1), MAP_CONTRADICTS)
  tt.equal(m.add(1, 0, 1000, -1, 1), MAP_CONTRADICTS)
  tt.equal(m.count, 1, 'nothing changed')
  tt.equal(m.add(200, 5000, 100, -1, 1), MAP_ADDED, 'the next bytes may go anywhere')
})

t.test('a mapping that agrees and reaches further adds what is new', async (tt) => {
  const m = new RxMappings()
  m.add(100, 1100, 100, -1, 1)
  m.add(300, 1300, 100, -1, 1)
  tt.equal(m.add(50, 1050, 400, -1, 1), MAP_ADDED)
  for (const at of [50, 99, 100, 199, 200, 299, 300, 399, 400, 449]) {
    const i = m.find(at)
    tt.ok(i >= 0 && m.diffAt(i) === 1000, `byte ${at}`)
  }
  tt.equal(m.find(49), -1)
  tt.equal(m.find(450), -1)
  tt.equal(m.nextStart(10), 50)
  tt.equal(m.nextStart(450), Infinity)
})

t.test('the number of mappings is bounded', async (tt) => {
  const m = new RxMappings()
  let i = 0
  while (m.add(2 * i + 1, i, 1, -1, 1) === MAP_ADDED) i++
  tt.equal(i, 4096)
  tt.equal(m.add(1_000_000, 0, 1, -1, 1), MAP_FULL)
})

t.test('random mappings agree with a table of bytes', async (tt) => {
  const fresh = Math.floor(Math.random() * 2 ** 31)
  for (const seed of process.env.SEED === undefined ? [1, 2, 3, 4, fresh] : [Number(process.env.SEED)]) {
    const rng = new Rng(seed)
    const m = new RxMappings()
    const diff = new Map<number, number>()
    let floor = 1
    let rejected = 0
    for (let step = 0; step < 2000; step++) {
      const seq = floor + rng.below(300)
      const len = rng.between(1, 60)
      const d = rng.chance(0.8) ? 0 : 7
      let clash = false
      let isNew = false
      for (let x = Math.max(seq, floor); x < seq + len; x++) {
        if (!diff.has(x)) isNew = true
        else if (diff.get(x) !== d) clash = true
      }
      const result = m.add(seq, seq + d, len, -1, floor)
      const expected = clash ? MAP_CONTRADICTS : isNew ? MAP_ADDED : MAP_REPEATED
      if (result !== expected) tt.fail(`SEED=${seed} step ${step}: ${result} instead of ${expected}`)
      if (clash) rejected++
      else for (let x = seq; x < seq + len; x++) diff.set(x, d)
      if (rng.chance(0.2)) {
        floor += rng.below(40)
        m.dropBelow(floor)
      }
      const x = floor + rng.below(400)
      const i = m.find(x)
      if ((i < 0 ? undefined : m.diffAt(i)) !== diff.get(x)) tt.fail(`SEED=${seed} step ${step}: byte ${x}`)
    }
    tt.ok(rejected > 50, `seed ${seed}: ${rejected} rejected`)
  }
})
