import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import type { Path } from './path.js'
import type { PathCommand } from './path-manager.js'

/** The wait after a failure, doubled with each further one. */
const RETRY_US: Micros = 1 * US_PER_S
const RETRY_MAX_US: Micros = 60 * US_PER_S
/** A path that worked once comes back, most of the time: it is asked every second so many times, so that it is in use soon after. */
const EAGER = 60
/** A subflow that lived that long was no failure when it ends. */
const PROVEN_US: Micros = 10 * US_PER_S
/** Longest wait for the answer to a join by a path that worked before, and by a new one: its SYN is repeated after 1 s and 3 s. */
const ANSWER_US: Micros = 1.2 * US_PER_S
const FIRST_ANSWER_US: Micros = 7 * US_PER_S
/** Round trips of the path that the answer may take. */
const ANSWER_RTTS = 4

/** One way that a manager may use: a path, the subflow by it, and what became of earlier ones. */
export class Route {
  path: Path
  /** The subflow by it, -1: none. */
  subflow = -1
  isUp = false
  /** A subflow was asked for, and what became of it is not told yet. */
  isAsked = false
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
    return (this.subflow >= 0 && !this.isSilent) || this.heir >= 0 || this.isAsked
  }

  /** Has no subflow, and none is asked for. */
  get isFree(): boolean {
    return this.subflow < 0 && !this.isAsked
  }

  /** The command that opens a subflow by it. */
  ask(why: string): PathCommand {
    this.isAsked = true
    return { kind: 'open', path: this.path, why }
  }

  /** When an unanswered join by it is given up, NEVER: there is none. */
  get answerBy(): Micros {
    const isPending = this.heir >= 0 || (this.subflow >= 0 && !this.isUp)
    if (!isPending) return NEVER
    return this.openedAt + Math.max(this.wasUp ? ANSWER_US : FIRST_ANSWER_US, ANSWER_RTTS * this.srttUs)
  }

  onOpened(subflow: number, now: Micros): void {
    this.isAsked = false
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

  /** Its subflow is gone. */
  onDown(subflow: number, why: string, isFault: boolean, now: Micros): void {
    const isPending = subflow === this.heir || !this.isUp
    if (subflow === this.heir) this.heir = -1
    else {
      if (this.isUp && now - this.upAt >= PROVEN_US) this.failures = 0
      this.subflow = this.heir
      this.heir = -1
      this.isUp = false
      this.silentSince = NEVER
    }
    if (isFault) this.fail(why, isPending ? this.openedAt : now)
  }

  /** No subflow can be opened by it. @param isFinal not before it has changed */
  onRefused(why: string, isFinal: boolean, now: Micros): void {
    this.isAsked = false
    this.fail(why, now)
    if (isFinal) this.retryAt = NEVER
  }

  /** It could not be used. @param since the wait for the next trial begins here */
  private fail(why: string, since: Micros): void {
    this.failure = why
    this.failures++
    const exponent = this.wasUp ? this.failures - EAGER : this.failures - 1
    this.retryAt = since + Math.min(RETRY_MAX_US, RETRY_US * 2 ** Math.max(0, Math.min(exponent, 10)))
  }

  /** It has changed: what was found out about it is void. */
  renew(path: Path): void {
    this.path = path
    this.failures = 0
    this.retryAt = 0
    this.failure = ''
  }
}
