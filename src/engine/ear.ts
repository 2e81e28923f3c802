import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import type { Subflow } from '../mptcp/subflow.js'

/** A subflow that brought payload and then nothing is asked after that. */
const QUIET_US: Micros = 1 * US_PER_S
/** Shortest wait for the answer, and its round trips. */
const ANSWER_US: Micros = US_PER_S / 2
const ANSWER_RTTS = 4
/** Questions without an answer. */
const ASKS = 2

/**
 * Whether a subflow that we receive by still brings something. Who sends notices a dead path by his timeouts; who only receives hears nothing,
 * as if the peer had nothing to say. So it is asked, by an empty segment that must be answered:
 *
 *     payload ... quiet for 1 s -> asked -> answered: the peer has nothing to say, no more questions before the next payload
 *                                        -> not answered, twice: deaf, until it brings payload again
 *
 * The peer's retransmissions have backed off by then, to minutes at worst: a new subflow by the same path brings its data sooner.
 */
export class Ear {
  isDeaf = false
  private segsIn = 0
  private bytes = 0
  private heardAt: Micros = 0
  /** Brought payload since the last answer. */
  private isCarrying = false
  private asks = 0
  private dueAt: Micros = NEVER

  /** Looks and asks. @returns when to look again at the latest */
  check(s: Subflow, now: Micros): Micros {
    const { ep } = s
    if (ep.segsIn !== this.segsIn) this.onHeard(ep.segsIn, ep.bytesReceived, now)
    if (!this.isCarrying || this.isDeaf || !s.isUsable || s.isPeerFin) return NEVER
    const due = this.asks === 0 ? this.heardAt + QUIET_US : this.dueAt
    if (now < due) return due
    if (this.asks === ASKS) {
      this.isDeaf = true
      return NEVER
    }
    this.asks++
    this.dueAt = now + Math.max(ANSWER_US, ANSWER_RTTS * ep.srttUs)
    ep.probe()
    return this.dueAt
  }

  private onHeard(segsIn: number, bytes: number, now: Micros): void {
    const hasBrought = bytes > this.bytes
    this.segsIn = segsIn
    if (this.isDeaf && !hasBrought) return // it answers, and still the peer waits to send again
    this.isCarrying = hasBrought || (this.isCarrying && this.asks === 0)
    this.bytes = bytes
    this.heardAt = now
    this.asks = 0
    this.isDeaf = false
  }
}
