import type { Tuple } from '../base/address.js'
import { invariant } from '../base/errors.js'
import type { TxRing } from '../base/rings.js'
import { type Micros, NEVER, US_PER_MS, US_PER_S } from '../base/time.js'
import type { Packet } from '../wire/packet.js'
import { seqOf, unwrap } from '../wire/seq.js'
import { CWR, ECE, FIN, RST, SYN } from '../wire/tcp.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import { classify, SEG_ACCEPT, SEG_CHALLENGE, SEG_OUTSIDE, SEG_RESET, SEG_STRAY } from './acceptability.js'
import { BARE_RST, DUE_RST, DUE_PROBE, DUE_TLP, ECN_OK, ECE_DUE, CWR_DUE, ONLY_SYNACK, ECN_MASK, ECN_CE } from './bits.js'
import { finish, onFinAcked, takeFin } from './close.js'
import type { TcpConfig } from './config.js'
import { ACK_NONE, ON_CONTINUE, ON_RESET, type SegmentSink, type SegmentSource, type SeqOff, type TcpExtension } from './extension.js'
import type { HalfOpen } from './half-open.js'
import { Handshake, NOTHING_SETTLED, type Negotiated } from './handshake.js'
import { adopt, establish, onSynSent, sendSyn } from './opening.js'
import { lowerMtu, onMtuAck, onTooBig } from './pmtud.js'
import { Receiver } from './receiver.js'
import { echoedMs } from './segment-writer.js'
import { Sender } from './sender.js'
import * as st from './state.js'
import { nextTimeout, onTimeout } from './timers.js'
import { maySucceed } from './time-wait.js'
import { sendAck, sendNew, sendProbe, sendReset, sendRetransmission, sendTailProbe } from './transmit.js'

/** Linux tcp_invalid_ratelimit: answers to unacceptable empty segments, and challenge ACKs, per connection. */
const ANSWER_INTERVAL_MS = 500

/**
 * One TCP connection, RFC 9293: sequences the handshake, the receiver, the sender and the close. Pure: segments and `now` in,
 * segments (into a tx ring) and the next deadline out. MPTCP enters through `ext` only.
 *
 * Here: commands and arrival. The open is in opening.ts, the close in close.ts, timers in timers.ts, what is sent in transmit.ts; what
 * these share with the endpoint is marked so below and nobody else's.
 */
export class TcpEndpoint {
  readonly tuple: Tuple
  /** Our and the peer's initial sequence number. */
  readonly iss: number
  /** Our timestamps are the millisecond clock plus this (RFC 7323 §5.4). */
  readonly tsOffset: number
  irs = 0
  readonly snd: Sender
  readonly rcv = new Receiver()
  readonly source: SegmentSource
  readonly sink: SegmentSink
  readonly ext: TcpExtension
  /** Null but during the open. Shared with the files beside, like `sink`, `source`, `events`, `terms`, `bits`, `finSeq`, `retries`. */
  hs: Handshake | null = null

  state: st.TcpState = st.CLOSED
  cause: st.CloseCause = st.CAUSE_NONE
  events = 0
  /** Payload per segment with all fixed options (timestamps) counted, extension options not. */
  mss = 0
  /** What the SYNs settled; shared by all connections with the same outcome. */
  terms: Negotiated = NOTHING_SETTLED
  /** DUE_RST and others of bits.ts. */
  bits = 0
  /** Sequence of our FIN once sent, -1 before. */
  finSeq: SeqOff = -1
  /** Unanswered retransmissions and probes in a row. */
  retries = 0
  /** Earliest instant of the next answer to an unacceptable segment, in milliseconds (a small integer needs no box). */
  private answerAtMs = 0
  /** When a segment came last, in seconds. */
  heardAtS = 0
  segsOut = 0
  segsIn = 0
  retransSegs = 0
  retransBytes = 0

