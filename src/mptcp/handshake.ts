import type { Micros } from '../base/time.js'
import { ON_CONTINUE, ON_DROP, type OptionsVerdict } from '../tcp/extension.js'
import {
  CAPABLE_CHECKSUM,
  CAPABLE_DENY_JOIN,
  CAPABLE_EXTENSIBILITY,
  CAPABLE_HMAC_SHA256,
  HAS_CAPABLE,
  HAS_DSS,
  HAS_JOIN,
  MPTCP_VERSION,
  type MptcpOptions,
  RST_MPTCP_ERROR,
  RST_PROHIBITED,
} from '../wire/mptcp-options.js'
import type { Packet } from '../wire/packet.js'
import type { MptcpConfig } from './env.js'
import * as fb from './fallback.js'
import { equalConstantTime, HMAC_ACK_LEN, HMAC_SYNACK_LEN, joinHmac, KeyMaterial } from './keys.js'
import { PHASE_JOINING, PHASE_OPEN, PHASE_UNCONFIRMED } from './phase.js'
import type { Subflow } from './subflow.js'

/** What a join has to remember until it is established. */
export class JoinState {
  readonly localNonce: number
  /** HMAC that we send; 32 bytes, null until both nonces are known. */
  hmac: Uint8Array | null = null
  /** HMAC that the third ACK has to carry (passive side). */
  expected: Uint8Array | null = null

  constructor(localNonce: number) {
    this.localNonce = localNonce
  }
}

/** Flags of our MP_CAPABLE. @param checksum the other side demands it, or we do (RFC 8684 §3.1: the OR of both). */
export function capableFlags(cfg: MptcpConfig, checksum: boolean): number {
  return CAPABLE_HMAC_SHA256 | (checksum ? CAPABLE_CHECKSUM : 0) | (cfg.denyJoinInitial ? CAPABLE_DENY_JOIN : 0)
}

/** FB_NONE, or why an MP_CAPABLE with these flags cannot be used. */
function refusal(m: MptcpOptions): number {
  if ((m.capableFlags & CAPABLE_EXTENSIBILITY) !== 0) return fb.FB_EXTENSIBILITY
  if ((m.capableFlags & CAPABLE_HMAC_SHA256) === 0) return fb.FB_NO_HMAC
  return fb.FB_NONE
}

/** FB_NONE, or why a SYN makes a plain connection. A version above ours is answered with ours. */
export function refusalOfSyn(m: MptcpOptions): number {
  if ((m.present & HAS_CAPABLE) === 0 || m.capableLen !== 4) return fb.FB_SYN_WITHOUT
  if ((m.present & HAS_JOIN) !== 0) return fb.FB_SYN_BOTH
  if (m.capableVersion < MPTCP_VERSION) return fb.FB_VERSION
  return refusal(m)
}

/** The same of a third ACK that brings a SYN cookie back: it stands for the SYN, and shows that this had the option. */
export function refusalOfCookie(m: MptcpOptions): number {
  if ((m.present & HAS_CAPABLE) === 0 || m.capableLen < 20) return fb.FB_SYN_WITHOUT
  return m.capableVersion === MPTCP_VERSION ? refusal(m) : fb.FB_VERSION
}

function refusalOfSynAck(s: Subflow, m: MptcpOptions, ackOff: number): number {
  if (ackOff < 0) return fb.FB_SIMULTANEOUS_OPEN
  // A SYN/ACK to an earlier SYN with the option cannot be told from one to the plain SYN; the server may have seen the latter
  if (s.isPlainSyn) return fb.FB_PLAIN_SYN
  if ((m.present & HAS_CAPABLE) === 0 || m.capableLen !== 12) return fb.FB_SYNACK_WITHOUT
  if (m.capableVersion !== MPTCP_VERSION) return fb.FB_VERSION
  return refusal(m)
}

/** SYN/ACK (or SYN, simultaneous open) on the initial subflow. */
export function onCapableSynAck(s: Subflow, pkt: Packet, m: MptcpOptions, ackOff: number, now: Micros): OptionsVerdict {
  const c = s.conn
  const n = c.env.counters
  const why = refusalOfSynAck(s, m, ackOff)
  if (why !== fb.FB_NONE) {
    if (why === fb.FB_SIMULTANEOUS_OPEN) n.SimultConnectFallback++
    else if (why === fb.FB_PLAIN_SYN) n.MPCapableSYNTXDrop++
    n.MPCapableFallbackSYNACK++
    fb.fallBack(c, s, why, now)
    return ON_CONTINUE
  }
  n.MPCapableSYNACKRX++
  c.isChecksummed ||= (m.capableFlags & CAPABLE_CHECKSUM) !== 0
  c.peerDeniesJoin = (m.capableFlags & CAPABLE_DENY_JOIN) !== 0
  // no DATA_ACK can have come: the window of the SYN/ACK, which is never scaled, is the first data-level one
  c.becomeMptcp(new KeyMaterial(c.env.host.hash, m.keyHi, m.keyLo), pkt.window)
  s.phase = PHASE_UNCONFIRMED
  // appendix B.2: what the SYN brought is before the data sequence space; what of it was not taken is ordinary data
  s.fastOpenLen = ackOff - 1
  s.nextSeq = ackOff
  s.ackedSeq = ackOff
  c.tx.shift = ackOff - 1
  return ON_CONTINUE
}

