import { type Micros, NEVER } from '../base/time.js'
import type { Path } from './path.js'
import type { PathCommand, PathEvent, PathLimits, PathManager, PathView } from './path-manager.js'
import { Route } from './route.js'

/**
 * Several subflows by the first path, which differ in their port only: for networks that spread flows over parallel links by their ports.
 * There are `extraSubflows` of them beyond the first.
 */
export class NdiffportsManager implements PathManager {
  readonly name = 'ndiffports'
  private readonly limits: PathLimits
  private readonly places: Route[] = []

  constructor(_view: PathView, limits: PathLimits) {
    this.limits = limits
  }

  handle(event: PathEvent | null, now: Micros, out: PathCommand[]): Micros {
    if (event !== null) this.note(event, now)
    let wake = NEVER
    for (const place of this.places) {
      if (!place.isFree) continue
      if (place.retryAt > now) wake = Math.min(wake, place.retryAt)
      else out.push(place.ask('one more port'))
    }
    return wake
  }

  reason(_path: Path, _now: Micros): string | null {
    return 'only the default path is used by ndiffports'
  }

  private note(event: PathEvent, now: Micros): void {
    switch (event.kind) {
      case 'established':
        for (let i = 0; i <= this.limits.extraSubflows; i++) this.places.push(new Route(event.path))
        this.places[0]?.onOpened(event.subflow, now)
        this.places[0]?.onUp(event.subflow, now)
        return
      case 'opened':
        this.places.find((place) => place.isAsked)?.onOpened(event.subflow, now)
        return
      case 'refused':
        this.places.find((place) => place.isAsked)?.onRefused(event.why, event.isFinal, now)
        return
      case 'subflow-up':
        this.places.find((place) => place.subflow === event.subflow)?.onUp(event.subflow, now)
        return
      case 'subflow-down':
        this.places.find((place) => place.subflow === event.subflow)?.onDown(event.subflow, event.why, event.isFault, now)
        return
      default:
    }
  }
}
