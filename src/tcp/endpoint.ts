import type { Tuple } from '../base/address.js'
import { invariant } from '../base/errors.js'
import type { TxRing } from '../base/rings.js'
import { type Micros, NEVER, US_PER_MS, US_PER_S } from '../base/time.js'
import type { Packet } from '../wire/packet.js'
import { seqOf, unwrap } from '../wire/seq.js'
import { ACK, CWR, ECE, FIN, PSH, RST, SYN } from '../wire/tcp.js'
import { TcpOptions } from '../wire/tcp-options.js'
import { classify, SEG_ACCEPT, SEG_CHALLENGE, SEG_OUTSIDE, SEG_RESET, SEG_STRAY } from './acceptability.js'
import type { TcpConfig } from './config.js'
import {
  ACK_NONE,
  KIND_ACK3,
  KIND_DATA,
  KIND_FIN,
  KIND_PURE_ACK,
  KIND_RST,
  KIND_SYN,
  KIND_SYNACK,
  ON_CONTINUE,
  ON_RESET,
  Run,
  type SegmentSink,
  type SegmentSource,
  type SeqOff,
  type TcpExtension,
} from './extension.js'
import type { HalfOpen } from './half-open.js'
import { Handshake, NOTHING_SETTLED, type Negotiated, negotiate } from './handshake.js'
import { Receiver } from './receiver.js'
import { burstMax, closeSegment, echoedMs, openOptionLen, openSegment, openSyn, segmentPayload, TS_LEN } from './segment-writer.js'
import { Sender } from './sender.js'
import * as st from './state.js'

/** Linux tcp_invalid_ratelimit: answers to unacceptable empty segments, and challenge ACKs, per connection. */
const ANSWER_INTERVAL_MS = 500

/** A RST has to be sent. */
const DUE_RST = 1
/** A window probe has to be sent. */
const DUE_PROBE = 2
/** A tail loss probe has to be sent. */
const DUE_TLP = 8
/** Both sides agreed on ECN; a congestion mark is echoed until CWR comes; the next new data carries CWR (RFC 3168 §6.1). */
const ECN_OK = 16
const ECE_DUE = 32
const CWR_DUE = 64
/** Nothing but the SYN/ACK was received yet: pure ACKs repeat the third ACK. */
const ONLY_SYNACK = 4

/** RFC 3168 §5: the two low bits of the traffic class. */
const ECN_MASK = 3
const ECN_ECT0 = 2
const ECN_CE = 3

const run = new Run()
/** Stands for a segment without options. */
const NO_OPTIONS = new TcpOptions()

/**
 * One TCP connection, RFC 9293: sequences the handshake, the receiver, the sender and the close. Pure: segments and `now` in,
 * segments (into a tx ring) and the next deadline out. MPTCP enters through `ext` only.
 */
export class TcpEndpoint {
  readonly tuple: Tuple
  /** Our and the peer's initial sequence number. */
  readonly iss: number
  irs = 0
  readonly snd: Sender
  readonly rcv = new Receiver()
  private readonly source: SegmentSource
  private readonly sink: SegmentSink
  readonly ext: TcpExtension
  private hs: Handshake | null = null

  state: st.TcpState = st.CLOSED
  cause: st.CloseCause = st.CAUSE_NONE
  private events = 0
  /** Payload per segment with all fixed options (timestamps) counted, extension options not. */
  mss = 0
  /** What the SYNs settled; shared by all connections with the same outcome. */
  private terms: Negotiated = NOTHING_SETTLED
  /** DUE_RST, DUE_PROBE, ONLY_SYNACK. */
  private bits = 0
  /** Sequence of our FIN once sent, -1 before. */
  private finSeq: SeqOff = -1
  /** Unanswered retransmissions and probes in a row. */
  private retries = 0
  /** Earliest instant of the next answer to an unacceptable segment, in milliseconds (a small integer needs no box). */
  private answerAtMs = 0
  segsOut = 0
  segsIn = 0
  retransSegs = 0
  retransBytes = 0

  /** @param iss initial sequence number (int32, RFC 6528: from a keyed hash or cryptographic randomness). */
  constructor(cfg: TcpConfig, tuple: Tuple, iss: number, source: SegmentSource, sink: SegmentSink, ext: TcpExtension) {
    this.tuple = tuple
    this.iss = iss | 0
    this.source = source
    this.sink = sink
    this.ext = ext
    this.mss = tuple.local.isV4 ? cfg.mss4 : cfg.mss6
    this.snd = new Sender(cfg, this.mss)
    this.rcv.quickAcks = cfg.quickAcks
  }

  // ---------------------------------------------------------------- views