/** First segment on a passive initial subflow: the third ACK, or the first data, must show both keys (RFC 8684 §3.1). */
export function onCapableAck(s: Subflow, pkt: Packet, m: MptcpOptions, now: Micros): OptionsVerdict {
  const c = s.conn
  const n = c.env.counters
  if ((m.present & HAS_CAPABLE) === 0) {
    // Third ACK and first data were lost or overtaken: without the peer's key a DSS means nothing yet
    if ((m.present & HAS_DSS) !== 0) return ON_DROP
    n.MPCapableFallbackACK++
    fb.fallBack(c, s, fb.FB_ACK_WITHOUT, now)
    return ON_CONTINUE
  }
  const own = c.localKey as KeyMaterial
  const isEcho = m.peerKeyHi === own.hi && m.peerKeyLo === own.lo
  const isAgreed = ((m.capableFlags & CAPABLE_CHECKSUM) !== 0) === c.isChecksummed
  if (!isEcho || !isAgreed || m.capableVersion !== MPTCP_VERSION || refusal(m) !== fb.FB_NONE) {
    n.MPCapableFallbackACK++
    fb.fallBack(c, s, fb.FB_ACK_INVALID, now)
    return ON_CONTINUE
  }
  n.MPCapableACKRX++
  c.becomeMptcp(new KeyMaterial(c.env.host.hash, m.keyHi, m.keyLo), pkt.window << s.ep.sndWscale)
  s.phase = PHASE_OPEN
  // the peer has proved that it has our key: joins may come (Linux's client joins having sent no DSS at all)
  c.isFullyEstablished = true
  // by Fast Open it may have had data of ours before, which it can acknowledge once it knows that we have its key
  if (s.tx !== null) s.answer()
  return ON_CONTINUE
}

/** SYN/ACK on a join that we opened: RFC 8684 §3.2. */
export function onJoinSynAck(s: Subflow, pkt: Packet, m: MptcpOptions, ackOff: number): OptionsVerdict {
  const c = s.conn
  const n = c.env.counters
  const join = s.join as JoinState
  if (ackOff < 0 || (m.present & HAS_JOIN) === 0 || m.joinLen !== 16) return s.refuse(RST_MPTCP_ERROR)
  const hash = c.env.host.hash
  const local = c.localKey as KeyMaterial
  const remote = c.remoteKey as KeyMaterial
  const expected = joinHmac(hash, remote, local, m.joinNonce, join.localNonce)
  if (!equalConstantTime(pkt.mem, m.joinHmacOff, expected, 0, HMAC_SYNACK_LEN)) {
    n.MPJoinSynAckHMacFailure++
    return s.refuse(RST_MPTCP_ERROR)
  }
  n.MPJoinSynAckRx++
  s.remoteAddrId = m.joinAddrId
  s.isPeerBackup = m.joinBackup
  if (m.joinBackup) n.MPJoinSynAckBackupRx++
  join.hmac = joinHmac(hash, local, remote, join.localNonce, m.joinNonce)
  s.phase = PHASE_JOINING
  c.opening.onJoinSent()
  return ON_CONTINUE
}

/** Prepares our answer to the SYN of a join, and what its third ACK has to say. */
export function answerJoin(s: Subflow, m: MptcpOptions): void {
  const c = s.conn
  const join = s.join as JoinState
  const hash = c.env.host.hash
  const local = c.localKey as KeyMaterial
  const remote = c.remoteKey as KeyMaterial
  join.hmac = joinHmac(hash, local, remote, join.localNonce, m.joinNonce)
  join.expected = joinHmac(hash, remote, local, m.joinNonce, join.localNonce)
  s.remoteAddrId = m.joinAddrId
  s.isPeerBackup = m.joinBackup
}

/** First segment on a join that the peer opened: anything but a third ACK with the right HMAC resets it. */
export function onJoinAck(s: Subflow, pkt: Packet, m: MptcpOptions): OptionsVerdict {
  const c = s.conn
  const n = c.env.counters
  const join = s.join as JoinState
  if ((m.present & HAS_JOIN) === 0 || m.joinLen !== 24) return s.refuse(RST_MPTCP_ERROR)
  if (!equalConstantTime(pkt.mem, m.joinHmacOff, join.expected as Uint8Array, 0, HMAC_ACK_LEN)) {
    n.MPJoinAckHMacFailure++
    return s.refuse(RST_MPTCP_ERROR)
  }
  // The race of a join and a fallback: fallen back refuses joins
  if (!c.isMptcp || c.isClosed) {
    n.MPJoinRejected++
    return s.refuse(RST_MPTCP_ERROR)
  }
  if (!c.opening.admit(s)) {
    n.MPJoinRejected++
    return s.refuse(RST_PROHIBITED)
  }
  n.MPJoinAckRx++
  s.open()
  return ON_CONTINUE
}
