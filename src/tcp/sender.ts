import { type Micros, NEVER, US_PER_MS, US_PER_S } from '../base/time.js'
import { unwrap } from '../wire/seq.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import { AckSample, type CongestionController, SSTHRESH_MAX } from './cc/controller.js'
import type { TcpConfig } from './config.js'
import type { SeqOff, TcpExtension } from './extension.js'
import type { PathMtu } from './pmtud.js'
import { RttEstimator } from './rtt.js'
import { DUP_THRESH } from './recovery.js'
import { aged, isReorderingSeen, REORDER_FRESH, type ReorderMemory, withReorderingSeen } from './reorder-memory.js'
import { AckReport } from './ack-report.js'
import type { Flight } from './scoreboard.js'

/** Bursts of a millisecond: Linux tcp_tso_autosize. */
const BURSTS_PER_S = 1000
/** Only for so long after a transmission a further one waits to become larger: beyond, ACKs are too far apart. */
const DEFER_US = 1 * US_PER_MS
/** A burst may leave this much before its time, so that one timer lets out what a finer one would. */
const PACE_SLACK_US = 500
/** Shorter paths are not paced by timers: a timer is too coarse for them. */
const PACING_RTT_US = 2 * US_PER_MS

/** Congestion control of a sender that is silent for that long (and an RTO, RFC 5681 §4.1) is let go of: it will begin anew in any case. */
const REST_US: Micros = 10 * US_PER_S

const report = new AckReport()
const sample = new AckSample()

/** Send side of one endpoint: sequence space, windows, loss recovery. */
export class Sender {
  readonly cfg: TcpConfig
  readonly rtt = new RttEstimator()
  /** Exists while it is needed: not before the first transmission, nor after a pause. */
  private control: CongestionController | null = null
  /** Window to begin with, at first and after a pause, in bytes. */
  initialWindow: number
  /** And the threshold that was learnt before the pause (RFC 2861 §3.1 keeps it). */
  private restSsthresh = SSTHRESH_MAX
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
  /** Null while segments are as large as the SYNs settled. */
  pmtu: PathMtu | null = null
  private reorder: ReorderMemory = REORDER_FRESH
  /** Last transmission of payload or FIN, in milliseconds (a small integer needs no box); 0: never. */
  private lastSentMs = 0

  constructor(cfg: TcpConfig, mss: number) {
    this.cfg = cfg
    this.initialWindow = cfg.initialWindow * mss
  }

  get cc(): CongestionController {
    if (this.control === null) {
      this.control = this.cfg.congestion(this.initialWindow)
      if (this.restSsthresh < SSTHRESH_MAX) this.control.ssthresh = this.restSsthresh
    }
    return this.control
  }

  get cwnd(): number {
    return this.control === null ? this.initialWindow : this.control.cwnd
  }

  get ssthresh(): number {
    return this.control === null ? this.restSsthresh : this.control.ssthresh
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
   * How many of `pending` bytes may leave as one super-segment now (`seg` payload per segment, at most `limit` bytes); 0: wait.
   * Arms the probe timer on a closed window unless the extension probes by itself. `isNagled`: what does not fill a segment waits for
   * the ACK of what is in flight (RFC 9293 §3.7.4).
   */
  grant(pending: number, seg: number, limit: number, isNagled: boolean, ownsPersist: boolean, now: Micros): number {
    const max = this.burst(seg, limit)
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
      // wait for a better filled super-segment while ACKs come in quick succession (as Linux's tso_defer does)
      const goal = Math.min(max, Math.max(seg, this.cwnd >> 2))
      const isAwaited = this.flight !== null && !this.flight.isTroubled && now - this.lastSentMs * US_PER_MS < DEFER_US
      if (isAwaited && n < goal - (goal % seg) && space < window) {
        this.noteLimit(true)
        return 0
      }
      if (n > seg) n -= n % seg
    } else if (isNagled && n < seg && !isIdle) return 0
    return this.isPacedOut(now) ? n : 0
  }

  /**
   * Rate at which the window leaves, bytes per second: the controller's, or twice (slow start) or 1.2 times the window per round trip,
   * as Linux derives it. 0: not known yet.
   */
  private get paceBps(): number {
    const control = this.control
    if (control === null) return 0
    if (control.pacingBps > 0) return control.pacingBps
    const srtt = this.rtt.srttUs
    return srtt === 0 ? 0 : ((control.cwnd < control.ssthresh / 2 ? 2 : 1.2) * control.cwnd * US_PER_S) / srtt
  }

