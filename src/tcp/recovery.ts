import { type Micros, NEVER, US_PER_MS } from '../base/time.js'
import type { CongestionController } from './cc/controller.js'
import type { SeqOff, TcpExtension } from './extension.js'
import { isReorderingSeen, type ReorderMemory, reorderMult, widened } from './reorder-memory.js'
import type { RttEstimator } from './rtt.js'
import type { AckReport } from './ack-report.js'
import type { Flight } from './scoreboard.js'

/** RFC 5681 §3.2 */
export const DUP_THRESH = 3
/** RFC 8985 §7.2: worst-case delayed ACK of a receiver that waits for a second segment. */
const WORST_DELAYED_ACK_US = 200 * US_PER_MS
/**
 * Loss recovery of the current flight: RACK (RFC 8985 §6), tail loss probes (§7), proportional rate reduction (RFC 9937), and the undo
 * of reductions that turn out spurious (RFC 3522 by timestamps, RFC 3708 by D-SACK). It exists only while bytes are in flight.
 *
 *     open --loss found--> recovery (PRR) --sndUna >= recoverAt--> open
 *       \--RTO----------> loss recovery (slow start from one segment) --/     any of them --spurious--> open, window restored
 */
export class Recovery {
  /** Recovery lasts until this is acknowledged; -1: open. */
  recoverAt: SeqOff = -1
  /** In recovery after a timeout. */
  isLossRecovery = false
  /** Fast recovery began by duplicate ACKs without SACK: a partial ACK shows the next hole (RFC 6582). With SACK it may be in flight still. */
  isBlind = false
  dupAcks = 0
  /** A window reduced for ECE is not reduced again before this is acknowledged (RFC 3168 §6.1.2); -1: it was not. */
  ecnUntil: SeqOff = -1
  /** The round of the last widening ends here: once per round trip (RFC 8985 §6.2 step 4). */
  private dsackRound: SeqOff = -1

  /** Tail loss probe: when it is due, and up to where everything was sent when it went out (-1: none outstanding). */
  probeAt: Micros = NEVER
  private tlpEnd: SeqOff = -1
  private isTlpRetransmit = false
  /** RACK's reordering timer (§6.2 step 5). */
  reorderAt: Micros = NEVER

  private prrDelivered = 0
  private prrOut = 0
  private recoverFs = 0

  /** After a timeout without timestamps: whether it was spurious is being found out (RFC 5682); segments of new data to send for that. */
  isFrto = false
  frtoNew = 0

  /** First retransmission of this recovery, -1: none yet; bytes retransmitted and not reported as duplicates. */
  private retransAt: Micros = -1
  private undoBytes = 0
  private mayUndo = false

  reset(): void {
    this.recoverAt = -1
    this.isLossRecovery = false
    this.isBlind = false
    this.dupAcks = 0
    this.ecnUntil = -1
    this.dsackRound = -1
    this.probeAt = NEVER
    this.tlpEnd = -1
    this.isTlpRetransmit = false
    this.reorderAt = NEVER
    this.prrDelivered = 0
    this.prrOut = 0
    this.recoverFs = 0
    this.retransAt = -1
    this.undoBytes = 0
    this.mayUndo = false
    this.isFrto = false
    this.frtoNew = 0
  }

  get isOpen(): boolean {
    return this.recoverAt < 0
  }

  /** RFC 8985 §6.2 step 4: how long a hole may be mere reordering. */
  reorderWindowUs(flight: Flight, rtt: RttEstimator, memory: ReorderMemory, mss: number): Micros {
    if (!isReorderingSeen(memory) && (!this.isOpen || flight.sacked >= DUP_THRESH * mss)) return 0
    return Math.min((reorderMult(memory) * rtt.minUs) / 4, rtt.srttUs)
  }

  /** Finds what is lost by time and arms the reordering timer. Returns the bytes newly marked. */
  detect(flight: Flight, windowUs: Micros, ext: TcpExtension, now: Micros): number {
    const lost = flight.detectByTime(windowUs, ext, now)
    this.reorderAt = flight.reorderWaitUs > 0 ? now + flight.reorderWaitUs : NEVER
    return lost
  }

  /** Enters fast recovery (RFC 9937 §6). */
  enter(flight: Flight, cc: CongestionController, flightBefore: number, mss: number, now: Micros): void {
    this.beginUndo()
    this.recoverAt = flight.end
    this.isLossRecovery = false
    this.isBlind = false
    this.prrDelivered = 0
    this.prrOut = 0
    this.recoverFs = Math.max(1, flightBefore - flight.sacked)
    this.probeAt = NEVER
    cc.onCongestion(flightBefore, mss, now)
  }

  /** Enters loss recovery. */
  enterLoss(flight: Flight, cc: CongestionController, mss: number, now: Micros): void {
    const isFirst = !this.isLossRecovery
    if (isFirst && this.isOpen) this.beginUndo()
    cc.onRto(flight.end - flight.start, mss, isFirst, now)
    this.recoverAt = flight.end
    this.isLossRecovery = true
    this.isBlind = false
    this.isFrto = isFirst // RFC 5682 §2.1 step 1: a second timeout in the same recovery is a conventional one
    this.frtoNew = 0
    this.dupAcks = 0
    this.probeAt = NEVER
    this.reorderAt = NEVER
    this.tlpEnd = -1
  }

  private beginUndo(): void {
    this.retransAt = -1
    this.undoBytes = 0
    this.mayUndo = true
  }

