import type { Micros } from '../base/time.js'
import { fasterInFlight, fastestWithRoom } from './fastest.js'
import { MinRttScheduler } from './min-rtt.js'
import {
  type Grant,
  GRANT_MAX,
  REINJECT_BLOCKED,
  type ReinjectCause,
  type Scheduler,
  type SchedulerView,
  type SubflowView,
} from './scheduler.js'

/** Factor on the estimate, and how it follows what happens (Ferlin et al. leave the steps open; these are those of Linux MPTCP v0.96). */
const LAMBDA_START = 1.2
const LAMBDA_MIN = 1
const LAMBDA_MAX = 1.3
const LAMBDA_UP = 0.02
const LAMBDA_DOWN = 0.01

/**
 * BLEST (Ferlin, Alay, Mehani, Boreli: IFIP Networking 2016): lowest RTT first, but a slow subflow stays idle when what it would hold of
 * the connection's window would keep the fast one from sending meanwhile.
 */
export class BlestScheduler extends MinRttScheduler {
  override readonly name = 'blest'
  private lambda = LAMBDA_START
  private wasBlocked = false
  private adaptAt: Micros = 0

  override select(view: SchedulerView, pending: number, peerWindow: number, now: Micros, out: Grant): boolean {
    const len = Math.min(pending, peerWindow)
    if (len <= 0) return false
    const { subflows } = view
    const slow = fastestWithRoom(subflows, 0)
    if (slow < 0) return false
    const fast = fasterInFlight(subflows, slow)
    if (fast >= 0 && this.wouldBlock(subflows[fast] as SubflowView, subflows[slow] as SubflowView, peerWindow, now)) return false
    out.mask = 1 << slow
    out.len = Math.min(len, GRANT_MAX)
    return true
  }

  override reinject(view: SchedulerView, exclude: number, len: number, cause: ReinjectCause, _now: Micros, out: Grant): boolean {
    if (cause === REINJECT_BLOCKED) this.wasBlocked = true
    return this.pick(view, exclude, len, out)
  }

  /** X = MSS_f (cwnd_f + (rtts - 1) / 2) rtts: what the fast one could send until the slow one has its answer; cwnd_f in packets. */
  private wouldBlock(fast: SubflowView, slow: SubflowView, window: number, now: Micros): boolean {
    if (now >= this.adaptAt) this.adapt(now + fast.srttUs)
    const ratio = slow.srttUs / fast.srttUs
    const x = (fast.cwnd + (fast.mss * (ratio - 1)) / 2) * ratio
    return x * this.lambda > window - slow.mss - slow.inFlight
  }

  /** Once a round trip of the fast one. */
  private adapt(nextAt: Micros): void {
    const step = this.wasBlocked ? LAMBDA_UP : -LAMBDA_DOWN
    this.lambda = Math.min(LAMBDA_MAX, Math.max(LAMBDA_MIN, this.lambda + step))
    this.wasBlocked = false
    this.adaptAt = nextAt
  }
}

/** Factory for the registry. */
export function blest(): Scheduler {
  return new BlestScheduler()
}
