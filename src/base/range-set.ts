/**
 * A sorted set of disjoint, non-touching ranges [start, end) of stream offsets (integers below 2^53).
 *
 *     at = [ s0 e0 | s1 e1 | s2 e2 | (room) ]      s0 < e0 < s1 < e1 < ...
 *
 * Bounded by `maxRanges`, so that a peer who sends every other byte costs a fixed amount of memory.
 */
export class RangeSet {
  readonly maxRanges: number
  /** Ranges in the set. */
  count = 0
  /** Bytes covered by all ranges. */
  covered = 0
  private at: Float64Array

  constructor(maxRanges = 1024) {
    this.maxRanges = maxRanges
    this.at = new Float64Array(2 * Math.min(4, maxRanges))
  }

  /** Start of the i-th range, 0 <= i < count. */
  startAt(i: number): number {
    return this.at[2 * i] as number
  }

  /** End (exclusive) of the i-th range, 0 <= i < count. */
  endAt(i: number): number {
    return this.at[2 * i + 1] as number
  }

  /** Index of the first range that ends behind `x` (it contains `x` or begins behind it); `count` when there is none. O(log n). */
  find(x: number): number {
    let lo = 0
    let hi = this.count
    // Traffic is mostly at the far end: one look there spares the search.
    if (hi > 0 && (this.at[2 * hi - 1] as number) <= x) return hi
    while (lo < hi) {
      const mid = (lo + hi) >>> 1
      if ((this.at[2 * mid + 1] as number) > x) hi = mid
      else lo = mid + 1
    }
    return lo
  }

  /** Whether the byte at `x` is covered. */
  contains(x: number): boolean {
    const i = this.find(x)
    return i < this.count && this.startAt(i) <= x
  }

  /** Whether all of [start, end) is covered. An empty range always is. */
  containsRange(start: number, end: number): boolean {
    if (start >= end) return true
    const i = this.find(start)
    return i < this.count && this.startAt(i) <= start && this.endAt(i) >= end
  }

  /** End of the range that covers `x`; `x` itself when none does. */
  firstEndFrom(x: number): number {
    const i = this.find(x)
    return i < this.count && this.startAt(i) <= x ? this.endAt(i) : x
  }

  /** First covered byte at or behind `x`, or -1. */
  nextCovered(x: number): number {
    const i = this.find(x)
    if (i === this.count) return -1
    const s = this.startAt(i)
    return Math.max(s, x)
  }

  /**
   * Adds [start, end), merging what overlaps or touches.
   * @returns how many bytes were not covered before, or -1 (nothing changed) when the set is full.
   */
  add(start: number, end: number): number {
    if (start >= end) return 0
    // Ranges first .. last-1 overlap or touch [start, end). `start - 1` finds a range that ends exactly at `start`.
    const first = this.find(start - 1)
    let last = first
    let newStart = start
    let newEnd = end
    let old = 0
    while (last < this.count && this.startAt(last) <= end) {
      const s = this.startAt(last)
      const e = this.endAt(last)
      if (s < newStart) newStart = s
      if (e > newEnd) newEnd = e
      old += e - s
      last++
    }
    if (last === first) {
      if (this.count === this.maxRanges) return -1
      if (2 * this.count === this.at.length) this.grow()
      this.at.copyWithin(2 * first + 2, 2 * first, 2 * this.count)
      this.count++
    } else if (last > first + 1) {
      this.at.copyWithin(2 * first + 2, 2 * last, 2 * this.count)
      this.count -= last - first - 1
    }
    this.at[2 * first] = newStart
    this.at[2 * first + 1] = newEnd
    const fresh = newEnd - newStart - old
    this.covered += fresh
    return fresh
  }

  /** Uncovers everything below `x`. */
  removeBelow(x: number): void {
    const n = this.find(x)
    for (let i = 0; i < n; i++) this.covered -= this.endAt(i) - this.startAt(i)
    if (n > 0) {
      this.at.copyWithin(0, 2 * n, 2 * this.count)
      this.count -= n
    }
    if (this.count > 0 && this.startAt(0) < x) {
      this.covered -= x - this.startAt(0)
      this.at[0] = x
    }
  }

  /** Uncovers everything. */
  clear(): void {
    this.count = 0
    this.covered = 0
  }

  private grow(): void {
    const bigger = new Float64Array(Math.min(2 * this.maxRanges, 2 * this.at.length))
    bigger.set(this.at)
    this.at = bigger
  }
}