  get cfg(): TcpConfig {
    return this.snd.cfg
  }
  get peerMss(): number {
    return this.terms.peerMss
  }
  get sndWscale(): number {
    return this.terms.sndWscale
  }
  get rcvWscale(): number {
    return this.terms.rcvWscale
  }
  get hasTimestamps(): boolean {
    return this.terms.hasTimestamps
  }
  get isSackOk(): boolean {
    return this.terms.isSackOk
  }
  get srttUs(): Micros {
    return this.snd.rtt.srttUs
  }
  get rttvarUs(): Micros {
    return this.snd.rtt.rttvarUs
  }
  get minRttUs(): Micros {
    return this.snd.rtt.minUs
  }
  get cwnd(): number {
    return this.snd.cwnd
  }
  get ssthresh(): number {
    return this.snd.ssthresh
  }
  get inFlight(): number {
    return this.snd.flight === null ? 0 : this.snd.flight.pipe
  }
  get sndUna(): SeqOff {
    return this.snd.sndUna
  }
  get sndNxt(): SeqOff {
    return this.snd.sndNxt
  }
  get sndEdge(): SeqOff {
    return this.snd.sndEdge
  }
  get rcvNxt(): SeqOff {
    return this.rcv.rcvNxt
  }
  /** Payload bytes acknowledged by the peer. */
  get bytesAcked(): number {
    return Math.max(0, this.snd.sndUna - 1 - (this.finSeq >= 0 && this.snd.sndUna > this.finSeq ? 1 : 0))
  }
  /** Payload bytes received in order. */
  get bytesReceived(): number {
    return Math.max(0, this.rcv.rcvNxt - 1 - (this.rcv.finAt >= 0 && this.rcv.rcvNxt > this.rcv.finAt ? 1 : 0))
  }
  rtoUs(): Micros {
    return this.snd.rtt.rtoUs(this.cfg)
  }
  /** Without back-off: what the data level times with (RFC 8684 §3.3.6). */
  baseRtoUs(): Micros {
    return this.snd.rtt.baseRtoUs(this.cfg)
  }
  /** Consecutive retransmission timeouts. */
  get rtoCount(): number {
    return this.snd.flight === null ? 0 : this.retries
  }
  get isSynchronized(): boolean {
    return this.state >= st.ESTABLISHED
  }
  /** May still carry new data of ours. */
  get canSend(): boolean {
    return (this.state === st.ESTABLISHED || this.state === st.CLOSE_WAIT) && this.finSeq < 0
  }
  /** Bytes of new data that cwnd and this flow's own window would let out now; one segment at least when nothing is in flight. */
  sendSpace(): number {
    if (!this.canSend || (this.bits & DUE_RST) !== 0) return 0
    const window = this.snd.sndEdge - this.snd.sndNxt
    let space = this.snd.cwndSpace()
    if (this.snd.flight === null && space < this.mss) space = this.mss
    return Math.max(0, Math.min(window, space))
  }

  takeEvents(): number {
    const e = this.events
    this.events = 0
    return e
  }

  // ---------------------------------------------------------------- commands

  /** Active open. @param fastOpenCookie RFC 7413: empty array asks for a cookie, a cookie sends data in the SYN, null neither. */
  connect(now: Micros, fastOpenCookie: Uint8Array | null = null): void {
    invariant(this.state === st.CLOSED && this.cause === st.CAUSE_NONE, 'connect on a used endpoint')
    this.hs = new Handshake(null, true)
    this.hs.fastOpenCookie = fastOpenCookie
    this.state = st.SYN_SENT
    this.snd.rexmitAt = now + this.cfg.rtoInitUs
  }

  /** Passive open, by `HalfOpen.accept`. */
  openPassive(half: HalfOpen, now: Micros): void {
    this.hs = new Handshake(half.peer, half.hasWscale)
    this.state = st.SYN_RECEIVED
    this.irs = half.irs
    this.rcv.tsRecent = half.tsVal
    this.rcv.tsRecentAtS = Math.floor(now / US_PER_S)
    this.adopt(half.peer)
    if (half.isEcn) this.bits |= ECN_OK
    this.rcv.rcvNxt = 1
    this.rcv.lastAckSent = 1
    this.snd.maxWindow = half.window
    this.snd.rexmitAt = now + this.cfg.rtoInitUs
  }

  /** Sends a RST (when the peer knows the connection) and closes. Idempotent. */
  abort(): void {
    if (this.state === st.CLOSED) return
    const isSilent = this.state === st.SYN_SENT || this.state === st.TIME_WAIT
    this.finish(st.CAUSE_ABORTED)
    if (!isSilent) this.bits |= DUE_RST
  }

  /** An empty segment below the window, which the peer must answer with its current ACK and window. */
  probe(): void {
    this.bits |= DUE_PROBE
    this.snd.isSillyAllowed = this.snd.sndEdge > this.snd.sndNxt
  }

  /** A pure ACK at the next poll, to carry options or a window. */
  wantAck(): void {
    this.rcv.ackNow = true
  }

