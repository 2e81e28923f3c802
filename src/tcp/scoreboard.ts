import { type Micros, NEVER, US_PER_MS, US_PER_S } from '../base/time.js'
import type { SeqOff, TcpExtension } from './extension.js'
import type { AckReport } from './ack-report.js'
import { Records } from './records.js'
import { Recovery } from './recovery.js'

const SACKED = 1
const LOST = 2
/** A retransmission of a lost record is in flight. */
const RETRANS = 4
/** Was retransmitted at least once: its ACK is ambiguous (Karn). */
const AMBIGUOUS = 8
/** Was sent while the application had nothing more to send: its delivery rate says little. */
const APP_LIMITED = 16
/** What survives a SACK mark. */
const KEEP = AMBIGUOUS | APP_LIMITED

/**
 * Beyond so many records SACK blocks split none any more: a peer that SACKs every other byte would otherwise make each of its ACKs cost
 * time and memory in proportion to the window in bytes. What a block does not wholly cover counts as not SACKed, which RFC 2018 allows.
 */
export const RECORDS_MAX = 16_384

/** Sending instant of what was SACKed and taken back: joined with its neighbours, it has none of its own. */
const UNKNOWN = -1

/** Fewer records are not worth joining. */
const COMPACT_MIN = 128

/**
 * The bytes in flight as a partition of [sndUna, sndNxt) into records, oldest first. One record per transmission
 * (a super-segment of 60 KB is one); SACK blocks, losses and partial retransmissions split records.
 *
 *     starts  1      60001     120001          180001
 *             | sent  | SACKED  | LOST RETRANS  |        end = sndNxt
 *
 * It exists only while something is in flight; `FlightPool` recycles it.
 */
export class Flight extends Records {
  /** Bytes SACKed, lost and not SACKed, retransmitted and not yet acknowledged. */
  sacked = 0
  lost = 0
  retrans = 0
  /** Without SACK: bytes that duplicate ACKs stand for, one segment each, wherever they lie (Linux's sacked_out of such connections). */
  blindSacked = 0
  /** Records at which SACKed ones are joined. */
  private compactAt = COMPACT_MIN
  /** Everything below is known to hold no record that is lost and unsent. */
  private lostHint: SeqOff = 0
  /** RACK.xmit_ts, RACK.end_seq, RACK.rtt (RFC 8985 §5.3): the latest-sent record that was delivered. */
  private rackSentAt: Micros = -1
  private rackEnd: SeqOff = 0
  private rackRttUs: Micros = 0
  /** Highest byte delivered so far (RACK.fack). */
  private fack: SeqOff = 0
  /** After `detectByTime`: how long the reordering timer has to wait, 0: not at all. */
  reorderWaitUs: Micros = 0
  private deliveredAt: Micros = 0
  /** When the cumulative ACK moved last, or the first byte left: since then the oldest byte waits. */
  progressAt: Micros = 0
  private firstSentAt: Micros = 0
  /** Until deliveredTotal passes this, what is sent counts as application-limited; -1: it does not. */
  private appLimitedUntil: SeqOff = -1
  readonly recovery = new Recovery()
  /** The most that was in flight at once, until `usageUntil` is acknowledged and a new look at it begins (see Sender.noteLimit). */
  maxOut = 0
  usageUntil: SeqOff = 0
  /** The pacer lets the next burst out at this instant; and, while it holds one back, when to ask again (NEVER: it does not). */
  paceAt: Micros = 0
  paceWaitAt: Micros = NEVER

  /** @param at the first byte that will be sent. */
  open(at: SeqOff): void {
    this.head = 0
    this.count = 0
    this.end = at
    this.sacked = 0
    this.lost = 0
    this.retrans = 0
    this.blindSacked = 0
    this.compactAt = COMPACT_MIN
    this.lostHint = 0
    this.rackSentAt = -1
    this.rackEnd = 0
    this.rackRttUs = 0
    this.fack = at
    this.reorderWaitUs = 0
    this.appLimitedUntil = at // nothing was in flight: until the first byte is acknowledged, rates tell about the pause before
    this.recovery.reset()
    this.maxOut = 0
    this.usageUntil = at
    this.paceAt = 0
    this.paceWaitAt = NEVER
  }

  /** Position that only grows: bytes delivered since the connection began (plus 1 for the SYN). */
  get deliveredTotal(): number {
    return this.start + this.sacked
  }

  /** The application had nothing more to send although the window was open. */
  noteAppLimited(): void {
    this.appLimitedUntil = this.deliveredTotal + this.pipe
  }

  /** Something may be missing: duplicate ACKs, SACKed bytes, or recovery. New data then leaves at once (RFC 3042). */
  get isTroubled(): boolean {
    return this.sacked > 0 || this.recovery.dupAcks > 0 || !this.recovery.isOpen
  }

