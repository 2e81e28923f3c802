import t, { type Test } from 'tap'
import { Arena, PAGE_LEN } from '../../../src/base/arena.js'
import type { Rng } from '../../../src/base/rng.js'
import { TX_MAX_IOV, TX_META_STRIDE, TxRing } from '../../../src/base/rings.js'
import { StreamQueue } from '../../../src/base/stream-queue.js'
import { NaiveStream } from '../../oracle/naive-stream.js'
import { forSeeds } from '../../oracle/seeds.js'

const RESERVED = 65_536

function make(pages: number, capacity: number, origin = 0): { arena: Arena; queue: StreamQueue; tx: TxRing } {
  const arena = new Arena(RESERVED, pages)
  const tx = new TxRing(arena, 4)
  const queue = new StreamQueue(arena, capacity)
  queue.base = origin
  queue.readyEnd = origin
  return { arena, queue, tx }
}

const text = (s: string): Uint8Array => new TextEncoder().encode(s)

function read(queue: StreamQueue, off: number, len: number): string {
  const out = new Uint8Array(len)
  queue.copyOut(off, out, 0, len)
  return new TextDecoder().decode(out)
}

/** What a device would send: the pieces of the newest tx entry, joined. */
function gather(tx: TxRing): Uint8Array {
  const at = ((tx.head + tx.count - 1) % tx.slots) * TX_META_STRIDE
  const out = new Uint8Array(tx.meta[at + 3] as number)
  let n = 0
  for (let i = 0; i < (tx.meta[at + 2] as number); i++) {
    const off = tx.meta[at + 4 + 2 * i] as number
    const len = tx.meta[at + 5 + 2 * i] as number
    out.set(tx.bytes.subarray(off, off + len), n)
    n += len
  }
  return out
}

t.test('a new queue holds nothing and promises its capacity', async (t) => {
  const { queue, arena } = make(4, 1000)
  t.equal(queue.edge(), 1000)
  t.equal(queue.ready, 0)
  t.equal(queue.isEmpty, true)
  t.equal(queue.isFinReady(), false)
  t.equal(arena.pagesInUse, 0)
})

t.test('the first copy of a byte wins, in order and out of order', async (t) => {
  const { queue } = make(4, 1000)
  t.equal(queue.insert(4, text('EFGH'), 0, 4), 4)
  t.equal(queue.readyEnd, 0)
  t.equal(queue.sparse?.count, 1)
  t.equal(queue.insert(0, text('abcdefghij'), 0, 10), 10)
  t.equal(queue.sparse, null)
  t.equal(read(queue, 0, 10), 'abcdEFGHij')
  t.equal(queue.insert(2, text('XXXXXXXXXX'), 0, 10), 10)
  t.equal(read(queue, 0, 12), 'abcdEFGHijXX')
})

t.test('bytes below base count as taken', async (t) => {
  const { queue } = make(4, 1000)
  queue.append(text('abcdef'), 0, 6)
  queue.release(4)
  t.equal(queue.insert(0, text('abcd'), 0, 4), 4)
  t.equal(queue.insert(1, text('BCDEFGHI'), 0, 8), 8)
  t.equal(read(queue, 4, 5), 'efGHI')
})

t.test('the edge never retreats, and nothing beyond it is taken', async (t) => {
  const { queue } = make(4, 8)
  t.equal(queue.insert(6, text('ghij'), 0, 4), 2)
  t.equal(queue.insert(8, text('x'), 0, 1), 0)
  queue.capacity = 3
  t.equal(queue.edge(), 8)
  t.equal(queue.append(text('abcdef'), 0, 6), 6)
  queue.release(4)
  t.equal(queue.edge(), 8)
  queue.release(8)
  t.equal(queue.edge(), 11)
})

