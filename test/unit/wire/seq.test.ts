import t from 'tap'
import { seqGeq, seqGt, seqLeq, seqLt, seqOf, unwrap } from '../../../src/wire/seq.js'
import { forSeeds } from '../../oracle/seeds.js'

t.test('rfc9293 3.4: the order is modulo 2^32', async (t) => {
  const cases: [number, number, boolean][] = [
    [0, 1, true],
    [1, 0, false],
    [5, 5, false],
    [-1, 0, true], // 0xffffffff < 0
    [0x7fffffff, -0x80000000, true],
    [0, 0x7fffffff, true],
    [0, -0x7fffffff, false], // further than half of the space: behind
  ]
  for (const [a, b, isLess] of cases) {
    t.equal(seqLt(a, b), isLess, `${a} < ${b}`)
    t.equal(seqGeq(a, b), !isLess, `${a} >= ${b}`)
    t.equal(seqGt(b, a), isLess, `${b} > ${a}`)
    t.equal(seqLeq(b, a), !isLess, `${b} <= ${a}`)
  }
})

t.test('unwrap finds the offset nearest to the reference', async (t) => {
  const cases: [string, number, number, number, number][] = [
    // name, ref, isn, raw, offset
    ['the ISN itself', 0, 100, 100, 0],
    ['across the wrap of the wire number', 0, -1, 0, 1],
    ['an old duplicate of before the ISN', 1, 100, 98, -2],
    ['second lap', 2 ** 32 + 5, 7, 7 + 9, 2 ** 32 + 9],
    ['beyond 2^50', 2 ** 50, 0, -1, 2 ** 50 - 1],
    ['half of the space ahead counts as behind', 0, 0, -0x80000000, -(2 ** 31)],
    ['half of the space less one', 0, 0, 0x7fffffff, 2 ** 31 - 1],
  ]
  for (const [name, ref, isn, raw, expected] of cases) t.equal(unwrap(ref, isn, raw), expected, name)
})

t.test('seqOf and unwrap agree with arithmetic on big integers', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    for (let i = 0; i < 20_000; i++) {
      const isn = rng.int32()
      const ref = Math.floor(rng.float() * 2 ** rng.between(1, 51))
      const raw = seqOf(isn, ref)
      if (BigInt(raw) !== BigInt.asIntN(32, BigInt(isn) + BigInt(ref))) t.fail(`seqOf(${isn}, ${ref})`)
      const off = ref + rng.int32()
      if (unwrap(ref, isn, Number(BigInt.asIntN(32, BigInt(isn) + BigInt(off)))) !== off) t.fail(`unwrap near ${ref}: ${off}`)
    }
    t.pass('all cases agree')
  })
})
