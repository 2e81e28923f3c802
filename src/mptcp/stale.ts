import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import type { Subflow } from './subflow.js'

/** A subflow that does not answer is asked that often: when its path is back, it shall be in use within two seconds. */
const PROBE_US: Micros = 1 * US_PER_S
/** After so many questions, ten times as rarely. */
const EAGER_PROBES = 60

/**
 * What a subflow is that had timeouts in a row: its retransmissions back off, up to minutes, so it asks by empty segments whether the path is
 * back. An answer lets it retransmit at once; an acknowledgement makes it a subflow like any other. Exists only that long.
 */
export class Stale {
  private readonly s: Subflow
  private probes = 0
  at: Micros
  /** Not to be set going before: answers that acknowledge nothing come from a path that works one way only. */
  private kickAt: Micros = 0

  constructor(s: Subflow, now: Micros) {
    this.s = s
    this.at = now + PROBE_US
  }

  onTimeout(now: Micros): void {
    this.at = NEVER
    const { s } = this
    if (!s.isUsable) return
    this.probes++
    this.at = now + (this.probes < EAGER_PROBES ? PROBE_US : 10 * PROBE_US)
    s.ep.probe()
  }

  /** A segment came. True: the subflow has recovered. */
  onSegment(now: Micros): boolean {
    const { ep } = this.s
    if (ep.rtoCount === 0) return true
    if (now < this.kickAt) return false
    this.kickAt = now + PROBE_US
    ep.snd.rtt.backoff = 0
    ep.snd.rexmitAt = now
    return false
  }
}
