import { type Micros, US_PER_MS, US_PER_S } from '../base/time.js'
import type { NatWire, Opened } from './nat-wire.js'
import type { RequestOp } from './protocol/ops.js'

/** First retransmission while no round trip was measured. */
const FIRST_RTO_US = 200 * US_PER_MS
/** A daemon on the same LAN still has to ask its kernel. */
const LEAST_RTO_US = 20 * US_PER_MS
/** Retransmissions of one request before the detour counts as down. */
export const MAX_RETRIES = 4
/** A reply that takes longer is lost. */
const LOST_US = 10 * US_PER_S
/** Outcomes of requests that the loss is told of. */
const OUTCOMES = 64
/** Round trips that the shortest is taken of: when the path has become a longer one, two minutes of quiet tell. */
const SAMPLES = 8
/** Requests without answer that are remembered. */
const MAX_PENDING = 1024

/** One datagram under way. `what` is the caller's. */
export interface Request<T> {
  readonly what: T
  readonly sentAt: Micros
  readonly attempt: number
}

/** Requests under way to one detour, and what their answers tell about the path to it. */
export class Requests<T> {
  private readonly wire: NatWire
  private readonly pending = new Map<string, Request<T>>()
  private outcomes: boolean[] = []
  private srttUs = 0
  /** The last round trips, the newest last. */
  private readonly recentUs: Micros[] = []

  constructor(wire: NatWire) {
    this.wire = wire
  }

  /** Smoothed round trip, null: not measured. */
  get rttUs(): number | null {
    return this.srttUs === 0 ? null : Math.round(this.srttUs)
  }

  /** The shortest of the last round trips, null: not measured. What was reordered or had to queue made others longer. */
  get leastRttUs(): number | null {
    return this.recentUs.length === 0 ? null : Math.min(...this.recentUs)
  }

  /** Part of the last requests that got no answer, 0-1; null: nothing was asked. */
  get loss(): number | null {
    return this.outcomes.length === 0 ? null : this.outcomes.filter((isLost) => isLost).length / this.outcomes.length
  }

  /**
   * How long an answer is waited for before the next attempt. The first wait is short, for somebody may be about to join; it costs a
   * datagram when the answer was only late. The others, after which the detour counts as down, go by what is usual.
   * @param attempt 0 for the first
   */
  rto(attempt: number): Micros {
    const rttUs = attempt === 0 ? this.leastRttUs : this.rttUs
    const base = rttUs === null ? FIRST_RTO_US : Math.max(LEAST_RTO_US, Math.round(1.5 * rttUs))
    return base * 2 ** attempt
  }

  /** A new datagram for these operations. */
  seal(ops: readonly RequestOp[], what: T, attempt: number, now: Micros): Uint8Array {
    const { tag, datagram } = this.wire.seal(ops)
    this.pending.delete(tag)
    this.pending.set(tag, { what, sentAt: now, attempt })
    if (this.pending.size > MAX_PENDING) {
      const [oldest] = this.pending.keys()
      if (oldest !== undefined) this.lost(oldest)
    }
    return datagram
  }

  /** The request that a reply answers, once; null: none, so it is stray, repeated or forged. */
  answered(reply: Opened, now: Micros): Request<T> | null {
    const request = reply.tag === null ? undefined : this.pending.get(reply.tag)
    if (request === undefined) return null
    this.pending.delete(reply.tag as string)
    this.outcome(false)
    // Karn's rule where attempts look the same (version 1)
    if (!this.wire.hasLeases && request.attempt > 0) return request
    const sample = Math.max(1, now - request.sentAt)
    this.srttUs = this.srttUs === 0 ? sample : (3 * this.srttUs + sample) / 4
    this.recentUs.push(sample)
    if (this.recentUs.length > SAMPLES) this.recentUs.shift()
    return request
  }

  /** Gives up what is too old; the oldest come first. */
  expire(now: Micros): void {
    for (const [tag, request] of this.pending) {
      if (now - request.sentAt < LOST_US) return
      this.lost(tag)
    }
  }

  private lost(tag: string): void {
    this.pending.delete(tag)
    this.outcome(true)
  }

  private outcome(isLost: boolean): void {
    this.outcomes.push(isLost)
    if (this.outcomes.length > OUTCOMES) this.outcomes = this.outcomes.slice(-OUTCOMES)
  }
}
