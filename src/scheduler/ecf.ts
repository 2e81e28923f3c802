import type { Micros } from '../base/time.js'
import { fasterInFlight, fastestWithRoom } from './fastest.js'
import { MinRttScheduler } from './min-rtt.js'
import { type Grant, GRANT_MAX, type Scheduler, type SchedulerView, type SubflowView } from './scheduler.js'

/** Who waits goes on waiting unless the slow subflow is that much better (beta of the paper). */
const HYSTERESIS = 0.25

/**
 * Earliest completion first (Lim, Nahum, Towsley, Gibbens: CoNEXT 2017): lowest RTT first, but the end of what is to be sent waits for the
 * fast subflow when it is sooner through there than by the slow one.
 */
export class EcfScheduler extends MinRttScheduler {
  override readonly name = 'ecf'
  private isWaiting = false

  override select(view: SchedulerView, pending: number, peerWindow: number, _now: Micros, out: Grant): boolean {
    const len = Math.min(pending, peerWindow)
    if (len <= 0) return false
    const { subflows } = view
    const slow = fastestWithRoom(subflows, 0)
    if (slow < 0) return false
    const fast = fasterInFlight(subflows, slow)
    if (fast >= 0 && this.isWorthWaiting(subflows[fast] as SubflowView, subflows[slow] as SubflowView, pending)) return false
    out.mask = 1 << slow
    out.len = Math.min(len, GRANT_MAX)
    return true
  }

  private isWorthWaiting(fast: SubflowView, slow: SubflowView, pending: number): boolean {
    const delta = Math.max(fast.rttvarUs, slow.rttvarUs)
    const rounds = 1 + pending / fast.cwnd
    if (rounds * fast.srttUs >= (1 + (this.isWaiting ? HYSTERESIS : 0)) * (slow.srttUs + delta)) {
      this.isWaiting = false
      return false
    }
    if ((pending / slow.cwnd) * slow.srttUs < 2 * fast.srttUs + delta) return false
    this.isWaiting = true
    return true
  }
}

/** Factory for the registry. */
export function ecf(): Scheduler {
  return new EcfScheduler()
}