  get isEmpty(): boolean {
    return this.count === 0
  }

  /** Oldest byte in flight. */
  get start(): SeqOff {
    return this.count === 0 ? this.end : (this.starts[this.head] as number)
  }

  /** RFC 6675 §4 "pipe": bytes believed to be in the network. */
  get pipe(): number {
    const unknown = this.end - this.start - this.sacked - this.lost
    // what is found lost later may have been counted as arrived by duplicate ACKs
    return unknown - Math.min(this.blindSacked, unknown) + this.retrans
  }

  /** Sending instant of the oldest record. */
  get oldestSentAt(): Micros {
    return this.count === 0 ? -1 : (this.sent[this.head] as number)
  }

  /** [end, end + len) was transmitted for the first time. */
  push(len: number, now: Micros): void {
    this.ensure(1)
    const i = this.head + this.count
    this.starts[i] = this.end
    this.sent[i] = now
    if (this.count === 0) {
      this.progressAt = now
      this.firstSentAt = now
      this.deliveredAt = now
    }
    this.stamp(i)
    this.flags[i] = this.appLimitedUntil >= 0 ? APP_LIMITED : 0
    this.count++
    this.end += len
  }

  /** Cumulative ACK of everything below `una`. */
  ack(una: SeqOff, report: AckReport): void {
    while (this.count > 0) {
      const i = this.head
      const start = this.starts[i] as number
      if (start >= una) break
      const end = this.endOf(i)
      const flags = this.flags[i] as number
      const n = Math.min(end, una) - start
      report.acked += n
      if ((flags & SACKED) === 0) {
        report.delivered += n
        this.noteAcked(i, flags, report)
        this.noteDelivered(i, Math.min(end, una), flags, report)
      }
      this.uncount(flags, n)
      if (una < end) {
        this.starts[i] = una
        break
      }
      this.head++
      this.count--
    }
    if (this.count === 0) this.head = 0
  }

  /** A duplicate ACK without SACK: one segment has left the network. What is missing has not. */
  noteDuplicate(mss: number, report: AckReport): void {
    const max = this.end - this.start - Math.max(this.lost, mss)
    const n = Math.min(mss, max - this.blindSacked)
    if (n <= 0) return
    this.blindSacked += n
    report.delivered += n
  }

  /** A cumulative ACK without SACK of `acked` bytes: one segment filled the hole, the rest are those that duplicate ACKs stood for. */
  forgetDuplicates(acked: number, mss: number, report: AckReport): void {
    const known = Math.min(this.blindSacked, Math.max(0, acked - mss))
    this.blindSacked = Math.min(this.blindSacked - known, Math.max(0, this.end - this.start - Math.max(this.lost, mss)))
    report.delivered -= Math.min(known, report.delivered)
  }

  /** A SACK block [left, right), already clamped to the flight. */
  sack(left: SeqOff, right: SeqOff, report: AckReport): void {
    if (left >= right) return
    if (this.count >= this.compactAt) this.compact()
    const maySplit = this.count < RECORDS_MAX
    this.ensure(2)
    for (let i = maySplit ? this.splitAt(left) : this.firstFrom(left); i < this.head + this.count; i++) {
      const start = this.starts[i] as number
      if (start >= right) break
      const flags = this.flags[i] as number
      if ((flags & SACKED) !== 0) continue
      if (this.endOf(i) > right) {
        if (!maySplit) break
        this.splitAt(right)
      }
      const n = this.endOf(i) - start
      this.uncount(flags, n)
      this.noteDelivered(i, this.endOf(i), flags, report)
      if ((flags & AMBIGUOUS) === 0 && (this.sent[i] as number) > report.sackedAt) report.sackedAt = this.sent[i] as number
      this.flags[i] = (flags & KEEP) | SACKED
      this.sacked += n
      report.newlySacked += n
      report.delivered += n
    }
  }

  /**
   * Joins neighbours that are SACKed: of what has arrived only its place matters, and every ACK looks at each record that may be lost.
   * Done when the records have doubled since the last time, so that it costs the same per record however many there are.
   */
  private compact(): void {
    const stop = this.head + this.count
    let to = this.head + 1
    for (let i = to; i < stop; i++) {
      const flags = this.flags[i] as number
      if ((flags & SACKED) !== 0 && ((this.flags[to - 1] as number) & SACKED) !== 0) continue
      if (to !== i) this.move(i, to)
      to++
    }
    this.count = to - this.head
    this.compactAt = Math.max(COMPACT_MIN, Math.min(2 * this.count, RECORDS_MAX), this.count + COMPACT_MIN)
  }