t.test('an empty queue holds no page, not even the partial one', async (t) => {
  const { queue, arena } = make(4, 1e6)
  queue.append(new Uint8Array(PAGE_LEN + 10), 0, PAGE_LEN + 10)
  t.equal(arena.pagesInUse, 2)
  queue.release(PAGE_LEN + 5)
  t.equal(arena.pagesInUse, 1)
  queue.release(PAGE_LEN + 10)
  t.equal(arena.pagesInUse, 0)
  // The page comes back for the bytes that follow in it.
  queue.append(text('later'), 0, 5)
  t.equal(read(queue, PAGE_LEN + 10, 5), 'later')
  t.equal(arena.pagesInUse, 1)
})

t.test('without pages an insertion is short, and goes on when pages are back', async (t) => {
  const { queue, arena } = make(2, 1e6)
  t.equal(queue.append(new Uint8Array(3 * PAGE_LEN), 0, 3 * PAGE_LEN), 2 * PAGE_LEN)
  t.equal(queue.insert(5 * PAGE_LEN, text('x'), 0, 1), 0)
  t.equal(queue.sparse, null)
  queue.release(PAGE_LEN)
  t.equal(queue.append(text('x'), 0, 1), 0, 'freed pages are in quarantine until the tx rings are empty')
  arena.recycle()
  t.equal(queue.append(text('x'), 0, 1), 1)
})

t.test('bytes out of order leave a reserve of pages for those that are missing', async (t) => {
  const { queue, arena } = make(32, 1e9)
  let page = 1
  while (queue.insert(page * PAGE_LEN, text('x'), 0, 1) === 1) page++
  t.equal(arena.pagesFree, 2)
  t.equal(queue.append(new Uint8Array(PAGE_LEN), 0, PAGE_LEN), PAGE_LEN)
  t.equal(queue.readyEnd, PAGE_LEN + 1)
})

t.test('more pieces out of order than are remembered are refused, unless they touch one', async (t) => {
  const { queue } = make(64, 1e9)
  let off = 2
  while (queue.insert(off, text('x'), 0, 1) === 1) off += 2
  t.equal(queue.sparse?.count, 4096)
  t.equal(queue.insert(off, text('x'), 0, 1), 0)
  t.equal(queue.insert(3, text('y'), 0, 1), 1)
  t.equal(queue.sparse?.count, 4095)
  t.equal(queue.insert(off, text('x'), 0, 1), 1)
  t.equal(queue.insert(0, new Uint8Array(off), 0, off), off)
  t.equal(queue.readyEnd, off + 1)
  t.equal(queue.sparse, null)
})

t.test('the fin must not contradict what came', async (t) => {
  const { queue } = make(4, 1000)
  queue.insert(4, text('ef'), 0, 2)
  t.equal(queue.setFin(5), false)
  t.equal(queue.setFin(6), true)
  t.equal(queue.setFin(6), true)
  t.equal(queue.setFin(7), false)
  t.equal(queue.isFinReady(), false)
  t.equal(queue.insert(0, text('abcdefgh'), 0, 8), 6, 'nothing behind the fin is taken')
  t.equal(queue.isFinReady(), true)
})

t.test('an arena offset as source works as any memory', async (t) => {
  const { queue, arena } = make(8, 1e6)
  const at = arena.reserve(100)
  arena.bytes.set(text('from a ring slot'), at)
  queue.insert(PAGE_LEN - 3, arena.bytes, at, 16)
  queue.insert(0, new Uint8Array(PAGE_LEN - 3), 0, PAGE_LEN - 3)
  t.equal(read(queue, PAGE_LEN - 3, 16), 'from a ring slot')
})

t.test('what is not there cannot be sent, copied or released', async (t) => {
  const { queue, tx } = make(4, 1000)
  queue.append(text('abc'), 0, 3)
  tx.begin()
  t.throws(() => queue.tx(2, 2, tx), { name: 'InvariantError' })
  t.throws(() => queue.copyOut(0, new Uint8Array(4), 0, 4), { name: 'InvariantError' })
  t.throws(() => queue.release(4), { name: 'InvariantError' })
})

