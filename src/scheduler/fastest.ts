import { bestPreference, preferenceOf } from './preference.js'
import type { SubflowView } from './scheduler.js'

/** The subflow of the best class with the smallest smoothed RTT that has room now, index, or -1. @param exclude mask */
export function fastestWithRoom(subflows: readonly SubflowView[], exclude: number): number {
  const best = bestPreference(subflows, exclude)
  let chosen = -1
  let chosenRtt = 0
  for (let i = 0; i < subflows.length; i++) {
    const s = subflows[i] as SubflowView
    if (((exclude >> i) & 1) === 1 || !s.isUsable || s.isBlocked || preferenceOf(s) !== best || s.sendSpace() <= 0) continue
    const rtt = s.srttUs
    if (chosen < 0 || rtt < chosenRtt) {
      chosen = i
      chosenRtt = rtt
    }
  }
  return chosen
}

/**
 * A subflow of the best class that is faster than `than` but has no room, and will have: something is in flight on it. Index, or -1:
 * there is nothing to wait for.
 */
export function fasterInFlight(subflows: readonly SubflowView[], than: number): number {
  const slow = subflows[than] as SubflowView
  const best = preferenceOf(slow)
  let chosen = -1
  let chosenRtt = slow.srttUs
  for (let i = 0; i < subflows.length; i++) {
    const s = subflows[i] as SubflowView
    if (i === than || !s.isUsable || preferenceOf(s) !== best || s.rtoCount > 0 || s.inFlight === 0 || s.srttUs === 0) continue
    if (s.srttUs < chosenRtt) {
      chosen = i
      chosenRtt = s.srttUs
    }
  }
  return chosen
}
