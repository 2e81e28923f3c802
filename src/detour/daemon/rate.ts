/** A token bucket: so many a second on average, so many at once. */
export class RateLimit {
  private readonly perSecond: number
  private readonly burst: number
  private tokens: number
  private at: number

  constructor(perSecond: number, burst: number, nowMs: number) {
    this.perSecond = perSecond
    this.burst = burst
    this.tokens = burst
    this.at = nowMs
  }

  /** Whether one more may be taken now. */
  may(nowMs: number): boolean {
    this.tokens = Math.min(this.burst, this.tokens + (Math.max(0, nowMs - this.at) * this.perSecond) / 1000)
    this.at = nowMs
    return this.tokens >= 1
  }

  /** Takes one; false, and nothing taken, when there is none. */
  take(nowMs: number): boolean {
    if (!this.may(nowMs)) return false
    this.tokens--
    return true
  }
}