  /** The path's MTU as learnt from ICMP or configuration; never raises the MSS above what the SYNs settled. */
  setMtu(mtu: number): void {
    const payload = mtu - (this.tuple.local.isV4 ? 40 : 60) - (this.hasTimestamps ? TS_LEN : 0)
    if (payload >= this.mss || payload < 64) return
    this.mss = payload
    this.snd.onMssChange()
  }

  /** An ICMP error that quotes a segment of ours beginning at `seqOff` (RFC 5927 §4: must lie in the flight). */
  onIcmp(kind: IcmpKind, mtu: number, seqRaw: number): void {
    const seqOff = unwrap(this.snd.sndUna, this.iss, seqRaw)
    if (this.state === st.SYN_SENT ? seqOff !== 0 : seqOff < this.snd.sndUna || seqOff >= this.snd.sndNxt) return
    if (kind === ICMP_TOO_BIG) {
      if (mtu > 0) this.setMtu(Math.max(mtu, this.tuple.local.isV4 ? 552 : 1280))
      return
    }
    // RFC 1122 §4.2.3.9: soft errors end nothing but a connection attempt
    if (this.state === st.SYN_SENT) this.finish(kind === ICMP_REFUSED ? st.CAUSE_REFUSED : st.CAUSE_UNREACHABLE)
  }

  /** True when a SYN may replace this endpoint in TIME-WAIT (RFC 9293 §3.6.1, RFC 6191). */
  mayReuse(pkt: Packet, opts: TcpOptions): boolean {
    if (this.state !== st.TIME_WAIT) return false
    if (this.hasTimestamps && opts.hasTs) {
      const later = (opts.tsVal - this.rcv.tsRecent) | 0
      if (later !== 0) return later > 0
    }
    return ((pkt.seq - seqOf(this.irs, this.rcv.rcvNxt)) | 0) > 0
  }

  // ---------------------------------------------------------------- input

  /**
   * A segment of this flow with verified checksum. False: it belongs to no connection that we know and deserves a RST
   * (RFC 9293 §3.5.2), which the demultiplexer sends.
   */
  onSegment(pkt: Packet, opts: TcpOptions, now: Micros): boolean {
    this.segsIn++
    if (this.state === st.CLOSED) return (pkt.flags & RST) !== 0
    if (this.state === st.SYN_SENT) return this.onSynSent(pkt, opts, now)
    const segOff = unwrap(this.rcv.rcvNxt, this.irs, pkt.seq)
    switch (classify(this, pkt, opts, segOff, now)) {
      case SEG_ACCEPT:
        this.onAcceptable(pkt, opts, segOff, now)
        break
      case SEG_CHALLENGE:
        if (this.mayAnswer(now)) this.answer()
        break
      case SEG_OUTSIDE:
        this.onUnacceptable(pkt, segOff, now)
        break
      case SEG_RESET:
        this.ext.onReset(opts, now)
        this.finish(this.state === st.SYN_RECEIVED ? st.CAUSE_REFUSED : st.CAUSE_RESET)
        break
      case SEG_STRAY:
        return false
    }
    return true
  }

  /** RFC 9293 §3.10.7.4 from "fifth, check the ACK field" on. */
  private onAcceptable(pkt: Packet, opts: TcpOptions, segOff: SeqOff, now: Micros): void {
    const ackOff = unwrap(this.snd.sndUna, this.iss, pkt.ack)
    if (opts.hasTs) this.rcv.noteTimestamp(opts.tsVal, segOff, now)
    const verdict = this.ext.onOptions(pkt, opts, segOff, ackOff, now)
    if (verdict !== ON_CONTINUE) {
      if (verdict === ON_RESET) this.abort()
      return
    }
    this.bits &= ~ONLY_SYNACK
    if (this.state === st.SYN_RECEIVED) this.establish(opts, ackOff, now)
    this.onAck(pkt, opts, segOff, ackOff, now)
    if (this.state === st.CLOSED) return
    if ((this.bits & ECN_OK) !== 0) this.onMarks(pkt, now)
    const first = (pkt.flags & SYN) === 0 ? segOff : segOff + 1
    if (pkt.payLen > 0) this.onPayload(pkt, first, now)
    if ((pkt.flags & FIN) !== 0) this.rcv.noteFin(first + pkt.payLen)
    this.takeFin(now)
    this.ext.afterSegment(now)
  }

  /** RFC 3168 §6.1.2 and §6.1.3: marks of the network, echoes of the peer. */
  private onMarks(pkt: Packet, now: Micros): void {
    if ((pkt.flags & CWR) !== 0) this.bits &= ~ECE_DUE
    if ((pkt.tclass & ECN_MASK) === ECN_CE && pkt.payLen > 0) {
      this.bits |= ECE_DUE
      this.rcv.ackNow = true
    }
    if ((pkt.flags & (ECE | SYN)) === ECE && (this.bits & CWR_DUE) === 0 && this.snd.onEcho(this.mss, now)) this.bits |= CWR_DUE
  }

