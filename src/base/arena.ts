import { invariant } from './errors.js'

/** Length of one payload page. 60 KB super-segments touch 4-5 of them; an idle connection holds none. */
export const PAGE_LEN = 16_384

/** Entries of the page tables that queues share: 128 KB. */
export const TABLE_LEN = 8
/** Tables that wait for their next use. */
const TABLES_MAX = 1024

/**
 * One flat memory for everything that crosses the device boundary: ring slots (reserved once, at start) and
 * payload pages (LIFO free list, so that hot pages are reused while still in the cache). The native addon
 * attaches `buffer` once; everybody else speaks in byte offsets into `bytes`.
 *
 *     | reserved: rx slots, tx headers | page | page | page | ...   untouched pages cost no RSS
 *
 * A freed page may still be referenced by an entry of a tx ring that the device has not taken, so it stays in
 * quarantine until `recycle()`, which the engine calls when every tx ring is empty.
 */
export class Arena {
  readonly buffer: ArrayBuffer
  readonly bytes: Uint8Array
  readonly pageCount: number
  private readonly reservedLen: number
  private reservedAt = 0
  private readonly free: Int32Array
  private freeCount: number
  private quarantineCount = 0
  private readonly tables: Int32Array[] = []

  /** @param reservedLen bytes for rings, rounded up to a page; @param pageCount payload pages (memory bound of all streams). */
  constructor(reservedLen: number, pageCount: number) {
    this.reservedLen = Math.ceil(reservedLen / PAGE_LEN) * PAGE_LEN
    this.pageCount = pageCount
    this.buffer = new ArrayBuffer(this.reservedLen + pageCount * PAGE_LEN)
    this.bytes = new Uint8Array(this.buffer)
    // [0, freeCount) free pages, (pageCount - quarantineCount, pageCount] quarantined ones
    this.free = new Int32Array(pageCount)
    this.freeCount = pageCount
    for (let i = 0; i < pageCount; i++) this.free[i] = this.reservedLen + (pageCount - 1 - i) * PAGE_LEN
  }

  /** Reserves ring storage for good; only while the engine is composed. @throws InvariantError when `reservedLen` was too small. */
  reserve(len: number): number {
    const at = this.reservedAt
    this.reservedAt += (len + 63) & ~63
    invariant(this.reservedAt <= this.reservedLen, 'arena: reserved area too small')
    return at
  }

  /** Offset of a page with undefined content, or -1 when the memory bound is reached. */
  allocPage(): number {
    if (this.freeCount === 0) return -1
    return this.free[--this.freeCount] as number
  }

  /** Gives a page back; it is handed out again only after `recycle()`. */
  freePage(off: number): void {
    this.quarantineCount++
    this.free[this.pageCount - this.quarantineCount] = off
  }

  /** Ends the quarantine. Call only when no tx ring holds an entry. */
  recycle(): void {
    for (let i = this.quarantineCount; i > 0; i--) {
      this.free[this.freeCount++] = this.free[this.pageCount - i] as number
    }
    this.quarantineCount = 0
  }

  /** A page table of TABLE_LEN entries, all -1. A queue has one only while it holds something: most connections are idle. */
  takeTable(): Int32Array {
    return this.tables.pop() ?? new Int32Array(TABLE_LEN).fill(-1)
  }

  /** Gives it back, all -1 again. */
  giveTable(table: Int32Array): void {
    if (this.tables.length < TABLES_MAX) this.tables.push(table)
  }

  /** Pages that `allocPage` can hand out now. */
  get pagesFree(): number {
    return this.freeCount
  }

  /** Pages held by streams (quarantined ones count as free). */
  get pagesInUse(): number {
    return this.pageCount - this.freeCount - this.quarantineCount
  }
}
