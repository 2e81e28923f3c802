import type { Micros } from '../base/time.js'
import { SUBFLOW_DOWN } from '../scheduler/scheduler.js'
import type { SeqOff } from '../tcp/extension.js'
import { RST_MIDDLEBOX, RST_MPTCP_ERROR } from '../wire/mptcp-options.js'
import type { MptcpConnection } from './connection.js'
import { PHASE_JOINING, PHASE_SYN } from './phase.js'
import type { Subflow } from './subflow.js'

/** Why a connection is plain TCP (RFC 8684 §3.7). */
export const FB_NONE = 0
/** Switched off by configuration. */
export const FB_DISABLED = 1
/** The SYNs with MP_CAPABLE were not answered, the plain one was. */
export const FB_PLAIN_SYN = 2
/** The SYN/ACK had no valid MP_CAPABLE: the server does not speak MPTCP, or the path strips it. */
export const FB_SYNACK_WITHOUT = 3
export const FB_VERSION = 4
/** Flag B: an extension that we do not know (§3.1). */
export const FB_EXTENSIBILITY = 5
/** No algorithm in common: flag H missing. */
export const FB_NO_HMAC = 6
export const FB_SIMULTANEOUS_OPEN = 7
/** The SYN had no valid MP_CAPABLE (passive side). */
export const FB_SYN_WITHOUT = 8
/** The SYN had MP_CAPABLE and MP_JOIN. */
export const FB_SYN_BOTH = 9
/** No unused token was found. */
export const FB_NO_TOKEN = 10
/** The third ACK had no MP_CAPABLE. */
export const FB_ACK_WITHOUT = 11
/** The third ACK did not echo our key, or not the flags agreed upon. */
export const FB_ACK_INVALID = 12
/** Data in order without any mapping. */
export const FB_DATA_WITHOUT = 13
/** New data was acknowledged without a DATA_ACK before there ever was one. */
export const FB_NO_DATA_ACK = 14
/** Options vanished later. */
export const FB_STRIPPED = 15
export const FB_INFINITE_RECEIVED = 16
export const FB_FAIL_RECEIVED = 17
export const FB_CHECKSUM = 18
/** SYNs with MP_CAPABLE to this destination were not answered lately. */
export const FB_BLACK_HOLE = 19

/** Text of each reason, as `status` shows it. */
export const FALLBACK_NAMES: readonly string[] = [
  'none',
  'MPTCP is switched off',
  'no answer to SYN with MP_CAPABLE',
  'no MP_CAPABLE in SYN/ACK',
  'other MPTCP version',
  'unknown extension flag in MP_CAPABLE',
  'no HMAC-SHA256 in MP_CAPABLE',
  'simultaneous open',
  'no MP_CAPABLE in SYN',
  'MP_CAPABLE and MP_JOIN in one SYN',
  'no free token',
  'no MP_CAPABLE in third ACK',
  'invalid MP_CAPABLE in third ACK',
  'data without mapping',
  'data acknowledged without DATA_ACK',
  'options vanished',
  'infinite mapping received',
  'MP_FAIL received',
  'checksum failure',
  'MP_CAPABLE was not answered lately',
]

/** Next SeqOff that the subflow's peer has to send to get further; what the data level expects next stands there. */
function expectedSeq(s: Subflow): number {
  if (s.staging !== null) return s.staging.queue.base
  return Math.max(1, s.payloadNxt)
}

/**
 * RFC 8684 §3.7: only on the first subflow, alone, never joined, with everything in flight contiguous in both directions. Then bytes that
 * nothing maps can but continue the stream. @param expected SeqOff at which the next byte of the stream stands.
 */
export function isSoleAndContiguous(c: MptcpConnection, s: Subflow, expected = expectedSeq(s)): boolean {
  if (c.opening.everJoined || s.isJoin || !c.isMptcp) return false
  for (const o of c.subflows) if (o !== s && o.isLive && o.phase !== PHASE_SYN) return false
  if (s.tx !== null && !s.tx.isLinear(c.snd.nxt - s.mappedEnd)) return false
  return s.rx === null || s.rx.isLinear(c.rx.dataOfStream(c.recvQueue.readyEnd) - expected)
}

