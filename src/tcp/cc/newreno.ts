import type { Micros } from '../../base/time.js'
import { type AckSample, type CongestionController, CWND_MAX, SSTHRESH_MAX } from './controller.js'

/** RFC 5681 slow start and congestion avoidance with byte counting (RFC 3465 with L unbounded: ACKs of super-segments cover many MSS). */
class NewReno implements CongestionController {
  cwnd: number
  ssthresh = SSTHRESH_MAX
  pacingBps = 0
  readonly isForgetful = true
  readonly ownsRecovery = false
  /** Bytes acknowledged towards the next increase of one MSS. */
  private credit = 0
  /** The window before the last reduction, 0: nothing to undo. */
  private undoCwnd = 0
  private undoSsthresh = 0

  constructor(initialWindow: number) {
    this.cwnd = initialWindow
  }

  get name(): string {
    return 'reno'
  }

  onAck(s: AckSample, _now: Micros): void {
    if (!s.isLimited) return // RFC 7661: an unused window does not grow
    const { delivered, mss } = s
    let left = delivered
    if (this.cwnd < this.ssthresh) {
      const grow = Math.min(left, this.ssthresh - this.cwnd, CWND_MAX - this.cwnd)
      this.cwnd += grow
      left -= grow
    }
    this.credit += left
    while (this.credit >= this.cwnd && this.cwnd < CWND_MAX) {
      this.credit -= this.cwnd
      this.cwnd += mss
    }
    if (this.cwnd >= CWND_MAX) this.credit = 0
  }

  onCongestion(inFlight: number, mss: number, _now: Micros): void {
    this.remember()
    // RFC 5681 (4); what limited transmit sent beyond the window does not count (§3.2 step 2)
    this.ssthresh = Math.max(Math.floor(Math.min(inFlight, this.cwnd) / 2), 2 * mss)
    this.cwnd = this.ssthresh
    this.credit = 0
  }

  onRto(inFlight: number, mss: number, isFirst: boolean, _now: Micros): void {
    if (isFirst) {
      this.remember()
      this.ssthresh = Math.max(Math.floor(inFlight / 2), 2 * mss)
    }
    this.cwnd = mss
    this.credit = 0
  }

  private remember(): void {
    this.undoCwnd = this.cwnd
    this.undoSsthresh = this.ssthresh
  }

  onRecovered(_mss: number, _now: Micros): void {
    this.cwnd = Math.min(this.cwnd, this.ssthresh)
  }

  onSpurious(_now: Micros): void {
    if (this.undoCwnd === 0) return
    this.cwnd = Math.max(this.cwnd, this.undoCwnd)
    this.ssthresh = Math.max(this.ssthresh, this.undoSsthresh)
    this.undoCwnd = 0
  }

  onIdle(initialWindow: number): void {
    this.cwnd = Math.min(this.cwnd, initialWindow)
    this.credit = 0
  }
}

export const newReno = (initialWindow: number): CongestionController => new NewReno(initialWindow)
