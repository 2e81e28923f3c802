import { type Micros, US_PER_S } from '../base/time.js'

/** After "quota" and "try later" nothing new is asked for so long, twice as long each time in a row. */
const FIRST_HOLD_US = 2 * US_PER_S
const LAST_HOLD_US = 60 * US_PER_S
/** A clock is corrected so often in a row; then the usual retransmission has its turn. */
const MAX_CORRECTIONS = 2
/** Lost mappings are asked for at once, but not more often. */
const EPOCH_US = US_PER_S

/** While a detour is full, nothing new is asked of it. */
export class Hold {
  private until: Micros = 0
  private spanUs = FIRST_HOLD_US

  isOn(now: Micros): boolean {
    return now < this.until
  }

  /** It is full, again or for the first time. @returns how long the hold lasts */
  begin(now: Micros): Micros {
    const { spanUs } = this
    this.until = now + spanUs
    this.spanUs = Math.min(2 * spanUs, LAST_HOLD_US)
    return spanUs
  }

  /** It is not full: the next hold is short. */
  reset(): void {
    this.spanUs = FIRST_HOLD_US
  }
}

/** How often the clock of requests was set right since the detour accepted one. */
export class Corrections {
  private inRow = 0
  private at: Micros = 0

  /** TIME answers a request that left then. @returns whether the clock is to be set by it: what left before it was set needs no more */
  isNeeded(sentAt: Micros, now: Micros): boolean {
    if (sentAt < this.at) return false
    this.inRow++
    this.at = now
    return true
  }

  /** It does not help: asked again at once, the next TIME would follow. */
  get isVain(): boolean {
    return this.inRow > MAX_CORRECTIONS
  }

  /** A request was accepted. */
  reset(): void {
    this.inRow = 0
  }
}

/** The daemon's number for its set of mappings: another one tells that it has lost them. */
export class Epoch {
  private current: number | null = null
  private changedAt: Micros = -EPOCH_US

  /** @returns whether all mappings are lost */
  isAnother(epoch: number): boolean {
    const before = this.current
    this.current = epoch
    return before !== null && before !== epoch
  }

  /** When what was lost may be asked for: two daemons behind one address would make an endless storm of it. */
  askAt(now: Micros): Micros {
    const at = this.changedAt + EPOCH_US
    if (now < at) return at
    this.changedAt = now
    return now
  }
}
