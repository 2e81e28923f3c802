import t from 'tap'
import { TxMappings } from '../../../src/mptcp/tx-mappings.js'
import { forSeeds } from '../../oracle/seeds.js'

t.test('a mapping is found by any of its bytes', async (t) => {
  const m = new TxMappings()
  m.push(1, 0, 100, -1)
  m.push(101, 500, 50, 7)
  t.equal(m.find(0), -1)
  t.equal(m.find(1), 0)
  t.equal(m.find(100), 0)
  t.equal(m.find(150), 1)
  t.equal(m.find(151), -1)
  t.equal(m.sumAt(1), 7)
  t.equal(m.lenAt(0), 100)
  t.throws(() => m.push(200, 0, 1, -1), { name: 'InvariantError' })
})

t.test(
  'rfc8684 3.3.2: bytes that a later mapping carries again are still needed when the earlier one is acknowledged past them',
  async (t) => {
    const m = new TxMappings()
    m.push(1, 0, 14_480, -1)
    m.push(14_481, 7120, 7140, -1)
    m.ackTo(8541, 8540)
    t.equal(m.minInFlight(), 7120)
    t.ok(m.minUnacked() <= 7120)
    m.ackTo(14_500, 14_480)
    t.equal(m.count, 1)
    t.equal(m.minInFlight(), 7139)
    t.ok(m.minUnacked() <= 7139)
    m.ackTo(21_621, 14_480)
    t.equal(m.minInFlight(), Infinity)
    t.equal(m.minUnacked(), Infinity)
  },
)

t.test('the smallest unacknowledged DataOff agrees with a search through all bytes', async (t) => {
  await forSeeds(t, [1, 2, 3], (rng) => {
    const m = new TxMappings()
    let seq = 1
    let una = 1
    let list: { seq: number; data: number; len: number }[] = []
    let next = 0
    let again = 0
    let tight = 0
    for (let step = 0; step < 3000; step++) {
      if (list.length < 40 && rng.chance(0.5)) {
        const len = rng.between(1, 30)
        const isAgain = rng.chance(0.2) && next > 0
        const data = isAgain ? rng.below(next) : next
        if (isAgain) again++
        else next += len
        m.push(seq, data, len, -1)
        list.push({ seq, data, len })
        seq += len
      } else {
        una += rng.below(Math.min(60, seq - una + 1))
        m.ackTo(una, Infinity)
        list = list.filter((e) => e.seq + e.len > una)
      }
      const expected = list.reduce((min, e) => Math.min(min, e.data + Math.max(0, una - e.seq)), Infinity)
      if (m.minInFlight() !== expected) throw new Error(`step ${step}: ${m.minInFlight()} instead of ${expected}`)
      if (m.minUnacked() > expected) throw new Error(`step ${step}: ${m.minUnacked()} is more than ${expected}`)
      if (m.minUnacked() === expected) tight++
      if (m.count !== list.length) throw new Error('count')
    }
    t.ok(again > 100 && tight > 300, `${again} mappings again, ${tight} of 3000 bounds exact`)
  })
})
