import type { Micros } from '../base/time.js'
import { bestPreference, preferenceOf } from './preference.js'
import { type Grant, GRANT_MAX, type ReinjectCause, type Scheduler, type SchedulerView, type SubflowView } from './scheduler.js'

/**
 * Every byte on every subflow that has room for it now: the lowest delay at the price of bandwidth. A subflow without room misses the
 * copy rather than holding up the others.
 */
export class RedundantScheduler implements Scheduler {
  readonly name = 'redundant'

  select(view: SchedulerView, pending: number, peerWindow: number, _now: Micros, out: Grant): boolean {
    return this.pick(view, 0, Math.min(pending, peerWindow), out)
  }

  reinject(view: SchedulerView, exclude: number, len: number, _cause: ReinjectCause, _now: Micros, out: Grant): boolean {
    return this.pick(view, exclude, len, out)
  }

  onEvent(): void {}

  private pick(view: SchedulerView, exclude: number, len: number, out: Grant): boolean {
    if (len <= 0) return false
    const subflows = view.subflows
    const best = bestPreference(subflows, exclude)
    if (best < 0) return false
    let mask = 0
    let room = GRANT_MAX
    for (let i = 0; i < subflows.length; i++) {
      const s = subflows[i] as SubflowView
      if (((exclude >> i) & 1) === 1 || !s.isUsable || s.isBlocked || preferenceOf(s) !== best) continue
      const space = s.sendSpace()
      if (space <= 0) continue
      mask |= 1 << i
      // all copies are equally long, so that the next grant begins at the same byte for all
      room = Math.min(room, Math.max(space, s.mss))
    }
    if (mask === 0) return false
    out.mask = mask
    out.len = Math.min(len, room)
    return true
  }
}

/** Factory for the registry. */
export function redundant(): Scheduler {
  return new RedundantScheduler()
}
