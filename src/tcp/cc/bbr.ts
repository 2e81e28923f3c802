import { type Micros, US_PER_MS, US_PER_S } from '../../base/time.js'
import { type AckSample, type CongestionController, CWND_MAX, SSTHRESH_MAX } from './controller.js'

const STARTUP = 0
const DRAIN = 1
const PROBE_BW = 2
const PROBE_RTT = 3

/** 2 / ln 2: the smallest gain that doubles the rate each round. */
const HIGH_GAIN = 2.885
const CWND_GAIN = 2
const CYCLE = [1.25, 0.75, 1, 1, 1, 1, 1, 1] as const
/** Rounds of the bandwidth filter. */
const BW_ROUNDS = 10
const MIN_RTT_WINDOW_US = 10 * US_PER_S
const PROBE_RTT_US = 200 * US_PER_MS
const MIN_SEGMENTS = 4
/** Start-up ends when bandwidth grows by less than a quarter for three rounds. */
const FULL_GROWTH = 1.25
const FULL_ROUNDS = 3
/** Linux: paces one per cent below the estimate, so that a standing queue drains. */
const PACING_MARGIN = 0.99
/** Windows of ACK aggregation: two alternating maxima of five rounds each. */
const EXTRA_ROUNDS = 5
const EXTRA_MAX_US = 100 * US_PER_MS

/**
 * BBR version 1 (Cardwell et al., ACM Queue 2016; draft-cardwell-iccrg-bbr-congestion-control-00), with the fixes that Linux carries:
 * application-limited samples count only when larger, the window is restored after recovery and ProbeRTT, one round of packet
 * conservation at the beginning of recovery, extra window for ACK aggregation, and the pacing margin.
 */
export class Bbr implements CongestionController {
  readonly name = 'bbr'
  cwnd: number
  /** BBR has none; kept for the views of others. */
  ssthresh = SSTHRESH_MAX
  pacingBps = 0
  readonly isForgetful = false
  readonly ownsRecovery = true
  private state = STARTUP
  private pacingGain = HIGH_GAIN
  private cwndGain = HIGH_GAIN
  /** Maxima of the delivery rate (bytes per second) by round, a circular window, and the last round that is in it. */
  private readonly rates = new Float64Array(BW_ROUNDS)
  private ratedRound = 0
  private round = 0
  /** `deliveredTotal` at which the current round ends. */
  private roundEnd = 0
  private isRoundStart = false
  private fullBps = 0
  private fullCount = 0
  private isFull = false
  private minRttUs = 0
  private minRttAt: Micros = 0
  private probeRttDoneAt: Micros = -1
  private probeRttRound = false
  private priorCwnd = 0
  private cycle = 0
  private cycleAt: Micros = 0
  /** In recovery, fast or after a timeout; its first round sends only what is delivered; its first ACK takes stock. */
  private isRecovering = false
  private isConserving = false
  private isEntering = false
  /** ACK aggregation: bytes acknowledged beyond what the bandwidth explains. */
  private extraAt: Micros = 0
  private extraAcked = 0
  private readonly extra = [0, 0]
  private extraRound = 0
  private readonly initialWindow: number

  constructor(initialWindow: number) {
    this.cwnd = initialWindow
    this.initialWindow = initialWindow
  }

  /** Bottleneck bandwidth in bytes per second, 0: not known. */
  get bandwidth(): number {
    let max = 0
    for (let i = 0; i < BW_ROUNDS; i++) max = Math.max(max, this.rates[i] as number)
    return max
  }

  /** Start-up and the draining of its queue are over. */
  get isSteady(): boolean {
    return this.state !== STARTUP && this.state !== DRAIN
  }

  onAck(s: AckSample, now: Micros): void {
    this.updateRound(s)
    this.updateBandwidth(s)
    this.updateAggregation(s, now)
    this.updateCycle(s, now)
    this.checkFullPipe(s)
    this.checkDrain(s, now)
    this.updateMinRtt(s, now)
    this.setPacing(s)
    this.setWindow(s)
  }

