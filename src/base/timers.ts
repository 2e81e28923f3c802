import type { Micros } from './time.js'
import { NEVER } from './time.js'

/**
 * Deadlines of all objects of an engine: an indexed 4-ary heap, so that moving a deadline is O(log n) and finding the
 * earliest one is a read. Ids are small integers, reused after `remove`; the owner maps them to its objects.
 *
 *     heap[0] is the id due first; children of node i are 4i+1 .. 4i+4; place[id] is its node, -1 while not armed
 */
export class TimerQueue {
  private at = new Float64Array(16).fill(NEVER)
  private heap = new Int32Array(16)
  private place = new Int32Array(16).fill(-1)
  private readonly freeIds: number[] = []
  private idCount = 0
  private armedCount = 0

  /** A new timer, not armed. */
  add(): number {
    const id = this.freeIds.pop()
    if (id !== undefined) return id
    if (this.idCount === this.at.length) this.grow()
    return this.idCount++
  }

  /** Disarms the timer and gives its id back. */
  remove(id: number): void {
    this.arm(id, NEVER)
    this.freeIds.push(id)
  }

  /** Sets the deadline of `id`, earlier or later than the one it has; NEVER disarms. */
  arm(id: number, at: Micros): void {
    const node = this.place[id] as number
    const old = this.at[id] as number
    if (at === old) return
    this.at[id] = at
    if (at === NEVER) this.unlink(id, node)
    else if (node < 0) this.rise(this.armedCount++, id)
    else if (at < old) this.rise(node, id)
    else this.sink(node, id)
  }

  /** The deadline of `id`, NEVER when it is not armed. */
  deadline(id: number): Micros {
    return this.at[id] as number
  }

  /** The earliest deadline, NEVER when no timer is armed. */
  next(): Micros {
    return this.armedCount === 0 ? NEVER : (this.at[this.heap[0] as number] as number)
  }

  /** A timer with a deadline <= `now`, the earliest first, which it disarms; -1 when none is due. */
  popDue(now: Micros): number {
    if (this.armedCount === 0) return -1
    const id = this.heap[0] as number
    if ((this.at[id] as number) > now) return -1
    this.at[id] = NEVER
    this.unlink(id, 0)
    return id
  }

  /** Armed timers. */
  get size(): number {
    return this.armedCount
  }

  private unlink(id: number, node: number): void {
    this.place[id] = -1
    const moved = this.heap[--this.armedCount] as number
    if (moved === id) return
    const parent = node === 0 ? -1 : (node - 1) >> 2
    if (parent >= 0 && (this.at[moved] as number) < (this.at[this.heap[parent] as number] as number)) this.rise(node, moved)
    else this.sink(node, moved)
  }

  /** Puts `id` at `node` or above. */
  private rise(node: number, id: number): void {
    const at = this.at[id] as number
    while (node > 0) {
      const parent = (node - 1) >> 2
      const other = this.heap[parent] as number
      if ((this.at[other] as number) <= at) break
      this.heap[node] = other
      this.place[other] = node
      node = parent
    }
    this.heap[node] = id
    this.place[id] = node
  }

  /** Puts `id` at `node` or below. */
  private sink(node: number, id: number): void {
    const at = this.at[id] as number
    for (;;) {
      let best = -1
      let bestAt = at
      const end = Math.min(this.armedCount, 4 * node + 5)
      for (let child = 4 * node + 1; child < end; child++) {
        const childAt = this.at[this.heap[child] as number] as number
        if (childAt < bestAt) {
          best = child
          bestAt = childAt
        }
      }
      if (best < 0) break
      const other = this.heap[best] as number
      this.heap[node] = other
      this.place[other] = node
      node = best
    }
    this.heap[node] = id
    this.place[id] = node
  }

  private grow(): void {
    const length = 2 * this.at.length
    const at = new Float64Array(length).fill(NEVER)
    const place = new Int32Array(length).fill(-1)
    const heap = new Int32Array(length)
    at.set(this.at)
    place.set(this.place)
    heap.set(this.heap)
    this.at = at
    this.place = place
    this.heap = heap
  }
}