  /** Window during fast recovery: what is in flight plus what PRR lets out (RFC 9937 §6.2). */
  prrWindow(flight: Flight, ssthresh: number, report: AckReport, isSafe: boolean, mss: number): number {
    this.prrDelivered += report.delivered
    const pipe = flight.pipe
    let count: number
    if (pipe > ssthresh) count = Math.ceil((this.prrDelivered * ssthresh) / this.recoverFs) - this.prrOut
    else {
      count = Math.max(this.prrDelivered - this.prrOut, report.delivered)
      if (isSafe) count += mss // slow-start reduction bound: no further loss
      count = Math.min(ssthresh - pipe, count)
    }
    if (this.prrOut === 0) count = Math.max(count, mss) // one segment at least on entering
    return Math.max(mss, pipe + count, pipe) // a segment at least, also when all that was sent is known to have left
  }

  onSent(len: number): void {
    this.prrOut += len
  }

  onRetransmitted(len: number, now: Micros): void {
    this.prrOut += len
    this.undoBytes += len
    if (this.retransAt < 0) this.retransAt = now
  }

  /**
   * Whether the ACK proves that the retransmissions of this recovery were needless. `echoMs` echoes our clock (-1: no timestamps);
   * RFC 3522 §3.2: an ACK for retransmitted data that echoes a time before the retransmission answers the original.
   */
  isSpurious(report: AckReport, echoMs: number, una: SeqOff): boolean {
    if (!this.mayUndo || this.retransAt < 0) return false
    if (report.dsackLen > 0) {
      this.undoBytes -= report.dsackLen
      // every retransmission arrived twice (RFC 3708)
      if (this.undoBytes <= 0 && (this.isOpen || una >= this.recoverAt)) return true
    }
    // what an earlier recovery repeated, and this one did not, says nothing about this one
    if (this.isOpen || report.acked === 0 || report.resentAt < this.retransAt) return false
    return echoMs >= 0 && echoMs < Math.floor(this.retransAt / US_PER_MS)
  }

  /**
   * F-RTO, RFC 5682 §2.1 and §3.1: an ACK after a timeout. True: the timeout was spurious, for something arrived that was sent only
   * before it. Timestamps answer the same question at once (`isSpurious`), so with them nothing is done here.
   */
  isFrtoSpurious(report: AckReport, echoMs: number, una: SeqOff, sndNxt: SeqOff, isDup: boolean): boolean {
    if (!this.isFrto) return false
    if (echoMs >= 0) this.isFrto = false
    // without SACK an ACK that covers a retransmission too may answer that alone
    else if (report.isOriginal && report.resentAt < 0) return this.mayUndo
    else if (sndNxt > this.recoverAt) {
      if (isDup || report.newlySacked > 0) this.isFrto = false // step 3a: the loss was real
    } else if (report.acked > 0 && una < this.recoverAt)
      this.frtoNew = 2 // step 2b: new data instead of retransmissions
    else if (isDup || report.newlySacked > 0) this.isFrto = false // step 2a
    if (!this.isFrto) this.frtoNew = 0
    return false
  }

  undo(flight: Flight, cc: CongestionController, now: Micros): void {
    cc.onSpurious(now)
    if (!this.isOpen) flight.unmarkLost()
    this.recoverAt = -1
    this.isLossRecovery = false
    this.isBlind = false
    this.isFrto = false
    this.frtoNew = 0
    this.mayUndo = false
  }

  /** Everything up to recoverAt was acknowledged. */
  leave(cc: CongestionController, mss: number, now: Micros): void {
    if (cc.ownsRecovery) cc.onRecovered(mss, now)
    // RFC 5681 §3.2 step 6; PRR may have left less, when losses were many
    else if (!this.isLossRecovery) cc.cwnd = cc.ssthresh
    this.recoverAt = -1
    this.isLossRecovery = false
    this.isBlind = false
    this.isFrto = false
    this.frtoNew = 0
    this.dupAcks = 0
  }

  /** A D-SACK arrived; returns the new memory. */
  onDsack(memory: ReorderMemory, una: SeqOff, end: SeqOff): ReorderMemory {
    if (una < this.dsackRound) return memory
    this.dsackRound = end
    return widened(memory)
  }

  // ---------------------------------------------------------------- tail loss probe

  /** Arms the probe after new data or a cumulative ACK (RFC 8985 §7.2); at most one is outstanding, none in recovery or with SACKed bytes. */
  armProbe(flight: Flight, rtt: RttEstimator, rtoAt: Micros, mss: number, now: Micros): void {
    if (!this.isOpen || this.tlpEnd >= 0 || flight.isEmpty || flight.sacked > 0 || rtt.srttUs === 0) {
      this.probeAt = NEVER
      return
    }
    const oneSegment = flight.end - flight.start <= mss ? WORST_DELAYED_ACK_US : 0
    this.probeAt = Math.min(now + 2 * rtt.srttUs + oneSegment + 2 * US_PER_MS, rtoAt)
  }

  onProbeSent(end: SeqOff, isRetransmit: boolean): void {
    this.tlpEnd = end
    this.isTlpRetransmit = isRetransmit
    this.probeAt = NEVER
  }

  /**
   * RFC 8985 §7.4.2: an ACK at or beyond the probe. True: the probe repaired a loss that nobody else saw, which is a congestion event.
   * `isDup`: no data, no SACK, nothing new.
   */
  onProbeAck(una: SeqOff, report: AckReport, isDup: boolean): boolean {
    if (this.tlpEnd < 0 || una < this.tlpEnd) return false
    const end = this.tlpEnd
    if (!this.isTlpRetransmit || report.dsackLen > 0 || (isDup && report.newlySacked === 0)) {
      this.tlpEnd = -1
      return false
    }
    if (una <= end) return false // the original or the probe: the next ACK tells
    this.tlpEnd = -1
    return true
  }
}
