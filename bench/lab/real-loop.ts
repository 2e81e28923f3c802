import { NEVER, US_PER_S } from '../../src/base/time.js'
import type { Micros } from '../../src/base/time.js'
import type { Loop } from '../../test/sim/loop.js'
import type { Sink } from '../../test/sim/node.js'
import { EventQueue } from './event-queue.js'
import { Lateness } from './lateness.js'

/** The timer is armed this much early and the rest is waited for by reading the clock: about as long as it takes to wake up. */
export const DEFAULT_SPIN_US: Micros = 20

/** What is read after a late event is dated back no further than this: it may as well have been sent just now, by somebody else. */
const MAX_BACKDATE_US: Micros = 250

/*
 * As network drivers do it: while little happens, every packet wakes the loop; while much happens, waking up would take more time
 * than the packets, and the loop looks for them at an even pace. Rates stay exact, departures are late by up to the pace.
 */
const POLL_US: Micros = 100
const WINDOW_US: Micros = 10_000
/** Wake-ups or events (half of them are departures) a second that begin polling, and events a second below which it ends. */
const POLL_ABOVE_WAKEUPS = 15_000
const POLL_ABOVE_EVENTS = 40_000
const WAIT_BELOW_EVENTS = 12_000

/** Events in one go: an emulator that is overloaded still answers who asks it for its statistics. */
const MAX_EVENTS = 4096

/** The machine's clock and its one timer. */
export interface WakeSource {
  nowUs(): Micros
  /** Calls the loop's `onTimer` at `at` or a little later; replaces what was armed before. */
  arm(at: Micros): void
}

/** The devices of a laboratory. */
export interface Arrivals {
  /** Whether a packet wakes the loop (`onArrival`). */
  watch(isWatched: boolean): void
  /** Takes up all that has arrived. */
  poll(): void
}

/**
 * The loop of the simulator in real time. Events are handled late, by a wake-up and by what ran before; `now` is nevertheless the
 * instant for which an event was scheduled, and so it is for everything that follows from the event at once: the links add up no
 * lateness. Only when an event is very late (the process was not run) what follows is dated near to the clock.
 *
 *     clock  ----|------------------|--late--|------>
 *     now        | packet read      | event handled, packet written, what the kernel answers or forwards at once is read
 */
export class RealLoop implements Loop {
  now: Micros
  /** How late the event is that is being handled. */
  lateUs: Micros = 0
  /** Longest time since `resetStats` that the process was not run, or did one single thing: overshoot of the timer, one event. */
  worstStallUs: Micros = 0
  wakeups = 0
  /** Time since `resetStats` that was spent polling. */
  polledUs: Micros = 0
  readonly lateness = new Lateness()
  private readonly source: WakeSource
  private readonly spinUs: Micros
  private readonly queue = new EventQueue()
  private readonly arrivals: Arrivals
  private armedAt: Micros = NEVER
  private isPolling = false
  private windowAt: Micros
  private windowWakeups = 0
  private windowEvents = 0

  constructor(source: WakeSource, arrivals: Arrivals, spinUs: Micros = DEFAULT_SPIN_US) {
    this.source = source
    this.arrivals = arrivals
    this.spinUs = spinUs
    this.now = source.nowUs()
    this.windowAt = this.now
  }

  /** Events that are scheduled. */
  get pending(): number {
    return this.queue.size
  }

  at(at: Micros, run: () => void): void {
    this.queue.push(Math.max(this.now, at), run, null, null)
  }

  pass(at: Micros, to: Sink, packet: Uint8Array): void {
    this.queue.push(Math.max(this.now, at), null, to, packet)
  }

  /** The timer expired. */
  onTimer(): void {
    this.windowWakeups++
    const overshoot = this.source.nowUs() - this.armedAt
    if (this.armedAt !== NEVER && overshoot > this.worstStallUs) this.worstStallUs = overshoot
    this.armedAt = NEVER
    this.advance()
    if (this.isPolling) {
      this.lateUs = 0
      this.arrivals.poll()
      this.advance()
    }
    this.sleep()
  }

  /** Something arrived from outside: what is due goes first, then `read` runs with `now` being the clock's time. */
  onArrival(read: () => void): void {
    this.windowWakeups++
    this.advance()
    this.lateUs = 0
    read()
    this.advance()
    this.sleep()
  }

  /** What is read from here on, while the same event is handled, follows from it, unless it is too late to tell. */
  dateReads(): void {
    if (this.lateUs > MAX_BACKDATE_US) this.now += this.lateUs - MAX_BACKDATE_US
  }

  resetStats(): void {
    this.worstStallUs = 0
    this.wakeups = 0
    this.polledUs = 0
    this.lateness.reset()
  }

  /** Handles all that is due, within a budget; afterwards `now` is the clock's time unless something due is left. */
  private advance(): void {
    let clock = this.source.nowUs()
    const spinUs = this.isPolling ? 0 : this.spinUs
    for (let budget = MAX_EVENTS; ; ) {
      const first = this.queue.first()
      if (first === null || first.at > clock + spinUs) break
      if (first.at > clock) {
        clock = this.source.nowUs()
        continue
      }
      if (budget-- === 0) return
      this.queue.pop()
      this.lateUs = clock - first.at
      this.now = first.at
      this.windowEvents++
      if (first.to !== null) first.to(first.packet as Uint8Array)
      else first.run?.()
      this.queue.recycle(first)
      const after = this.source.nowUs()
      if (after - clock > this.worstStallUs) this.worstStallUs = after - clock
      clock = after
    }
    this.now = Math.max(this.now, clock)
  }

  private sleep(): void {
    if (this.now - this.windowAt >= WINDOW_US) this.turnWindow()
    const first = this.queue.first()
    if (this.isPolling) this.arm(this.now + POLL_US)
    else if (first !== null) this.arm(first.at - this.spinUs)
  }

  private arm(at: Micros): void {
    if (at === this.armedAt) return
    this.armedAt = at
    this.source.arm(at)
  }

  private turnWindow(): void {
    if (this.isPolling) this.polledUs += this.now - this.windowAt
    const seconds = (this.now - this.windowAt) / US_PER_S
    const isBusy = this.isPolling
      ? this.windowEvents >= WAIT_BELOW_EVENTS * seconds
      : this.windowWakeups > POLL_ABOVE_WAKEUPS * seconds || this.windowEvents > POLL_ABOVE_EVENTS * seconds
    if (isBusy !== this.isPolling) {
      this.isPolling = isBusy
      this.arrivals.watch(!isBusy)
    }
    this.wakeups += this.windowWakeups
    this.windowWakeups = 0
    this.windowEvents = 0
    this.windowAt = this.now
  }
}
