import type { TxRing } from '../base/rings.js'
import type { Micros } from '../base/time.js'
import { ACK, CWR, ECE, FIN, PSH, RST } from '../wire/tcp.js'
import { DUE_RST, DUE_PROBE, DUE_TLP, ECN_OK, ECE_DUE, CWR_DUE, ONLY_SYNACK, ECN_ECT0 } from './bits.js'
import type { TcpEndpoint } from './endpoint.js'
import { KIND_ACK3, KIND_DATA, KIND_FIN, KIND_PURE_ACK, KIND_RST, Run, type SeqOff } from './extension.js'
import type { PathMtu } from './pmtud.js'
import type { Flight } from './scoreboard.js'
import { burstMax, closeSegment, openSegment, segmentPayload } from './segment-writer.js'
import * as st from './state.js'

const run = new Run()

/** The oldest bytes that count as lost, as many as cwnd and pacing let out. True: something was written; so do all of these. */
export function sendRetransmission(ep: TcpEndpoint, tx: TxRing, now: Micros): boolean {
  const flight = ep.snd.flight
  if (flight === null) return false
  const at = flight.nextLost()
  if (at < 0) return false
  const seg = segmentPayload(ep, true)
  if (flight.recovery.frtoNew > 0 && sendFrto(ep, tx, now)) return true
  const space = ep.snd.cwndSpace()
  if (space < seg && flight.pipe > 0) {
    ep.snd.noteLimit(true)
    return false
  }
  if (at === ep.finSeq) return sendFin(ep, tx, now)
  if (!ep.snd.isPacedOut(now)) return false
  let max = Math.min(ep.snd.burst(seg, burstMax(ep, seg)), Math.max(seg, space))
  max = Math.max(seg, max - (max % seg))
  const lost = flight.lostLen(at, max + 1)
  const toFin = ep.finSeq - at
  const withFin = ep.finSeq >= 0 && toFin <= max && lost > toFin
  return resend(ep, tx, at, withFin ? toFin : Math.min(lost, max), seg, withFin, false, now)
}

/** Sends up to `max` bytes from `at` again, and the FIN behind them `withFin`. */
function resend(
  ep: TcpEndpoint,
  tx: TxRing,
  at: SeqOff,
  max: number,
  seg: number,
  withFin: boolean,
  isProbe: boolean,
  now: Micros,
): boolean {
  if (!ep.source.runAt(at, max, run) || run.queue === null) return false
  const n = Math.min(run.len, max)
  const hasFin = withFin && n === max
  if (!openSegment(ep, tx, KIND_DATA, at, run, true, now)) return false
  run.queue.tx(run.off, n, tx)
  close(ep, tx, ACK | (hasFin || at + n === ep.snd.sndNxt ? PSH : 0) | (hasFin ? FIN : 0), at, n)
  if (!isProbe) ep.snd.onRetransmitted(at, hasFin ? n + 1 : n, now)
  ep.retransSegs += Math.ceil(n / seg)
  ep.retransBytes += n
  ep.rcv.onAckSent(false)
  return true
}

/** RFC 5682 §2.1 step 2b: a segment of new data where a retransmission would be due; without any the question stays open. */
function sendFrto(ep: TcpEndpoint, tx: TxRing, now: Micros): boolean {
  const { snd } = ep
  const seg = segmentPayload(ep, false)
  const recovery = (snd.flight as Flight).recovery
  const pending = ep.ext.maySendData() && ep.finSeq < 0 ? ep.source.pending() : 0
  const n = Math.min(seg, pending)
  if (n > 0 && snd.sndEdge - snd.sndNxt >= n && snd.cwndSpace() >= n) {
    if (!sendRun(ep, tx, n, pending, now)) return false
    recovery.frtoNew--
    return true
  }
  recovery.frtoNew = 0
  if (snd.sndNxt <= recovery.recoverAt) recovery.isFrto = false
  return false
}