  /**
   * Largest burst: about a millisecond at the current rate, two segments at least, whole segments, at most `limit` and half the
   * congestion window, so that two of them are under way and their ACKs keep the clock.
   */
  burst(seg: number, limit: number): number {
    const rate = this.paceBps
    const half = this.cwnd / 2
    const n = Math.min(half, rate === 0 ? limit : Math.max(2 * seg, rate / BURSTS_PER_S))
    return n >= limit ? limit : Math.max(seg, Math.floor(n - (n % seg)))
  }

  /** Whether the pacer lets a burst out now; if not, it notes when. */
  isPacedOut(now: Micros): boolean {
    const flight = this.flight
    if (flight === null || flight.paceAt <= now + PACE_SLACK_US) return true
    flight.paceWaitAt = flight.paceAt - PACE_SLACK_US
    return false
  }

  private pace(flight: Flight, len: number, now: Micros): void {
    flight.paceWaitAt = NEVER
    if (!this.cfg.pacing || (this.rtt.srttUs < PACING_RTT_US && this.cc.pacingBps === 0)) return
    const rate = this.paceBps
    if (rate > 0) flight.paceAt = Math.max(now, flight.paceAt) + Math.ceil((len * US_PER_S) / rate)
  }

  /** Whether the window has room for a FIN at sndNxt (it occupies a byte); else it is probed, by us in any case. */
  mayFin(now: Micros): boolean {
    if (this.sndEdge > this.sndNxt) return true
    if (this.flight === null && this.rexmitAt === NEVER) this.rexmitAt = now + this.rtt.rtoUs(this.cfg)
    return false
  }

  /**
   * Something was sent, or not sent because of cwnd (`isLimited`): the strongest sign of a window of data says how far cwnd is used
   * (as Linux's tcp_cwnd_validate).
   */
  noteLimit(isLimited: boolean): void {
    const flight = this.flight
    if (flight === null) return
    const { pipe } = flight
    if (isLimited || this.sndUna >= flight.usageUntil || (!this.isCwndLimited && pipe > flight.maxOut)) {
      this.isCwndLimited = isLimited || pipe >= this.cwnd
      flight.maxOut = pipe
      flight.usageUntil = this.sndNxt
    }
  }

  /** cwnd grows only while it is what limits us (RFC 7661); in slow start more than half used counts, as in Linux. */
  private isGrowing(flight: Flight): boolean {
    return this.isCwndLimited || flight.maxOut * (this.cwnd < this.ssthresh ? 2 : 1.25) > this.cwnd
  }

  /** Accounts for `len` bytes transmitted for the first time at sndNxt. */
  onSent(len: number, mss: number, now: Micros): void {
    if (this.flight === null) this.flight = this.cfg.flights.take(this.sndNxt)
    this.flight.push(len, now)
    this.sndNxt += len
    this.isSillyAllowed = false
    this.pace(this.flight, len, now)
    this.noteLimit(false)
    const recovery = this.flight.recovery
    if (!recovery.isOpen) recovery.onSent(len)
    this.lastSentMs = Math.ceil(now / US_PER_MS)
    if (this.rexmitAt === NEVER || this.outstanding === len) this.rexmitAt = now + this.rtt.rtoUs(this.cfg)
    if (this.cfg.tailProbes) recovery.armProbe(this.flight, this.rtt, this.rexmitAt, mss, now)
  }

  /** Accounts for a retransmission of [at, at + len). */
  onRetransmitted(at: SeqOff, len: number, now: Micros): void {
    const flight = this.flight
    if (flight === null) return
    flight.retransmitted(at, len, now)
    flight.recovery.onRetransmitted(len, now)
    this.pace(flight, len, now)
    this.lastSentMs = Math.ceil(now / US_PER_MS)
    if (this.rexmitAt === NEVER || at === this.sndUna) this.rexmitAt = now + this.rtt.rtoUs(this.cfg)
  }

  /** Accounts for a tail loss probe: new data that `onSent` has counted, or [at, at + len) once more (RFC 8985 §7.3). */
  onProbeSent(at: SeqOff, len: number, isRetransmit: boolean, now: Micros): void {
    const flight = this.flight
    if (flight === null) return
    if (isRetransmit) flight.probed(at, len, now)
    flight.recovery.onProbeSent(this.sndNxt, isRetransmit)
    this.rexmitAt = now + this.rtt.rtoUs(this.cfg)
  }

  /** The earliest of the timers that belong to the flight: tail loss probe, reordering, pacing. */
  get flightTimeout(): Micros {
    const flight = this.flight
    return flight === null ? NEVER : Math.min(flight.recovery.probeAt, flight.recovery.reorderAt, flight.paceWaitAt)
  }

