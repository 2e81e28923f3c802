import t from 'tap'
import { Arena, PAGE_LEN } from '../../../src/base/arena.js'
import { MemoryBudget } from '../../../src/base/memory-budget.js'
import type { Engine } from '../../../src/engine/engine.js'
import { TunedQueues } from '../../../src/engine/queue-tuner.js'
import type { MptcpConnection } from '../../../src/mptcp/connection.js'

const MS = 1000
const RTT = 20 * MS
const K256 = 256 << 10

function world(pages: number, max: number) {
  const arena = new Arena(1 << 16, pages)
  const budget = new MemoryBudget(arena, 1)
  const engine = { arena, budget, config: { sendBuffer: max, receiveBuffer: max } } as unknown as Engine
  const conn = { subflows: [{ ep: { srttUs: RTT } }] } as unknown as MptcpConnection
  return { arena, budget, engine, conn }
}

/** Moves `perRtt` bytes through the upward queue in each of `rounds` round trips. */
function move(w: ReturnType<typeof world>, q: TunedQueues, perRtt: number, rounds: number, from: number): number {
  const block = new Uint8Array(4096)
  let now = from
  for (let i = 0; i < rounds; i++) {
    for (let left = perRtt; left > 0; left -= block.length) {
      q.up.append(block, 0, Math.min(left, block.length))
      q.up.release(q.up.readyEnd)
      w.arena.recycle()
      now += (RTT * block.length) / perRtt
      q.update(w.conn, now)
    }
  }
  return now
}

t.test('a queue that is turned over within a round trip doubles up to its maximum', (t) => {
  const w = world(2048, 2 << 20)
  const q = new TunedQueues(w.engine)
  t.equal(q.up.capacity, K256)
  const now = move(w, q, 100 << 10, 20, RTT)
  t.equal(q.up.capacity, K256, 'a slow transfer needs no more')
  move(w, q, 1 << 20, 20, now)
  t.equal(q.up.capacity, 2 << 20)
  t.equal(q.down.capacity, K256, 'the other direction did not move')
  q.close()
  t.equal(w.budget.promised, 0)
  t.end()
})

t.test('a queue that is full behind a gap grows: another path goes on meanwhile', (t) => {
  const w = world(2048, 2 << 20)
  const q = new TunedQueues(w.engine)
  const block = new Uint8Array(4096)
  q.update(w.conn, RTT)
  for (let at = 4096; at + block.length <= 128 << 10; at += block.length) q.down.insert(at, block, 0, block.length)
  q.update(w.conn, 3 * RTT)
  t.equal(q.down.capacity, K256, 'half of it is no matter')
  for (let at = 128 << 10; at + block.length <= K256; at += block.length) q.down.insert(at, block, 0, block.length)
  q.update(w.conn, 5 * RTT)
  t.equal(q.down.capacity, 2 * K256)
  q.update(w.conn, 7 * RTT)
  t.equal(q.down.capacity, 2 * K256, 'no further while there is room')
  q.close()
  t.equal(w.budget.promised, 0)
  t.end()
})

t.test('growth ends where the memory budget ends, and a small maximum is the first capacity', (t) => {
  const w = world((1 << 20) / PAGE_LEN, 64 << 20)
  const q = new TunedQueues(w.engine)
  move(w, q, 2 << 20, 20, RTT)
  t.equal(q.up.capacity + q.down.capacity, 1 << 20, 'all that the budget has')
  const small = new TunedQueues({ ...w.engine, config: { sendBuffer: 10_000, receiveBuffer: 10_000 } } as unknown as Engine)
  t.equal(small.up.capacity, 10_000)
  t.end()
})
