import type { Micros } from '../base/time.js'
import { bestPreference, preferenceOf } from './preference.js'
import { type Grant, GRANT_MAX, type ReinjectCause, type Scheduler, type SchedulerView, type SubflowView } from './scheduler.js'

/**
 * Takes the subflows in turn, each for as much as its window has room for. It fills every path alike and reorders accordingly; for
 * comparison and for paths of equal delay.
 */
export class RoundRobinScheduler implements Scheduler {
  readonly name = 'round-robin'
  /** Index after that of the last grant. */
  private next = 0

  select(view: SchedulerView, pending: number, peerWindow: number, _now: Micros, out: Grant): boolean {
    const i = this.pick(view, 0, Math.min(pending, peerWindow), out)
    if (i < 0) return false
    this.next = i + 1
    return true
  }

  reinject(view: SchedulerView, exclude: number, len: number, _cause: ReinjectCause, _now: Micros, out: Grant): boolean {
    return this.pick(view, exclude, len, out) >= 0
  }

  onEvent(): void {}

  private pick(view: SchedulerView, exclude: number, len: number, out: Grant): number {
    if (len <= 0) return -1
    const subflows = view.subflows
    const best = bestPreference(subflows, exclude)
    if (best < 0) return -1
    for (let k = 0; k < subflows.length; k++) {
      const i = (this.next + k) % subflows.length
      const s = subflows[i] as SubflowView
      if (((exclude >> i) & 1) === 1 || !s.isUsable || s.isBlocked || preferenceOf(s) !== best) continue
      const space = s.sendSpace()
      if (space <= 0) continue
      out.mask = 1 << i
      out.len = Math.min(len, space, GRANT_MAX)
      return i
    }
    return -1
  }
}

/** Factory for the registry. */
export function roundRobin(): Scheduler {
  return new RoundRobinScheduler()
}