  /** One of them is due. True: a tail loss probe has to be sent. */
  onFlightTimeout(mss: number, ext: TcpExtension, now: Micros): boolean {
    const flight = this.flight
    if (flight === null) return false
    if (flight.paceWaitAt <= now) flight.paceWaitAt = NEVER // the owner polls after every timeout
    const recovery = flight.recovery
    if (recovery.reorderAt <= now) this.detect(flight, flight.end - flight.start, mss, ext, now)
    if (recovery.probeAt > now) return false
    recovery.probeAt = NEVER
    this.rexmitAt = now + this.rtt.rtoUs(this.cfg) // §7.3: the probe takes the timeout's place
    return true
  }

  /**
   * An acceptable ACK of everything below `ackOff` (<= sndNxt), with its SACK blocks; of one that others have overtaken only these count.
   * `isDup`: same ACK, no data, no window change (RFC 5681 §2). `echoMs`: millisecond clock that the ACK's timestamp echoes, or -1.
   * `hasSack`: the SYNs agreed on SACK.
   * @returns bytes newly acknowledged.
   */
  onAck(
    ackOff: SeqOff,
    opts: TcpOptions,
    iss: number,
    isDup: boolean,
    echoMs: number,
    mss: number,
    hasSack: boolean,
    ext: TcpExtension,
    now: Micros,
  ): number {
    const flight = this.flight
    if (flight === null) {
      this.sndUna = ackOff
      return 0
    }
    const recovery = flight.recovery
    const flightBefore = flight.end - flight.start
    const pipeBefore = flight.pipe
    const acked = Math.max(0, ackOff - this.sndUna)
    report.reset(now, echoMs, this.rtt.minUs)
    if (recovery.isFrto) report.originalBelow = recovery.recoverAt
    if (acked > 0) {
      this.sndUna = ackOff
      flight.ack(ackOff, report)
      flight.progressAt = now
      recovery.dupAcks = 0
    } else if (isDup) recovery.dupAcks++
    if (!hasSack) this.countBlind(flight, acked, isDup, mss)
    if (opts.sackCount > 0) this.takeSack(flight, opts, iss, ackOff)
    this.takeRtt(echoMs, now)
    flight.rate(report)
    if (report.isReordered) this.reorder = withReorderingSeen(this.reorder)
    if (report.dsackLen > 0) this.reorder = recovery.onDsack(this.reorder, this.sndUna, this.sndNxt)

    const wasFrto = recovery.isFrto
    if (recovery.isSpurious(report, echoMs, this.sndUna) || recovery.isFrtoSpurious(report, echoMs, this.sndUna, this.sndNxt, isDup))
      recovery.undo(flight, this.cc, now)
    // RFC 5682 §2.1 step 3a: three segments. Without SACK the two new ones stay in flight until what is lost was repeated
    else if (wasFrto && !recovery.isFrto && isDup && this.sndNxt > recovery.recoverAt) this.cc.cwnd = Math.max(this.cc.cwnd, 3 * mss)
    if (!recovery.isOpen && this.sndUna >= recovery.recoverAt) {
      recovery.leave(this.cc, mss, now)
      if (report.dsackLen === 0) this.reorder = aged(this.reorder)
    }
    if (recovery.onProbeAck(this.sndUna, report, isDup)) {
      this.cc.onCongestion(flightBefore, mss, now)
      this.cc.onRecovered(mss, now)
    }
    // RACK needs SACK: without it a cumulative ACK does not tell what arrived behind the next hole (RFC 8985 §4)
    const mayDetect = opts.sackCount > 0 || flight.sacked > 0 || !(recovery.isOpen || recovery.isBlind)
    const lost = mayDetect ? this.detect(flight, flightBefore, mss, ext, now) : 0
    const blindLoss = flight.sacked === 0 && opts.sackCount === 0 ? this.detectBlind(flight, flightBefore, acked, mss, ext, now) : 0
    this.steer(flight, lost + blindLoss, pipeBefore, mss, now)
    if (flight.isEmpty) {
      if (!recovery.isOpen) recovery.leave(this.cc, mss, now)
      this.cfg.flights.give(flight)
      this.flight = null
      this.rexmitAt = NEVER
    } else if (acked > 0) {
      this.rexmitAt = now + this.rtt.rtoUs(this.cfg) // RFC 6298 §5.3
      if (this.cfg.tailProbes) recovery.armProbe(flight, this.rtt, this.rexmitAt, mss, now)
    }
    return acked
  }