  /** @param iss,tsOffset initial sequence number and offset of the timestamps: int32, of `InitialNumbers`. */
  constructor(cfg: TcpConfig, tuple: Tuple, iss: number, source: SegmentSource, sink: SegmentSink, ext: TcpExtension, tsOffset = iss) {
    this.tuple = tuple
    this.iss = iss | 0
    this.tsOffset = tsOffset | 0
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
  /** May still carry new data of ours; with Fast Open also before the handshake is complete. */
  get canSend(): boolean {
    return (this.state === st.ESTABLISHED || this.state === st.CLOSE_WAIT || this.hs?.isFastOpen === true) && this.finSeq < 0
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

  /**
   * Active open. @param fastOpenCookie RFC 7413: empty array asks for a cookie, a cookie sends data in the SYN, null neither.
   * @param fastOpenMss the peer's MSS when it gave the cookie, 0: not known
   */
  connect(now: Micros, fastOpenCookie: Uint8Array | null = null, fastOpenMss = 0): void {
    invariant(this.state === st.CLOSED && this.cause === st.CAUSE_NONE, 'connect on a used endpoint')
    this.hs = new Handshake(null, true)
    this.hs.fastOpenCookie = fastOpenCookie
    this.hs.fastOpenMss = fastOpenMss
    this.state = st.SYN_SENT
    this.snd.rexmitAt = now + this.cfg.rtoInitUs
  }

  /** Sends the SYN again at once, without taking the wait for a loss: something in the way is known to be ready only now. */
  repeatSyn(now: Micros): void {
    const { hs } = this
    if (this.state !== st.SYN_SENT || hs === null || hs.firstSentAt < 0) return
    if (hs.retries === 0) hs.repeats = hs.retries = 1 // which SYN the answer is for, only its timestamp tells
    hs.isSynDue = true
    this.snd.rexmitAt = now + this.cfg.rtoInitUs
  }

  /** Passive open, by `HalfOpen.accept`. */
  openPassive(half: HalfOpen, now: Micros): void {
    this.hs = new Handshake(half.peer, half.hasWscale)
    this.state = st.SYN_RECEIVED
    this.irs = half.irs
    this.rcv.tsRecent = half.tsVal
    this.rcv.tsRecentAtS = Math.floor(now / US_PER_S)
    adopt(this, half.peer)
    if (half.isEcn) this.bits |= ECN_OK
    this.rcv.rcvNxt = 1
    this.rcv.lastAckSent = 1
    this.snd.maxWindow = half.window
    this.snd.rexmitAt = now + this.cfg.rtoInitUs
  }

  /** The SYN/ACK of this passive open has left already (a SYN cookie, RFC 4987 §3.6). @param window what it promised, unscaled */
  openAnswered(window: number): void {
    if (this.hs !== null) this.hs.isSynDue = false
    this.rcv.announceSyn(window)
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
    lowerMtu(this, mtu)
  }

  /** An ICMP error that quotes a segment of ours beginning at `seqOff` (RFC 5927 §4: must lie in the flight). */
  onIcmp(kind: IcmpKind, mtu: number, seqRaw: number): void {
    const seqOff = unwrap(this.snd.sndUna, this.iss, seqRaw)
    if (this.state === st.SYN_SENT ? seqOff !== 0 : seqOff < this.snd.sndUna || seqOff >= this.snd.sndNxt) return
    if (kind === ICMP_TOO_BIG) {
      onTooBig(this, mtu)
      return
    }
    // RFC 1122 §4.2.3.9: soft errors end nothing but a connection attempt
    if (this.state === st.SYN_SENT) this.finish(kind === ICMP_REFUSED ? st.CAUSE_REFUSED : st.CAUSE_UNREACHABLE)
  }

  /** True when a SYN may replace this endpoint in TIME-WAIT (RFC 9293 §3.6.1, RFC 6191). */
  mayReuse(pkt: Packet, opts: TcpOptions): boolean {
    if (this.state !== st.TIME_WAIT) return false
    return maySucceed(this.hasTimestamps, this.rcv.tsRecent, seqOf(this.irs, this.rcv.rcvNxt), pkt.seq, opts)
  }

  // ---------------------------------------------------------------- input

  /**
   * A segment of this flow with verified checksum. False: it belongs to no connection that we know and deserves a RST
   * (RFC 9293 §3.5.2), which the demultiplexer sends.
   */
  onSegment(pkt: Packet, opts: TcpOptions, now: Micros): boolean {
    this.segsIn++
    this.heardAtS = Math.floor(now / US_PER_S)
    if (this.state === st.CLOSED) return (pkt.flags & RST) !== 0
    if (this.state === st.SYN_SENT) return onSynSent(this, pkt, opts, now)
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
        // with Fast Open the application has had the connection in hand already
        this.finish(this.state === st.SYN_RECEIVED && !this.canSend ? st.CAUSE_REFUSED : st.CAUSE_RESET)
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
      if (verdict === ON_RESET) {
        this.bits |= BARE_RST
        this.abort()
      }
      return
    }
    this.bits &= ~ONLY_SYNACK
    if (this.state === st.SYN_RECEIVED) establish(this, opts, ackOff, now)
    if ((this.bits & ECN_OK) !== 0) this.onMarks(pkt, now)
    this.onAck(pkt, opts, segOff, ackOff, now)
    if (this.state === st.CLOSED) return
    const first = (pkt.flags & SYN) === 0 ? segOff : segOff + 1
    const isFin = (pkt.flags & FIN) !== 0
    if (isFin) this.rcv.quickAcks = 0
    if (pkt.payLen > 0) this.onPayload(pkt, first, now)
    if (isFin) this.rcv.noteFin(first + pkt.payLen)
    takeFin(this, isFin, now)
    this.ext.afterSegment(now)
  }

  /** RFC 3168 §6.1.2 and §6.1.3: marks of the network, echoes of the peer; before the ACK, which would let the window grow. */
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
    if (ackOff < una) {
      // overtaken by another, but what it SACKs may be news
      if (opts.sackCount > 0 && snd.flight !== null) snd.onAck(ackOff, opts, this.iss, false, -1, this.mss, this.isSackOk, this.ext, now)
      return
    }
    const window = (pkt.flags & SYN) === 0 ? pkt.window << this.sndWscale : pkt.window
    const edgeBefore = snd.sndEdge
    if (snd.updateWindow(segOff, window, this.ext.peerEdge(ackOff, window))) this.events |= st.EV_ACKED
    // an answer to a probe, or progress; an ACK that confirms nothing new says nothing about what we retransmit in vain
    if (ackOff > una || snd.flight === null || snd.sndEdge <= una) this.retries = 0
    const wasProbing = snd.flight === null && snd.rexmitAt !== NEVER && this.state !== st.TIME_WAIT
    const isDup = pkt.payLen === 0 && ackOff === una && snd.outstanding > 0 && snd.sndEdge === edgeBefore && (pkt.flags & FIN) === 0
    const echoMs = this.hasTimestamps && opts.hasTs ? echoedMs(this, opts.tsEcr, now) : -1
    const acked = snd.onAck(ackOff, opts, this.iss, isDup, echoMs, this.mss, this.isSackOk, this.ext, now)
    if (snd.pmtu !== null) onMtuAck(this, snd.pmtu, now)
    if (acked > 0 || isDup || opts.sackCount > 0) this.events |= st.EV_ACKED
    if (acked > 0) this.source.acked(ackOff, now)
    // an open window ends the probing and its back-off; the next poll sends
    if (wasProbing && snd.sndEdge > snd.sndNxt) {
      snd.rexmitAt = NEVER
      snd.rtt.backoff = 0
    }
    if (this.finSeq >= 0 && snd.sndUna > this.finSeq) onFinAcked(this, now)
  }

