import { type Micros, NEVER, US_PER_MS } from '../base/time.js'
import { unwrap } from '../wire/seq.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import { AckSample, type CongestionController, SSTHRESH_MAX } from './cc/controller.js'
import type { TcpConfig } from './config.js'
import type { SeqOff, TcpExtension } from './extension.js'
import { RttEstimator } from './rtt.js'
import { AckReport, type Flight } from './scoreboard.js'

/** RFC 5681 §3.2 */
const DUP_THRESH = 3

const report = new AckReport()
const sample = new AckSample()

/** Send side of one endpoint: sequence space, windows, loss recovery. */
export class Sender {
  readonly cfg: TcpConfig
  readonly rtt = new RttEstimator()
  /** Exists from the first transmission on: an idle connection that never sent needs none. */
  private control: CongestionController | null = null
  /** Window of a connection that has not sent yet, in bytes. */
  initialWindow: number
  sndUna: SeqOff = 0
  sndNxt: SeqOff = 0
  /** Right edge of the peer's window; may move left when the peer shrinks it. */
  sndEdge: SeqOff = 0
  /** Largest window the peer ever announced (RFC 5961 §5.2 MAX.SND.WND, SWS avoidance). */
  maxWindow = 0
  /** Sequence of the segment that last set the window. RFC 9293 also keeps its ACK, which `ackOff >= sndUna` makes superfluous. */
  private wl1: SeqOff = -1
  /** Only while bytes are in flight. */
  flight: Flight | null = null
  /** The last transmission stopped because of cwnd, so an ACK may grow it. */
  isCwndLimited = false
  /** A small window did not grow for a persist interval: one small segment may go (RFC 9293 §3.8.6.2.1, override timeout). */
  isSillyAllowed = false
  /** RTO, zero-window probe or SYN timer: they exclude each other. */
  rexmitAt: Micros = NEVER
  /** Last transmission of payload or FIN, in milliseconds (a small integer needs no box); 0: never. */
  private lastSentMs = 0

  constructor(cfg: TcpConfig, mss: number) {
    this.cfg = cfg
    this.initialWindow = cfg.initialWindow * mss
  }

  get cc(): CongestionController {
    if (this.control === null) this.control = this.cfg.congestion(this.initialWindow)
    return this.control
  }

  get cwnd(): number {
    return this.control === null ? this.initialWindow : this.control.cwnd
  }

  get ssthresh(): number {
    return this.control === null ? SSTHRESH_MAX : this.control.ssthresh
  }

  /** Bytes sent and not acknowledged. */
  get outstanding(): number {
    return this.sndNxt - this.sndUna
  }

  /** Bytes of new data or retransmission that the congestion window lets out now. */
  cwndSpace(): number {
    return this.cwnd - (this.flight === null ? 0 : this.flight.pipe)
  }

  /** Takes over the window of a segment unless an older one says otherwise (RFC 9293 §3.10.7.4). Returns true when the edge moved right. */
  updateWindow(segOff: SeqOff, window: number, edge: SeqOff): boolean {
    if (this.wl1 > segOff) return false
    this.wl1 = segOff
    if (window > this.maxWindow) this.maxWindow = window
    const isWider = edge > this.sndEdge
    this.sndEdge = edge
    return isWider
  }

  /**
   * How many of `pending` bytes may leave as one super-segment now (`seg` payload per segment, at most `max` bytes); 0: wait.
   * Arms the probe timer on a closed window unless the extension probes by itself.
   */
  grant(pending: number, seg: number, max: number, ownsPersist: boolean, now: Micros): number {
    const want = Math.min(pending, max)
    const window = this.sndEdge - this.sndNxt
    const isIdle = this.flight === null
    if (window < Math.min(seg, want)) {
      // RFC 9293 §3.8.6.2.1, sender's silly window avoidance: at least half of the largest window
      if (window <= 0 || (window * 2 < this.maxWindow && !this.isSillyAllowed)) {
        if (isIdle && this.rexmitAt === NEVER && !ownsPersist) this.rexmitAt = now + this.rtt.rtoUs(this.cfg)
        return 0
      }
      return Math.min(window, want)
    }
    let space = this.cwndSpace()
    if (isIdle && space < seg) space = seg
    if (space < Math.min(seg, want)) {
      this.noteLimit(true)
      return 0
    }
    let n = Math.min(want, window, space)
    if (n < pending) {
      // wait for a better filled super-segment while ACKs are on their way (as Linux's tso_defer does)
      const goal = Math.min(max, Math.max(seg, this.cwnd >> 2))
      if (n < goal - (goal % seg) && !isIdle && space < window) {
        this.noteLimit(true)
        return 0
      }
      if (n > seg) n -= n % seg
    } else if (this.cfg.nagle && n < seg && !isIdle) return 0
    this.noteLimit(n === space)
    return n
  }

