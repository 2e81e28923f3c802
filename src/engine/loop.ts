import { NEVER } from '../base/time.js'
import { native, type NativeTimer } from '../tun/native.js'
import { EngineClock } from './clock.js'
import type { Engine } from './engine.js'

/** Turns of one run; then the event loop gets a chance (control socket, signals) before the next. */
const MAX_TURNS = 64
/** Nor longer than this, in microseconds. */
const MAX_RUN_US = 10_000

/** Drives an engine in real time: device readiness, one timerfd, wake-ups. The shell around everything that is clock-free. */
export class EngineLoop {
  readonly clock: EngineClock
  private readonly engine: Engine
  private readonly timer: NativeTimer
  private readonly nowUs: () => number
  private readonly runSoon = () => {
    this.isScheduled = false
    this.run()
  }
  private armedAt = NEVER
  private isScheduled = false
  private isStopped = false

  constructor(engine: Engine) {
    const { Timer, nowUs } = native()
    this.engine = engine
    this.nowUs = nowUs
    this.clock = new EngineClock(nowUs)
    this.timer = new Timer(() => {
      this.armedAt = NEVER
      this.run()
    })
    for (const port of engine.ports) {
      port.device.onReady((_readable, writable) => {
        if (writable) engine.onWritable(port)
        this.run()
      })
    }
    engine.onWake(() => this.schedule())
    this.schedule()
  }

  /** No more turns. The devices are the caller's to close. */
  stop(): void {
    this.isStopped = true
    this.timer.close()
  }

  /** A timer that is armed for an earlier instant stays so: one wake-up too many costs less than a system call per turn. */
  private arm(at: number): void {
    if (at >= this.armedAt) return
    this.armedAt = at
    this.timer.arm(at)
  }

  private schedule(): void {
    if (this.isScheduled || this.isStopped) return
    this.isScheduled = true
    setImmediate(this.runSoon)
  }

  private run(): void {
    if (this.isStopped) return
    const until = this.nowUs() + MAX_RUN_US
    for (let i = 0; i < MAX_TURNS; i++) {
      const now = this.clock.now()
      const next = this.engine.turn(now)
      if (next > now) {
        this.arm(this.clock.due(next))
        return
      }
      this.clock.due(now)
      if (this.nowUs() >= until) break
    }
    this.schedule()
  }
}