  private onAck(pkt: Packet, opts: TcpOptions, segOff: SeqOff, ackOff: SeqOff, now: Micros): void {
    const snd = this.snd
    const una = snd.sndUna
    if (ackOff < una) return
    const window = (pkt.flags & SYN) === 0 ? pkt.window << this.sndWscale : pkt.window
    const edgeBefore = snd.sndEdge
    if (snd.updateWindow(segOff, window, this.ext.peerEdge(ackOff, window))) this.events |= st.EV_ACKED
    // an answer to a probe, or progress; an ACK that confirms nothing new says nothing about what we retransmit in vain
    if (ackOff > una || snd.flight === null || snd.sndEdge <= una) this.retries = 0
    const wasProbing = snd.flight === null && snd.rexmitAt !== NEVER && this.state !== st.TIME_WAIT
    const isDup = pkt.payLen === 0 && ackOff === una && snd.outstanding > 0 && snd.sndEdge === edgeBefore && (pkt.flags & FIN) === 0
    const echoMs = this.hasTimestamps && opts.hasTs ? echoedMs(this, opts.tsEcr, now) : -1
    const acked = snd.onAck(ackOff, opts, this.iss, isDup, echoMs, this.mss, this.ext, now)
    if (acked > 0 || isDup || opts.sackCount > 0) this.events |= st.EV_ACKED
    if (acked > 0) this.source.acked(ackOff, now)
    // an open window ends the probing and its back-off; the next poll sends
    if (wasProbing && snd.sndEdge > snd.sndNxt) {
      snd.rexmitAt = NEVER
      snd.rtt.backoff = 0
    }
    if (this.finSeq >= 0 && snd.sndUna > this.finSeq) this.onFinAcked(now)
  }

  private onPayload(pkt: Packet, segOff: SeqOff, now: Micros): void {
    const rcv = this.rcv
    if (this.state !== st.ESTABLISHED && this.state !== st.FIN_WAIT_1 && this.state !== st.FIN_WAIT_2) {
      rcv.ackNow = true // behind the peer's FIN: nothing can be new
      return
    }
    let from = segOff
    let off = pkt.payOff
    if (from < 1) {
      off += 1 - from // the SYN's own octet
      from = 1
    }
    const limit = rcv.finAt >= 0 ? rcv.finAt : rcv.edge
    const len = Math.min(pkt.payOff + pkt.payLen - off, limit - from)
    if (len <= 0) {
      rcv.ackNow = true
      return
    }
    const mss = pkt.gsoSize > 0 ? pkt.gsoSize : len
    if (rcv.onPayload(from, pkt.mem, off, len, mss, this.sink, this.cfg.delayedAckUs, now) > 0) this.events |= st.EV_DATA
  }

  private takeFin(now: Micros): void {
    const rcv = this.rcv
    if (rcv.finAt < 0 || rcv.rcvNxt !== rcv.finAt) return
    rcv.rcvNxt++
    rcv.ackNow = true
    this.events |= st.EV_PEER_FIN
    this.sink.onFin(rcv.finAt, now)
    switch (this.state) {
      case st.ESTABLISHED:
        this.state = st.CLOSE_WAIT
        break
      case st.FIN_WAIT_1:
        this.state = st.CLOSING
        break
      case st.FIN_WAIT_2:
        this.enterTimeWait(now)
    }
  }

  private onFinAcked(now: Micros): void {
    switch (this.state) {
      case st.FIN_WAIT_1:
        this.state = st.FIN_WAIT_2
        break
      case st.CLOSING:
        this.enterTimeWait(now)
        break
      case st.LAST_ACK:
        this.finish(st.CAUSE_FIN)
    }
  }

  private enterTimeWait(now: Micros): void {
    this.state = st.TIME_WAIT
    this.snd.rexmitAt = now + this.cfg.timeWaitUs
    this.events |= st.EV_CLOSED // for the owner nothing is left to do; the endpoint lingers by itself
    this.cause = st.CAUSE_FIN
  }

  /** RFC 9293 §3.10.7.3. */
  private onSynSent(pkt: Packet, opts: TcpOptions, now: Micros): boolean {
    const ackOff = unwrap(1, this.iss, pkt.ack)
    const hasAck = (pkt.flags & ACK) !== 0
    const isRst = (pkt.flags & RST) !== 0
    if (hasAck && (ackOff < 1 || ackOff > Math.max(1, this.snd.sndNxt))) return isRst
    if (isRst) {
      if (hasAck) {
        this.ext.onReset(opts, now)
        this.finish(st.CAUSE_REFUSED)
      }
      return true
    }
    if ((pkt.flags & SYN) !== 0) this.onSynAck(pkt, opts, hasAck ? ackOff : -1, now)
    return true
  }