/** Bytes at `expected` that nothing maps continue the stream, unless what came before them was a copy of older bytes: so may they be. */
export function followsStream(c: MptcpConnection, s: Subflow, expected: SeqOff): boolean {
  if (Number.isNaN(s.rxDiff) || (s.rx !== null && s.rx.find(expected) >= 0)) return true
  return s.rxDiff === c.rx.dataOfStream(c.recvQueue.readyEnd) - expected
}

/**
 * The third ACK of a join decides whether this connection is joined, and nobody knows where that is: we have answered the peer's SYN, or
 * were not answered.
 */
export function isJoinPending(c: MptcpConnection): boolean {
  for (const o of c.subflows) if (o.isJoin && (o.isActive ? o.phase === PHASE_JOINING : o.phase === PHASE_SYN)) return true
  return false
}

/** Whether the connection may fall back now. A join that we only asked for is given up for it, one that the peer asked for is not. */
export function mayFallBack(c: MptcpConnection, s: Subflow, expected = expectedSeq(s)): boolean {
  return isSoleAndContiguous(c, s, expected) && followsStream(c, s, expected) && !isJoinPending(c)
}

/**
 * The connection becomes plain TCP for good: from here on both directions count in SeqOff, an ACK frees bytes, persist and window
 * are TCP's, and FIN ends the stream. Call only when `mayFallBack`, or in the handshake.
 */
export function fallBack(c: MptcpConnection, s: Subflow, reason: number, now: Micros, expected = expectedSeq(s)): void {
  const isHandshake = !c.isMptcp
  if (isHandshake) {
    c.tx.fixSeq(1, 0)
    c.rx.fixSeq(1, 0)
  } else {
    c.tx.fixSeq(s.mappedEnd, c.tx.streamOfData(c.snd.nxt))
    c.rx.fixSeq(expected, c.recvQueue.readyEnd)
  }
  c.becomePlain(reason)
  s.becomePlain(now)
  giveUpJoins(c, s)
}

/** A join that is not through yet has lost the race against the fallback to `s`. */
function giveUpJoins(c: MptcpConnection, s: Subflow): void {
  for (const o of c.subflows) if (o !== s && o.isLive) o.reset(RST_MPTCP_ERROR)
}

/**
 * The subflow's options do not get through. Falls back when that is possible (true); else the subflow has to be reset with
 * reason 6 (false).
 */
export function onStripped(c: MptcpConnection, s: Subflow, reason: number, now: Micros): boolean {
  if (!mayFallBack(c, s)) {
    c.env.counters.FallbackFailed++
    return false
  }
  c.env.counters.DssFallback++
  // the peer may still see our options: tell it (§3.7)
  s.announceInfinite(c.snd.nxt - s.reserved, s.nextSeq)
  fallBack(c, s, reason, now)
  return true
}

/** RFC 8684 §3.7: MP_FAIL on the only subflow, and wait for the infinite mapping; else the subflow is lost. */
export function onBadChecksum(c: MptcpConnection, s: Subflow, seqOff: SeqOff, now: Micros): void {
  const n = c.env.counters
  n.DataCsumErr++
  const i = s.rx === null ? -1 : s.rx.find(seqOff)
  s.failAt = s.rx === null || i < 0 ? c.rcv.dataAck : seqOff + s.rx.diffAt(i)
  if (mayFallBack(c, s)) {
    n.DSSCorruptionFallback++
    s.isFailDue = true
    s.answer()
    giveUpJoins(c, s)
    return
  }
  n.DSSCorruptionReset++
  s.reset(RST_MIDDLEBOX)
  c.scheduler.onEvent(SUBFLOW_DOWN, c.subflows.indexOf(s), now)
}
