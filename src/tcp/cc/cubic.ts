import { type Micros, US_PER_S } from '../../base/time.js'
import { type AckSample, type CongestionController, CWND_MAX, SSTHRESH_MAX } from './controller.js'
import { CSS_GROWTH_DIVISOR, HyStart } from './hystart.js'

/** RFC 9438 §4.6, §5: C in segments per second cubed. */
const C = 0.4
const BETA = 0.7
/** §4.3: with this additive increase the flow gets what a Reno flow would with its own decrease. */
const ALPHA = (3 * (1 - BETA)) / (1 + BETA)

/** CUBIC, RFC 9438, with HyStart++ in the first slow start. Windows in bytes outside, in segments inside, as the RFC counts. */
export class Cubic implements CongestionController {
  readonly name = 'cubic'
  cwnd: number
  ssthresh = SSTHRESH_MAX
  pacingBps = 0
  readonly isForgetful = true
  readonly ownsRecovery = false
  private readonly start = new HyStart()
  /** Window before the last reduction (segments), 0: no congestion event yet. */
  private wMax = 0
  /** Start of the current epoch, -1: it begins with the next ACK. */
  private epochAt: Micros = -1
  /** Seconds from the epoch's start until the window is back at wMax. */
  private k = 0
  /** Estimate of a Reno flow's window (segments). */
  private wEst = 0
  /** Window at which Reno's own increase takes over (segments): cwnd before the last reduction. */
  private cwndPrior = 0
  /** Fraction of a segment not yet added. */
  private credit = 0
  /** Since when the window has not been what limits the flow, -1: it is. */
  private idleAt: Micros = -1
  /** For undo: the state before the last reduction; undoCwnd 0: nothing to undo. */
  private undoCwnd = 0
  private undoSsthresh = 0
  private undoWMax = 0
  private undoEpochAt: Micros = -1
  private undoK = 0
  private undoWEst = 0
  private undoPrior = 0

  constructor(initialWindow: number) {
    this.cwnd = initialWindow
  }

  onAck(s: AckSample, now: Micros): void {
    if (this.cwnd < this.ssthresh) {
      // RFC 9406 §4.3: later ones know where to end, and a round trip that has changed meanwhile says nothing of a queue
      const isFirst = this.ssthresh === SSTHRESH_MAX
      if (isFirst && this.start.onAck(s.rttUs, s.deliveredTotal, s.sentTotal)) this.ssthresh = this.cwnd
      else if (s.isLimited) {
        const grow = isFirst && this.start.isConservative ? s.delivered / CSS_GROWTH_DIVISOR : s.delivered
        this.cwnd = Math.min(this.cwnd + Math.floor(grow), this.ssthresh, CWND_MAX)
        return
      }
    }
    if (!s.isLimited) {
      if (this.idleAt < 0) this.idleAt = now
      return
    }
    if (this.idleAt >= 0) {
      // §5.8: time during which the application, not the window, was the limit is not part of the epoch
      if (this.epochAt >= 0) this.epochAt += now - this.idleAt
      this.idleAt = -1
    }
    this.avoid(s, now)
  }

  /** §4.2 to §4.5. */
  private avoid(s: AckSample, now: Micros): void {
    const cwnd = this.cwnd / s.mss
    if (this.epochAt < 0) this.beginEpoch(cwnd, now)
    const t = (now - this.epochAt + s.srttUs) / US_PER_S
    const acked = s.delivered / s.mss
    this.wEst += (this.wEst >= this.cwndPrior ? 1 : ALPHA) * (acked / cwnd)
    const target = Math.min(Math.max(C * (t - this.k) ** 3 + this.wMax, cwnd), 1.5 * cwnd)
    const now3 = C * (t - s.srttUs / US_PER_S - this.k) ** 3 + this.wMax
    if (now3 < this.wEst) this.cwnd = Math.max(this.cwnd, Math.min(CWND_MAX, Math.floor(this.wEst * s.mss)))
    else {
      this.credit += ((target - cwnd) / cwnd) * acked
      const whole = Math.floor(this.credit * s.mss)
      this.credit -= whole / s.mss
      this.cwnd = Math.min(CWND_MAX, this.cwnd + whole)
    }
  }

  private beginEpoch(cwnd: number, now: Micros): void {
    this.epochAt = now
    this.wEst = cwnd
    this.credit = 0
    if (cwnd >= this.wMax) {
      this.wMax = cwnd
      this.k = 0
    } else this.k = Math.cbrt((this.wMax - cwnd) / C)
  }

  onCongestion(_inFlight: number, mss: number, _now: Micros): void {
    this.remember()
    const cwnd = this.cwnd / mss
    this.cwndPrior = cwnd
    // §4.7 fast convergence: release bandwidth when the flow is still below its former peak
    this.wMax = cwnd < this.wMax ? (cwnd * (1 + BETA)) / 2 : cwnd
    this.ssthresh = Math.max(Math.round(this.cwnd * BETA), 2 * mss)
    this.cwnd = this.ssthresh
    this.epochAt = -1
  }

  onRto(_inFlight: number, mss: number, isFirst: boolean, _now: Micros): void {
    if (isFirst) {
      this.remember()
      const cwnd = this.cwnd / mss
      this.cwndPrior = cwnd
      this.wMax = cwnd < this.wMax ? (cwnd * (1 + BETA)) / 2 : cwnd
      this.ssthresh = Math.max(Math.round(this.cwnd * BETA), 2 * mss)
    }
    this.cwnd = mss
    this.epochAt = -1
  }

  onRecovered(_mss: number, _now: Micros): void {
    this.cwnd = Math.min(this.cwnd, this.ssthresh)
  }

  /** §4.9.1: the reduction was spurious. */
  onSpurious(_now: Micros): void {
    if (this.undoCwnd === 0) return
    this.cwnd = Math.max(this.cwnd, this.undoCwnd)
    this.ssthresh = Math.max(this.ssthresh, this.undoSsthresh)
    this.wMax = this.undoWMax
    this.epochAt = this.undoEpochAt
    this.k = this.undoK
    this.wEst = this.undoWEst
    this.cwndPrior = this.undoPrior
    this.undoCwnd = 0
  }

  onIdle(initialWindow: number): void {
    this.cwnd = Math.min(this.cwnd, initialWindow)
    this.epochAt = -1
  }

  private remember(): void {
    this.undoCwnd = this.cwnd
    this.undoSsthresh = this.ssthresh
    this.undoWMax = this.wMax
    this.undoEpochAt = this.epochAt
    this.undoK = this.k
    this.undoWEst = this.wEst
    this.undoPrior = this.cwndPrior
  }
}

export const cubic = (initialWindow: number): CongestionController => new Cubic(initialWindow)
