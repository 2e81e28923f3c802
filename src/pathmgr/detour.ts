import type { IpAddress } from '../base/address.js'
import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import { isToAnnounced, type Path, toAnnounced } from './path.js'
import { type PathCommand, type PathEvent, type PathLimits, type PathManager, type PathView, SubflowStats } from './path-manager.js'
import { Replacement } from './replacement.js'
import { Route } from './route.js'

/** A silent subflow is no longer counted as one, and a second one by the same path is asked for. */
const SILENT_US: Micros = 1 * US_PER_S

const stats = new SubflowStats()

/** Which routes share a limit. */
type Place = 'always' | 'extra' | 'announced'

/**
 * The default manager. What it wants of a connection, at any time:
 *
 *     the default path and those given by hand      always, again after each loss
 *     detours                                       N of them: VPNs and interfaces first, for they need no mapping, then NAT detours with
 *                                                   a mapping to the destination, oldest first; again whenever one appears
 *     addresses that the peer announces             so many as are accepted, by the default path
 *
 * A path that fails waits for longer each time, and another one takes its place meanwhile. One whose subflow is silent gets a second
 * subflow (make before break): its mapping in some NAT may be lost. With all places taken, a better path replaces the worst one.
 */
export class DetourManager implements PathManager {
  readonly name = 'detour'
  private readonly view: PathView
  private readonly limits: PathLimits
  private readonly replacement: Replacement
  /** A few: one for each path. */
  private routes: readonly Route[] = []
  private isStarted = false
  /** The default path, for joins to announced addresses. */
  private base: Path | null = null

  constructor(view: PathView, limits: PathLimits) {
    this.view = view
    this.limits = limits
    this.replacement = new Replacement(view, limits.replaceUs)
  }

  handle(event: PathEvent | null, now: Micros, out: PathCommand[]): Micros {
    if (event !== null) this.note(event, now, out)
    return this.isStarted ? this.plan(now, out) : NEVER
  }

  reason(path: Path, now: Micros): string | null {
    const route = this.routeBy(path.id)
    if (route === undefined) return this.isStarted ? 'it came too late' : 'joins are not allowed yet'
    if (route.isUp && !route.isSilent) return null
    if (route.subflow >= 0) {
      if (route.isSilent) return 'it does not answer'
      return path.isTentative ? 'waiting for the mapping' : 'the join is on its way'
    }
    if (route.retryAt === NEVER) return route.failure
    const wait = Math.ceil((route.retryAt - now) / US_PER_S)
    if (route.failures > 0 && wait > 0) return `${route.failure} (${route.failures} in a row), tried again in ${wait} s`
    if (this.replacement.isResting(route, now)) {
      return `slower than the others, tried again in ${Math.ceil((this.replacement.restUntil(route) - now) / US_PER_S)} s at the earliest`
    }
    return placeOf(path) === 'extra' ? `limit of ${this.limits.extraSubflows} extra subflows` : 'limit of announced addresses'
  }

  // ---------------------------------------------------------------- events

  private note(event: PathEvent, now: Micros, out: PathCommand[]): void {
    switch (event.kind) {
      case 'established':
        this.isStarted = true
        this.base = event.path
        for (const path of event.paths) this.onPath(path)
        this.onPath(event.path)
        this.routeBy(event.path.id)?.onOpened(event.subflow, now)
        this.routeBy(event.path.id)?.onUp(event.subflow, now)
        return
      case 'path-up':
        this.onPath(event.path)
        return
      case 'path-down':
        this.drop(event.path.id)
        return
      case 'opened':
        this.routeBy(event.path.id)?.onOpened(event.subflow, now)
        return
      case 'refused':
        this.routeBy(event.path.id)?.onRefused(event.why, event.isFinal, now)
        return
      case 'announced':
        this.onAnnounced(event.id, event.address, event.port)
        return
      case 'withdrawn':
        if (this.base !== null) this.drop(toAnnounced(this.base, event.id, this.view.remote, 0).id)
        return
      default:
        this.onSubflow(event, now, out)
    }
  }

  private onSubflow(event: Extract<PathEvent, { subflow: number }>, now: Micros, out: PathCommand[]): void {
    for (const route of this.routes) {
      if (route.subflow !== event.subflow && route.heir !== event.subflow) continue
      switch (event.kind) {
        case 'subflow-up': {
          const old = route.onUp(event.subflow, now)
          if (old >= 0) out.push({ kind: 'close', subflow: old, why: `${route.path.label} answers on a new subflow only` })
          return
        }
        case 'subflow-down':
          route.onDown(event.subflow, event.why, event.isFault, now)
          // a join that failed to an announced address is not repeated until it is announced anew: it is the peer's word, not ours
          if (isToAnnounced(route.path) && !route.wasUp) route.retryAt = NEVER
          return
        case 'subflow-silent':
          if (this.view.stats(event.subflow, stats)) route.srttUs = Math.max(route.srttUs, stats.srttUs)
          if (event.subflow === route.subflow) route.silentSince = now
          return
        case 'subflow-back':
          if (event.subflow === route.subflow) this.onBack(route, out)
          return
      }
    }
  }

