import type { Micros } from '../../src/base/time.js'
import type { Sink } from './node.js'

/** Time and timers of a simulated or emulated network. The link nodes know nothing else, so that they also run in real time. */
export interface Loop {
  /** The instant of the event that is being handled. */
  readonly now: Micros
  /** Calls `run` at `at` (not before now); same instants in the order of the calls. */
  at(at: Micros, run: () => void): void
  /** Gives `packet` to `to` at `at`: what the links do for every packet, so that a loop in real time needs no closure for it. */
  pass(at: Micros, to: Sink, packet: Uint8Array): void
}

interface Event {
  readonly at: Micros
  readonly order: number
  readonly run: () => void
}

/** More events than this at one instant are an endless loop. */
const MAX_AT_ONCE = 1_000_000

/** Virtual time: jumps from event to event. A run is a function of its inputs and seed alone. */
export class VirtualLoop implements Loop {
  now: Micros = 0
  /** Events handled so far. */
  handled = 0
  private atOnce = 0
  private order = 0
  /** Binary heap by (at, order). */
  private readonly heap: Event[] = []

  at(at: Micros, run: () => void): void {
    const event = { at: Math.max(this.now, Math.ceil(at)), order: this.order++, run }
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

  pass(at: Micros, to: Sink, packet: Uint8Array): void {
    this.at(at, () => to(packet))
  }

  after(delay: Micros, run: () => void): void {
    this.at(this.now + delay, run)
  }

  /** Handles events until `isDone` holds, nothing is left or `until` is passed. @returns whether `isDone` held. */
  run(isDone: () => boolean = () => false, until: Micros = Number.POSITIVE_INFINITY): boolean {
    while (!isDone()) {
      const first = this.heap[0]
      if (first === undefined || first.at > until) {
        if (Number.isFinite(until)) this.now = Math.max(this.now, until)
        return isDone()
      }
      this.pop()
      this.atOnce = first.at === this.now ? this.atOnce + 1 : 0
      if (this.atOnce > MAX_AT_ONCE) throw new Error(`time stands still at ${this.now} µs`)
      this.now = first.at
      this.handled++
      first.run()
    }
    return true
  }

  private pop(): void {
    const heap = this.heap
    const last = heap.pop() as Event
    if (heap.length === 0) return
    let node = 0
    for (;;) {
      let child = 2 * node + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++
      const other = heap[child] as Event
      if (isBefore(last, other)) break
      heap[node] = other
      node = child
    }
    heap[node] = last
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
