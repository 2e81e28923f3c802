import type { Micros } from '../base/time.js'
import type { Packet } from '../wire/packet.js'
import { unwrap } from '../wire/seq.js'
import { ACK, FIN, RST, SYN } from '../wire/tcp.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import type { SeqOff } from './extension.js'
import type { Receiver } from './receiver.js'
import type { Sender } from './sender.js'
import { SYN_RECEIVED, type TcpState, TIME_WAIT } from './state.js'

export const SEG_ACCEPT = 0
/** Ignore silently. */
export const SEG_DROP = 1
/** Challenge ACK (RFC 5961 §3.2, §4.2, §5.2), rate-limited. */
export const SEG_CHALLENGE = 2
/** A valid RST. */
export const SEG_RESET = 3
/** Belongs to no connection that we know: answer with RST (RFC 9293 §3.10.7.4, SYN-RECEIVED with a wrong ACK). */
export const SEG_STRAY = 4
/** Not acceptable: answer with the current ACK. */
export const SEG_OUTSIDE = 5
export type SegmentClass = 0 | 1 | 2 | 3 | 4 | 5

/** What `classify` reads of an endpoint. */
export interface Synchronized {
  readonly state: TcpState
  readonly iss: number
  readonly rcv: Receiver
  readonly snd: Sender
  readonly hasTimestamps: boolean
}

/** The first four checks of RFC 9293 §3.10.7.4 with RFC 7323 (PAWS) and RFC 5961, for every state from SYN-RECEIVED on. */
export function classify(ep: Synchronized, pkt: Packet, opts: TcpOptions, segOff: SeqOff, now: Micros): SegmentClass {
  const flags = pkt.flags
  const rcv = ep.rcv
  const isRst = (flags & RST) !== 0
  // RFC 7323 §5.3 R1: an old timestamp, unless the segment is a RST. (R1 has timestamps on every segment, but §3.2 says "should", and
  // MPTCP leaves them out where a long ADD_ADDR needs the room: their absence proves nothing.)
  if (ep.hasTimestamps && opts.hasTs && !isRst && ((opts.tsVal - rcv.tsRecent) | 0) < 0 && !rcv.isTsOutdated(now)) {
    if (!rcv.isOvertaken(opts.tsVal, segOff)) return SEG_OUTSIDE
  }
  if (isRst) {
    // By its first octet alone: explanatory text in a RST (RFC 9293 §3.5.3) occupies no sequence space
    if (!isInWindow(segOff, 0, rcv.rcvNxt, rcv.edge)) return SEG_DROP
    if (ep.state === TIME_WAIT) return SEG_DROP // RFC 1337 §3 (F1)
    // RFC 5961 §3.2: only the exact sequence number resets
    return segOff === rcv.rcvNxt ? SEG_RESET : SEG_CHALLENGE
  }
  const isSyn = (flags & SYN) !== 0
  // RFC 9293 figure 8: both opened at once. The peer's SYN/ACK repeats its SYN, and its ACK is what counts
  if (isSyn && ep.state === SYN_RECEIVED && segOff === 0 && (flags & ACK) !== 0 && unwrap(ep.snd.sndUna, ep.iss, pkt.ack) === 1) {
    return SEG_ACCEPT
  }
  const len = pkt.payLen + ((flags & FIN) !== 0 ? 1 : 0) + (isSyn ? 1 : 0)
  if (!isInWindow(segOff, len, rcv.rcvNxt, rcv.edge)) return SEG_OUTSIDE
  // RFC 5961 §4.2: a SYN in a synchronized state is challenged, whatever its number
  if (isSyn) return SEG_CHALLENGE
  if ((flags & ACK) === 0) return SEG_DROP
  const ackOff = unwrap(ep.snd.sndUna, ep.iss, pkt.ack)
  if (ep.state === SYN_RECEIVED) {
    return ackOff >= 1 && ackOff <= Math.max(1, ep.snd.sndNxt) ? SEG_ACCEPT : SEG_STRAY
  }
  // RFC 5961 §5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT
  if (ackOff > ep.snd.sndNxt || ackOff < ep.snd.sndUna - ep.snd.maxWindow) return SEG_CHALLENGE
  return SEG_ACCEPT
}

/**
 * RFC 9293 §3.4, table 6. A segment without length is fine at the right edge too: the peer has filled the window and acknowledges.
 * With a zero window a segment at the left edge is let in for its ACK (§3.10.7.4 "special allowance") and for a bare FIN (Linux); its
 * payload is cut off.
 */
function isInWindow(segOff: SeqOff, len: number, rcvNxt: SeqOff, edge: SeqOff): boolean {
  if (len === 0) return segOff >= rcvNxt && segOff <= Math.max(edge, rcvNxt)
  if (edge <= rcvNxt) return segOff === rcvNxt
  return segOff < edge && segOff + len > rcvNxt
}
