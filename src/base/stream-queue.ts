import type { Arena } from './arena.js'
import { PAGE_LEN, TABLE_LEN } from './arena.js'
import { invariant } from './errors.js'
import { RangeSet } from './range-set.js'
import type { TxRing } from './rings.js'

const NO_TABLE = new Int32Array(0)

/** Pieces out of order that one queue remembers; what would need one more is not taken and comes again. */
const MAX_SPARSE_RANGES = 4096

/** Below this a loop beats the set-up cost of a bulk copy between two buffers. */
const SMALL_COPY = 32

/**
 * The payload of one direction of a connection, addressed by stream offset. Endpoints, subflows, retransmission and
 * relay refer to the same bytes here; nothing is copied between them. The first copy of a byte wins.
 *
 *        base             readyEnd                               edge (promised to the writer)
 *         v                  v                                     v
 *     ....|##################|......[####]......[##]...............|
 *          contiguous: readable     `sparse` (out of order)
 *
 *     stream page k covers [k * PAGE_LEN, (k + 1) * PAGE_LEN) and lies in the arena at table[k mod table.length] (-1: nowhere)
 *
 * Offsets are plain integers below 2^53. Pages come on insertion and go on release; an empty queue holds none.
 */
export class StreamQueue {
  /** Everything below is released. */
  base = 0
  /** End of the contiguous prefix: [base, readyEnd) is readable. */
  readyEnd = 0
  /** Offset behind the last byte of the stream, -1 until the writer said so. */
  finAt = -1
  /** Bytes that may stand between `base` and the edge. May change at any time; may be more than the arena holds. */
  capacity: number
  /** Bytes held behind `readyEnd`, null while there are none. */
  sparse: RangeSet | null = null
  private readonly arena: Arena
  /** Circular, a power of two long, or empty. */
  private table: Int32Array = NO_TABLE
  private promised = 0

  constructor(arena: Arena, capacity: number) {
    this.arena = arena
    this.capacity = capacity
  }

  /** First offset that is not accepted: `base + capacity`, but it never retreats when the capacity shrinks. */
  edge(): number {
    const at = this.base + this.capacity
    if (at > this.promised) this.promised = at
    return this.promised
  }

  /** Takes bytes up to `upTo`, whatever the capacity: the peer was told that they have come. */
  promise(upTo: number): void {
    if (upTo > this.promised) this.promised = upTo
  }

  /** Bytes that can be read. */
  get ready(): number {
    return this.readyEnd - this.base
  }

  /** No byte is held, in order or not. */
  get isEmpty(): boolean {
    return this.base === this.readyEnd && this.sparse === null
  }

  /**
   * Stores mem[memOff, memOff+len) as stream bytes [off, off+len), as far as they are new and below the edge and the fin.
   * @returns how many of the bytes, counted from the front, are held or already released now; fewer than `len` when the edge,
   * the memory bound or the bound on pieces was reached.
   */
  insert(off: number, mem: Uint8Array, memOff: number, len: number): number {
    let end = Math.min(off + len, this.edge())
    if (this.finAt >= 0 && end > this.finAt) end = this.finAt
    let pos = Math.max(off, this.base)
    if (pos >= end) return Math.max(0, Math.min(off + len, this.base) - off)
    if (pos <= this.readyEnd) {
      pos = this.readyEnd
      if (pos >= end) return end - off
      if (this.sparse !== null) return this.fillGap(off, end, mem, memOff) - off
      this.readyEnd = this.store(pos, end, mem, memOff + (pos - off), 0)
      return this.readyEnd - off
    }
    return this.insertSparse(pos, end, mem, memOff + (pos - off)) - off
  }

  /** `insert` at `readyEnd`: for a writer that produces in order. */
  append(mem: Uint8Array, memOff: number, len: number): number {
    return this.insert(this.readyEnd, mem, memOff, len)
  }

  /** The stream ends at `off`. False (nothing changes) when that contradicts bytes held or an earlier fin. */
  setFin(off: number): boolean {
    if (this.finAt >= 0) return this.finAt === off
    const sparse = this.sparse
    const heldEnd = sparse === null ? this.readyEnd : sparse.endAt(sparse.count - 1)
    if (off < heldEnd) return false
    this.finAt = off
    return true
  }

  /** The end is known and everything before it has come. */
  isFinReady(): boolean {
    return this.finAt === this.readyEnd
  }

  /** Appends the pieces of [off, off+len) to the tx entry under construction. The bytes must be ready and not released. */
  tx(off: number, len: number, tx: TxRing): void {
    this.checkReady(off, len)
    const table = this.table
    const mask = table.length - 1
    let pos = off
    const end = off + len
    while (pos < end) {
      const at = pos & (PAGE_LEN - 1)
      const n = Math.min(PAGE_LEN - at, end - pos)
      tx.iov((table[Math.floor(pos / PAGE_LEN) & mask] as number) + at, n)
      pos += n
    }
  }

  /** Copies [off, off+len), which must be ready and not released, to dst[dstOff..]. */
  copyOut(off: number, dst: Uint8Array, dstOff: number, len: number): void {
    this.checkReady(off, len)
    const bytes = this.arena.bytes
    const mask = this.table.length - 1
    let pos = off
    const end = off + len
    while (pos < end) {
      const at = pos & (PAGE_LEN - 1)
      const n = Math.min(PAGE_LEN - at, end - pos)
      const from = (this.table[Math.floor(pos / PAGE_LEN) & mask] as number) + at
      dst.set(bytes.subarray(from, from + n), dstOff + (pos - off))
      pos += n
    }
  }

