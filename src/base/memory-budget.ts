import type { Arena } from './arena.js'
import { PAGE_LEN } from './arena.js'

/** Share of the pages in use above which no queue may grow any more. */
const TIGHT_SHARE = 0.75

/**
 * Decides how far the queues of an engine may grow. Capacity is a promise (a receive window), pages are what is really
 * held; most promises are never called in at once, so promises may exceed the pages by `overcommit`. Two brakes:
 * promised bytes against that bound, and pages in use now against `TIGHT_SHARE`.
 */
export class MemoryBudget {
  private readonly arena: Arena
  /** Bytes that may be promised in all. */
  readonly limit: number
  /** Bytes promised now. */
  promised = 0

  /** @param overcommit promised bytes per byte of pages, >= 1. */
  constructor(arena: Arena, overcommit = 4) {
    this.arena = arena
    this.limit = arena.pageCount * PAGE_LEN * overcommit
  }

  /** Bytes of payload that the arena can hold. */
  get total(): number {
    return this.arena.pageCount * PAGE_LEN
  }

  /** Bytes held by streams now, whole pages. */
  get inUse(): number {
    return this.arena.pagesInUse * PAGE_LEN
  }

  /** Memory is scarce: queues should not grow, and idle ones should shrink. */
  get isTight(): boolean {
    return this.arena.pagesInUse > TIGHT_SHARE * this.arena.pageCount
  }

  /** Takes the base capacity of a new queue, always granted: a connection that exists must be able to move. */
  take(bytes: number): void {
    this.promised += bytes
  }

  /** Asks for growth by `bytes`. @returns what is granted, 0..bytes; add it to the queue's capacity. */
  ask(bytes: number): number {
    if (this.isTight) return 0
    const granted = Math.max(0, Math.min(bytes, this.limit - this.promised))
    this.promised += granted
    return granted
  }

  /** Gives capacity back that `take` or `ask` had granted. */
  giveBack(bytes: number): void {
    this.promised -= bytes
  }
}
