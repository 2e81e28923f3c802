import { RangeSet } from '../base/range-set.js'
import { NEVER, US_PER_S, type Micros } from '../base/time.js'
import type { SegmentSink, SeqOff } from './extension.js'

/** Out-of-order ranges kept per endpoint; what does not fit is not acknowledged and comes again. */
const MAX_RANGES = 1024

/** RFC 7323 §5.5: a timestamp older than this proves nothing any more. */
const PAWS_IDLE_S = 24 * 24 * 3600

/** Ticks of the peer's clock (1 ms as a rule) by which a segment that fills a gap may be older than what filled the one before. */
const PAWS_SLACK = 250

/** Blocks of one ACK: 3 beside timestamps (RFC 2018 §3), a 4th without. */
export const SACK_MAX = 4

/** Exists only while bytes are missing, or until a duplicate was reported. */
class Reorder {
  readonly ranges = new RangeSet(MAX_RANGES)
  /** A byte of each of the ranges that changed last, latest first, at most SACK_MAX: so they are reported (RFC 2018 §4). */
  readonly recent: SeqOff[] = []
  /** Duplicate to report as D-SACK (RFC 2883), -1: none. */
  dupLeft: SeqOff = -1
  dupRight: SeqOff = -1

  /** The range that holds `at` changed, or was hit again. */
  touch(at: SeqOff): void {
    const i = this.ranges.find(at)
    const start = this.ranges.startAt(i)
    const end = this.ranges.endAt(i)
    const recent = this.recent
    let n = 0
    for (const x of recent) if (x < start || x >= end) recent[n++] = x
    recent.length = Math.min(n, SACK_MAX - 1)
    recent.unshift(at)
  }
}

/** Receive side of one endpoint: what has arrived, what is announced, and when to acknowledge. */
export class Receiver {
  rcvNxt: SeqOff = 0
  /** Largest right edge ever announced; never retreats (RFC 9293 §3.8.6.2.1). */
  edge: SeqOff = 0
  /** rcvNxt and edge as of the last segment that we sent: RFC 7323 §4.3 Last.ACK.sent. */
  lastAckSent: SeqOff = 0
  /** Position of the peer's FIN, -1: not seen. */
  finAt: SeqOff = -1
  tsRecent = 0
  /** When tsRecent was taken, in whole seconds: it matters after 24 days only. */
  tsRecentAtS = 0
  /** Estimate of the peer's segment size, for the delayed-ACK rule. */
  segLen = 536
  /** Largest window announced so far; stands for the buffer's size in the silly-window rule. */
  private maxWindow = 0
  /** The window field told last was 0. */
  private isShut = false
  /** Segments that are still acknowledged at once, to speed up the peer's slow start (Linux's quick ACKs); none in a dialogue. */
  quickAcks = 0
  /** An ACK is due now. */
  ackNow = false
  delackAt: Micros = NEVER
  reorder: Reorder | null = null

  /** The timestamp of a segment that is acceptable. RFC 7323 §4.3: only one at the left edge of what we acknowledged last counts. */
  noteTimestamp(tsVal: number, segOff: SeqOff, now: Micros): void {
    if (segOff > this.lastAckSent || (((tsVal - this.tsRecent) | 0) < 0 && !this.isTsOutdated(now))) return
    this.tsRecent = tsVal
    this.tsRecentAtS = Math.floor(now / US_PER_S)
  }

  /** RFC 7323 §5.5: the clock behind tsRecent may have gone round since. */
  isTsOutdated(now: Micros): boolean {
    return now / US_PER_S - this.tsRecentAtS >= PAWS_IDLE_S
  }

  /**
   * Deviation: RFC 7323 §5.3 R1 drops every segment with an older timestamp. When a retransmission has filled a gap, that is also every
   * original that was sent before it and is overtaken by it, and on a path that reorders each retransmission would cause further losses.
   * Only a wrap of the sequence space can make such a segment an old duplicate, for which PAWS_SLACK is too short a time.
   */
  isOvertaken(tsVal: number, segOff: SeqOff): boolean {
    if (this.reorder === null || this.reorder.ranges.count === 0 || segOff < this.rcvNxt) return false
    return ((this.tsRecent - tsVal) | 0) <= PAWS_SLACK
  }

