import t from 'tap'
import { Arena, PAGE_LEN } from '../../../src/base/arena.js'
import { MemoryBudget } from '../../../src/base/memory-budget.js'

t.test('promises are bounded by the overcommitted pages', async (t) => {
  const budget = new MemoryBudget(new Arena(0, 10), 2)
  t.equal(budget.total, 10 * PAGE_LEN)
  t.equal(budget.ask(15 * PAGE_LEN), 15 * PAGE_LEN)
  t.equal(budget.ask(15 * PAGE_LEN), 5 * PAGE_LEN)
  t.equal(budget.ask(1), 0)
  budget.giveBack(PAGE_LEN)
  t.equal(budget.ask(2 * PAGE_LEN), PAGE_LEN)
})

t.test('the base capacity of a new queue is always granted', async (t) => {
  const budget = new MemoryBudget(new Arena(0, 1), 1)
  budget.take(2 * PAGE_LEN)
  t.equal(budget.promised, 2 * PAGE_LEN)
  t.equal(budget.ask(1), 0)
})

t.test('nothing grows while pages are scarce', async (t) => {
  const arena = new Arena(0, 8)
  const budget = new MemoryBudget(arena)
  const pages = Array.from({ length: 7 }, () => arena.allocPage())
  t.equal(budget.isTight, true)
  t.equal(budget.inUse, 7 * PAGE_LEN)
  t.equal(budget.ask(100), 0)
  for (const page of pages) arena.freePage(page)
  t.equal(budget.isTight, false)
  t.equal(budget.ask(100), 100)
})
