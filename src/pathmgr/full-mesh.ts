import type { IpAddress } from '../base/address.js'
import { type Micros, NEVER } from '../base/time.js'
import { isDerived, isToAnnounced, type Path, toAnnounced } from './path.js'
import type { PathCommand, PathEvent, PathLimits, PathManager, PathView } from './path-manager.js'
import { Route } from './route.js'

/**
 * A subflow by each path to each address of the peer, as `ip mptcp endpoint ... fullmesh` does; `extraSubflows` bounds those beyond the
 * first. Paths that lead to a detour keep their destination.
 */
export class FullMeshManager implements PathManager {
  readonly name = 'full-mesh'
  private readonly limits: PathLimits
  private readonly paths = new Map<number, Path>()
  private readonly announced = new Map<number, { readonly address: IpAddress; readonly port: number }>()
  private readonly routes = new Map<number, Route>()
  private isStarted = false

  constructor(_view: PathView, limits: PathLimits) {
    this.limits = limits
  }

  handle(event: PathEvent | null, now: Micros, out: PathCommand[]): Micros {
    if (event !== null) this.note(event, now)
    if (!this.isStarted) return NEVER
    let wake = NEVER
    let used = [...this.routes.values()].filter((route) => !route.isFree).length
    for (const route of this.routes.values()) {
      if (!route.isFree) continue
      if (used > this.limits.extraSubflows) break
      if (route.retryAt > now) {
        wake = Math.min(wake, route.retryAt)
        continue
      }
      used++
      out.push(route.ask('full mesh'))
    }
    return wake
  }

  reason(path: Path, now: Micros): string | null {
    const route = this.routes.get(path.id)
    if (route === undefined || route.subflow >= 0) return null
    if (route.retryAt > now) return route.failure
    return `limit of ${this.limits.extraSubflows} extra subflows`
  }

  private note(event: PathEvent, now: Micros): void {
    switch (event.kind) {
      case 'established':
        this.isStarted = true
        for (const path of event.paths) this.paths.set(path.id, path)
        this.paths.set(event.path.id, event.path)
        this.combine()
        this.routes.get(event.path.id)?.onOpened(event.subflow, now)
        this.routes.get(event.path.id)?.onUp(event.subflow, now)
        return
      case 'path-up':
        this.paths.set(event.path.id, event.path)
        this.combine()
        for (const route of this.routes.values()) if (isDerived(route.path.id, event.path.id)) route.renew(route.path)
        return
      case 'path-down':
        this.paths.delete(event.path.id)
        break
      case 'announced':
        this.announced.set(event.id, event)
        break
      case 'withdrawn':
        this.announced.delete(event.id)
        break
      case 'opened':
        this.routes.get(event.path.id)?.onOpened(event.subflow, now)
        return
      case 'refused':
        this.routes.get(event.path.id)?.onRefused(event.why, event.isFinal, now)
        return
      case 'subflow-up':
        for (const route of this.routes.values()) if (route.subflow === event.subflow) route.onUp(event.subflow, now)
        return
      case 'subflow-down':
        for (const route of this.routes.values()) if (route.subflow === event.subflow) this.onDown(route, event.why, event.isFault, now)
        return
      default:
        return
    }
    this.combine()
  }

  private onDown(route: Route, why: string, isFault: boolean, now: Micros): void {
    route.onDown(route.subflow, why, isFault, now)
    // a join that failed to an announced address is not repeated
    if (isToAnnounced(route.path) && !route.wasUp) route.retryAt = NEVER
  }

  /** The set of routes follows from paths and addresses; those that stay keep their state. */
  private combine(): void {
    const wanted = new Map<number, Path>()
    for (const path of this.paths.values()) {
      wanted.set(path.id, path)
      if (path.destination !== null) continue
      for (const [id, to] of this.announced) {
        const derived = toAnnounced(path, id, to.address, to.port)
        wanted.set(derived.id, derived)
      }
    }
    for (const id of this.routes.keys()) if (!wanted.has(id)) this.routes.delete(id)
    for (const [id, path] of wanted) {
      const route = this.routes.get(id)
      if (route === undefined) this.routes.set(id, new Route(path))
      else route.path = path
    }
  }
}
