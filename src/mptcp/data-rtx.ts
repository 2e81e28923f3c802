import { NEVER, type Micros, US_PER_S } from '../base/time.js'
import type { ReinjectCause } from '../scheduler/scheduler.js'
import type { DataOff } from './mapping.js'
import type { TxMappings } from './tx-mappings.js'

/** Doublings of the data-level timeout without progress. */
const BACKOFF_MAX = 8
/** Longest data-level timeout, as of RFC 6298's. */
const PERIOD_MAX_US = 120 * US_PER_S
/**
 * Subflows come and go, or acknowledge, and nothing ever arrives: after that long the connection is given up. It is longer than TCP tries
 * with 15 retransmissions (Linux: 924 s at least, RFC 9293 §3.8.3: 100 s at least).
 */
const STUCK_US = 1200 * US_PER_S
/** Ranges that wait for reinjection; what does not fit is found again by the data-level timer. */
const RANGES_MAX = 512
const STRIDE = 4

/**
 * Data-level retransmission, RFC 8684 §3.3.6: one timer per connection, and the bytes that shall go out a second time on another
 * subflow. The timer's period is the largest RTO without back-off of the subflows that still answer.
 */
export class DataRtx {
  deadline: Micros = NEVER
  private backoff = 0
  /** Timeouts in a row without progress. */
  fires = 0
  /** The first of them. */
  private stuckSince: Micros = 0
  /** Since when the oldest byte waits for its DATA_ACK; kept only for a user timeout, NEVER: nothing waits. */
  waitsSince: Micros = NEVER
  /** Oldest byte whose DATA_ACK was asked for, after the subflow had acknowledged it. */
  askedFor: DataOff = -1
  /** Everything below was sent a second time already because it blocked the window. */
  opportuneTo: DataOff = 0
  /** from, to, id of the subflow that must not get it (-1: any may), cause. */
  private ranges: Float64Array | null = null
  private head = 0
  count = 0

  /** `isDue`: something is unacknowledged, or waits for a window. @param periodUs NEVER: no subflow to time with. */
  arm(isDue: boolean, periodUs: Micros, now: Micros): void {
    if (!isDue || periodUs === NEVER) {
      this.deadline = NEVER
      if (!isDue) this.backoff = this.fires = 0
      return
    }
    if (this.deadline === NEVER) this.deadline = now + Math.min(PERIOD_MAX_US, periodUs * 2 ** this.backoff)
  }

  /** The data level moved. */
  progress(): void {
    this.backoff = 0
    this.fires = 0
    this.deadline = NEVER
    this.waitsSince = NEVER
  }

  fired(now: Micros): void {
    if (this.fires === 0) this.stuckSince = now
    this.fires++
    if (this.backoff < BACKOFF_MAX) this.backoff++
    this.deadline = NEVER
  }

  /** When there is no hope left, NEVER: there is. */
  get hopelessAt(): Micros {
    return this.fires === 0 ? NEVER : this.stuckSince + STUCK_US
  }

  /** Queues [from, to); adjacent ranges with the same exclusion merge. */
  add(from: DataOff, to: DataOff, except: number, cause: ReinjectCause): void {
    if (from >= to) return
    if (this.ranges === null) this.ranges = new Float64Array(16 * STRIDE)
    const last = (this.head + this.count - 1) * STRIDE
    if (this.count > 0 && this.ranges[last + 1] === from && this.ranges[last + 2] === except) {
      this.ranges[last + 1] = to
      return
    }
    if (this.count === RANGES_MAX) return
    if ((this.head + this.count) * STRIDE === this.ranges.length) this.makeRoom()
    const at = (this.head + this.count) * STRIDE
    this.ranges[at] = from
    this.ranges[at + 1] = to
    this.ranges[at + 2] = except
    this.ranges[at + 3] = cause
    this.count++
  }

  /** Queues what a subflow has in flight and the data level still misses. */
  addUnacked(tx: TxMappings | null, una: DataOff, except: number, cause: ReinjectCause): void {
    if (tx === null) return
    for (let i = tx.acked; i < tx.count; i++) {
      const data = tx.dataAt(i)
      this.add(Math.max(una, data + (tx.unackedFrom(i) - tx.seqAt(i))), data + tx.lenAt(i), except, cause)
    }
  }

  /** Queues everything that the data level misses of what a subflow carried: what it had acknowledged may be lost with it. */
  addAll(tx: TxMappings | null, una: DataOff, except: number, cause: ReinjectCause): void {
    if (tx === null) return
    for (let i = 0; i < tx.count; i++) this.add(Math.max(una, tx.dataAt(i)), tx.dataAt(i) + tx.lenAt(i), except, cause)
  }

  /** Drops what was acknowledged meanwhile; false when nothing is left. */
  next(una: DataOff): boolean {
    const r = this.ranges
    while (r !== null && this.count > 0) {
      const at = this.head * STRIDE
      if ((r[at] as number) < una) r[at] = una
      if ((r[at] as number) < (r[at + 1] as number)) return true
      this.head++
      this.count--
    }
    this.head = 0
    this.ranges = null
    return false
  }

  get from(): DataOff {
    return this.field(0)
  }
  get to(): DataOff {
    return this.field(1)
  }
  get except(): number {
    return this.field(2)
  }
  get cause(): ReinjectCause {
    return this.field(3) as ReinjectCause
  }

  /** The first `n` bytes of the first range went out. */
  sent(n: number): void {
    if (this.ranges !== null) this.ranges[this.head * STRIDE] = this.from + n
  }

  clear(): void {
    this.ranges = null
    this.head = 0
    this.count = 0
    this.deadline = NEVER
    this.waitsSince = NEVER
  }

  private field(i: number): number {
    return this.ranges === null ? 0 : (this.ranges[this.head * STRIDE + i] as number)
  }

  private makeRoom(): void {
    const old = this.ranges as Float64Array
    const used = old.subarray(this.head * STRIDE, (this.head + this.count) * STRIDE)
    const bigger = this.head > 0 ? old : new Float64Array(old.length * 2)
    bigger.set(used)
    this.ranges = bigger
    this.head = 0
  }
}
