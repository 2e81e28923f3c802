import type { TxRing } from '../base/rings.js'
import { type Micros, NEVER, US_PER_MS, US_PER_S } from '../base/time.js'
import type { Packet } from '../wire/packet.js'
import { unwrap } from '../wire/seq.js'
import { ACK, CWR, ECE, FIN, RST, SYN } from '../wire/tcp.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import { DUE_RST, ECN_OK, ONLY_SYNACK } from './bits.js'
import { takeFin } from './close.js'
import type { TcpEndpoint } from './endpoint.js'
import { KIND_SYN, KIND_SYNACK, ON_CONTINUE, ON_RESET, Run, type SeqOff } from './extension.js'
import { Handshake, negotiate, type Negotiated } from './handshake.js'
import { closeSegment, echoedMs, openSyn, OPTIONS_MAX, TS_LEN } from './segment-writer.js'
import * as st from './state.js'

const run = new Run()

/** RFC 9293 §3.10.7.3. */
export function onSynSent(ep: TcpEndpoint, pkt: Packet, opts: TcpOptions, now: Micros): boolean {
  const ackOff = unwrap(1, ep.iss, pkt.ack)
  const hasAck = (pkt.flags & ACK) !== 0
  const isRst = (pkt.flags & RST) !== 0
  if (hasAck && (ackOff < 1 || ackOff > 1 + (ep.hs?.fastOpenLen ?? 0))) return isRst
  if (isRst) {
    if (hasAck) {
      ep.ext.onReset(opts, now)
      ep.finish(st.CAUSE_REFUSED)
    }
    return true
  }
  if ((pkt.flags & SYN) !== 0) onSynAck(ep, pkt, opts, hasAck ? ackOff : -1, now)
  return true
}

/** The peer's SYN in SYN-SENT; `ackOff` -1: without ACK, a simultaneous open. */
function onSynAck(ep: TcpEndpoint, pkt: Packet, opts: TcpOptions, ackOff: SeqOff, now: Micros): void {
  ep.irs = pkt.seq
  ep.rcv.rcvNxt = 1
  ep.rcv.lastAckSent = 1
  if (opts.hasTs) {
    ep.rcv.tsRecent = opts.tsVal
    ep.rcv.tsRecentAtS = Math.floor(now / US_PER_S)
  }
  const peer = negotiate(ep.cfg, opts, ep.tuple.remote.isV4)
  const verdict = ep.ext.onOptions(pkt, opts, 0, ackOff, now)
  if (verdict !== ON_CONTINUE) {
    if (verdict === ON_RESET) {
      ep.finish(st.CAUSE_ABORTED)
      ep.bits |= DUE_RST
    }
    return
  }
  adopt(ep, peer)
  // RFC 3168 §6.1.1: an ECN-setup SYN/ACK has ECE without CWR
  if (ackOff >= 0 && ep.cfg.ecn === 'request' && (pkt.flags & (ECE | CWR)) === ECE) ep.bits |= ECN_OK
  if (ackOff < 0) {
    // simultaneous open: the peer's SYN/ACK will answer our SYN, not the SYN/ACK that follows
    const hs = new Handshake(peer, opts.wscale >= 0)
    if (ep.hs !== null) {
      hs.firstSentAt = ep.hs.firstSentAt
      hs.retries = ep.hs.retries
      hs.repeats = ep.hs.repeats
    }
    ep.state = st.SYN_RECEIVED
    ep.hs = hs
    return
  }
  ep.bits |= ONLY_SYNACK
  ep.rcv.ackNow = true
  establish(ep, opts, ackOff, now)
  const window = pkt.window // never scaled in a SYN
  ep.snd.updateWindow(0, window, ep.ext.peerEdge(ackOff, window))
  if (pkt.payLen > 0) ep.onPayload(pkt, 1, now)
  // RFC 9293 §3.10.7.3: with a FIN in it, processing goes on as for any segment
  if ((pkt.flags & FIN) !== 0) ep.rcv.noteFin(1 + pkt.payLen)
  takeFin(ep, true, now)
  ep.ext.afterSegment(now)
}

/** Takes over what the peer's SYN settled. */
export function adopt(ep: TcpEndpoint, peer: Negotiated): void {
  ep.terms = peer
  ep.mss = Math.min(mssLimit(ep), peer.peerMss) - (peer.hasTimestamps ? TS_LEN : 0)
  ep.snd.initialWindow = ep.cfg.initialWindow * ep.mss
}

/** Our SYN is acknowledged: `ackOff` is 1, or more with Fast Open data. */
export function establish(ep: TcpEndpoint, opts: TcpOptions, ackOff: SeqOff, now: Micros): void {
  if (ep.hs !== null) noteHandshake(ep, ep.hs, opts, now)
  ep.state = st.ESTABLISHED
  ep.hs = null
  ep.retries = 0
  ep.events |= st.EV_ESTABLISHED
  if (ep.snd.sndUna < 1) ep.snd.sndUna = 1
  if (ep.snd.sndNxt < 1) ep.snd.sndNxt = 1
  ep.snd.rtt.backoff = 0
  // the timer was that of the SYN/ACK; data that has left behind it (server Fast Open) has its own from here on
  ep.snd.rexmitAt = ep.snd.flight === null ? NEVER : now + ep.rtoUs()
  if (ackOff > 1 && ep.snd.flight === null) takeFastOpen(ep, ackOff, now)
}

/**
 * The SYN/ACK covers data of our SYN (RFC 7413 §4.2.2): all before `ackOff` counts as sent and acknowledged in this instant. The rest was not
 * taken; it is new data, which MPTCP maps as such (RFC 8684 appendix B.3).
 */
