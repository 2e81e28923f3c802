import type { Micros } from '../base/time.js'
import { bestPreference, preferenceOf } from './preference.js'
import { type Grant, GRANT_MAX, type ReinjectCause, type Scheduler, type SchedulerView, type SubflowView } from './scheduler.js'

/**
 * Every byte on every subflow: the lowest delay at the price of bandwidth. Each subflow has a send pointer of its own and carries the whole
 * stream as far as its window lets it; who falls behind goes on with the oldest byte that is still missing, and nobody waits for it.
 *
 *         dataUna              carriedTo[1]           dataNxt = carriedTo[0]
 *     -------+--------------------+----------------------+----------
 *      acked | carried by 0 and 1 | by 0; 1 repeats it   | new: 0 now, 1 when it has caught up
 */
export class RedundantScheduler implements Scheduler {
  readonly name = 'redundant'

  /** New bytes for all who have caught up and have room. */
  select(view: SchedulerView, pending: number, peerWindow: number, _now: Micros, out: Grant): boolean {
    return this.pick(view, 0, Math.min(pending, peerWindow), view.dataUna < view.dataNxt ? view.dataNxt : 0, out)
  }

  reinject(view: SchedulerView, exclude: number, len: number, _cause: ReinjectCause, _now: Micros, out: Grant): boolean {
    return this.pick(view, exclude, len, 0, out)
  }

  repeat(view: SchedulerView, _pending: number, _now: Micros, out: Grant): boolean {
    return repeatOn(view, null, out)
  }

  onEvent(): void {}

  /** @param from only subflows whose pointer is there. */
  private pick(view: SchedulerView, exclude: number, len: number, from: number, out: Grant): boolean {
    if (len <= 0) return false
    const subflows = view.subflows
    const best = bestPreference(subflows, exclude)
    if (best < 0) return false
    let mask = 0
    let room = 0
    for (let i = 0; i < subflows.length; i++) {
      const s = subflows[i] as SubflowView
      if (((exclude >> i) & 1) === 1 || !s.isUsable || s.isBlocked || preferenceOf(s) !== best || s.carriedTo < from) continue
      const space = s.sendSpace()
      if (space <= 0) continue
      mask |= 1 << i
      room = Math.max(room, space, s.mss)
    }
    if (mask === 0) return false
    out.mask = mask
    out.len = Math.min(len, room, GRANT_MAX)
    return true
  }
}

/**
 * Grants the next bytes behind its pointer to a subflow that has fallen behind and has room, of the preferred class only.
 * @param isMeant which subflows, null: all.
 */
export function repeatOn(view: SchedulerView, isMeant: ((s: SubflowView) => boolean) | null, out: Grant): boolean {
  const { subflows, dataUna, dataNxt } = view
  if (dataUna >= dataNxt || subflows.length < 2) return false
  const best = bestPreference(subflows, 0)
  for (let i = 0; i < subflows.length; i++) {
    const s = subflows[i] as SubflowView
    if (s.carriedTo >= dataNxt || !s.isUsable || s.isBlocked || preferenceOf(s) !== best) continue
    if (isMeant !== null && !isMeant(s)) continue
    const space = s.sendSpace()
    if (space <= 0) continue
    out.mask = 1 << i
    out.off = Math.max(dataUna, s.carriedTo)
    out.len = Math.min(dataNxt - out.off, GRANT_MAX)
    return true
  }
  return false
}

/** Factory for the registry. */
export function redundant(): Scheduler {
  return new RedundantScheduler()
}