  onPayload(pkt: Packet, segOff: SeqOff, now: Micros): void {
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

  /** RFC 9293 §3.10.7.4: "an unacceptable segment should elicit an acknowledgment". */
  private onUnacceptable(pkt: Packet, segOff: SeqOff, now: Micros): void {
    const isFin = (pkt.flags & FIN) !== 0
    if (isFin && this.state === st.TIME_WAIT) this.snd.rexmitAt = now + this.cfg.timeWaitUs // RFC 9293 §3.10.7.4: restart the 2 MSL timeout
    // Linux: only what has no data can be part of an endless exchange of ACKs
    const isBare = (pkt.payLen === 0 && !isFin) || (pkt.flags & SYN) !== 0
    if (isBare && !this.mayAnswer(now)) return
    if (pkt.payLen > 0 && (pkt.flags & SYN) === 0) this.rcv.noteOld(segOff, pkt.payLen)
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

  finish(cause: st.CloseCause): void {
    finish(this, cause)
  }

  // ---------------------------------------------------------------- timers

  /** The next instant at which `onTimeout` has something to do. Changes only inside the other methods, but for its moving later. */
  nextTimeout(): Micros {
    return this.state === st.CLOSED ? NEVER : nextTimeout(this)
  }

  onTimeout(now: Micros): void {
    if (this.state !== st.CLOSED) onTimeout(this, now)
  }

  // ---------------------------------------------------------------- output

  /** Writes at most one (super-)segment. False: nothing to send now, or the ring is full. */
  pollTransmit(tx: TxRing, now: Micros): boolean {
    if ((this.bits & DUE_RST) !== 0) return sendReset(this, tx, now)
    if (this.state === st.CLOSED) return this.rcv.ackNow && this.cause === st.CAUSE_FIN && sendAck(this, tx, now)
    if (this.hs !== null) return this.hs.isSynDue ? sendSyn(this, tx, this.hs, now) : this.hs.isFastOpen && sendNew(this, tx, now)
    if (this.state !== st.TIME_WAIT) {
      if ((this.bits & DUE_PROBE) !== 0 && sendProbe(this, tx, now)) return true
      if ((this.bits & DUE_TLP) !== 0 && sendTailProbe(this, tx, now)) return true
      if (sendRetransmission(this, tx, now)) return true
      if (this.finSeq < 0 && sendNew(this, tx, now)) return true
    }
    return this.isAckDue() && sendAck(this, tx, now)
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
}

export const ICMP_UNREACHABLE = 0
export const ICMP_REFUSED = 1
export const ICMP_TOO_BIG = 2
export type IcmpKind = 0 | 1 | 2
