import type { Micros } from '../../base/time.js'
import { type CongestionController, CWND_MAX, SSTHRESH_MAX } from './controller.js'

/** RFC 5681 slow start and congestion avoidance with byte counting (RFC 3465 with L unbounded: ACKs of super-segments cover many MSS). */
class NewReno implements CongestionController {
  cwnd: number
  ssthresh = SSTHRESH_MAX
  pacingBps = 0
  /** Bytes acknowledged towards the next increase of one MSS. */
  private credit = 0

  constructor(initialWindow: number) {
    this.cwnd = initialWindow
  }

  get name(): string {
    return 'reno'
  }

  onAck(delivered: number, mss: number, _rttUs: Micros, isLimited: boolean, _now: Micros): void {
    if (!isLimited) return // RFC 7661: an unused window does not grow
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
    this.ssthresh = Math.max(Math.floor(inFlight / 2), 2 * mss) // RFC 5681 (4)
    this.cwnd = this.ssthresh
    this.credit = 0
  }

  onRto(inFlight: number, mss: number, isFirst: boolean, _now: Micros): void {
    if (isFirst) this.ssthresh = Math.max(Math.floor(inFlight / 2), 2 * mss)
    this.cwnd = mss
    this.credit = 0
  }

  onRecovered(_mss: number, _now: Micros): void {
    this.cwnd = Math.min(this.cwnd, this.ssthresh)
  }

  onIdle(initialWindow: number): void {
    this.cwnd = Math.min(this.cwnd, initialWindow)
    this.credit = 0
  }
}

export const newReno = (initialWindow: number): CongestionController => new NewReno(initialWindow)