/** RFC 8985 §7.3: one segment of new data if there is any that the peer's window takes, else the last segment again. */
export function sendTailProbe(ep: TcpEndpoint, tx: TxRing, now: Micros): boolean {
  const { snd } = ep
  const flight = snd.flight
  if (flight === null || !flight.recovery.isOpen) {
    ep.bits &= ~DUE_TLP
    return false
  }
  const seg = segmentPayload(ep, false)
  const before = snd.sndNxt
  const window = snd.sndEdge - before
  const pending = ep.ext.maySendData() && ep.finSeq < 0 ? ep.source.pending() : 0
  if (pending > 0 && window >= Math.min(seg, pending)) {
    if (!sendRun(ep, tx, Math.min(seg, pending), pending, now)) return false
    snd.onProbeSent(before, snd.sndNxt - before, false, now)
  } else {
    const end = ep.finSeq >= 0 ? ep.finSeq : before
    // as it was sent, and never across a mapping
    const again = segmentPayload(ep, true)
    let at = Math.max(flight.lastSegmentAt(end, Math.max(seg, again)), end - again)
    while (at < end && ep.source.runAt(at, end - at, run) && run.len < end - at) at += run.len
    if (at >= end) {
      if (!sendFin(ep, tx, now, true)) return false
    } else if (!resend(ep, tx, at, end - at, again, ep.finSeq >= 0, true, now)) return false
    snd.onProbeSent(at, before - at, true, now)
  }
  ep.bits &= ~DUE_TLP
  return true
}

/**
 * New data as far as both windows let it out, and the FIN behind the last of it. During a Fast Open only data: RFC 9293 §3.10.4 queues
 * a CLOSE in SYN-RECEIVED until the connection is established.
 */
export function sendNew(ep: TcpEndpoint, tx: TxRing, now: Micros): boolean {
  const snd = ep.snd
  if (!ep.canSend) return false
  const pending = ep.ext.maySendData() ? ep.source.pending() : 0
  if (pending === 0) {
    return ep.hs === null && ep.source.finAt() === snd.sndNxt && snd.mayFin(now) && sendFin(ep, tx, now)
  }
  snd.restartIfIdle(now)
  if (snd.pmtu !== null && sendMtuProbe(ep, snd.pmtu, tx, pending, now)) return true
  const seg = segmentPayload(ep, false)
  // what the stream ends with has nothing to wait for: its FIN goes along
  const isNagled = ep.cfg.nagle && !ep.source.isEnding()
  const n = snd.grant(pending, seg, burstMax(ep, seg), isNagled, ep.ext.ownsPersist(), now)
  return n > 0 && sendRun(ep, tx, n, pending, now)
}

/** One segment that is larger than what is known to pass, when it is time for that and nothing else is wrong (RFC 4821 §7.4). */
function sendMtuProbe(ep: TcpEndpoint, pmtu: PathMtu, tx: TxRing, pending: number, now: Micros): boolean {
  const { snd } = ep
  const size = pmtu.wanted(ep.mss, now)
  if (size === 0 || snd.flight?.isTroubled === true) return false
  const mss = ep.mss
  ep.mss = size
  const seg = segmentPayload(ep, false)
  const at = snd.sndNxt
  const mayGo = pending >= seg && snd.sndEdge - at >= seg && snd.cwndSpace() >= seg && snd.isPacedOut(now)
  const isSent = mayGo && sendRun(ep, tx, seg, pending, now)
  ep.mss = mss
  if (isSent && snd.sndNxt - at >= seg) pmtu.onProbeSent(at, snd.sndNxt, size)
  return isSent
}

/** Sends up to `n` of `pending` new bytes. */
function sendRun(ep: TcpEndpoint, tx: TxRing, n: number, pending: number, now: Micros): boolean {
  const snd = ep.snd
  if (!ep.source.prepare(snd.sndNxt, n, now, run) || run.queue === null) return false
  const len = Math.min(run.len, n)
  const at = snd.sndNxt
  if (!openSegment(ep, tx, KIND_DATA, at, run, false, now)) return false
  run.queue.tx(run.off, len, tx)
  if (snd.flight === null) ep.retries = 0 // what was not answered so far were keepalives
  ep.source.commit(at, run, len, now)
  const hasFin = ep.hs === null && ep.source.finAt() === at + len && at + len < snd.sndEdge
  // Linux: also behind a burst, so that its receiver passes it on instead of waiting for more to merge with it
  const isPushed = len === pending || len > ep.mss
  close(ep, tx, ACK | (isPushed ? PSH : 0) | (hasFin ? FIN : 0), at, len)
  snd.onSent(hasFin ? len + 1 : len, ep.mss, now)
  if (len === pending && snd.cwndSpace() > 0) snd.flight?.noteAppLimited()
  if (hasFin) noteFinSent(ep, at + len)
  ep.rcv.onAckSent(false)
  return true
}