  /** cwnd grows only while it is what limits us (RFC 7661); in slow start half-used counts, as in Linux. */
  noteLimit(isLimited: boolean): void {
    const pipe = this.flight === null ? 0 : this.flight.pipe
    this.isCwndLimited = isLimited || pipe * (this.cwnd < this.ssthresh ? 2 : 1.25) >= this.cwnd
  }

  /** Accounts for `len` bytes transmitted for the first time at sndNxt. */
  onSent(len: number, now: Micros): void {
    if (this.flight === null) this.flight = this.cfg.flights.take(this.sndNxt)
    this.flight.push(len, now)
    this.sndNxt += len
    this.isSillyAllowed = false
    this.lastSentMs = Math.ceil(now / US_PER_MS)
    if (this.rexmitAt === NEVER || this.outstanding === len) this.rexmitAt = now + this.rtt.rtoUs(this.cfg)
  }

  /** Accounts for a retransmission of [at, at + len). */
  onRetransmitted(at: SeqOff, len: number, now: Micros): void {
    this.flight?.retransmitted(at, len, now)
    this.lastSentMs = Math.ceil(now / US_PER_MS)
    if (this.rexmitAt === NEVER || at === this.sndUna) this.rexmitAt = now + this.rtt.rtoUs(this.cfg)
  }

  /**
   * An acceptable ACK of everything below `ackOff` (sndUna <= ackOff <= sndNxt), with its SACK blocks.
   * `isDup`: same ACK, no data, no window change (RFC 5681 §2). `echoMs`: millisecond clock that the ACK's timestamp echoes, or -1.
   * @returns bytes newly acknowledged.
   */
  onAck(
    ackOff: SeqOff,
    opts: TcpOptions,
    iss: number,
    isDup: boolean,
    echoMs: number,
    mss: number,
    ext: TcpExtension,
    now: Micros,
  ): number {
    const flight = this.flight
    if (flight === null) {
      this.sndUna = ackOff
      return 0
    }
    const flightBefore = flight.end - flight.start
    const acked = ackOff - this.sndUna
    report.reset()
    if (acked > 0) {
      this.sndUna = ackOff
      this.rtt.backoff = 0
      flight.ack(ackOff, report)
      flight.dupAcks = 0
    } else if (isDup) flight.dupAcks++
    this.takeSack(flight, opts, iss)

    this.takeRtt(flight, echoMs, now)
    this.recover(flight, opts.sackCount > 0, flightBefore, acked, mss, ext, now)
    if (flight.isEmpty) {
      if (flight.recoverAt >= 0) this.endRecovery(flight, mss, now)
      this.cfg.flights.give(flight)
      this.flight = null
      this.rexmitAt = NEVER
    } else if (acked > 0) this.rexmitAt = now + this.rtt.rtoUs(this.cfg) // RFC 6298 §5.3
    return acked
  }

  /**
   * Karn: an ACK that covers retransmitted data is ambiguous, and may have waited for it long after the rest arrived. Only an echo not
   * older than the latest transmission resolves that (RFC 7323 §4.1).
   */
  private takeRtt(flight: Flight, echoMs: number, now: Micros): void {
    if (report.resentAt < 0) {
      if (report.sentAt >= 0) this.rtt.sample(now - report.sentAt)
    } else if (echoMs >= 0 && echoMs >= Math.floor(report.resentAt / US_PER_MS)) {
      this.rtt.sample(now - report.resentAt)
      flight.noteArrival(report.resentAt)
    }
  }