  /** Without SACK duplicate ACKs tell how much has left the network (RFC 3042 §2, RFC 5681 §3.2 step 4), though not what. */
  private countBlind(flight: Flight, acked: number, isDup: boolean, mss: number): void {
    const { recovery } = flight
    if (acked > 0) {
      if (flight.blindSacked > 0) flight.forgetDuplicates(acked, mss, report)
      if (!recovery.isBlind || this.sndUna >= recovery.recoverAt) flight.blindSacked = 0
    } else if (isDup && !recovery.isLossRecovery) flight.noteDuplicate(mss, report)
  }

  /**
   * The peer echoes a congestion mark: once per window of data the controller reacts as to a loss, without retransmission
   * (RFC 3168 §6.1.2). True: the next new data carries CWR.
   */
  onEcho(mss: number, now: Micros): boolean {
    const flight = this.flight
    if (flight !== null) {
      if (!flight.recovery.isOpen || this.sndUna <= flight.recovery.ecnUntil) return false
      flight.recovery.ecnUntil = this.sndNxt
    } else if (this.control === null) return false // nothing was sent lately: it can be no echo of ours
    this.cc.onCongestion(flight === null ? this.cwnd : flight.end - flight.start, mss, now)
    this.cc.onRecovered(mss, now)
    return true
  }

  /** Loss by time; enters fast recovery. */
  private detect(flight: Flight, flightBefore: number, mss: number, ext: TcpExtension, now: Micros): number {
    const recovery = flight.recovery
    let lost = recovery.detect(flight, recovery.reorderWindowUs(flight, this.rtt, this.reorder, mss), ext, now)
    if (lost > 0 && this.pmtu !== null) lost -= this.lostProbeLen(this.pmtu, flight)
    if (lost > 0 && recovery.isOpen) recovery.enter(flight, this.cc, flightBefore, mss, now)
    return lost
  }

  /** Bytes of the MTU probe if it was found lost just now: that says nothing about congestion (RFC 4821 §7.5). */
  private lostProbeLen(pmtu: PathMtu, flight: Flight): number {
    if (pmtu.probeAt < this.sndUna || pmtu.isProbeLost || !flight.isLostAt(pmtu.probeAt)) return 0
    pmtu.isProbeLost = true
    return pmtu.probeEnd - pmtu.probeAt
  }

  /** Loss without SACK: three duplicate ACKs, and the next hole at each partial ACK (RFC 6582 §3.2). */
  private detectBlind(flight: Flight, flightBefore: number, acked: number, mss: number, ext: TcpExtension, now: Micros): number {
    const recovery = flight.recovery
    const isThird = recovery.isOpen && recovery.dupAcks >= DUP_THRESH
    const isPartial = recovery.isBlind && acked > 0 && flight.lost === 0 && !flight.isEmpty
    if (!isThird && !isPartial) return 0
    flight.markHeadLost(mss)
    ext.onLoss(this.sndUna, Math.min(this.sndUna + mss, this.sndNxt), now)
    if (isThird) {
      recovery.enter(flight, this.cc, flightBefore, mss, now)
      recovery.isBlind = true
    }
    return mss
  }

  /** Tells congestion control; in fast recovery PRR sets the window. */
  private steer(flight: Flight, lost: number, pipeBefore: number, mss: number, now: Micros): void {
    const recovery = flight.recovery
    const cc = this.cc
    const isFast = !recovery.isOpen && !recovery.isLossRecovery
    if (isFast && !cc.ownsRecovery) {
      cc.cwnd = recovery.prrWindow(flight, cc.ssthresh, report, report.acked > 0 && lost === 0, mss)
      // RFC 6582 §3.2 step 3: a partial ACK retransmits, whatever `pipe` says: without SACK it counts what arrived as in flight
      if (recovery.isBlind && lost > 0) cc.cwnd = Math.max(cc.cwnd, flight.pipe + mss)
      return
    }
    // a SACK may be the first sign of a loss, and then the window does not grow by it; on a path that reorders it is the usual
    // sign of progress (as in Linux's tcp_may_raise_cwnd)
    if (report.delivered === 0 || (report.acked === 0 && !cc.ownsRecovery && !isReorderingSeen(this.reorder))) return
    sample.delivered = report.delivered
    sample.mss = mss
    sample.rttUs = report.resentAt >= 0 ? -1 : report.sentAt >= 0 ? now - report.sentAt : report.sackedAt >= 0 ? now - report.sackedAt : -1
    sample.srttUs = this.rtt.srttUs
    sample.minRttUs = this.rtt.minUs
    sample.priorInFlight = pipeBefore
    sample.inFlight = flight.pipe
    sample.lost = lost
    sample.isLimited = this.isGrowing(flight)
    sample.deliveredTotal = flight.deliveredTotal
    sample.sentTotal = this.sndNxt
    sample.rateBps = report.rateBps
    sample.isRateAppLimited = report.isRateAppLimited
    sample.priorDelivered = report.priorDelivered
    cc.onAck(sample, now)
  }

