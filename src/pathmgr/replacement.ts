import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import type { PathCommand, PathView } from './path-manager.js'
import { SubflowStats } from './path-manager.js'
import type { Route } from './route.js'

/** Less than that in an interval says nothing about a path: the connection did not need more. */
const BUSY_BYTES = 256 * 1024
/** An idle connection is looked at more and more rarely, up to so many intervals. */
const IDLE_MAX = 8
/** A newcomer must be so much better than the one that it replaces. */
const BETTER = 1.25
/** A path that was measured before must have been so much better to be tried again. */
const MUCH_BETTER = 1.5
/** Wait before a path that lost is tried again, doubled with every loss. */
const REST_US: Micros = 60 * US_PER_S
const REST_MAX_US: Micros = 1800 * US_PER_S
/** Intervals of a trial. */
const TRIAL = 2
/** Scratch. */
const stats = new SubflowStats()

/** What was measured of one route. */
interface Score {
  /** Bytes of its subflow at the last measurement, and which subflow that was. */
  bytes: number
  subflow: number
  /** Payload per second in the last busy interval, -1: unknown. */
  rate: number
  /** Not to be tried before. */
  restUntil: Micros
  losses: number
}

interface Trial {
  readonly newcomer: Route
  readonly incumbent: Route
  /** Intervals so far; in the first one the newcomer only starts. */
  age: number
}

/**
 * Replaces the worst of the paths in use by one that has not been tried, or did much better before; make before break:
 *
 *     all places taken, connection busy, a candidate -> trial of two intervals with both -> the better one stays
 *
 * It compares what each path delivered while the connection had enough to send, a figure that delay and loss have had their part in.
 */
export class Replacement {
  private readonly view: PathView
  private readonly intervalUs: Micros
  /** Null: nothing was measured. */
  private scores: Map<Route, Score> | null = null
  private at: Micros = NEVER
  /** When it was measured last. */
  private since: Micros = 0
  /** Intervals that the current one has. */
  private length = 1
  private trial: Trial | null = null

  /** @param intervalUs 0: never */
  constructor(view: PathView, intervalUs: Micros) {
    this.view = view
    this.intervalUs = intervalUs
  }

  /** When `step` is due. */
  get nextAt(): Micros {
    return this.at
  }

  /** Subflows beyond the limit that a trial takes. */
  get extra(): number {
    return this.trial === null ? 0 : 1
  }

  /** Whether the route lost against another one not long ago. */
  isResting(route: Route, now: Micros): boolean {
    return this.restUntil(route) > now
  }

  /** The instant from which it is not. */
  restUntil(route: Route): Micros {
    return this.scores?.get(route)?.restUntil ?? 0
  }

  forget(route: Route): void {
    this.scores?.delete(route)
    if (this.trial !== null && (this.trial.newcomer === route || this.trial.incumbent === route)) this.trial = null
  }

  /**
   * @param all routes that carry the connection
   * @param used those of them that take places
   * @param free routes that could
   */
  step(all: readonly Route[], used: readonly Route[], free: readonly Route[], isFull: boolean, now: Micros, out: PathCommand[]): void {
    if (this.intervalUs === 0) return
    if (this.at === NEVER) {
      this.measure(all, now)
      this.at = now + this.intervalUs
      return
    }
    if (now < this.at) return
    const isBusy = this.measure(all, now) >= BUSY_BYTES
    const wasLong = this.length > 1
    this.length = isBusy || this.trial !== null ? 1 : Math.min(IDLE_MAX, 2 * this.length)
    this.at = now + this.length * this.intervalUs
    if (wasLong) return // part of it was idle: what the rates are the next one will tell
    if (this.trial !== null) {
      this.decide(this.trial, isBusy, now, out)
      return
    }
    if (!isBusy || !isFull) return
    const incumbent = this.worst(used)
    if (incumbent === null) return
    const rate = this.score(incumbent).rate
    const newcomer = this.best(free, rate, now)
    if (newcomer === null) return
    this.trial = { newcomer, incumbent, age: 0 }
    const known = this.score(newcomer).rate
    const claim = known < 0 ? 'has not been tried' : `did ${text(known)} before`
    out.push(newcomer.ask(`trial: ${newcomer.path.label} ${claim}, ${incumbent.path.label} does ${text(rate)}`))
  }

  private decide(trial: Trial, isBusy: boolean, now: Micros, out: PathCommand[]): void {
    const { newcomer, incumbent } = trial
    if (newcomer.isUp && incumbent.isUp && (!isBusy || ++trial.age < TRIAL)) return // nothing to compare yet
    this.trial = null
    const a = this.score(incumbent)
    const b = this.score(newcomer)
    if (newcomer.isUp && b.rate >= BETTER * a.rate) {
      a.losses++
      a.restUntil = now + rest(a.losses)
      if (incumbent.subflow >= 0)
        out.push({
          kind: 'close',
          subflow: incumbent.subflow,
          why: `${incumbent.path.label} does ${text(a.rate)}, ${newcomer.path.label} ${text(b.rate)}: replaced`,
        })
      return
    }
    b.losses++
    b.restUntil = now + rest(b.losses)
    if (newcomer.subflow >= 0)
      out.push({
        kind: 'close',
        subflow: newcomer.subflow,
        why: newcomer.isUp
          ? `${newcomer.path.label} does ${text(b.rate)}, not better than ${incumbent.path.label} with ${text(a.rate)}: kept`
          : `${newcomer.path.label} did not come up`,
      })
  }

  /** Rates of the interval that ends now. @returns payload of all in it */
  private measure(all: readonly Route[], now: Micros): number {
    let total = 0
    const elapsed = Math.max(1, now - this.since)
    this.since = now
    for (const route of all) {
      if (!this.view.stats(route.subflow, stats)) continue
      const score = this.score(route)
      const delta = score.subflow === route.subflow ? stats.bytes - score.bytes : 0
      if (score.subflow === route.subflow) score.rate = (delta * US_PER_S) / elapsed
      score.subflow = route.subflow
      score.bytes = stats.bytes
      route.srttUs = Math.max(route.srttUs, stats.srttUs)
      total += delta
    }
    return total
  }

  private worst(used: readonly Route[]): Route | null {
    let worst: Route | null = null
    for (const route of used) {
      if (this.score(route).rate < 0) continue
      if (worst === null || this.score(route).rate < this.score(worst).rate) worst = route
    }
    return worst
  }

  private best(free: readonly Route[], rate: number, now: Micros): Route | null {
    let best: Route | null = null
    for (const route of free) {
      if (this.isResting(route, now)) continue
      const known = this.score(route).rate
      if (known < 0) return route // the untried ones first, in the order in which they came
      if (known > MUCH_BETTER * rate && (best === null || known > this.score(best).rate)) best = route
    }
    return best
  }

  private score(route: Route): Score {
    if (this.scores === null) this.scores = new Map()
    let score = this.scores.get(route)
    if (score === undefined) {
      score = { bytes: 0, subflow: -1, rate: -1, restUntil: 0, losses: 0 }
      this.scores.set(route, score)
    }
    return score
  }
}

function rest(losses: number): Micros {
  return Math.min(REST_MAX_US, REST_US * 2 ** (losses - 1))
}

function text(bytesPerSecond: number): string {
  return `${((bytesPerSecond * 8) / 1e6).toFixed(2)} Mbit/s`
}