  /**
   * RFC 8985 §6.2 step 5: lost is what was sent before the latest-sent record that arrived, by more than the reordering window `windowUs`
   * beyond that record's round trip. Sets `reorderWaitUs`. Returns the bytes newly marked.
   */
  detectByTime(windowUs: Micros, ext: TcpExtension, now: Micros): number {
    this.reorderWaitUs = 0
    if (this.rackSentAt < 0) return 0
    let marked = 0
    const stop = this.head + this.count
    for (let i = this.head; i < stop; i++) {
      const sent = this.sent[i] as number
      const flags = this.flags[i] as number
      // in order of first transmission: what follows was sent, or sent again, later still
      if (sent > this.rackSentAt && (flags & AMBIGUOUS) === 0) break
      if ((flags & SACKED) !== 0 || (flags & (LOST | RETRANS)) === LOST) continue
      const end = this.endOf(i)
      if (sent > this.rackSentAt || (sent === this.rackSentAt && end >= this.rackEnd)) continue
      const wait = sent + this.rackRttUs + windowUs - now
      if (wait > 0) {
        if (wait > this.reorderWaitUs) this.reorderWaitUs = wait
        continue
      }
      marked += end - (this.starts[i] as number)
      if ((flags & LOST) === 0) ext.onLoss(this.starts[i] as number, end, now)
      this.markLost(i)
    }
    return marked
  }

  /** After a spurious recovery: what was marked lost and not sent again counts as in flight once more. */
  unmarkLost(): void {
    for (let i = this.head; i < this.head + this.count; i++) {
      const flags = this.flags[i] as number
      if ((flags & LOST) === 0) continue
      const n = this.endOf(i) - (this.starts[i] as number)
      this.lost -= n
      if ((flags & RETRANS) !== 0) this.retrans -= n
      this.flags[i] = flags & ~(LOST | RETRANS)
    }
  }

  /** [at, at + len) was sent again as a probe although nothing says that it was lost (RFC 8985 §7.3). */
  probed(at: SeqOff, len: number, now: Micros): void {
    this.ensure(2)
    this.splitAt(at)
    this.splitAt(at + len)
    for (let i = this.find(at); i < this.head + this.count && (this.starts[i] as number) < at + len; i++) {
      this.flags[i] = (this.flags[i] as number) | AMBIGUOUS
      this.sent[i] = now
    }
  }

  /** After the ACK was processed: the delivery rate since the reported record was sent. */
  rate(report: AckReport): void {
    if (report.delivered === 0) return
    const total = this.deliveredTotal
    this.deliveredAt = report.now
    if (this.appLimitedUntil >= 0 && total > this.appLimitedUntil) this.appLimitedUntil = -1
    if (report.priorDelivered < 0) return
    const interval = Math.max(report.sendElapsedUs, report.now - report.priorDeliveredAt)
    // shorter than any round trip: the ACK was compressed or the clock is too coarse
    if (interval <= 0 || interval < report.minRttUs) return
    report.rateBps = ((total - report.priorDelivered) * US_PER_S) / interval
  }

  /** Marks the oldest record, at most `len` bytes of it, as lost (three duplicate ACKs without SACK, partial ACK in NewReno; RFC 6582 §3.2). */
  markHeadLost(len: number): void {
    if (this.count === 0 || ((this.flags[this.head] as number) & SACKED) !== 0) return
    this.ensure(1)
    const stop = Math.min(this.start + len, this.end)
    if (stop < this.endOf(this.head)) this.splitAt(stop)
    this.markLost(this.head)
  }

  /** Length of the oldest record: how large what is sent again was, unless it was cut since. */
  get headLen(): number {
    return this.count === 0 ? 0 : this.endOf(this.head) - this.start
  }

  /** Where the last segment of the last record begins, for records cut into segments of `seg` bytes; `end` is the end without a FIN. */
  lastSegmentAt(end: SeqOff, seg: number): SeqOff {
    const start = this.count === 0 ? end : (this.starts[this.head + this.count - 1] as number)
    return start >= end ? end : start + Math.floor((end - start - 1) / seg) * seg
  }

  /** Whether byte `at`, which is in flight, was found lost and not sent again. */
  isLostAt(at: SeqOff): boolean {
    return ((this.flags[this.find(at)] as number) & (LOST | RETRANS)) === LOST
  }

  /** The path takes no more than `max` bytes a segment: records that are longer count as lost. */
  markLongerLost(max: number): void {
    for (let i = this.head; i < this.head + this.count; i++) {
      if (((this.flags[i] as number) & SACKED) === 0 && this.endOf(i) - (this.starts[i] as number) > max) this.markLost(i)
    }
  }