  /**
   * Karn: an ACK that covers retransmitted data is ambiguous, and may have waited for it long after the rest arrived. Only an echo not
   * older than the latest transmission resolves that (RFC 7323 §4.1).
   */
  private takeRtt(echoMs: number, now: Micros): void {
    if (report.resentAt < 0) {
      // a SACK of something sent once is as good as an ACK of it, and on a path that reorders the more frequent sign
      if (report.sentAt >= 0) this.rtt.sample(now - report.sentAt)
      else if (report.sackedAt >= 0) this.rtt.sample(now - report.sackedAt)
    } else if (echoMs >= 0 && echoMs >= Math.floor(report.resentAt / US_PER_MS)) {
      this.rtt.sample(now - report.resentAt)
    }
  }

  private takeSack(flight: Flight, opts: TcpOptions, iss: number, ackOff: SeqOff): void {
    for (let i = 0; i < opts.sackCount; i++) {
      const left = unwrap(this.sndUna, iss, opts.sackLeft[i] as number)
      const right = unwrap(this.sndUna, iss, opts.sackRight[i] as number)
      if (i === 0 && this.isDsack(opts, iss, left, right, ackOff)) {
        report.dsackLen = right - left
        continue
      }
      if (left < this.sndUna || right > this.sndNxt) continue // old news, or nonsense beyond what was sent
      flight.sack(left, right, report)
    }
  }

  /** RFC 2883 §4: the first block lies below the cumulative ACK, or inside the second. */
  private isDsack(opts: TcpOptions, iss: number, left: SeqOff, right: SeqOff, ackOff: SeqOff): boolean {
    if (left >= right || right > this.sndNxt) return false
    if (right <= ackOff) return true
    if (opts.sackCount < 2) return false
    const left2 = unwrap(this.sndUna, iss, opts.sackLeft[1] as number)
    const right2 = unwrap(this.sndUna, iss, opts.sackRight[1] as number)
    return left >= left2 && right <= right2
  }

  /** Retransmission timeout (RFC 6298 §5.4-5.6): all of the flight counts as lost, one segment goes out. */
  onRto(mss: number, now: Micros): void {
    const flight = this.flight
    if (flight === null) return
    flight.recovery.enterLoss(flight, this.cc, mss, now)
    flight.markAllLost()
    if (this.pmtu !== null) this.pmtu.isProbeLost = true
    this.rtt.backoff++
    this.rexmitAt = now + this.rtt.rtoUs(this.cfg)
  }

  /** Segments of more than `max` bytes are too large for the path: they are cut again, without a congestion event (RFC 1191 §6.5). */
  onMssChange(max: number): void {
    this.flight?.markLongerLost(max)
  }

  /** After an idle period longer than an RTO the window is stale (RFC 5681 §4.1). */
  restartIfIdle(now: Micros): void {
    if (
      this.flight === null &&
      this.cfg.idleRestart &&
      this.lastSentMs > 0 &&
      now - this.lastSentMs * US_PER_MS > this.rtt.rtoUs(this.cfg)
    ) {
      this.control?.onIdle(this.initialWindow) // one that was let go of begins no larger
    }
  }

  /** When nothing was sent for so long that congestion control can be let go of; NEVER: there is nothing to let go of. */
  get restAt(): Micros {
    if (this.flight !== null || this.control === null || !this.control.isForgetful || !this.cfg.idleRestart) return NEVER
    return this.lastSentMs * US_PER_MS + Math.max(REST_US, this.rtt.rtoUs(this.cfg))
  }

  /** Lets go of it; the window afterwards is no larger than before. */
  rest(): void {
    this.initialWindow = Math.min(this.initialWindow, this.cwnd)
    this.restSsthresh = this.ssthresh
    this.control = null
  }

  /** Gives the scoreboard back; the endpoint is closed. */
  dispose(): void {
    if (this.flight !== null) this.cfg.flights.give(this.flight)
    this.flight = null
    this.rexmitAt = NEVER
  }
}
