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

t.test('rfc8684 3.3.2: bytes that a later mapping carries again are needed when the earlier one is acknowledged past them', async (t) => {
  const m = new TxMappings()
  m.push(1, 0, 14_480, -1)
  m.push(14_481, 7120, 7140, -1)
  m.ackTo(8541)
  t.equal(m.minUnacked(), 7120)
  m.ackTo(14_481)
  t.equal(m.minUnacked(), 7120)
  m.ackTo(14_500)
  t.equal(m.minUnacked(), 7139)
  m.ackTo(21_621)
  t.equal(m.minUnacked(), Infinity)
})

t.test('rfc8684 3.3.2: a mapping is forgotten only when both levels have acknowledged it', async (t) => {
  const m = new TxMappings()
  m.push(1, 0, 100, -1)
  m.push(101, 100, 100, -1)
  t.equal(m.retire(200), 0, 'DATA_ACK alone')
  m.ackTo(101)
  t.equal(m.count, 2)
  t.ok(m.hasSwallowed(50, true))
  t.notOk(m.hasSwallowed(150, false))
  t.equal(m.retire(99), 0)
  t.equal(m.retire(200), 1)
  t.notOk(m.hasSwallowed(50, true))
  m.ackTo(201)
  t.equal(m.retire(200), 1)
  t.equal(m.count, 0)
})

t.test('a part of a mapping that was acknowledged on the subflow alone counts as swallowed only without checksums', async (t) => {
  const m = new TxMappings()
  m.push(1, 0, 100, -1)
  m.push(101, 100, 100, -1)
  m.ackTo(51)
  for (const wholeOnly of [false, true]) {
    t.equal(m.hasSwallowed(0, wholeOnly), !wholeOnly)
    t.equal(m.hasSwallowed(50, wholeOnly), false)
  }
  t.equal(m.isPartOfCurrent(0), true)
  t.equal(m.isPartOfCurrent(99), true)
  t.equal(m.isPartOfCurrent(100), false)
  m.ackTo(101)
  t.equal(m.hasSwallowed(99, true), true)
  t.equal(m.hasSwallowed(100, false), false)
  t.equal(m.isPartOfCurrent(100), false)
})

t.test('the smallest unacknowledged DataOff agrees with a search through all bytes', async (t) => {
  await forSeeds(t, [1, 2, 3], (rng) => {
    const m = new TxMappings()
    let seq = 1
    let una = 1
    let dataUna = 0
    let list: { seq: number; data: number; len: number }[] = []
    let next = 0
    let again = 0
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
        m.ackTo(una)
        list = list.filter((e) => e.seq + e.len > una)
      }
      if (rng.chance(0.3)) {
        dataUna += rng.below(next - dataUna + 1)
        m.retire(dataUna)
      }
      const expected = list.reduce((min, e) => Math.min(min, e.data + Math.max(0, una - e.seq)), Infinity)
      if (m.minUnacked() !== expected) throw new Error(`step ${step}: ${m.minUnacked()} instead of ${expected}`)
      if (m.count - m.acked !== list.length) throw new Error('count')
    }
    t.ok(again > 100, `${again} mappings again`)
  })
})