function takeFastOpen(ep: TcpEndpoint, ackOff: SeqOff, now: Micros): void {
  const len = ackOff - 1
  if (ep.source.prepare(1, len, now, run)) ep.source.commit(1, run, len, now)
  ep.snd.sndUna = ackOff
  ep.snd.sndNxt = ackOff
  ep.source.acked(ackOff, now)
}

/**
 * Server Fast Open (RFC 7413 §4.2.2): the SYN that this passive open is for showed a valid cookie, or needs none. Its data goes to the
 * sink, the SYN/ACK acknowledges it, and data of ours may leave before the third ACK. To be called once, before the first poll.
 * @returns how many bytes of the SYN were taken
 */
export function openFast(ep: TcpEndpoint, syn: Packet, now: Micros): number {
  const { hs, rcv, snd } = ep
  if (ep.state !== st.SYN_RECEIVED || hs === null) return 0
  hs.isFastOpen = true
  // our SYN goes first, and the window of a SYN is never scaled
  snd.sndNxt = 1
  snd.updateWindow(0, syn.window, ep.ext.peerEdge(1, syn.window))
  if (syn.payLen === 0) return 0
  rcv.announceSyn(ep.ext.ownWindow(1))
  const len = Math.min(syn.payLen, rcv.edge - 1)
  const taken = len <= 0 ? 0 : rcv.onPayload(1, syn.mem, syn.payOff, len, len, ep.sink, ep.cfg.delayedAckUs, now)
  rcv.onAckSent(true) // the SYN/ACK will tell
  if (taken > 0) ep.events |= st.EV_DATA
  return taken
}

/** What the handshake tells about the path. */
function noteHandshake(ep: TcpEndpoint, hs: Handshake, opts: TcpOptions, now: Micros): void {
  if (hs.firstSentAt < 0) return
  if (hs.retries === 0) {
    ep.snd.rtt.sample(now - hs.firstSentAt)
    return
  }
  const echoUs = ep.hasTimestamps && opts.hasTs ? echoedMs(ep, opts.tsEcr, now) * US_PER_MS : -1
  if (echoUs > hs.firstSentAt - US_PER_MS) ep.snd.rtt.sample(now - echoUs)
  else ep.snd.rtt.onAmbiguousOpen()
  // RFC 6928 §2 says: after any repetition. Linux: the first may be due to an initial RTO that is too short for the path
  if (hs.timeouts > 1) ep.snd.initialWindow = ep.mss
}

/** The SYN or SYN/ACK was not answered in time (RFC 6298 §5). */
export function onSynTimeout(ep: TcpEndpoint, hs: Handshake, now: Micros): void {
  if (hs.timeouts >= ep.cfg.synRetries) {
    ep.finish(st.CAUSE_TIMEOUT)
    return
  }
  hs.retries++
  hs.fastOpenCookie = null // RFC 7413 §4.1.3: the retransmitted SYN goes without
  hs.isSynDue = true
  ep.snd.rtt.backoff = hs.timeouts
  ep.snd.rexmitAt = now + Math.min(ep.cfg.rtoMaxUs, ep.cfg.rtoInitUs * 2 ** hs.timeouts)
  ep.ext.onRto(hs.timeouts, now)
}

/** The SYN, or the SYN/ACK in SYN-RECEIVED. */
export function sendSyn(ep: TcpEndpoint, tx: TxRing, hs: Handshake, now: Micros): boolean {
  const isActive = ep.state === st.SYN_SENT
  if (!openSyn(ep, tx, hs, isActive ? KIND_SYN : KIND_SYNACK, now)) return false
  const payload = addFastOpenData(ep, tx, hs, now)
  const raw = ep.rcv.announceSyn(ep.ext.ownWindow(Math.max(1, ep.rcv.rcvNxt)))
  const ask = isActive && ep.cfg.ecn === 'request' && hs.timeouts === 0 ? ECE | CWR : 0
  const agree = !isActive && (ep.bits & ECN_OK) !== 0 ? ECE : 0
  closeSegment(ep, tx, isActive ? SYN | ask : SYN | ACK | agree, 0, payload, raw, 0)
  ep.segsOut++
  hs.isSynDue = false
  if (!isActive) hs.fastOpenCookie = null // RFC 7413 §4.2.2: a SYN/ACK that is repeated goes without
  if (hs.firstSentAt < 0) hs.firstSentAt = now
  if (hs.retries > 0) ep.retransSegs++
  return true
}

/**
 * RFC 7413 §4.2.2: with a cookie the SYN carries data, up to the MSS that the server had. Linux: less the room of all options, so that a box
 * may add some.
 */
function addFastOpenData(ep: TcpEndpoint, tx: TxRing, hs: Handshake, now: Micros): number {
  if (hs.fastOpenCookie === null || hs.fastOpenCookie.length === 0 || ep.state !== st.SYN_SENT) return 0
  const max = Math.min(mssLimit(ep), hs.fastOpenMss === 0 ? Number.POSITIVE_INFINITY : hs.fastOpenMss) - OPTIONS_MAX
  if (max <= 0 || !ep.source.prepare(1, max, now, run) || run.queue === null) return 0
  const n = Math.min(run.len, max)
  run.queue.tx(run.off, n, tx)
  hs.fastOpenLen = n
  return n
}

/** The MSS that we announce. */
function mssLimit(ep: TcpEndpoint): number {
  return ep.tuple.local.isV4 ? ep.cfg.mss4 : ep.cfg.mss6
}
