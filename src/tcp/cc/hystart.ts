import type { Micros } from '../../base/time.js'

const MIN_RTT_THRESH_US = 4_000
const MAX_RTT_THRESH_US = 16_000
const RTT_DIVISOR = 8
const MIN_SAMPLES = 8
/** Conservative slow start grows by a quarter. */
export const CSS_GROWTH_DIVISOR = 4
const CSS_ROUNDS = 5
const NONE = 1e12

/**
 * HyStart++ (RFC 9406): leaves slow start when the round-trip time rises, by way of a conservative phase that is taken back
 * when the rise was only jitter.
 *
 *     slow start --RTT of this round >= last + threshold--> conservative --5 rounds--> congestion avoidance
 *          ^-------------- RTT below the baseline --------------+
 *
 * Deviation: the five rounds end early once the round trip has doubled. A window's worth of packets stands in the queue by then, so the
 * path is full, and five rounds that each last longer only fill it further: for seconds, where buffers are large.
 */
export class HyStart {
  /** Delivered bytes at which the current round ends. */
  private roundEnd = 0
  private lastMinUs = NONE
  private currentMinUs = NONE
  private samples = 0
  private baselineUs = NONE
  /** Smallest of all. */
  private floorUs = NONE
  private rounds = 0
  isConservative = false

  /**
   * One ACK in slow start. @param deliveredTotal bytes delivered so far in the connection; @param sentTotal bytes sent so far.
   * @returns true when slow start is over: the caller sets ssthresh = cwnd.
   */
  onAck(rttUs: Micros, deliveredTotal: number, sentTotal: number): boolean {
    if (deliveredTotal >= this.roundEnd && this.startRound(sentTotal)) return true
    if (rttUs < 0) return false
    this.currentMinUs = Math.min(this.currentMinUs, rttUs)
    this.floorUs = Math.min(this.floorUs, rttUs)
    this.samples++
    if (this.samples < MIN_SAMPLES || this.lastMinUs === NONE) return false
    if (this.isConservative) {
      if (this.currentMinUs < this.baselineUs) {
        this.isConservative = false
        this.baselineUs = NONE
        return false
      }
      return this.currentMinUs >= this.floorUs + Math.max(this.floorUs, MAX_RTT_THRESH_US)
    }
    const thresh = Math.max(MIN_RTT_THRESH_US, Math.min(this.lastMinUs / RTT_DIVISOR, MAX_RTT_THRESH_US))
    if (this.currentMinUs >= this.lastMinUs + thresh) {
      this.baselineUs = this.currentMinUs
      this.isConservative = true
      this.rounds = 0
    }
    return false
  }

  private startRound(sentTotal: number): boolean {
    this.roundEnd = sentTotal
    this.lastMinUs = this.currentMinUs
    this.currentMinUs = NONE
    this.samples = 0
    return this.isConservative && ++this.rounds >= CSS_ROUNDS
  }
}
