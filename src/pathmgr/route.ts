import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import type { Path } from './path.js'

/** The wait after a failure, doubled with each further one. */
const RETRY_US: Micros = 1 * US_PER_S
const RETRY_MAX_US: Micros = 60 * US_PER_S
/** A path that worked once comes back, most of the time: it is asked every second so many times, so that it is in use soon after. */
const EAGER = 60
/** A subflow that lived that long was no failure when it ends. */
const PROVEN_US: Micros = 10 * US_PER_S
/** Longest wait for the answer to a join by a path that worked before; a new path is given all the repetitions of the SYN. */
const ANSWER_US: Micros = 1.2 * US_PER_S
/** Round trips of the path that the answer may take. */
const ANSWER_RTTS = 4

/** One way that a manager may use: a path, the subflow by it, and what became of earlier ones. */
export class Route {
  path: Path
  /** The subflow by it, -1: none. */
  subflow = -1
  isUp = false
  /** The subflow does not answer since then, NEVER: it does. */
  silentSince: Micros = NEVER
  /** A second subflow by the same path, which is to take over from the silent one; -1: none. */
  heir = -1
  /** It carried a subflow once. */
  wasUp = false
  openedAt: Micros = 0
  upAt: Micros = 0
  failures = 0
  /** Not to be tried before; NEVER: not before it has changed. */
  retryAt: Micros = 0
  /** What the last failure was, for people. */
  failure = ''
  /** Largest smoothed round-trip time that was seen, 0: none. */
  srttUs: Micros = 0

  constructor(path: Path) {
    this.path = path
  }

  get isSilent(): boolean {
    return this.silentSince !== NEVER
  }

  /** Has a subflow that answers, or is about to. */
  get isUsed(): boolean {
    return (this.subflow >= 0 && !this.isSilent) || this.heir >= 0
  }

  /** When an unanswered join by it is given up, NEVER: by TCP alone. */
  get answerBy(): Micros {
    const isPending = this.heir >= 0 || (this.subflow >= 0 && !this.isUp)
    if (!isPending || !this.wasUp) return NEVER
    return this.openedAt + Math.max(ANSWER_US, ANSWER_RTTS * this.srttUs)
  }

  onOpened(subflow: number, now: Micros): void {
    this.openedAt = now
    if (this.subflow >= 0) {
      this.heir = subflow
      return
    }
    this.subflow = subflow
    this.isUp = false
    this.silentSince = NEVER
  }

  /** @returns the silent subflow that is superseded by this one, -1: none */
  onUp(subflow: number, now: Micros): number {
    const old = subflow === this.heir ? this.subflow : -1
    if (old >= 0) this.heir = -1
    this.subflow = subflow
    this.isUp = true
    this.wasUp = true
    this.upAt = now
    this.silentSince = NEVER
    return old
  }

  /** Its subflow is gone. @returns whether it was the one that carried */
  onDown(subflow: number, why: string, now: Micros): boolean {
    if (subflow === this.heir) this.heir = -1
    else {
      if (this.isUp && now - this.upAt >= PROVEN_US) this.failures = 0
      this.subflow = this.heir
      this.heir = -1
      this.isUp = false
      this.silentSince = NEVER
    }
    this.fail(why, now)
    return true
  }

  /** It could not be used. */
  fail(why: string, now: Micros): void {
    this.failure = why
    this.failures++
    const exponent = this.wasUp ? this.failures - EAGER : this.failures - 1
    this.retryAt = now + Math.min(RETRY_MAX_US, RETRY_US * 2 ** Math.max(0, Math.min(exponent, 10)))
  }

  /** It has changed: what was found out about it is void. */
  renew(path: Path): void {
    this.path = path
    this.failures = 0
    this.retryAt = 0
    this.failure = ''
  }
}
