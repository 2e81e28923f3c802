import type { Micros } from '../base/time.js'
import { MinRttScheduler } from './min-rtt.js'
import { repeatOn } from './redundant.js'
import type { Grant, Scheduler, SchedulerView, SubflowView } from './scheduler.js'

/** Segments that a subflow has to have delivered before it is trusted with bytes that nobody else carries. */
const PROOF_SEGMENTS = 10

/**
 * Redundant where that costs nothing, lowest RTT first where bandwidth counts:
 *
 *     new subflow                    repeats what others carry, until it has delivered some: a path that swallows costs no time
 *     the application has no more    everybody repeats what is in flight: the delay is that of the better path
 *     the network is the limit       lowest RTT first
 */
export class AdaptiveScheduler extends MinRttScheduler {
  override readonly name = 'adaptive'

  override select(view: SchedulerView, pending: number, peerWindow: number, _now: Micros, out: Grant): boolean {
    return this.pick(view, unproven(view), Math.min(pending, peerWindow), out)
  }

  repeat(view: SchedulerView, pending: number, _now: Micros, out: Grant): boolean {
    return repeatOn(view, pending > 0 ? isUnproven : null, out)
  }
}

function isUnproven(s: SubflowView): boolean {
  return s.bytesAcked < PROOF_SEGMENTS * s.mss
}

/** Mask of the subflows that may only repeat: none as long as no other is there to do the work. */
function unproven(view: SchedulerView): number {
  const { subflows } = view
  let mask = 0
  let isAnyProven = false
  for (let i = 0; i < subflows.length; i++) {
    const s = subflows[i] as SubflowView
    if (isUnproven(s)) mask |= 1 << i
    else if (s.isUsable && s.rtoCount === 0 && !s.isBackup) isAnyProven = true
  }
  return isAnyProven ? mask : 0
}

/** Factory for the registry. */
export function adaptive(): Scheduler {
  return new AdaptiveScheduler()
}