function sendFin(ep: TcpEndpoint, tx: TxRing, now: Micros, isProbe = false): boolean {
  const at = ep.finSeq >= 0 ? ep.finSeq : ep.snd.sndNxt
  if (!openSegment(ep, tx, KIND_FIN, at, null, ep.finSeq >= 0, now)) return false
  close(ep, tx, FIN | ACK, at, 0)
  if (ep.finSeq >= 0) {
    if (!isProbe) ep.snd.onRetransmitted(at, 1, now)
    ep.retransSegs++
  } else {
    if (ep.snd.flight === null) ep.retries = 0
    ep.snd.onSent(1, ep.mss, now)
    noteFinSent(ep, at)
  }
  ep.rcv.onAckSent(false)
  return true
}

function noteFinSent(ep: TcpEndpoint, at: SeqOff): void {
  ep.finSeq = at
  ep.state = ep.state === st.CLOSE_WAIT ? st.LAST_ACK : st.FIN_WAIT_1
}

/** A pure ACK with window, SACK blocks and the extension's options. */
export function sendAck(ep: TcpEndpoint, tx: TxRing, now: Micros): boolean {
  const at = ep.snd.sndNxt
  if (!openSegment(ep, tx, (ep.bits & ONLY_SYNACK) !== 0 ? KIND_ACK3 : KIND_PURE_ACK, at, null, false, now)) return false
  close(ep, tx, ACK, at, 0)
  ep.rcv.onAckSent(true)
  return true
}

/** An empty segment below the window (RFC 9293 §3.8.6.1). */
export function sendProbe(ep: TcpEndpoint, tx: TxRing, now: Micros): boolean {
  const at = ep.snd.sndUna - 1 // already acknowledged: the peer must answer, and conntrack accepts it
  if (!openSegment(ep, tx, KIND_PURE_ACK, at, null, false, now)) return false
  close(ep, tx, ACK, at, 0)
  ep.bits &= ~DUE_PROBE
  return true
}

/** The RST of an abort. */
export function sendReset(ep: TcpEndpoint, tx: TxRing, now: Micros): boolean {
  const at = Math.max(1, ep.snd.sndNxt) // our SYN counts, also while its ACK is awaited
  if (!openSegment(ep, tx, KIND_RST, at, null, false, now)) return false
  closeSegment(ep, tx, ep.rcv.rcvNxt === 0 ? RST : RST | ACK, at, 0, 0, 0)
  ep.segsOut++
  ep.bits &= ~DUE_RST
  ep.rcv.ackNow = false
  return true
}

function close(ep: TcpEndpoint, tx: TxRing, flags: number, seqOff: SeqOff, payload: number): void {
  const raw = ep.rcv.announce(ep.ext.ownWindow(ep.rcv.rcvNxt), ep.rcvWscale)
  let all = flags
  let ecn = 0
  if ((ep.bits & ECN_OK) !== 0) {
    if ((ep.bits & ECE_DUE) !== 0) all |= ECE
    // §6.1.4 and §6.1.5: neither pure ACKs nor retransmissions are ECN-capable
    if (payload > 0 && seqOff >= ep.snd.sndNxt) {
      ecn = ECN_ECT0
      if ((ep.bits & CWR_DUE) !== 0) all |= CWR
      ep.bits &= ~CWR_DUE
    }
  }
  closeSegment(ep, tx, all, seqOff, payload, raw, ecn)
  ep.segsOut++
}
