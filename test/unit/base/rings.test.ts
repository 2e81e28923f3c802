import t from 'tap'
import { Arena } from '../../../src/base/arena.js'
import { RX_SLOT_LEN, RxRing, TX_HEADER_ROOM, TX_MAX_IOV, TX_META_STRIDE, TxRing } from '../../../src/base/rings.js'

t.test('rx slots are disjoint', async (t) => {
  const rx = new RxRing(new Arena(4 * RX_SLOT_LEN + 64, 0), 4)
  t.equal(rx.slotOff(1) - rx.slotOff(0), RX_SLOT_LEN)
  t.equal(rx.lens.length, 4)
})

t.test('a tx ring is a queue of entries with room of their own', async (t) => {
  const tx = new TxRing(new Arena(4 * TX_HEADER_ROOM, 0), 3)
  const offs = [0, 1, 2].map(() => {
    const off = tx.begin()
    tx.end(60)
    return off
  })
  t.equal(new Set(offs).size, 3)
  t.equal(tx.begin(), -1)
  tx.take(2)
  t.equal(tx.head, 2)
  t.equal(tx.begin(), offs[0], 'slots come around')
  t.equal(tx.count, 1, 'an entry does not exist before end()')
})

t.test('adjacent pieces merge, and their number is bounded', async (t) => {
  const tx = new TxRing(new Arena(4 * TX_HEADER_ROOM, 0), 1)
  tx.begin()
  tx.iov(1000, 10)
  tx.iov(1010, 10)
  for (let i = 1; i < TX_MAX_IOV; i++) tx.iov(2000 * i + 1000, 1)
  t.throws(() => tx.iov(50_000, 1), { name: 'InvariantError' })
  tx.end(40)
  t.same([...tx.meta.subarray(1, 8)], [40, TX_MAX_IOV, 20 + TX_MAX_IOV - 1, 1000, 20, 3000, 1])
  tx.take(1)
  tx.begin()
  t.equal(tx.meta[(tx.head % tx.slots) * TX_META_STRIDE + 2], 0, 'a new entry has no pieces')
})
