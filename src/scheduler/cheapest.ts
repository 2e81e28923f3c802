import type { Micros } from '../base/time.js'
import { bestPreference, preferenceOf } from './preference.js'
import { type Grant, GRANT_MAX, type ReinjectCause, type Scheduler, type SchedulerView, type SubflowView } from './scheduler.js'

/** Lowest price first (`Path.cost`), among equal ones the lowest RTT: a dearer path carries only what the cheaper ones have no room for. */
export class CheapestScheduler implements Scheduler {
  readonly name = 'cheapest'

  select(view: SchedulerView, pending: number, peerWindow: number, _now: Micros, out: Grant): boolean {
    return this.pick(view, 0, Math.min(pending, peerWindow), out)
  }

  reinject(view: SchedulerView, exclude: number, len: number, _cause: ReinjectCause, _now: Micros, out: Grant): boolean {
    return this.pick(view, exclude, len, out)
  }

  onEvent(): void {}

  private pick(view: SchedulerView, exclude: number, len: number, out: Grant): boolean {
    if (len <= 0) return false
    const { subflows } = view
    const best = bestPreference(subflows, exclude)
    let chosen: SubflowView | null = null
    let index = -1
    for (let i = 0; i < subflows.length; i++) {
      const s = subflows[i] as SubflowView
      if (((exclude >> i) & 1) === 1 || !s.isUsable || s.isBlocked || preferenceOf(s) !== best || s.sendSpace() <= 0) continue
      if (chosen !== null && (s.cost > chosen.cost || (s.cost === chosen.cost && s.srttUs >= chosen.srttUs))) continue
      chosen = s
      index = i
    }
    if (chosen === null) return false
    out.mask = 1 << index
    out.len = Math.min(len, GRANT_MAX)
    return true
  }
}

/** Factory for the registry. */
export function cheapest(): Scheduler {
  return new CheapestScheduler()
}