  /**
   * In-window payload [segOff, segOff + len) of `mem`. Places it, moves rcvNxt, decides about the ACK.
   * @returns bytes that became contiguous.
   */
  onPayload(
    segOff: SeqOff,
    mem: Uint8Array,
    off: number,
    len: number,
    mss: number,
    sink: SegmentSink,
    delayUs: Micros,
    now: Micros,
  ): number {
    const end = segOff + len
    if (mss > this.segLen || len >= this.segLen) this.segLen = Math.min(mss, 65_535)
    if (end <= this.rcvNxt) {
      this.noteDuplicate(segOff, end)
      return 0
    }
    let from = segOff
    if (segOff < this.rcvNxt) {
      this.noteDuplicate(segOff, this.rcvNxt)
      from = this.rcvNxt
    }
    const taken = sink.accept(from, mem, off + (from - segOff), end - from, now)
    if (taken < end - from) this.ackNow = true // the peer must learn that the rest is not wanted
    if (taken === 0) return 0
    if (from > this.rcvNxt) {
      this.keepOutOfOrder(from, from + taken)
      return 0
    }
    const before = this.rcvNxt
    this.rcvNxt = from + taken
    const reorder = this.reorder
    if (reorder !== null && reorder.ranges.count > 0) {
      // RFC 5681 §4.2: a segment that fills all or part of a gap is acknowledged at once
      this.ackNow = true
      this.noteOverlap(reorder, end)
      const joined = reorder.ranges.firstEndFrom(this.rcvNxt)
      if (joined > this.rcvNxt) this.rcvNxt = joined
      reorder.ranges.removeBelow(this.rcvNxt)
    }
    // RFC 1122 §4.2.3.2: every second full segment at least
    if (this.rcvNxt - this.lastAckSent >= 2 * this.segLen || this.rcvNxt + this.segLen > this.edge) this.ackNow = true
    else if (this.quickAcks > 0) {
      this.quickAcks--
      this.ackNow = true
    } else if (this.delackAt === NEVER) this.delackAt = now + delayUs
    return this.rcvNxt - before
  }

  /** New data up to `end` has come, and the first range lies in it: a part of it came twice (RFC 2883 §4.2). */
  private noteOverlap(reorder: Reorder, end: SeqOff): void {
    const start = reorder.ranges.startAt(0)
    if (start >= end) return
    reorder.dupLeft = start
    reorder.dupRight = Math.min(end, reorder.ranges.endAt(0))
  }

  /** The peer's FIN stands at `at`. The first one counts, unless bytes beyond it have arrived: then it is nonsense. */
  noteFin(at: SeqOff): void {
    if (at !== this.rcvNxt) this.ackNow = true
    if (this.finAt >= 0 || at < this.rcvNxt || at > this.edge) return
    const ranges = this.reorder === null ? null : this.reorder.ranges
    if (ranges !== null && ranges.count > 0 && ranges.endAt(ranges.count - 1) > at) return
    this.finAt = at
  }

  /**
   * The FIN was taken, and the application may well answer it by one of its own: its ACK waits for that as that of data does. Linux waits
   * for as long as data was seen to come, so not at all when there was none.
   */
  delayFinAck(delayUs: Micros, now: Micros): void {
    if (this.finAt <= 1 || this.rcvNxt - this.lastAckSent > this.segLen) this.ackNow = true
    else this.delackAt = Math.min(this.delackAt, now + delayUs)
  }

  /** The FIN was taken: nothing more can come. */
  get hasEnded(): boolean {
    return this.finAt >= 0 && this.rcvNxt > this.finAt
  }

  private keepOutOfOrder(from: SeqOff, to: SeqOff): void {
    if (this.reorder === null) this.reorder = new Reorder()
    const r = this.reorder
    // the first part of it that is here already (RFC 2883 §4.2)
    const i = r.ranges.find(from)
    if (i < r.ranges.count && r.ranges.startAt(i) < to) {
      r.dupLeft = Math.max(from, r.ranges.startAt(i))
      r.dupRight = Math.min(to, r.ranges.endAt(i))
    }
    const added = r.ranges.add(from, to)
    if (added >= 0) r.touch(from)
    this.ackNow = true
  }

  private noteDuplicate(from: SeqOff, to: SeqOff): void {
    if (this.reorder === null) this.reorder = new Reorder()
    this.reorder.dupLeft = from
    this.reorder.dupRight = to
    this.ackNow = true
  }

  /** Number of SACK blocks that wait to be sent, at most SACK_MAX. */
  get sackPending(): number {
    const r = this.reorder
    if (r === null) return 0
    return Math.min(SACK_MAX, r.ranges.count + (r.dupLeft >= 0 ? 1 : 0))
  }

