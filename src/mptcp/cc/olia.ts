import { CoupledController, type CoupledGroup } from './coupled.js'

/**
 * Opportunistic linked increases (Khalili et al., CoNEXT 2012): LIA's increase, made Pareto-optimal, and a term that moves traffic to paths
 * which are good although their window is small.
 */
export class Olia extends CoupledController {
  readonly name = 'olia'
  /** Bytes acknowledged between the last two losses, and since the last one. */
  private between = 0
  private since = 0

  /** l of the paper: estimates the bytes between two losses. */
  get quality(): number {
    return Math.max(this.between, this.since)
  }

  protected override onDelivered(delivered: number): void {
    this.since += delivered
  }

  protected override onLoss(): void {
    this.between = this.since
    this.since = 0
  }

  /** Per acknowledged packet, in packets: (w_r / rtt_r^2) / (sum w_p / rtt_p)^2 + alpha_r / w_r. */
  override increase(delivered: number): number {
    const rate = this.group.totalRate()
    // bytes: w and the sum are both in bytes, so the first term is packets per packet divided by MSS
    const linked = (this.cwnd * this.mss) / (this.rttUs * this.rttUs * rate * rate)
    const shift = (this.alpha() * this.mss) / this.cwnd
    return (linked + shift) * delivered
  }

  /** 1 / (n |C|) on the best paths that lack a large window, -1 / (n |M|) on those that have it while there are such, else 0. */
  private alpha(): number {
    const { members } = this.group
    let n = 0
    let maxWindow = 0
    let maxQuality = 0
    for (const m of members) {
      if (m.rttUs === 0) continue
      n++
      maxWindow = Math.max(maxWindow, m.cwnd)
      maxQuality = Math.max(maxQuality, m.score)
    }
    let collected = 0
    let large = 0
    for (const m of members) {
      if (m.rttUs === 0) continue
      if (m.cwnd === maxWindow) large++
      else if (m.score === maxQuality) collected++
    }
    if (collected === 0) return 0
    if (this.cwnd === maxWindow) return -1 / (n * large)
    return this.score === maxQuality ? 1 / (n * collected) : 0
  }

  /** l^2 / rtt. */
  override get score(): number {
    return this.quality ** 2 / this.rttUs
  }
}

export const olia = (group: CoupledGroup, initialWindow: number): Olia => new Olia(group, initialWindow)
