import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import { MAX_RETRIES } from './nat-requests.js'

/** A quiet detour is measured so often. */
const PING_US = 15 * US_PER_S
/** Of a detour that is down: first and longest time between PINGs. */
const FIRST_PROBE_US = US_PER_S
const LAST_PROBE_US = 60 * US_PER_S

/**
 * When a detour is sent a PING: while it answers, to measure it and to learn how it sees us; while it is down, to learn that it is back.
 *
 *     up:   quiet for 15 s -> PING, repeated like every request -> five without answer: down
 *     down: 1 s, 2 s, ... 60 s between two, for ever
 */
export class Probe {
  /** When the next one is due. */
  at: Micros
  /** Which one of its row is under way, -1: none. */
  private attempt = -1
  private spanUs = FIRST_PROBE_US
  private readonly random32: () => number

  /** @param at of the first one @param random32 32 random bits */
  constructor(at: Micros, random32: () => number) {
    this.at = at
    this.random32 = random32
  }

  /** The detour has answered something. @param isMeasured whether it knows PINGs */
  onAnswer(isMeasured: boolean, now: Micros): void {
    this.attempt = -1
    this.spanUs = FIRST_PROBE_US
    this.at = isMeasured ? now + this.jittered(PING_US) : NEVER
  }

  /** The detour is down from now on. */
  onDown(now: Micros): void {
    this.attempt = -1
    this.spanUs = FIRST_PROBE_US
    this.at = now + this.jittered(this.spanUs)
  }

  /** One leaves to a detour that is up. @returns which one of its row, -1: all of the row were in vain */
  nextAttempt(now: Micros, rto: (attempt: number) => Micros): number {
    if (this.attempt >= MAX_RETRIES) return -1
    this.attempt++
    this.at = now + rto(this.attempt)
    return this.attempt
  }

  /** One leaves to a detour that is down. */
  onProbe(now: Micros): void {
    this.at = now + this.jittered(this.spanUs)
    this.spanUs = Math.min(2 * this.spanUs, LAST_PROBE_US)
  }

  /** 3/4 to 5/4 of a span. */
  jittered(span: Micros): Micros {
    return Math.round(span * (0.75 + (this.random32() >>> 0) / 0x2_0000_0000))
  }
}
