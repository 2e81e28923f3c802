import type { Micros } from '../base/time.js'

/** A turn that comes later than its deadline by more than this was stalled, and the excess did not happen. */
export const MAX_LATE_US: Micros = 200_000

/**
 * The engine's time: monotonic, from 0, without the stalls of this process. After a blocked event loop or a suspended machine
 * all timers would be overdue at once: RTOs would fire for ACKs that stand unread in the device, paths would look dead.
 *
 *     raw    ---|-------deadline......stall......|--->
 *     engine ---|-------deadline..MAX_LATE|--->
 */
export class EngineClock {
  private readonly raw: () => Micros
  /** raw - skew is the engine's time. */
  private skew: Micros
  private dueRaw: Micros = Number.MAX_SAFE_INTEGER
  /** Time that was taken out, in all. */
  skippedUs: Micros = 0

  /** @param raw a monotonic clock in microseconds. */
  constructor(raw: () => Micros) {
    this.raw = raw
    this.skew = raw()
  }

  /** The instant for the next turn. */
  now(): Micros {
    const raw = this.raw()
    const latest = this.dueRaw + MAX_LATE_US
    if (raw > latest) {
      this.skippedUs += raw - latest
      this.skew += raw - latest
      this.dueRaw = raw
    }
    return raw - this.skew
  }

  /** The next turn is due at `at` (engine time, NEVER: only when something arrives). @returns the same instant of the raw clock. */
  due(at: Micros): Micros {
    this.dueRaw = Math.min(Number.MAX_SAFE_INTEGER, at + this.skew)
    return this.dueRaw
  }
}