t.test('the largest packet fits the pieces of one tx entry wherever it starts', async (t) => {
  const { queue, tx } = make(16, 1e6)
  queue.append(new Uint8Array(10 * PAGE_LEN), 0, 10 * PAGE_LEN)
  for (const off of [0, 1, PAGE_LEN - 1, PAGE_LEN]) {
    tx.begin()
    queue.tx(off, 65_535, tx)
    tx.end(0)
    t.equal(gather(tx).length, 65_535)
    t.ok((tx.meta[((tx.head + tx.count - 1) % tx.slots) * TX_META_STRIDE + 2] as number) <= TX_MAX_IOV)
    tx.take(1)
  }
})

/** Random operations on queue and twin; every observable is compared after each. */
function compare(t: Test, rng: Rng, origin: number, pageCount: number, steps: number): void {
  const window = 40 * PAGE_LEN
  const { arena, queue, tx } = make(pageCount, 20 * PAGE_LEN, origin)
  const twin = new NaiveStream(origin, window, 20 * PAGE_LEN, pageCount)
  const source = new Uint8Array(4 * PAGE_LEN)
  let shortCount = 0
  const check = (what: string, a: unknown, b: unknown): void => {
    if (a !== b) throw new Error(`${what}: ${a}, expected ${b}`)
  }
  for (let step = 0; step < steps; step++) {
    const kind = rng.below(10)
    const rare = rng.below(40)
    if (kind < 6) {
      const near = rng.chance(0.5) ? twin.readyEnd : twin.base + rng.below(24 * PAGE_LEN)
      const off = Math.min(origin + window, Math.max(origin, near + rng.between(-50, 50)))
      const len = Math.min(rng.chance(0.3) ? rng.below(3 * PAGE_LEN) : rng.below(200), origin + window - off)
      rng.fill(source, 0, len)
      const taken = twin.insert(off, source.subarray(0, len))
      check('insert', queue.insert(off, source, 0, len), taken)
      if (taken < len) shortCount++
    } else if (kind < 8) {
      const upTo = twin.base + rng.below(twin.readyEnd - twin.base + 1)
      twin.release(upTo)
      queue.release(upTo)
      arena.recycle()
    } else if (kind === 8) {
      const capacity = rng.below(24 * PAGE_LEN)
      twin.capacity = capacity
      queue.capacity = capacity
    } else if (rare === 0) {
      const off = twin.readyEnd + rng.between(-10, PAGE_LEN)
      check('setFin', queue.setFin(off), twin.setFin(off))
    } else if (rare === 1) {
      queue.clear()
      twin.clear()
      arena.recycle()
    }
    const readyEnd = twin.readyEnd
    check('edge', queue.edge(), twin.edge())
    check('base', queue.base, twin.base)
    check('readyEnd', queue.readyEnd, readyEnd)
    check('isFinReady', queue.isFinReady(), twin.fin === readyEnd)
    check('pages', arena.pagesInUse, twin.pagesHeld)
    const len = rng.below(Math.min(readyEnd - twin.base, 65_535) + 1)
    const off = twin.base + rng.below(readyEnd - twin.base - len + 1)
    const expected = Buffer.from(twin.read(off, len))
    const copied = Buffer.alloc(len)
    queue.copyOut(off, copied, 0, len)
    check('copyOut', copied.equals(expected), true)
    tx.begin()
    queue.tx(off, len, tx)
    tx.end(0)
    check('tx', Buffer.from(gather(tx)).equals(expected), true)
    tx.take(1)
  }
  queue.clear()
  check('pages after clear', arena.pagesInUse, 0)
  t.ok(shortCount > 0, `${shortCount} short insertions`)
}

for (const origin of [0, 2 ** 31 - 3 * PAGE_LEN - 7, 2 ** 32 - 5, 2 ** 45 + 12_345]) {
  t.test(`random operations agree with the naive twin from offset ${origin}`, async (t) => {
    await forSeeds(t, [1, 2, 3], (rng) => {
      compare(t, rng, origin, 64, 250)
      compare(t, rng, origin, 6, 250)
      compare(t, rng, origin, 20, 250)
    })
  })
}
