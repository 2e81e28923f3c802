import type { SubflowView } from './scheduler.js'

/** Timeouts in a row after which a subflow counts as stale: used only when nothing better is left. */
export const STALE_RTOS = 2

/**
 * Class of a subflow, lower is better; a class is used only while no better one has a usable member.
 * A backup gives way to every regular subflow that still answers (RFC 8684 §3.3.8), a silent one to everything that answers.
 */
export function preferenceOf(s: SubflowView): number {
  const silent = s.rtoCount
  if (silent === 0) return s.isBackup ? 2 : 0
  if (silent < STALE_RTOS) return s.isBackup ? 3 : 1
  return s.isBackup ? 5 : 4
}

/** The best class among the usable subflows that are not in `exclude`, or -1 when there is none. */
export function bestPreference(subflows: readonly SubflowView[], exclude: number): number {
  let best = -1
  for (let i = 0; i < subflows.length; i++) {
    const s = subflows[i] as SubflowView
    if (((exclude >> i) & 1) === 1 || !s.isUsable) continue
    const p = preferenceOf(s)
    if (best < 0 || p < best) best = p
  }
  return best
}