  /** The peer's SYN in SYN-SENT; `ackOff` -1: without ACK, a simultaneous open. */
  private onSynAck(pkt: Packet, opts: TcpOptions, ackOff: SeqOff, now: Micros): void {
    this.irs = pkt.seq
    this.rcv.rcvNxt = 1
    this.rcv.lastAckSent = 1
    if (opts.hasTs) {
      this.rcv.tsRecent = opts.tsVal
      this.rcv.tsRecentAtS = Math.floor(now / US_PER_S)
    }
    const peer = negotiate(this.cfg, opts, this.tuple.remote.isV4)
    const verdict = this.ext.onOptions(pkt, opts, 0, ackOff, now)
    if (verdict !== ON_CONTINUE) {
      if (verdict === ON_RESET) {
        this.finish(st.CAUSE_ABORTED)
        this.bits |= DUE_RST
      }
      return
    }
    this.adopt(peer)
    // RFC 3168 §6.1.1: an ECN-setup SYN/ACK has ECE without CWR
    if (ackOff >= 0 && this.cfg.ecn === 'request' && (pkt.flags & (ECE | CWR)) === ECE) this.bits |= ECN_OK
    if (ackOff < 0) {
      // simultaneous open
      this.state = st.SYN_RECEIVED
      this.hs = new Handshake(peer, opts.wscale >= 0)
      return
    }
    this.bits |= ONLY_SYNACK
    this.rcv.ackNow = true
    this.establish(opts, ackOff, now)
    const window = pkt.window // never scaled in a SYN
    this.snd.updateWindow(0, window, this.ext.peerEdge(ackOff, window))
    if (pkt.payLen > 0) this.onPayload(pkt, 1, now)
    this.ext.afterSegment(now)
  }

  private adopt(peer: Negotiated): void {
    this.terms = peer
    this.mss = Math.min(this.mssLimit, peer.peerMss) - (peer.hasTimestamps ? TS_LEN : 0)
    this.snd.initialWindow = this.cfg.initialWindow * this.mss
  }

  /** Our SYN is acknowledged: `ackOff` is 1, or more with Fast Open data. */
  private establish(opts: TcpOptions, ackOff: SeqOff, now: Micros): void {
    if (this.hs !== null) this.noteHandshake(this.hs, opts, now)
    this.state = st.ESTABLISHED
    this.hs = null
    this.retries = 0
    this.events |= st.EV_ESTABLISHED
    if (this.snd.sndUna < 1) this.snd.sndUna = 1
    if (this.snd.sndNxt < 1) this.snd.sndNxt = 1
    this.snd.rtt.backoff = 0
    if (this.snd.flight === null) {
      this.snd.rexmitAt = NEVER
      return
    }
    // Fast Open: what the SYN/ACK does not cover was not taken and goes again as ordinary data (RFC 7413 §4.2.2)
    if (ackOff > 1) {
      this.snd.onAck(ackOff, NO_OPTIONS, this.iss, false, -1, this.mss, this.ext, now)
      this.source.acked(ackOff, now)
    }
    this.snd.onMssChange()
  }

  /** What the handshake tells about the path. */
  private noteHandshake(hs: Handshake, opts: TcpOptions, now: Micros): void {
    if (hs.firstSentAt < 0) return
    if (hs.retries === 0) {
      this.snd.rtt.sample(now - hs.firstSentAt)
      return
    }
    const echoUs = this.hasTimestamps && opts.hasTs ? echoedMs(this, opts.tsEcr, now) * US_PER_MS : -1
    if (echoUs > hs.firstSentAt - US_PER_MS) this.snd.rtt.sample(now - echoUs)
    else this.snd.rtt.onAmbiguousOpen()
    // RFC 6928 §2 says: after any repetition. Linux: the first may be due to an initial RTO that is too short for the path
    if (hs.retries > 1) this.snd.initialWindow = this.mss
  }

  /** RFC 9293 §3.10.7.4: "an unacceptable segment should elicit an acknowledgment". */
  private onUnacceptable(pkt: Packet, segOff: SeqOff, now: Micros): void {
    const isFin = (pkt.flags & FIN) !== 0
    if (isFin && this.state === st.TIME_WAIT) this.snd.rexmitAt = now + this.cfg.timeWaitUs // RFC 9293 §3.10.7.4: restart the 2 MSL timeout
    // Linux: only what has no data can be part of an endless exchange of ACKs
    const isBare = (pkt.payLen === 0 && !isFin) || (pkt.flags & SYN) !== 0
    if (isBare && !this.mayAnswer(now)) return
    if (pkt.payLen > 0) this.rcv.noteOld(segOff, pkt.payLen)
    this.answer()
  }

  /** The limit of this connection's challenge ACKs (RFC 5961 §7; never shared between connections, which would be a side channel). */
  private mayAnswer(now: Micros): boolean {
    const nowMs = Math.floor(now / US_PER_MS)
    if (nowMs < this.answerAtMs) return false
    this.answerAtMs = nowMs + ANSWER_INTERVAL_MS
    return true
  }

