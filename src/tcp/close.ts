import { type Micros, NEVER } from '../base/time.js'
import type { TcpEndpoint } from './endpoint.js'
import * as st from './state.js'

// The close of a connection, RFC 9293 §3.6: what FINs and their acknowledgements do to the state.

/** Takes the peer's FIN once everything before it has arrived. @param isLast this segment has it: no gap was filled by it */
export function takeFin(ep: TcpEndpoint, isLast: boolean, now: Micros): void {
  const { rcv } = ep
  if (rcv.finAt < 0 || rcv.rcvNxt !== rcv.finAt) return
  rcv.rcvNxt++
  ep.events |= st.EV_PEER_FIN
  ep.sink.onFin(rcv.finAt, now)
  if (ep.state === st.ESTABLISHED) {
    ep.state = st.CLOSE_WAIT
    if (isLast) rcv.delayFinAck(ep.cfg.delayedAckUs, now)
    else rcv.ackNow = true
    return
  }
  rcv.ackNow = true
  switch (ep.state) {
    case st.FIN_WAIT_1:
      ep.state = st.CLOSING
      break
    case st.FIN_WAIT_2:
      enterTimeWait(ep, now)
  }
}

/** Our FIN was acknowledged. */
export function onFinAcked(ep: TcpEndpoint, now: Micros): void {
  switch (ep.state) {
    case st.FIN_WAIT_1:
      ep.state = st.FIN_WAIT_2
      break
    case st.CLOSING:
      enterTimeWait(ep, now)
      break
    case st.LAST_ACK:
      ep.finish(st.CAUSE_FIN)
  }
}

function enterTimeWait(ep: TcpEndpoint, now: Micros): void {
  ep.state = st.TIME_WAIT
  ep.snd.rexmitAt = now + ep.cfg.timeWaitUs
  ep.events |= st.EV_CLOSED // for the owner nothing is left to do; the endpoint lingers by itself
  ep.cause = st.CAUSE_FIN
}

/** The endpoint is CLOSED now, whatever it was before. */
export function finish(ep: TcpEndpoint, cause: st.CloseCause): void {
  const wasClosed = (ep.events & st.EV_CLOSED) !== 0 || ep.state === st.TIME_WAIT
  ep.state = st.CLOSED
  if (!wasClosed) ep.cause = cause
  ep.events |= st.EV_CLOSED
  ep.snd.dispose()
  ep.rcv.delackAt = NEVER
  // the last ACK of an orderly close still has to leave; otherwise nothing more is said
  if (cause !== st.CAUSE_FIN) ep.rcv.ackNow = false
  ep.hs = null
}
