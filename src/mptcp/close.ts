import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import * as st from '../tcp/state.js'
import { RST_TOO_MUCH_OUTSTANDING, RST_UNSPECIFIED } from '../wire/mptcp-options.js'
import type { MptcpConnection } from './connection.js'
import { PHASE_DEAD, PHASE_JOINING, PHASE_OPEN, PHASE_PLAIN, PHASE_SYN } from './phase.js'
import type { Subflow } from './subflow.js'
import { drainPlain } from './subflow-sink.js'

/** How long subflows may take to exchange their FINs once both DATA_FINs are acknowledged (Linux: close_timeout 60 s). */
const LINGER_US = 60 * US_PER_S

/**
 * Advances the close of an MPTCP connection, RFC 8684 §3.3.3:
 *
 *     app: fin -> all data scheduled -> DATA_FIN (alone, on a pure ACK; repeated by the data-level timer) -> DATA_ACKed \
 *     peer: DATA_FIN -> all data received -> DATA_ACK -------------------------------------------------------------------> FIN on
 *                                                                                                              every subflow
 */
export function stepClose(c: MptcpConnection, now: Micros): void {
  if (!c.isMptcp || c.isClosed) return
  if (c.isDataFinDue && !c.isDataFinAsked) {
    const s = bestSubflow(c)
    if (s !== null) {
      answerOnAll(c, s)
      c.isDataFinAsked = true
    }
  }
  if (!c.snd.isFinAcked || !c.rcv.isComplete) return
  c.isClosing = true
  c.finish(st.CAUSE_FIN, now)
  c.lingerAt = now + LINGER_US
  for (const s of c.subflows) {
    // a handshake that nobody needs any more
    if (s.phase === PHASE_SYN || s.phase === PHASE_JOINING) s.reset(RST_UNSPECIFIED)
    else if (s.isLive && s.rtoCount > 0) s.reset(RST_TOO_MUCH_OUTSTANDING) // §3.3.3: what it still has to bring was brought by others
  }
}

/** A DATA_FIN of ours, or the answer to the peer's, on `s` and as Linux does on every other subflow: one of them may be mute by now. */
export function answerOnAll(c: MptcpConnection, s: Subflow): void {
  s.answer()
  for (const o of c.subflows) if (o !== s && o.phase === PHASE_OPEN && o.ep.canSend) o.answer()
}

/** The subflow that signals go out on: of those that answer, the fastest. Null: none is up. */
export function bestSubflow(c: MptcpConnection): Subflow | null {
  let best: Subflow | null = null
  for (const s of c.subflows) {
    if (!s.isUsable && !(s.isLive && s.ep.isSynchronized && s.maySendData())) continue
    if (best === null || s.rtoCount < best.rtoCount || (s.rtoCount === best.rtoCount && s.srttUs < best.srttUs)) best = s
  }
  return best
}

/** The endpoint of `s` is closed: what that means for the connection. */
export function onSubflowDown(c: MptcpConnection, s: Subflow, now: Micros): void {
  if (s.phase === PHASE_DEAD) return
  const phase = s.phase
  const cause = s.ep.cause
  if (phase === PHASE_JOINING && cause === st.CAUSE_RESET) c.opening.onJoinReset(s.peerRstReason)
  if (phase === PHASE_PLAIN) drainPlain(s)
  else c.reclaim(s)
  const isCutShort = phase === PHASE_PLAIN && s.staging !== null && cause === st.CAUSE_FIN // there was no memory for the rest
  s.die()
  if (c.isClosed) return
  if (phase === PHASE_PLAIN || !c.isMptcp) {
    // plain TCP: the flow is the connection
    if (!s.isJoin) c.finish(isCutShort ? st.CAUSE_RESET : cause, now)
    return
  }
  if (c.subflows.some(isUp)) return
  const isJoining = c.subflows.some((o) => o.isLive)
  if (!isJoining && cause === st.CAUSE_FIN && isThrough(c)) {
    c.finish(st.CAUSE_FIN, now) // both ends of the stream are known and through, if only by the FINs
    return
  }
  if (!isJoining && !c.isFullyEstablished && c.snd.una === 0) {
    // nothing proves that the peer has the connection at all: the application is told at once
    c.finish(cause === st.CAUSE_FIN ? st.CAUSE_RESET : cause, now)
    return
  }
  // §3.3.3: break before make. Also when all subflows were closed by FIN without a DATA_FIN. Joins that fail do not begin it anew
  if (c.lingerAt !== NEVER) return
  c.downCause = cause === st.CAUSE_FIN ? st.CAUSE_RESET : cause
  c.lingerAt = now + c.cfg.breakBeforeMakeUs
}

/** Established, or about to be: more than a SYN. */
function isUp(s: Subflow): boolean {
  return s.isLive && s.phase !== PHASE_SYN
}

/** Everything went both ways, the ends of both streams included, but for the acknowledgement of our end. */
function isThrough(c: MptcpConnection): boolean {
  return c.rcv.isComplete && c.snd.una === c.snd.nxt && c.isAtEnd
}

/** `lingerAt` has come. */
export function onLinger(c: MptcpConnection, now: Micros): void {
  c.lingerAt = NEVER
  if (!c.isClosed) {
    if (c.subflows.some(isUp)) return
    c.env.counters.BreakBeforeMakeTimeout++
    c.finish(isThrough(c) ? st.CAUSE_FIN : c.downCause, now)
  }
  for (const s of c.subflows) if (s.isLive) s.ep.abort()
}
