import type { Micros } from '../../base/time.js'
import { type AckSample, type CongestionController, type CongestionFactory, CWND_MAX, SSTHRESH_MAX } from '../../tcp/cc/controller.js'

/** Makes the controller of one subflow, which couples itself to the others of its connection through `group`. */
export type CoupledFactory = (group: CoupledGroup, initialWindow: number) => CoupledController

/** The controllers of one connection: what a coupled increase has to know of the other subflows. One per connection. */
export class CoupledGroup {
  /** Those of established subflows; empty places do not occur. */
  readonly members: CoupledController[] = []
  /** For `TcpConfig.congestion` of the connection's endpoints. */
  readonly factory: CongestionFactory

  constructor(make: CoupledFactory) {
    this.factory = (initialWindow) => {
      const controller = make(this, initialWindow)
      this.members.push(controller)
      return controller
    }
  }

  /** The subflow is gone: its window counts no more. */
  leave(controller: CongestionController): void {
    const i = this.members.indexOf(controller as CoupledController)
    if (i >= 0) this.members.splice(i, 1)
  }

  /** Sum of the windows, bytes. */
  totalWindow(): number {
    let sum = 0
    for (const m of this.members) if (m.rttUs > 0) sum += m.cwnd
    return sum
  }

  /** Sum of w_p / rtt_p, bytes per microsecond. */
  totalRate(): number {
    let sum = 0
    for (const m of this.members) if (m.rttUs > 0) sum += m.cwnd / m.rttUs
    return sum
  }
}

/**
 * What LIA and OLIA share: slow start, halving and timeouts are RFC 5681's on each subflow by itself; only the increase in congestion
 * avoidance looks at the others (RFC 6356 §3). Windows in bytes.
 */
export abstract class CoupledController implements CongestionController {
  abstract readonly name: string
  cwnd: number
  ssthresh = SSTHRESH_MAX
  pacingBps = 0
  readonly isForgetful = false
  readonly ownsRecovery = false
  /** Smoothed round trip as of the last ACK, 0: no ACK yet, the others do not count this one. */
  rttUs: Micros = 0
  mss = 0
  protected readonly group: CoupledGroup
  /** Fractions of a byte of increase that are not in `cwnd` yet. */
  private credit = 0
  private undoCwnd = 0
  private undoSsthresh = 0

  constructor(group: CoupledGroup, initialWindow: number) {
    this.group = group
    this.cwnd = initialWindow
  }

  /** Bytes by which `delivered` acknowledged bytes change the window in congestion avoidance. */
  abstract increase(delivered: number): number

  /** How good the path is, for controllers that rank them. */
  get score(): number {
    return 0
  }

  /** Before the reduction of a congestion event or timeout. */
  protected onLoss(): void {}

  /** For what a controller counts per ACK, in slow start and when it does not fill its window too. */
  protected onDelivered(_delivered: number): void {}

  onAck(s: AckSample, _now: Micros): void {
    if (s.srttUs > 0) this.rttUs = s.srttUs
    this.mss = s.mss
    this.onDelivered(s.delivered)
    if (!s.isLimited) return // RFC 7661
    let left = s.delivered
    if (this.cwnd < this.ssthresh) {
      const grow = Math.min(left, this.ssthresh - this.cwnd, CWND_MAX - this.cwnd)
      this.cwnd += grow
      left -= grow
    }
    if (left === 0 || this.rttUs === 0) return
    this.credit += this.increase(left)
    const whole = Math.trunc(this.credit)
    this.credit -= whole
    this.cwnd = Math.max(s.mss, Math.min(CWND_MAX, this.cwnd + whole))
  }

  onCongestion(inFlight: number, mss: number, _now: Micros): void {
    this.remember()
    this.ssthresh = Math.max(Math.floor(Math.min(inFlight, this.cwnd) / 2), 2 * mss)
    this.cwnd = this.ssthresh
  }

  onRto(inFlight: number, mss: number, isFirst: boolean, _now: Micros): void {
    if (isFirst) {
      this.remember()
      this.ssthresh = Math.max(Math.floor(inFlight / 2), 2 * mss)
    }
    this.cwnd = mss
  }

  private remember(): void {
    this.onLoss()
    this.undoCwnd = this.cwnd
    this.undoSsthresh = this.ssthresh
    this.credit = 0
  }

  onRecovered(_mss: number, _now: Micros): void {
    this.cwnd = Math.min(this.cwnd, this.ssthresh)
  }

  onSpurious(_now: Micros): void {
    if (this.undoCwnd === 0) return
    this.cwnd = Math.max(this.cwnd, this.undoCwnd)
    this.ssthresh = Math.max(this.ssthresh, this.undoSsthresh)
    this.undoCwnd = 0
  }

  onIdle(initialWindow: number): void {
    this.cwnd = Math.min(this.cwnd, initialWindow)
  }
}