  /** Gives up everything below `upTo` (at most `readyEnd`); the edge moves accordingly. */
  release(upTo: number): void {
    if (upTo <= this.base) return
    invariant(upTo <= this.readyEnd, 'stream queue: release of bytes that are not there')
    const last = Math.floor(upTo / PAGE_LEN)
    for (let page = Math.floor(this.base / PAGE_LEN); page < last; page++) this.freePage(page)
    this.base = upTo
    if (upTo === this.readyEnd && this.sparse === null) {
      this.freePage(last)
      if (this.table.length === TABLE_LEN) this.arena.giveTable(this.table)
      this.table = NO_TABLE
    }
  }

  /** Gives up everything, also what is out of order, and the table. `base` moves to `readyEnd`. */
  clear(): void {
    for (let i = 0; i < this.table.length; i++) {
      const at = this.table[i] as number
      if (at >= 0) this.arena.freePage(at)
    }
    this.table = NO_TABLE
    this.sparse = null
    this.base = this.readyEnd
  }

  /** Bytes from `readyEnd` on, where something stands out of order. @returns end of the prefix that is held now. */
  private fillGap(off: number, end: number, mem: Uint8Array, memOff: number): number {
    const sparse = this.sparse as RangeSet
    let pos = this.readyEnd
    while (pos < end) {
      const next = sparse.nextCovered(pos)
      if (next !== pos) {
        const stop = next < 0 || next > end ? end : next
        pos = this.store(pos, stop, mem, memOff + (pos - off), 0)
        if (pos < stop) break
      } else pos = sparse.firstEndFrom(pos)
    }
    pos = sparse.firstEndFrom(pos)
    this.readyEnd = pos
    sparse.removeBelow(pos)
    if (sparse.count === 0) this.sparse = null
    return Math.min(pos, end)
  }

  /** Bytes beyond `readyEnd`. @returns end of the prefix that is held now. */
  private insertSparse(start: number, end: number, mem: Uint8Array, memOff: number): number {
    if (this.sparse === null) this.sparse = new RangeSet(MAX_SPARSE_RANGES)
    const sparse = this.sparse
    // The last pages are kept for bytes in order, else a queue full of later bytes could never get the one that is missing.
    const reserve = this.arena.pageCount >> 4
    let pos = start
    while (pos < end) {
      const next = sparse.nextCovered(pos)
      if (next === pos) {
        pos = Math.min(end, sparse.firstEndFrom(pos))
        continue
      }
      const stop = next < 0 || next > end ? end : next
      const touches = next === stop || (sparse.count > 0 && sparse.contains(pos - 1))
      if (!touches && sparse.count === sparse.maxRanges) break
      const stored = this.store(pos, stop, mem, memOff + (pos - start), reserve)
      if (stored > pos && sparse.add(pos, stored) < 0) break
      pos = stored
      if (pos < stop) break
    }
    if (sparse.count === 0) this.sparse = null
    return pos
  }

  /**
   * Copies bytes to [start, end), which holds nothing yet; takes pages while more than `reserve` are free.
   * @returns the offset up to which it went.
   */
  private store(start: number, end: number, mem: Uint8Array, memOff: number, reserve: number): number {
    this.reach(end)
    const arena = this.arena
    const bytes = arena.bytes
    const table = this.table
    const mask = table.length - 1
    let pos = start
    let from = memOff
    while (pos < end) {
      const slot = Math.floor(pos / PAGE_LEN) & mask
      let page = table[slot] as number
      if (page < 0) {
        if (arena.pagesFree <= reserve) break
        page = arena.allocPage()
        table[slot] = page
      }
      const at = pos & (PAGE_LEN - 1)
      const n = Math.min(PAGE_LEN - at, end - pos)
      const to = page + at
      if (mem === bytes) bytes.copyWithin(to, from, from + n)
      else if (n <= SMALL_COPY) for (let i = 0; i < n; i++) bytes[to + i] = mem[from + i] as number
      else bytes.set(mem.subarray(from, from + n), to)
      pos += n
      from += n
    }
    return pos
  }

  /** Makes the table cover the pages from that of `base` to that of byte `end - 1`. */
  private reach(end: number): void {
    const first = Math.floor(this.base / PAGE_LEN)
    const need = Math.floor((end - 1) / PAGE_LEN) - first + 1
    const old = this.table
    if (need <= old.length) return
    if (old.length === 0 && need <= TABLE_LEN) {
      this.table = this.arena.takeTable()
      return
    }
    let length = Math.max(TABLE_LEN, old.length)
    while (length < need) length *= 2
    const table = new Int32Array(length).fill(-1)
    for (let page = first; page < first + old.length; page++) {
      table[page & (length - 1)] = old[page & (old.length - 1)] as number
    }
    this.table = table
  }

  private freePage(page: number): void {
    if (this.table.length === 0) return
    const slot = page & (this.table.length - 1)
    const at = this.table[slot] as number
    if (at < 0) return
    this.arena.freePage(at)
    this.table[slot] = -1
  }

  private checkReady(off: number, len: number): void {
    invariant(off >= this.base && off + len <= this.readyEnd, 'stream queue: bytes that are not there')
  }
}
