import type { SeqOff } from './extension.js'

/**
 * A contiguous stretch of sequence space cut into records, oldest first, as parallel arrays: `Flight` gives them their meaning.
 * Record i covers [starts[i], starts[i + 1]), the last one up to `end`; indices run from `head` to `head + count - 1`, and do not
 * survive `ensure`.
 */
export class Records {
  protected starts = new Float64Array(16)
  protected sent = new Float64Array(16)
  protected flags = new Uint8Array(16)
  /** Per record, for the delivery rate: deliveredTotal, its instant, and the start of the send interval when it was sent. */
  protected priorDelivered = new Float64Array(16)
  protected priorDeliveredAt = new Float64Array(16)
  protected firstSent = new Float64Array(16)
  protected head = 0
  protected count = 0
  end: SeqOff = 0

  /** Number of records. */
  get records(): number {
    return this.count
  }

  /** Room for records without growing, for the pool. */
  get capacity(): number {
    return this.starts.length
  }

  protected endOf(i: number): SeqOff {
    return i + 1 < this.head + this.count ? (this.starts[i + 1] as number) : this.end
  }

  /** Index of the record that holds byte `at` (start <= at < end). */
  protected find(at: SeqOff): number {
    let lo = this.head
    let hi = this.head + this.count - 1
    while (lo < hi) {
      const mid = (lo + hi + 1) >> 1
      if ((this.starts[mid] as number) <= at) lo = mid
      else hi = mid - 1
    }
    return lo
  }

  /** Index of the first record that begins at or behind `at`; behind the last record when there is none. */
  protected firstFrom(at: SeqOff): number {
    if (at >= this.end || this.count === 0) return this.head + this.count
    const i = this.find(at)
    return (this.starts[i] as number) >= at ? i : i + 1
  }

  /** Makes `at` the start of a record and returns its index; past the end of the flight, the index behind the last record. */
  protected splitAt(at: SeqOff): number {
    if (at >= this.end || this.count === 0) return this.head + this.count
    const i = this.find(at)
    if ((this.starts[i] as number) >= at) return i
    const j = i + 1
    this.openGap(j)
    this.starts[j] = at
    this.sent[j] = this.sent[j - 1] as number
    this.priorDelivered[j] = this.priorDelivered[j - 1] as number
    this.priorDeliveredAt[j] = this.priorDeliveredAt[j - 1] as number
    this.firstSent[j] = this.firstSent[j - 1] as number
    this.flags[j] = this.flags[j - 1] as number
    this.count++
    return j
  }

  /** Copies record `from` to index `to`. */
  protected move(from: number, to: number): void {
    this.starts[to] = this.starts[from] as number
    this.sent[to] = this.sent[from] as number
    this.priorDelivered[to] = this.priorDelivered[from] as number
    this.priorDeliveredAt[to] = this.priorDeliveredAt[from] as number
    this.firstSent[to] = this.firstSent[from] as number
    this.flags[to] = this.flags[from] as number
  }

  /** Opens a gap at index `i`; the caller made sure of the room. */
  protected openGap(i: number): void {
    const stop = this.head + this.count
    this.starts.copyWithin(i + 1, i, stop)
    this.sent.copyWithin(i + 1, i, stop)
    this.priorDelivered.copyWithin(i + 1, i, stop)
    this.priorDeliveredAt.copyWithin(i + 1, i, stop)
    this.firstSent.copyWithin(i + 1, i, stop)
    this.flags.copyWithin(i + 1, i, stop)
  }

  /** Room for `n` more records behind the last; may move all of them, so indices do not survive it. */
  protected ensure(n: number): void {
    const end = this.head + this.count
    if (end + n <= this.starts.length) return
    if (this.head >= this.starts.length >> 2 && this.head >= n) {
      this.starts.copyWithin(0, this.head, end)
      this.sent.copyWithin(0, this.head, end)
      this.priorDelivered.copyWithin(0, this.head, end)
      this.priorDeliveredAt.copyWithin(0, this.head, end)
      this.firstSent.copyWithin(0, this.head, end)
      this.flags.copyWithin(0, this.head, end)
    } else this.grow()
    this.head = 0
  }

  protected grow(): void {
    const len = this.starts.length * 2
    this.starts = this.moved(this.starts, new Float64Array(len))
    this.sent = this.moved(this.sent, new Float64Array(len))
    this.priorDelivered = this.moved(this.priorDelivered, new Float64Array(len))
    this.priorDeliveredAt = this.moved(this.priorDeliveredAt, new Float64Array(len))
    this.firstSent = this.moved(this.firstSent, new Float64Array(len))
    this.flags = this.moved(this.flags, new Uint8Array(len))
  }

  protected moved<A extends Float64Array | Uint8Array>(from: A, to: A): A {
    to.set(from.subarray(this.head, this.head + this.count))
    return to
  }
}
