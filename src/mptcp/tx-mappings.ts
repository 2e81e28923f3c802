import { invariant } from '../base/errors.js'
import type { SeqOff } from '../tcp/extension.js'
import type { DataOff } from './mapping.js'

const MIN_LEN = 16

/**
 * The mappings that one subflow has declared and the peer has not acknowledged at both levels, oldest first: a circular queue, contiguous
 * in SeqOff. An entry never changes (RFC 8684 §3.3.1: a sender MUST NOT change a mapping after it has been declared); the
 * retransmission of any of its bytes repeats it as it is.
 *
 *            swallowed: ACKed, not DATA_ACKed | not wholly ACKed
 *     seq    1 ---------- 60001 ------------- 120001 ----- 180001 ----- end
 *     data   0            60000               120000       7000            <- a reinjection: lower DSN, higher sequence number
 *     index  0            1                   acked        acked + 1       count
 *
 * Held only while something is unacknowledged; `TxMappingsPool` recycles it.
 */
export class TxMappings {
  private seqs = new Float64Array(MIN_LEN)
  private datas = new Float64Array(MIN_LEN)
  /** Sum over the bytes of each for its DSS checksum, -1: none. */
  private sums = new Int32Array(MIN_LEN)
  private head = 0
  count = 0
  /** How many of them, the oldest, were wholly acknowledged on the subflow. */
  acked = 0
  /** SeqOff behind the last mapping. */
  end: SeqOff = 0
  /** Everything below was acknowledged on the subflow; may lie inside entry `acked`. */
  private una: SeqOff = 0
  /** Entries from acked + 1 on that begin below the end of the one before. While 0 the smallest DataOff not ACKed is in entry `acked`. */
  private unordered = 0
  /** Smallest start of the entries from acked + 1 on. */
  private minData: DataOff = 0
  private isMinKnown = false

  open(at: SeqOff): void {
    this.head = 0
    this.count = 0
    this.acked = 0
    this.end = at
    this.una = at
    this.unordered = 0
    this.isMinKnown = false
  }

  /** Declares [end, end + len) of the subflow as [data, data + len). @param sum DSS checksum or -1. */
  push(seq: SeqOff, data: DataOff, len: number, sum: number): void {
    invariant(this.count === 0 || seq === this.end, 'tx mappings: gap in the subflow sequence')
    if (this.count === 0) this.open(seq)
    if (this.count === this.seqs.length) this.grow()
    const isFirst = this.acked === this.count
    const lastEnd = isFirst ? -1 : this.dataEndAt(this.count - 1)
    const i = this.slot(this.count)
    this.seqs[i] = seq
    this.datas[i] = data
    this.sums[i] = sum
    this.count++
    this.end = seq + len
    if (data < lastEnd) this.unordered++
    if (!isFirst && this.isMinKnown && data < this.minData) this.minData = data
  }

  /** Index of the mapping that holds byte `at`, or -1. */
  find(at: SeqOff): number {
    if (this.count === 0 || at < this.seqAt(0) || at >= this.end) return -1
    let lo = 0
    let hi = this.count - 1
    while (lo < hi) {
      const mid = (lo + hi + 1) >> 1
      if (this.seqAt(mid) <= at) lo = mid
      else hi = mid - 1
    }
    return lo
  }

  seqAt(i: number): SeqOff {
    return this.seqs[this.slot(i)] as number
  }

  dataAt(i: number): DataOff {
    return this.datas[this.slot(i)] as number
  }

  sumAt(i: number): number {
    return this.sums[this.slot(i)] as number
  }

  /** SeqOff behind mapping `i`. */
  endAt(i: number): SeqOff {
    return i + 1 < this.count ? this.seqAt(i + 1) : this.end
  }

  lenAt(i: number): number {
    return this.endAt(i) - this.seqAt(i)
  }

  private dataEndAt(i: number): DataOff {
    return this.dataAt(i) + this.lenAt(i)
  }

  /** First byte of mapping `i` that is not acknowledged on the subflow; its end when all is. */
  unackedFrom(i: number): SeqOff {
    return Math.min(Math.max(this.seqAt(i), this.una), this.endAt(i))
  }

