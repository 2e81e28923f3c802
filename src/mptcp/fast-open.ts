import type { Micros } from '../base/time.js'
import { openFast } from '../tcp/opening.js'
import type { OfferedOptions } from '../tcp/handshake.js'
import type { Packet } from '../wire/packet.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import type { MptcpConnection } from './connection.js'
import type { MptcpConfig } from './env.js'
import { FB_NONE } from './fallback.js'
import { refusalOfSyn } from './handshake.js'

/**
 * Server Fast Open: the SYN that `c` was opened for a moment ago showed a valid cookie (RFC 7413 §4.2.2). Its data is in the receive queue
 * afterwards, and outside of the data sequence space: the first byte behind it has DSN IDSN + 1 and subflow sequence number 1 (RFC 8684
 * appendix B.2). Should the third ACK turn out to be one of plain TCP, the stream goes on from there all the same.
 */
export function takeFastOpen(c: MptcpConnection, syn: Packet, now: Micros): void {
  const s = c.subflows[0]
  if (s === undefined || s.isActive) return
  const taken = openFast(s.ep, syn, now)
  if (c.fallbackReason !== FB_NONE) return
  s.peerFastOpenLen = taken
  c.rx.shift = taken
  if (c.cfg.isAnswerEarly) c.snd.edge = syn.window
}

/**
 * What of a SYN's offer can be agreed to in a SYN/ACK with a cookie: MP_CAPABLE, a cookie and timestamps do not fit into one (RFC 8684
 * appendix B.1). As in Linux it is timestamps that go.
 */
export function besideCookie(cfg: MptcpConfig, opts: TcpOptions): OfferedOptions {
  const isCapable = cfg.isEnabled && refusalOfSyn(opts.mptcp) === FB_NONE
  const { mss, wscale, tsVal, sackPermitted } = opts
  return isCapable ? { mss, wscale, hasTs: false, tsVal, sackPermitted } : opts
}

/** The SYN/ACK that `c` is about to send gives the peer this cookie. */
export function giveCookie(c: MptcpConnection, cookie: Uint8Array): void {
  const hs = c.subflows[0]?.ep.hs
  if (hs != null) hs.fastOpenCookie = cookie
}