  /** What we have to say: the current ACK; before the connection is established, the SYN/ACK. */
  private answer(): void {
    if (this.hs !== null) this.hs.isSynDue = true
    else this.rcv.ackNow = true
  }

  private finish(cause: st.CloseCause): void {
    const wasClosed = (this.events & st.EV_CLOSED) !== 0 || this.state === st.TIME_WAIT
    this.state = st.CLOSED
    if (!wasClosed) this.cause = cause
    this.events |= st.EV_CLOSED
    this.snd.dispose()
    this.rcv.delackAt = NEVER
    // the last ACK of an orderly close still has to leave; otherwise nothing more is said
    if (cause !== st.CAUSE_FIN) this.rcv.ackNow = false
    this.hs = null
  }

  // ---------------------------------------------------------------- timers

  /** The next instant at which `onTimeout` has something to do. Changes only inside the other methods. */
  nextTimeout(): Micros {
    if (this.state === st.CLOSED) return NEVER
    return Math.min(this.snd.rexmitAt, this.rcv.delackAt, this.snd.flightTimeout, this.ext.nextTimeout())
  }

  onTimeout(now: Micros): void {
    if (this.state === st.CLOSED) return
    if (this.rcv.delackAt <= now) {
      this.rcv.delackAt = NEVER
      this.rcv.ackNow = true
    }
    if (this.ext.nextTimeout() <= now) this.ext.onTimeout(now)
    if (this.snd.flightTimeout <= now && this.snd.onFlightTimeout(this.mss, this.ext, now)) this.bits |= DUE_TLP
    if (this.snd.rexmitAt > now) return
    if (this.state === st.TIME_WAIT) {
      this.finish(st.CAUSE_FIN)
      return
    }
    if (this.hs !== null) this.onSynTimeout(this.hs, now)
    else this.onRetransmitTimeout(now)
  }

  private onSynTimeout(hs: Handshake, now: Micros): void {
    if (hs.retries >= this.cfg.synRetries) {
      this.finish(st.CAUSE_TIMEOUT)
      return
    }
    hs.retries++
    hs.fastOpenCookie = null // RFC 7413 §4.1.3: the retransmitted SYN goes without
    hs.isSynDue = true
    this.snd.rtt.backoff = hs.retries
    this.snd.rexmitAt = now + Math.min(this.cfg.rtoMaxUs, this.cfg.rtoInitUs * 2 ** hs.retries)
    this.ext.onRto(hs.retries, now)
  }

  private onRetransmitTimeout(now: Micros): void {
    this.retries++
    if (this.retries > this.cfg.dataRetries) {
      this.finish(st.CAUSE_TIMEOUT)
      return
    }
    if (this.snd.flight !== null) {
      this.snd.onRto(this.mss, now)
      this.ext.onRto(this.retries, now)
      return
    }
    // zero-window probe (RFC 9293 §3.8.6.1); the interval doubles like the RTO
    this.snd.rtt.backoff++
    this.snd.rexmitAt = now + this.rtoUs()
    this.probe()
  }

  // ---------------------------------------------------------------- output

  /** Writes at most one (super-)segment. False: nothing to send now, or the ring is full. */
  pollTransmit(tx: TxRing, now: Micros): boolean {
    if ((this.bits & DUE_RST) !== 0) return this.sendReset(tx, now)
    if (this.state === st.CLOSED) return this.rcv.ackNow && this.cause === st.CAUSE_FIN && this.sendAck(tx, now)
    if (this.hs !== null) return this.hs.isSynDue && this.sendSyn(tx, this.hs, now)
    if (this.state !== st.TIME_WAIT) {
      if ((this.bits & DUE_PROBE) !== 0 && this.sendProbe(tx, now)) return true
      if ((this.bits & DUE_TLP) !== 0 && this.sendTailProbe(tx, now)) return true
      if (this.sendRetransmission(tx, now)) return true
      if (this.finSeq < 0 && this.sendNew(tx, now)) return true
    }
    return this.isAckDue() && this.sendAck(tx, now)
  }

  /** What is left to say needs no more calls: the owner may forget the endpoint. */
  get isDone(): boolean {
    return this.state === st.CLOSED && (this.bits & DUE_RST) === 0 && !this.rcv.ackNow
  }

  private isAckDue(): boolean {
    if (this.rcv.ackNow) return true
    if (this.ext.wantsAck() !== ACK_NONE) return true
    if (this.rcv.hasEnded) return false
    return this.rcv.isUpdateDue(this.ext.ownWindow(this.rcv.rcvNxt), this.rcvWscale)
  }

