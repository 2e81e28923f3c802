import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import { DUE_PROBE, DUE_TLP } from './bits.js'
import type { TcpEndpoint } from './endpoint.js'
import { onSynTimeout } from './opening.js'
import { suspectBlackHole } from './pmtud.js'
import * as st from './state.js'

// The timers of an endpoint. One field, `snd.rexmitAt`, serves what excludes each other: SYN, retransmission, window probe, TIME-WAIT.
// Keepalive runs while none of them does, and its deadline follows from what is kept anyway.

/** Shortest distance of two keepalives that are not answered; it doubles each time. */
const ASK_MIN_US: Micros = 1 * US_PER_S

/** The next instant at which `onTimeout` has something to do. */
export function nextTimeout(ep: TcpEndpoint): Micros {
  const { snd } = ep
  const at = Math.min(snd.rexmitAt, ep.rcv.delackAt, snd.flightTimeout, ep.ext.nextTimeout())
  return snd.rexmitAt === NEVER ? Math.min(at, keepaliveAt(ep), snd.restAt) : Math.min(at, giveUpAt(ep))
}

export function onTimeout(ep: TcpEndpoint, now: Micros): void {
  const { snd, rcv } = ep
  if (rcv.delackAt <= now) {
    rcv.delackAt = NEVER
    rcv.ackNow = true
  }
  if (ep.ext.nextTimeout() <= now) ep.ext.onTimeout(now)
  if (snd.flightTimeout <= now && snd.onFlightTimeout(ep.mss, ep.ext, now)) ep.bits |= DUE_TLP
  if (snd.rexmitAt === NEVER) {
    if (snd.restAt <= now) snd.rest()
    if (keepaliveAt(ep) <= now) askIfAlive(ep)
  } else if (giveUpAt(ep) <= now) ep.finish(st.CAUSE_TIMEOUT)
  if (snd.rexmitAt > now) return
  if (ep.state === st.TIME_WAIT) ep.finish(st.CAUSE_FIN)
  else if (ep.hs !== null) onSynTimeout(ep, ep.hs, now)
  else onRetransmitTimeout(ep, now)
}

function onRetransmitTimeout(ep: TcpEndpoint, now: Micros): void {
  const { snd } = ep
  ep.retries++
  if (ep.retries > ep.cfg.dataRetries) {
    ep.finish(st.CAUSE_TIMEOUT)
    return
  }
  if (snd.flight !== null) {
    snd.onRto(ep.mss, now)
    suspectBlackHole(ep, now)
    ep.ext.onRto(ep.retries, now)
    return
  }
  // zero-window probe (RFC 9293 §3.8.6.1); the interval doubles like the RTO
  snd.rtt.backoff++
  snd.rexmitAt = now + ep.rtoUs()
  ep.probe()
}

/**
 * When the user timeout is over (RFC 5482 §2): data is not acknowledged for that long, or a peer that closed its window is not heard.
 * A peer that keeps its window closed and says so may do that for ever (RFC 9293 §3.8.6.1). NEVER: there is no such limit, or the
 * extension keeps it for all subflows together.
 */
function giveUpAt(ep: TcpEndpoint): Micros {
  const limit = ep.cfg.userTimeoutUs
  if (limit === 0 || ep.hs !== null || ep.state === st.TIME_WAIT || ep.ext.ownsPersist()) return NEVER
  const { flight } = ep.snd
  return (flight === null ? ep.heardAtS * US_PER_S : flight.progressAt) + limit
}

/**
 * When the peer is asked, for want of anything heard from it, whether it is there (RFC 9293 §3.8.4). `retries` counts what it left
 * unanswered, so the distances double without a field for them.
 */
function keepaliveAt(ep: TcpEndpoint): Micros {
  const { state, cfg } = ep
  if (state !== st.ESTABLISHED && state !== st.CLOSE_WAIT && state !== st.FIN_WAIT_2) return NEVER
  const idle = state === st.CLOSE_WAIT && cfg.closeWaitAskUs > 0 ? cfg.closeWaitAskUs : cfg.keepaliveUs
  if (idle === 0 || ep.hs !== null || ep.ext.keepalives() === 0) return NEVER
  const interval = cfg.keepaliveIntervalUs
  const since = interval > 0 ? ep.retries * interval : (2 ** ep.retries - 1) * Math.max(ASK_MIN_US, ep.baseRtoUs())
  return ep.heardAtS * US_PER_S + idle + since
}

function askIfAlive(ep: TcpEndpoint): void {
  if (ep.retries >= ep.ext.keepalives()) {
    ep.finish(st.CAUSE_TIMEOUT)
    return
  }
  ep.retries++
  ep.bits |= DUE_PROBE
}
