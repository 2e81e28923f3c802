import { US_PER_S, type Micros } from '../base/time.js'
import type { TcpConfig } from './config.js'

/** RFC 6298 §5.7: the first timeout after a repeated SYN. */
const RTO_AFTER_OPEN_US = 3 * US_PER_S

/** Round-trip estimation and retransmission timeout, RFC 6298. */
export class RttEstimator {
  /** Smoothed RTT, 0 until the first sample. */
  srttUs: Micros = 0
  rttvarUs: Micros = 0
  /** Smallest sample seen, 0 until the first. */
  minUs: Micros = 0
  /** Consecutive timeouts: the RTO is doubled that often (§5.5). */
  backoff = 0

  /** A sample that is not ambiguous (Karn: never from a retransmitted segment without timestamps). Only it ends the back-off (§5). */
  sample(rttUs: Micros): void {
    this.backoff = 0
    const r = Math.max(1, Math.round(rttUs))
    this.minUs = this.minUs === 0 ? r : Math.min(this.minUs, r)
    if (this.srttUs === 0) {
      this.srttUs = r
      this.rttvarUs = r >> 1
      return
    }
    // §2.3 with alpha 1/8, beta 1/4, in integers
    const err = Math.abs(this.srttUs - r)
    this.rttvarUs += Math.round((err - this.rttvarUs) / 4)
    this.srttUs = Math.max(1, this.srttUs + Math.round((r - this.srttUs) / 8))
  }

  /** The SYN was repeated, and nothing tells which one was answered: its timeout was too short, or the path is lossy (§5.7). */
  onAmbiguousOpen(): void {
    this.rttvarUs = RTO_AFTER_OPEN_US
  }

  /** Current timeout with back-off, within the configured bounds. */
  rtoUs(cfg: TcpConfig): Micros {
    return Math.min(cfg.rtoMaxUs, this.baseRtoUs(cfg) * 2 ** Math.min(this.backoff, 20))
  }

  /** Timeout without back-off. Linux: the variance term, not the sum, is bounded below. */
  baseRtoUs(cfg: TcpConfig): Micros {
    if (this.srttUs === 0) return Math.min(cfg.rtoMaxUs, Math.max(cfg.rtoInitUs, this.rttvarUs))
    return Math.min(cfg.rtoMaxUs, this.srttUs + Math.max(cfg.rtoMinUs, 4 * this.rttvarUs))
  }
}