  private sendSyn(tx: TxRing, hs: Handshake, now: Micros): boolean {
    const isActive = this.state === st.SYN_SENT
    if (!openSyn(this, tx, hs, isActive ? KIND_SYN : KIND_SYNACK, now)) return false
    const payload = this.addFastOpenData(tx, hs, now)
    const raw = this.rcv.announceSyn(this.ext.ownWindow(1))
    const ask = isActive && this.cfg.ecn === 'request' && hs.retries === 0 ? ECE | CWR : 0
    const agree = !isActive && (this.bits & ECN_OK) !== 0 ? ECE : 0
    closeSegment(this, tx, isActive ? SYN | ask : SYN | ACK | agree, 0, payload, raw, 0)
    this.segsOut++
    hs.isSynDue = false
    if (hs.firstSentAt < 0) hs.firstSentAt = now
    if (hs.retries > 0) this.retransSegs++
    return true
  }

  /** RFC 7413 §4.2.1: with a cookie the SYN carries data. */
  private addFastOpenData(tx: TxRing, hs: Handshake, now: Micros): number {
    if (hs.fastOpenCookie === null || hs.fastOpenCookie.length === 0 || this.state !== st.SYN_SENT) return 0
    if (this.snd.sndNxt < 1) {
      this.snd.sndUna = 1
      this.snd.sndNxt = 1
    }
    const max = this.mssLimit - openOptionLen()
    if (max <= 0 || this.source.pending() === 0 || !this.source.prepare(1, max, now, run) || run.queue === null) return 0
    const n = Math.min(run.len, max)
    run.queue.tx(run.off, n, tx)
    const rexmitAt = this.snd.rexmitAt
    this.snd.onSent(n, this.mss, now)
    this.snd.rexmitAt = rexmitAt // the SYN's own timer
    this.source.commit(1, run, n, now)
    return n
  }

  private sendRetransmission(tx: TxRing, now: Micros): boolean {
    const flight = this.snd.flight
    if (flight === null) return false
    const at = flight.nextLost()
    if (at < 0) return false
    const seg = segmentPayload(this)
    const space = this.snd.cwndSpace()
    if (space < seg && flight.pipe > 0) {
      this.snd.noteLimit(true)
      return false
    }
    if (at === this.finSeq) return this.sendFin(tx, now)
    if (!this.snd.isPacedOut(now)) return false
    let max = Math.min(this.snd.burst(seg, burstMax(this, seg)), Math.max(seg, space))
    max = Math.max(seg, max - (max % seg))
    const lost = flight.lostLen(at, max + 1)
    const toFin = this.finSeq - at
    const withFin = this.finSeq >= 0 && toFin <= max && lost > toFin
    return this.resend(tx, at, withFin ? toFin : Math.min(lost, max), seg, withFin, false, now)
  }

  /** Sends up to `max` bytes from `at` again, and the FIN behind them `withFin`. */
  private resend(tx: TxRing, at: SeqOff, max: number, seg: number, withFin: boolean, isProbe: boolean, now: Micros): boolean {
    if (!this.source.runAt(at, max, run) || run.queue === null) return false
    const n = Math.min(run.len, max)
    const hasFin = withFin && n === max
    if (!openSegment(this, tx, KIND_DATA, at, run, true, now)) return false
    run.queue.tx(run.off, n, tx)
    this.close(tx, ACK | (hasFin || at + n === this.snd.sndNxt ? PSH : 0) | (hasFin ? FIN : 0), at, n)
    if (!isProbe) this.snd.onRetransmitted(at, hasFin ? n + 1 : n, now)
    this.retransSegs += Math.ceil(n / seg)
    this.retransBytes += n
    this.rcv.onAckSent(false)
    return true
  }

  /** RFC 8985 §7.3: one segment of new data if there is any that the peer's window takes, else the last segment again. */
  private sendTailProbe(tx: TxRing, now: Micros): boolean {
    const { snd } = this
    const flight = snd.flight
    if (flight === null || !flight.recovery.isOpen) {
      this.bits &= ~DUE_TLP
      return false
    }
    const seg = segmentPayload(this)
    const before = snd.sndNxt
    const window = snd.sndEdge - before
    const pending = this.ext.maySendData() && this.finSeq < 0 ? this.source.pending() : 0
    if (pending > 0 && window >= Math.min(seg, pending)) {
      if (!this.sendRun(tx, Math.min(seg, pending), pending, now)) return false
      snd.onProbeSent(before, snd.sndNxt - before, false, now)
    } else {
      const end = this.finSeq >= 0 ? this.finSeq : before
      const at = Math.max(snd.sndUna, end - seg)
      if (at >= end) {
        if (!this.sendFin(tx, now, true)) return false
      } else if (!this.resend(tx, at, end - at, seg, this.finSeq >= 0, true, now)) return false
      snd.onProbeSent(at, before - at, true, now)
    }
    this.bits &= ~DUE_TLP
    return true
  }

