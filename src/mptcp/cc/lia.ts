import { CoupledController, type CoupledGroup } from './coupled.js'

/**
 * Linked increases, RFC 6356: together the subflows take as much as one TCP flow on the best of their paths, and no more than one on
 * any path that they share.
 */
export class Lia extends CoupledController {
  readonly name = 'lia'

  /** §3: min(alpha * acked * MSS / w_total, acked * MSS / w_i). */
  override increase(delivered: number): number {
    const alone = (delivered * this.mss) / this.cwnd
    const total = this.group.totalWindow()
    return Math.min((this.alpha(total) * delivered * this.mss) / total, alone)
  }

  /** §3 (2): w_total * max(w_i / rtt_i^2) / (sum w_i / rtt_i)^2. */
  private alpha(total: number): number {
    let best = 0
    for (const m of this.group.members) {
      if (m.rttUs === 0) continue
      const x = m.cwnd / (m.rttUs * m.rttUs)
      if (x > best) best = x
    }
    const rate = this.group.totalRate()
    return (total * best) / (rate * rate)
  }
}

export const lia = (group: CoupledGroup, initialWindow: number): Lia => new Lia(group, initialWindow)