  /**
   * Fills `left`/`right` with at most `max` blocks: D-SACK, then the ranges that changed last, so that each is told as often as there
   * is room for blocks (RFC 2018 §4), then the highest. Returns their number.
   */
  sackBlocks(left: Float64Array, right: Float64Array, max: number): number {
    const r = this.reorder
    if (r === null) return 0
    const ranges = r.ranges
    let n = 0
    if (r.dupLeft >= 0 && max > 0) {
      left[n] = r.dupLeft
      right[n++] = r.dupRight
    }
    const first = n
    for (let k = 0; k < r.recent.length && n < max; k++) {
      const i = ranges.find(r.recent[k] as SeqOff)
      if (i === ranges.count || ranges.startAt(i) > (r.recent[k] as SeqOff)) continue
      left[n] = ranges.startAt(i)
      right[n++] = ranges.endAt(i)
    }
    const told = n
    for (let i = ranges.count - 1; i >= 0 && n < max; i--) {
      const start = ranges.startAt(i)
      let isTold = false
      for (let k = first; k < told; k++) isTold ||= left[k] === start
      if (isTold) continue
      left[n] = start
      right[n++] = ranges.endAt(i)
    }
    return n
  }

  /** Old payload arrived: nothing new, but its sender learns so from a D-SACK (RFC 2883 §4.1). */
  noteOld(segOff: SeqOff, len: number): void {
    if (segOff + len <= this.rcvNxt) this.noteDuplicate(segOff, segOff + len)
  }

  /** Window field of a SYN or SYN/ACK, which is never scaled (RFC 7323 §2.2); relative to what the SYN/ACK acknowledges. */
  announceSyn(window: number): number {
    const raw = Math.min(65_535, window)
    this.edge = Math.max(this.edge, Math.max(1, this.rcvNxt) + raw)
    this.maxWindow = Math.max(this.maxWindow, raw)
    return raw
  }

  /**
   * Window field of the next segment for `window` bytes that the sink would take now; moves `edge`. Silly-window avoidance: the
   * edge moves by at least a segment or half the buffer (RFC 9293 §3.8.6.2.2). What was promised is never taken back, so it is
   * rounded up to the scale, as Linux does, where the sink has room for that.
   */
  announce(window: number, scale: number): number {
    const unit = 1 << scale
    const promised = Math.max(0, this.edge - this.rcvNxt)
    const offer = Math.min(window, 65_535 * unit)
    let raw = Math.floor(offer / unit)
    // The gain counts before rounding: with a coarse scale half of the buffer might never be reached in whole units.
    if (raw * unit <= promised || offer - promised < Math.min(this.segLen, this.maxWindow / 2)) {
      raw = Math.ceil(promised / unit)
      // The sink has no room behind its window: rounding up would promise bytes that it refuses, and each becomes a loss. RFC 7323
      // §2.4 lets the field round down then, as long as what was promised is still taken; `edge` stays.
      if (raw * unit > window) raw = Math.floor(promised / unit)
    }
    if (raw > 65_535) raw = 65_535
    // a buffer smaller than one unit would stay closed for ever (Linux rounds up as well); what it has no room for comes again
    if (raw === 0 && window > 0 && this.maxWindow < unit) raw = 1
    this.isShut = raw === 0
    const edge = this.rcvNxt + raw * unit
    if (edge > this.edge) this.edge = edge
    if (raw * unit > this.maxWindow && window >= unit) this.maxWindow = raw * unit
    return raw
  }

  /** Whether the window that the sink offers now, as the field of a segment can tell it, is worth an ACK of its own. */
  isUpdateDue(window: number, scale: number): boolean {
    const promised = this.edge - this.rcvNxt
    // a SYN/ACK cannot tell more than 64 KB; the ACK of the first data will, in time
    if (this.rcvNxt <= 1 && promised > 2 * this.segLen) return false
    const unit = 1 << scale
    if (this.maxWindow < unit) return this.isShut && window > 0
    const offer = Math.min(window, 65_535 * unit)
    const gain = offer - promised
    if (Math.floor(offer / unit) * unit <= promised || gain < Math.min(this.segLen, this.maxWindow / 2)) return false
    return promised < 2 * this.segLen || gain >= this.maxWindow / 4
  }

  /** A segment with an ACK of rcvNxt left. `withSack`: it carried all SACK blocks that were pending. */
  onAckSent(withSack: boolean): void {
    if (!withSack && this.rcvNxt > this.lastAckSent) this.quickAcks = 0 // data answers data: ACKs travel along
    this.lastAckSent = this.rcvNxt
    this.delackAt = NEVER
    const r = this.reorder
    if (r === null) {
      this.ackNow = false
      return
    }
    if (!withSack) return // the SACK information is still owed: a pure ACK follows
    this.ackNow = false
    r.dupLeft = -1
    if (r.ranges.count === 0) this.reorder = null
  }
}