  /** The peer acknowledged everything below `una` on this subflow. */
  ackTo(una: SeqOff): void {
    if (una > this.una) this.una = una
    while (this.acked < this.count && this.endAt(this.acked) <= this.una) {
      const next = this.acked + 1
      if (next < this.count) {
        if (this.dataAt(next) < this.dataEndAt(this.acked)) this.unordered--
        if (this.isMinKnown && this.dataAt(next) === this.minData) this.isMinKnown = false
      }
      this.acked = next
    }
  }

  /** The data level is acknowledged below `dataUna`: forgets what both levels have covered. Returns how many mappings that were. */
  retire(dataUna: DataOff): number {
    let n = 0
    while (this.acked > 0 && this.dataEndAt(0) <= dataUna) {
      this.head = (this.head + 1) & (this.seqs.length - 1)
      this.count--
      this.acked--
      n++
    }
    return n
  }

  /**
   * Whether the byte `off` was acknowledged on the subflow and, since it still stands here, not at the data level.
   * @param wholeOnly the peer can use a mapping only when all of it has come (checksums): a part of one proves nothing.
   */
  hasSwallowed(off: DataOff, wholeOnly: boolean): boolean {
    for (let i = 0; i < this.acked; i++) if (this.dataAt(i) <= off && off < this.dataEndAt(i)) return true
    const i = this.acked
    if (wholeOnly || i === this.count) return false
    return this.dataAt(i) <= off && off < this.dataAt(i) + (this.unackedFrom(i) - this.seqAt(i))
  }

  /** Whether `off` lies in a mapping that is acknowledged in part: the rest of it is still on its way. */
  isPartOfCurrent(off: DataOff): boolean {
    const i = this.acked
    return i < this.count && this.una > this.seqAt(i) && this.dataAt(i) <= off && off < this.dataEndAt(i)
  }

  /**
   * Smallest DataOff that is not acknowledged on this subflow, Infinity when all is: below it the subflow needs no bytes any more
   * (RFC 8684 §3.3.2).
   */
  minUnacked(): DataOff {
    if (this.acked === this.count) return Infinity
    const first = this.dataAt(this.acked) + (this.unackedFrom(this.acked) - this.seqAt(this.acked))
    if (this.unordered === 0) return first
    if (!this.isMinKnown) {
      let min = Infinity
      for (let i = this.acked + 1; i < this.count; i++) min = Math.min(min, this.dataAt(i))
      this.minData = min
      this.isMinKnown = true
    }
    return Math.min(first, this.minData)
  }

  /** End of a mapping whose byte `at` is in flight, -1: there is none. */
  endInFlight(at: DataOff): DataOff {
    if (this.minUnacked() > at) return -1
    for (let i = this.acked; i < this.count; i++) {
      const end = this.dataEndAt(i)
      if (at < end && at >= this.dataAt(i) + (this.unackedFrom(i) - this.seqAt(i))) return end
    }
    return -1
  }

  /** Whether every mapping has DataOff - SeqOff === `diff`: what RFC 8684 §3.7 calls contiguous, the condition of a fallback. */
  isLinear(diff: number): boolean {
    for (let i = 0; i < this.count; i++) if (this.dataAt(i) - this.seqAt(i) !== diff) return false
    return true
  }

  get capacity(): number {
    return this.seqs.length
  }

  private slot(i: number): number {
    return (this.head + i) & (this.seqs.length - 1)
  }

  private grow(): void {
    const len = this.seqs.length * 2
    const seqs = new Float64Array(len)
    const datas = new Float64Array(len)
    const sums = new Int32Array(len)
    for (let i = 0; i < this.count; i++) {
      const from = this.slot(i)
      seqs[i] = this.seqs[from] as number
      datas[i] = this.datas[from] as number
      sums[i] = this.sums[from] as number
    }
    this.seqs = seqs
    this.datas = datas
    this.sums = sums
    this.head = 0
  }
}

/** Recycles mapping queues, so that request-response traffic allocates none and an idle subflow holds none. */
export class TxMappingsPool {
  private readonly free: TxMappings[] = []

  take(at: SeqOff): TxMappings {
    const m = this.free.pop() ?? new TxMappings()
    m.open(at)
    return m
  }

  give(m: TxMappings): void {
    if (this.free.length < 64 && m.capacity <= 1024) this.free.push(m)
  }
}