  private updateRound(s: AckSample): void {
    if (this.isEntering) this.roundEnd = s.deliveredTotal // the round of conservation begins here
    this.isRoundStart = !this.isEntering && s.priorDelivered >= this.roundEnd
    if (!this.isRoundStart) return
    this.isConserving = false
    this.roundEnd = s.deliveredTotal
    this.round++
    if (this.round - this.extraRound >= EXTRA_ROUNDS) {
      this.extraRound = this.round
      this.extra[1] = this.extra[0] as number
      this.extra[0] = 0
    }
  }

  private updateBandwidth(s: AckSample): void {
    if (s.rateBps <= 0) return
    if (s.isRateAppLimited && s.rateBps < this.bandwidth) return
    // rounds in which the application was the limit make no earlier one obsolete by themselves
    for (let r = Math.max(this.ratedRound + 1, this.round - BW_ROUNDS + 1); r <= this.round; r++) this.rates[r % BW_ROUNDS] = 0
    this.ratedRound = this.round
    const i = this.round % BW_ROUNDS
    this.rates[i] = Math.max(this.rates[i] as number, s.rateBps)
  }

  private updateAggregation(s: AckSample, now: Micros): void {
    const expected = (this.bandwidth * (now - this.extraAt)) / US_PER_S
    if (this.extraAcked <= expected) {
      this.extraAcked = 0
      this.extraAt = now
    }
    this.extraAcked += s.delivered
    const over = Math.min(this.extraAcked - Math.max(0, (this.bandwidth * (now - this.extraAt)) / US_PER_S), this.cwnd)
    this.extra[0] = Math.max(this.extra[0] as number, over)
  }

  private updateCycle(s: AckSample, now: Micros): void {
    if (this.state !== PROBE_BW) return
    const elapsed = now - this.cycleAt
    let isOver = elapsed > this.minRttUs
    if (this.pacingGain > 1) isOver = isOver && (s.lost > 0 || s.priorInFlight >= this.target(s, this.pacingGain))
    else if (this.pacingGain < 1) isOver = isOver || s.inFlight <= this.target(s, 1)
    if (!isOver) return
    this.cycle = (this.cycle + 1) % CYCLE.length
    this.cycleAt = now
    this.pacingGain = CYCLE[this.cycle] as number
  }

  private checkFullPipe(s: AckSample): void {
    if (this.isFull || !this.isRoundStart || s.isRateAppLimited) return
    const bw = this.bandwidth
    if (bw >= this.fullBps * FULL_GROWTH) {
      this.fullBps = bw
      this.fullCount = 0
    } else if (++this.fullCount >= FULL_ROUNDS) this.isFull = true
  }

  private checkDrain(s: AckSample, now: Micros): void {
    if (this.state === STARTUP && this.isFull) {
      this.state = DRAIN
      this.pacingGain = 1 / HIGH_GAIN
      this.cwndGain = HIGH_GAIN
    }
    if (this.state === DRAIN && s.inFlight <= this.target(s, 1)) this.enterProbeBw(now)
  }

  /** The phase in which cycles begin differs between flows, and is never the draining one (0.75): derived from what the flow measured. */
  private enterProbeBw(now: Micros): void {
    this.state = PROBE_BW
    this.cwndGain = CWND_GAIN
    const start = (Math.floor(now) + Math.floor(this.minRttUs)) % (CYCLE.length - 1)
    this.cycle = start === 0 ? 0 : start + 1
    this.cycleAt = now
    this.pacingGain = CYCLE[this.cycle] as number
  }

  private updateMinRtt(s: AckSample, now: Micros): void {
    const isExpired = this.minRttUs > 0 && now > this.minRttAt + MIN_RTT_WINDOW_US
    if (s.rttUs >= 0 && (this.minRttUs === 0 || s.rttUs <= this.minRttUs || isExpired)) {
      this.minRttUs = Math.max(1, s.rttUs)
      this.minRttAt = now
    }
    if (isExpired && this.state !== PROBE_RTT) {
      this.pacingGain = 1
      this.cwndGain = 1
      this.save()
      this.state = PROBE_RTT
      this.probeRttDoneAt = -1
    }
    if (this.state === PROBE_RTT) this.stayLow(s, now)
  }