  /** Timeout: nothing of what is not SACKed is believed to be in the network any more. */
  markAllLost(): void {
    this.blindSacked = 0
    // RFC 2018 §8: the receiver reneged when the oldest byte was SACKed and still is not acknowledged
    const reneged = this.count > 0 && ((this.flags[this.head] as number) & SACKED) !== 0
    if (reneged) this.compact()
    for (let i = this.head; i < this.head + this.count; i++) {
      const flags = this.flags[i] as number
      if ((flags & SACKED) !== 0) {
        if (!reneged) continue
        this.sacked -= this.endOf(i) - (this.starts[i] as number)
        this.flags[i] = (flags & ~SACKED) | AMBIGUOUS
        this.sent[i] = UNKNOWN
      }
      this.markLost(i)
    }
  }

  /** First lost byte whose retransmission is not in flight, -1: none. */
  nextLost(): SeqOff {
    if (this.lost === this.retrans) return -1
    for (let i = this.find(Math.max(this.lostHint, this.start)); i < this.head + this.count; i++) {
      if (((this.flags[i] as number) & (LOST | RETRANS)) === LOST) {
        this.lostHint = this.starts[i] as number
        return this.lostHint
      }
    }
    return -1
  }

  /** Bytes from `at` to the end of its record (of adjacent records that are lost as well), at most `max`. */
  lostLen(at: SeqOff, max: number): number {
    let i = this.find(at)
    let end = this.endOf(i)
    while (end - at < max && ++i < this.head + this.count) {
      if (((this.flags[i] as number) & (LOST | RETRANS)) !== LOST) break
      end = this.endOf(i)
    }
    return Math.min(end - at, max)
  }

  /** [at, at + len), all of it lost, was retransmitted. */
  retransmitted(at: SeqOff, len: number, now: Micros): void {
    this.ensure(2)
    this.splitAt(at)
    this.splitAt(at + len)
    for (let i = this.find(at); i < this.head + this.count && (this.starts[i] as number) < at + len; i++) {
      this.retrans += this.endOf(i) - (this.starts[i] as number)
      this.flags[i] = (this.flags[i] as number) | RETRANS | AMBIGUOUS
      this.sent[i] = now
      this.stamp(i)
    }
  }

  private markLost(i: number): void {
    const flags = this.flags[i] as number
    const n = this.endOf(i) - (this.starts[i] as number)
    if ((flags & RETRANS) !== 0) this.retrans -= n
    if ((flags & LOST) === 0) this.lost += n
    this.flags[i] = (flags | LOST) & ~RETRANS
    this.lostHint = Math.min(this.lostHint, this.starts[i] as number)
  }

  private uncount(flags: number, n: number): void {
    if ((flags & SACKED) !== 0) this.sacked -= n
    if ((flags & LOST) !== 0) this.lost -= n
    if ((flags & RETRANS) !== 0) this.retrans -= n
  }

  private stamp(i: number): void {
    this.priorDelivered[i] = this.deliveredTotal
    this.priorDeliveredAt[i] = this.deliveredAt
    this.firstSent[i] = this.firstSentAt
  }

  /** RFC 8985 §6.2 steps 2 and 3, and the sample of the delivery rate. */
  private noteDelivered(i: number, end: SeqOff, flags: number, report: AckReport): void {
    const sent = this.sent[i] as number
    if (end > this.fack) this.fack = end
    else if (end < this.fack && (flags & AMBIGUOUS) === 0) report.isReordered = true
    if (end <= report.originalBelow && (flags & AMBIGUOUS) === 0) report.isOriginal = true
    if (sent === UNKNOWN) return
    if ((this.priorDelivered[i] as number) >= report.priorDelivered) {
      report.priorDelivered = this.priorDelivered[i] as number
      report.priorDeliveredAt = this.priorDeliveredAt[i] as number
      report.sendElapsedUs = sent - (this.firstSent[i] as number)
      report.isRateAppLimited = (flags & APP_LIMITED) !== 0
      this.firstSentAt = sent
    }
    const rtt = report.now - sent
    if ((flags & AMBIGUOUS) !== 0) {
      // the ACK may answer an earlier transmission
      if (report.echoMs >= 0 ? report.echoMs < Math.floor(sent / US_PER_MS) : rtt < report.minRttUs) return
    }
    if (sent < this.rackSentAt || (sent === this.rackSentAt && end <= this.rackEnd)) return
    this.rackSentAt = sent
    this.rackEnd = end
    this.rackRttUs = rtt
  }

  private noteAcked(i: number, flags: number, report: AckReport): void {
    const sent = this.sent[i] as number
    if ((flags & AMBIGUOUS) !== 0) {
      if (sent > report.resentAt) report.resentAt = sent
      return
    }
    if (sent > report.sentAt) report.sentAt = sent
  }
}

/** Recycles flights, so that request-response traffic allocates none and an idle endpoint holds none. */
export class FlightPool {
  private readonly free: Flight[] = []

  take(at: SeqOff): Flight {
    const f = this.free.pop() ?? new Flight()
    f.open(at)
    return f
  }

  give(f: Flight): void {
    if (this.free.length < 64 && f.capacity <= 4096) this.free.push(f)
  }
}
