import type { Micros } from '../base/time.js'
import { fastestWithRoom } from './fastest.js'
import { type Grant, GRANT_MAX, type ReinjectCause, type Scheduler, type SchedulerView } from './scheduler.js'

/**
 * Lowest RTT first, Linux's default: of the subflows with room in their windows, the one with the smallest smoothed RTT takes the
 * next super-segment. How much of it leaves is for the subflow: it may prefer to wait for a better filled segment.
 */
export class MinRttScheduler implements Scheduler {
  readonly name: string = 'min-rtt'

  select(view: SchedulerView, pending: number, peerWindow: number, _now: Micros, out: Grant): boolean {
    return this.pick(view, 0, Math.min(pending, peerWindow), out)
  }

  reinject(view: SchedulerView, exclude: number, len: number, _cause: ReinjectCause, _now: Micros, out: Grant): boolean {
    return this.pick(view, exclude, len, out)
  }

  onEvent(): void {}

  protected pick(view: SchedulerView, exclude: number, len: number, out: Grant): boolean {
    if (len <= 0) return false
    const chosen = fastestWithRoom(view.subflows, exclude)
    if (chosen < 0) return false
    out.mask = 1 << chosen
    out.len = Math.min(len, GRANT_MAX)
    return true
  }
}

/** Factory for the registry. */
export function minRtt(): Scheduler {
  return new MinRttScheduler()
}