  private takeSack(flight: Flight, opts: TcpOptions, iss: number): void {
    for (let i = 0; i < opts.sackCount; i++) {
      const left = unwrap(this.sndUna, iss, opts.sackLeft[i] as number)
      const right = unwrap(this.sndUna, iss, opts.sackRight[i] as number)
      // D-SACK below the cumulative ACK and nonsense beyond what was sent are ignored
      if (left < this.sndUna || right > this.sndNxt) continue
      flight.sack(left, right, report)
    }
  }

  private recover(
    flight: Flight,
    hasSack: boolean,
    flightBefore: number,
    acked: number,
    mss: number,
    ext: TcpExtension,
    now: Micros,
  ): void {
    if (flight.recoverAt >= 0 && this.sndUna >= flight.recoverAt) this.endRecovery(flight, mss, now)
    let lost = 0
    if (flight.sacked > 0) lost = flight.detectLoss((DUP_THRESH - 1) * mss, this.rtt.srttUs >> 2, ext, now)
    else if (!hasSack && flight.recoverAt < 0 && flight.dupAcks >= DUP_THRESH) {
      flight.markHeadLost(mss)
      ext.onLoss(this.sndUna, Math.min(this.sndUna + mss, this.sndNxt), now)
      lost = 1
    } else if (flight.recoverAt >= 0 && !flight.isLossRecovery && acked > 0 && flight.lost === 0) {
      flight.markHeadLost(mss) // NewReno partial ACK: the next hole starts here (RFC 6582 §3.2 step 3)
      lost = 1
    }
    if (lost > 0 && flight.recoverAt < 0) {
      flight.recoverAt = this.sndNxt
      flight.isLossRecovery = false
      this.cc.onCongestion(flightBefore, mss, now)
      return
    }
    const mayGrow = flight.recoverAt < 0 || flight.isLossRecovery
    if (!mayGrow || report.delivered === 0) return
    sample.delivered = report.delivered
    sample.mss = mss
    sample.rttUs = report.sentAt >= 0 ? now - report.sentAt : -1
    sample.srttUs = this.rtt.srttUs
    sample.minRttUs = this.rtt.minUs
    sample.priorInFlight = flightBefore
    sample.inFlight = flight.pipe
    sample.lost = lost
    sample.isLimited = this.isCwndLimited
    sample.deliveredTotal = this.sndUna + flight.sacked
    sample.sentTotal = this.sndNxt
    this.cc.onAck(sample, now)
  }

  private endRecovery(flight: Flight, mss: number, now: Micros): void {
    flight.recoverAt = -1
    flight.dupAcks = 0
    if (!flight.isLossRecovery) this.cc.onRecovered(mss, now)
    flight.isLossRecovery = false
  }

  /** Retransmission timeout (RFC 6298 §5.4-5.6): all of the flight counts as lost, one segment goes out. */
  onRto(mss: number, now: Micros): void {
    const flight = this.flight
    if (flight === null) return
    const isFirst = !flight.isLossRecovery || this.sndUna >= flight.recoverAt
    this.cc.onRto(flight.end - flight.start, mss, isFirst, now)
    flight.markAllLost()
    flight.recoverAt = this.sndNxt
    flight.isLossRecovery = true
    flight.dupAcks = 0
    this.rtt.backoff++
    this.rexmitAt = now + this.rtt.rtoUs(this.cfg)
  }

  /** The MSS fell: what is in flight may be too large for the path and is cut again, without a congestion event (RFC 1191 §6.5). */
  onMssChange(): void {
    this.flight?.markAllLost()
  }

  /** After an idle period longer than an RTO the window is stale (RFC 5681 §4.1). */
  restartIfIdle(now: Micros): void {
    if (this.flight === null && this.lastSentMs > 0 && now - this.lastSentMs * US_PER_MS > this.rtt.rtoUs(this.cfg)) {
      this.cc.onIdle(this.initialWindow)
    }
  }

  /** Gives the scoreboard back; the endpoint is closed. */
  dispose(): void {
    if (this.flight !== null) this.cfg.flights.give(this.flight)
    this.flight = null
    this.rexmitAt = NEVER
  }
}
