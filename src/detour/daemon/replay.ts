/** Nonces of any time that are remembered. */
const MAX_KEPT = 4096

/**
 * Which requests of one key were seen. Nonces are kept in two generations, each as long as a nonce can be valid (twice the
 * tolerance), so one is forgotten only after its time has passed out of the window. Bounded: a key that has used up its room is not
 * served until the next generation, others do not notice.
 *
 *     |--- previous ---|--- current ---|
 *                    turn            turn      every 2 x tolerance
 */
export class ReplayWindow {
  private current = new Set<string>()
  private previous = new Set<string>()
  private readonly kept = new Set<string>()
  private turnAt: number
  private readonly spanMs: number
  private readonly limit: number

  /** @param toleranceMs how far a request's time may be from ours @param limit nonces per generation */
  constructor(nowMs: number, toleranceMs: number, limit: number) {
    this.spanMs = 2 * toleranceMs
    this.turnAt = nowMs + this.spanMs
    this.limit = limit
  }

  has(nonce: string, nowMs: number): boolean {
    this.turn(nowMs)
    return this.current.has(nonce) || this.previous.has(nonce) || this.kept.has(nonce)
  }

  /** Remembers a nonce; false: there is no room, or it was seen. */
  add(nonce: string, nowMs: number): boolean {
    if (this.has(nonce, nowMs) || this.current.size >= this.limit) return false
    this.current.add(nonce)
    return true
  }

  /**
   * Remembers a nonce that was answered though its time is wrong: no generation outlasts it, for it will be answered tomorrow as well. Of
   * very many, the last ones.
   */
  keep(nonce: string): void {
    this.kept.add(nonce)
    if (this.kept.size <= MAX_KEPT) return
    const [oldest] = this.kept
    if (oldest !== undefined) this.kept.delete(oldest)
  }

  private turn(nowMs: number): void {
    if (nowMs < this.turnAt) return
    // After a pause of a whole generation nothing of it can be valid any more.
    this.previous = nowMs < this.turnAt + this.spanMs ? this.current : new Set()
    this.current = new Set()
    this.turnAt = nowMs + this.spanMs
  }
}