  private stayLow(s: AckSample, now: Micros): void {
    if (this.probeRttDoneAt < 0) {
      if (s.inFlight > MIN_SEGMENTS * s.mss) return
      this.probeRttDoneAt = now + PROBE_RTT_US
      this.probeRttRound = false
      this.roundEnd = s.deliveredTotal
      return
    }
    if (this.isRoundStart) this.probeRttRound = true
    if (!this.probeRttRound || now < this.probeRttDoneAt) return
    this.minRttAt = now
    this.cwnd = Math.max(this.cwnd, this.priorCwnd)
    if (this.isFull) this.enterProbeBw(now)
    else {
      this.state = STARTUP
      this.pacingGain = HIGH_GAIN
      this.cwndGain = HIGH_GAIN
    }
  }

  private setPacing(s: AckSample): void {
    const bw = this.bandwidth
    if (bw === 0) {
      // no sample yet: the initial window over the first round trip, 1 ms before that
      this.pacingBps = (HIGH_GAIN * this.initialWindow * US_PER_S) / Math.max(1, s.srttUs || US_PER_MS)
      return
    }
    const rate = this.pacingGain * bw * PACING_MARGIN
    if (this.isFull || rate > this.pacingBps) this.pacingBps = Math.max(1, rate)
  }

  /** Bytes in flight for `gain` times the bandwidth-delay product, plus room for super-segments and delayed ACKs. */
  private target(s: AckSample, gain: number): number {
    if (this.minRttUs === 0) return this.initialWindow
    const bdp = (this.bandwidth * this.minRttUs) / US_PER_S
    const burst = Math.min(65_535, Math.max(2 * s.mss, this.pacingBps / 1000))
    return gain * bdp + 3 * burst
  }

  private setWindow(s: AckSample): void {
    if (s.lost > 0) this.cwnd = Math.max(this.cwnd - s.lost, s.mss)
    if (this.isEntering) this.cwnd = s.inFlight + s.delivered
    this.isEntering = false
    if (this.isConserving) this.cwnd = Math.max(this.cwnd, s.inFlight + s.delivered)
    else {
      const extra = this.isFull
        ? Math.min(Math.max(this.extra[0] as number, this.extra[1] as number), (this.bandwidth * EXTRA_MAX_US) / US_PER_S)
        : 0
      const target = this.target(s, this.cwndGain) + extra
      if (this.isFull) this.cwnd = Math.min(this.cwnd + s.delivered, target)
      else if (this.cwnd < target || s.deliveredTotal < this.initialWindow) this.cwnd += s.delivered
    }
    this.cwnd = Math.floor(Math.min(CWND_MAX, Math.max(this.cwnd, MIN_SEGMENTS * s.mss)))
    if (this.state === PROBE_RTT) this.cwnd = Math.min(this.cwnd, MIN_SEGMENTS * s.mss)
  }

  /** Remembers the window, the largest since recovery or ProbeRTT began. */
  private save(): void {
    this.priorCwnd = this.isRecovering || this.state === PROBE_RTT ? Math.max(this.priorCwnd, this.cwnd) : this.cwnd
  }

  /** Loss alone does not slow BBR down: one round of packet conservation, then towards the target again. */
  onCongestion(_inFlight: number, _mss: number, _now: Micros): void {
    this.save()
    this.isRecovering = true
    this.isConserving = true
    this.isEntering = true
  }

  onRto(_inFlight: number, mss: number, _isFirst: boolean, _now: Micros): void {
    this.save()
    this.isRecovering = true
    this.isConserving = false
    this.isEntering = false
    this.cwnd = mss
  }

  onRecovered(_mss: number, _now: Micros): void {
    this.isRecovering = false
    this.isConserving = false
    this.isEntering = false
    if (this.state !== PROBE_RTT) this.cwnd = Math.max(this.cwnd, this.priorCwnd)
  }

  onSpurious(now: Micros): void {
    this.onRecovered(0, now)
  }

  /** BBR restarts from its model: paced at the estimated bandwidth. */
  onIdle(_initialWindow: number): void {
    if (this.state === PROBE_BW) this.pacingGain = 1
  }
}

export const bbr = (initialWindow: number): CongestionController => new Bbr(initialWindow)
