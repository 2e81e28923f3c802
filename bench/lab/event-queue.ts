import type { Micros } from '../../src/base/time.js'
import type { Sink } from '../../test/sim/node.js'

/** Either a packet for `to`, or a call of `run`. */
export interface Event {
  at: Micros
  order: number
  run: (() => void) | null
  to: Sink | null
  packet: Uint8Array | null
}

/** Binary heap of events by (at, order of insertion), which recycles them: in steady state it allocates nothing. */
export class EventQueue {
  private readonly heap: Event[] = []
  private readonly spare: Event[] = []
  private order = 0

  get size(): number {
    return this.heap.length
  }

  first(): Event | null {
    return this.heap[0] ?? null
  }

  push(at: Micros, run: (() => void) | null, to: Sink | null, packet: Uint8Array | null): void {
    const event = this.spare.pop() ?? { at: 0, order: 0, run: null, to: null, packet: null }
    event.at = at
    event.order = this.order++
    event.run = run
    event.to = to
    event.packet = packet
    const heap = this.heap
    let node = heap.length
    heap.push(event)
    while (node > 0) {
      const parent = (node - 1) >> 1
      const other = heap[parent] as Event
      if (isBefore(other, event)) break
      heap[node] = other
      node = parent
    }
    heap[node] = event
  }

  /** Removes the first event. It stays readable until `recycle`. */
  pop(): Event {
    const heap = this.heap
    const first = heap[0] as Event
    const last = heap.pop() as Event
    const size = heap.length
    if (size === 0) return first
    let node = 0
    for (;;) {
      let child = 2 * node + 1
      if (child >= size) break
      if (child + 1 < size && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++
      const other = heap[child] as Event
      if (isBefore(last, other)) break
      heap[node] = other
      node = child
    }
    heap[node] = last
    return first
  }

  /** Gives a popped event back. */
  recycle(event: Event): void {
    event.run = null
    event.to = null
    event.packet = null
    this.spare.push(event)
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