  private sendNew(tx: TxRing, now: Micros): boolean {
    const snd = this.snd
    if (this.state !== st.ESTABLISHED && this.state !== st.CLOSE_WAIT) return false
    const pending = this.ext.maySendData() ? this.source.pending() : 0
    if (pending === 0) {
      snd.noteLimit(false)
      return this.source.finAt() === snd.sndNxt && snd.mayFin(now) && this.sendFin(tx, now)
    }
    snd.restartIfIdle(now)
    const seg = segmentPayload(this)
    const n = snd.grant(pending, seg, burstMax(this, seg), this.ext.ownsPersist(), now)
    return n > 0 && this.sendRun(tx, n, pending, now)
  }

  /** Sends up to `n` of `pending` new bytes. */
  private sendRun(tx: TxRing, n: number, pending: number, now: Micros): boolean {
    const snd = this.snd
    if (!this.source.prepare(snd.sndNxt, n, now, run) || run.queue === null) return false
    const len = Math.min(run.len, n)
    const at = snd.sndNxt
    if (!openSegment(this, tx, KIND_DATA, at, run, false, now)) return false
    run.queue.tx(run.off, len, tx)
    this.source.commit(at, run, len, now)
    const hasFin = this.source.finAt() === at + len && at + len < snd.sndEdge
    const isLast = len === pending
    this.close(tx, ACK | (isLast ? PSH : 0) | (hasFin ? FIN : 0), at, len)
    snd.onSent(hasFin ? len + 1 : len, this.mss, now)
    if (hasFin) this.noteFinSent(at + len)
    this.rcv.onAckSent(false)
    return true
  }

  private sendFin(tx: TxRing, now: Micros, isProbe = false): boolean {
    const at = this.finSeq >= 0 ? this.finSeq : this.snd.sndNxt
    if (!openSegment(this, tx, KIND_FIN, at, null, this.finSeq >= 0, now)) return false
    this.close(tx, FIN | ACK, at, 0)
    if (this.finSeq >= 0) {
      if (!isProbe) this.snd.onRetransmitted(at, 1, now)
      this.retransSegs++
    } else {
      this.snd.onSent(1, this.mss, now)
      this.noteFinSent(at)
    }
    this.rcv.onAckSent(false)
    return true
  }

  private noteFinSent(at: SeqOff): void {
    this.finSeq = at
    this.state = this.state === st.CLOSE_WAIT ? st.LAST_ACK : st.FIN_WAIT_1
  }

  private sendAck(tx: TxRing, now: Micros): boolean {
    const at = this.snd.sndNxt
    if (!openSegment(this, tx, (this.bits & ONLY_SYNACK) !== 0 ? KIND_ACK3 : KIND_PURE_ACK, at, null, false, now)) return false
    this.close(tx, ACK, at, 0)
    this.rcv.onAckSent(true)
    return true
  }

  private sendProbe(tx: TxRing, now: Micros): boolean {
    const at = this.snd.sndUna - 1 // already acknowledged: the peer must answer, and conntrack accepts it
    if (!openSegment(this, tx, KIND_PURE_ACK, at, null, false, now)) return false
    this.close(tx, ACK, at, 0)
    this.bits &= ~DUE_PROBE
    return true
  }

  private sendReset(tx: TxRing, now: Micros): boolean {
    const at = Math.max(1, this.snd.sndNxt) // our SYN counts, also while its ACK is awaited
    if (!openSegment(this, tx, KIND_RST, at, null, false, now)) return false
    closeSegment(this, tx, this.rcv.rcvNxt === 0 ? RST : RST | ACK, at, 0, 0, 0)
    this.segsOut++
    this.bits &= ~DUE_RST
    this.rcv.ackNow = false
    return true
  }

  private close(tx: TxRing, flags: number, seqOff: SeqOff, payload: number): void {
    const raw = this.rcv.announce(this.ext.ownWindow(this.rcv.rcvNxt), this.rcvWscale)
    let all = flags
    let ecn = 0
    if ((this.bits & ECN_OK) !== 0) {
      if ((this.bits & ECE_DUE) !== 0) all |= ECE
      // §6.1.4 and §6.1.5: neither pure ACKs nor retransmissions are ECN-capable
      if (payload > 0 && seqOff >= this.snd.sndNxt) {
        ecn = ECN_ECT0
        if ((this.bits & CWR_DUE) !== 0) all |= CWR
        this.bits &= ~CWR_DUE
      }
    }
    closeSegment(this, tx, all, seqOff, payload, raw, ecn)
    this.segsOut++
  }

  private get mssLimit(): number {
    return this.tuple.local.isV4 ? this.cfg.mss4 : this.cfg.mss6
  }
}

export const ICMP_UNREACHABLE = 0
export const ICMP_REFUSED = 1
export const ICMP_TOO_BIG = 2
export type IcmpKind = 0 | 1 | 2
