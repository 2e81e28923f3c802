import { baseId } from '../pathmgr/path.js'
import type { Connection } from './engine.js'

/** What the subflows by a path tell of it, which is the measure for every kind of path: the way to the servers, not to the detour alone. */
export interface PathMeasure {
  /** Mean of their smoothed round trips, microseconds; null: none has measured. */
  readonly rttUs: number | null
  /** Part of their segments that were sent again, 0-1: what was lost towards the server, and a little more; null: there are none. */
  readonly resent: number | null
}

const UNKNOWN: PathMeasure = { rttUs: null, resent: null }

/** All paths as the subflows that are there measure them, those to announced addresses included. A snapshot: not for the turn. */
export class PathMeasures {
  private readonly sums = new Map<number, { rttUs: number; rtts: number; segs: number; resent: number }>()

  constructor(connections: Iterable<Connection>) {
    for (const { conn } of connections) {
      for (const { path, ep, isLive } of conn.subflows) {
        if (!isLive) continue
        const id = baseId(path.id)
        const sum = this.sums.get(id) ?? { rttUs: 0, rtts: 0, segs: 0, resent: 0 }
        this.sums.set(id, sum)
        sum.segs += ep.segsOut
        sum.resent += ep.retransSegs
        if (ep.srttUs === 0) continue
        sum.rttUs += ep.srttUs
        sum.rtts++
      }
    }
  }

  /** @param id of a path of the engine's table */
  of(id: number): PathMeasure {
    const sum = this.sums.get(id)
    if (sum === undefined) return UNKNOWN
    const { rttUs, rtts, segs, resent } = sum
    return { rttUs: rtts === 0 ? null : Math.round(rttUs / rtts), resent: segs === 0 ? null : resent / segs }
  }
}