  /** The silent subflow answers again: the one that was to replace it is not needed. */
  private onBack(route: Route, out: PathCommand[]): void {
    route.silentSince = NEVER
    if (route.heir >= 0) out.push({ kind: 'close', subflow: route.heir, why: `${route.path.label} answers again` })
  }

  private onPath(path: Path): void {
    const known = this.routeBy(path.id)
    if (known === undefined) this.routes = this.routes.concat(new Route(path))
    else known.renew(path)
  }

  private onAnnounced(id: number, address: IpAddress, port: number): void {
    if (this.base === null) return
    if (port === this.view.port && address.equals(this.view.remote)) return // the default path leads there already
    this.onPath(toAnnounced(this.base, id, address, port))
  }

  private drop(id: number): void {
    const route = this.routeBy(id)
    if (route === undefined) return
    this.replacement.forget(route)
    this.routes = this.routes.filter((one) => one !== route)
  }

  private routeBy(id: number): Route | undefined {
    return this.routes.find((route) => route.path.id === id)
  }

  // ---------------------------------------------------------------- plan

  private plan(now: Micros, out: PathCommand[]): Micros {
    let wake = NEVER
    for (const route of this.routes) wake = Math.min(wake, this.tend(route, now, out))
    wake = Math.min(wake, this.fill('always', Infinity, now, out))
    wake = Math.min(wake, this.fill('announced', this.limits.addAddrAccepted, now, out))
    const n = this.limits.extraSubflows + this.replacement.extra
    wake = Math.min(wake, this.fill('extra', n, now, out))
    return Math.min(wake, this.replace(now, out))
  }

  /** What the route needs by itself: an answer in time, a successor for a silent subflow. */
  private tend(route: Route, now: Micros, out: PathCommand[]): Micros {
    const by = route.answerBy
    if (by <= now) {
      const subflow = route.heir >= 0 ? route.heir : route.subflow
      out.push({ kind: 'close', subflow, why: `${route.path.label}: no answer to the join` })
      return NEVER // its end is an event
    }
    if (route.silentSince === NEVER || route.heir >= 0 || route.isAsked || route.subflow < 0) return by
    const due = Math.max(route.silentSince + SILENT_US, route.retryAt)
    if (due > now) return Math.min(by, due)
    out.push(route.ask(`${route.path.label} does not answer`))
    return by
  }

  /** Opens the best free routes of a kind until `n` are used. @returns when one that waits may be tried */
  private fill(place: Place, n: number, now: Micros, out: PathCommand[]): Micros {
    const routes = this.routes.filter((route) => placeOf(route.path) === place).sort(byPreference)
    let used = routes.filter((route) => route.isUsed).length
    let wake = NEVER
    for (const route of routes) {
      if (!route.isFree) continue
      if (used >= n) break
      const due = Math.max(route.retryAt, this.replacement.restUntil(route))
      if (due > now) {
        wake = Math.min(wake, due)
        continue
      }
      used++
      out.push(route.ask(reasonToOpen(route)))
    }
    if (used > n) this.trim(routes, used - n, out)
    return wake
  }

  /** More came back than there are places for: the least preferred ones go. */
  private trim(routes: readonly Route[], surplus: number, out: PathCommand[]): void {
    for (const route of [...routes].reverse().filter((one) => one.isUp && !one.isSilent)) {
      if (surplus-- <= 0) return
      out.push({ kind: 'close', subflow: route.subflow, why: `limit of ${this.limits.extraSubflows} extra subflows: others are preferred` })
    }
  }

  private replace(now: Micros, out: PathCommand[]): Micros {
    const { routes } = this
    const extra = routes.filter((route) => placeOf(route.path) === 'extra')
    if (extra.length <= this.limits.extraSubflows && this.replacement.extra === 0) return NEVER
    const all = routes.filter((route) => route.isUp && !route.isSilent)
    const used = all.filter((route) => placeOf(route.path) === 'extra')
    const free = extra.filter((route) => route.isFree && route.retryAt <= now)
    this.replacement.step(all, used, free, used.length >= this.limits.extraSubflows, now, out)
    return this.replacement.nextAt
  }
}

function placeOf(path: Path): Place {
  if (isToAnnounced(path)) return 'announced'
  return path.kind === 'default' || path.kind === 'static' ? 'always' : 'extra'
}

/** Those that need no mapping first, then in the order in which they came; one that failed last. */
function byPreference(a: Route, b: Route): number {
  return Number(a.failures > 0) - Number(b.failures > 0) || rank(a.path) - rank(b.path) || a.path.id - b.path.id
}

function rank(path: Path): number {
  return path.kind === 'nat' ? 1 : 0
}

function reasonToOpen(route: Route): string {
  if (route.failures > 0) return `${route.path.label}: again after '${route.failure}'`
  return placeOf(route.path) === 'announced' ? `${route.path.label}: announced by the peer` : `${route.path.label} is free`
}
