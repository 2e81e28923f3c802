import { addSums, isSumValid } from '../base/checksum.js'
import type { Micros } from '../base/time.js'
import { ON_CONTINUE, ON_DROP, type OptionsVerdict, type SeqOff } from '../tcp/extension.js'
import { dataOffOf32, dataOffOf64, dsnHiOf, dsnLoOf, dssPseudoSum } from '../wire/dsn.js'
import {
  HAS_ADD_ADDR,
  HAS_CAPABLE,
  HAS_DSS,
  HAS_FAIL,
  HAS_FASTCLOSE,
  HAS_JOIN,
  HAS_PRIO,
  HAS_REMOVE_ADDR,
  type MptcpOptions,
  RST_MIDDLEBOX,
  RST_UNSPECIFIED,
  RST_MPTCP_ERROR,
} from '../wire/mptcp-options.js'
import type { Packet } from '../wire/packet.js'
import { unwrap } from '../wire/seq.js'
import { SYN } from '../wire/tcp.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import {
  FB_DATA_WITHOUT,
  FB_FAIL_RECEIVED,
  FB_INFINITE_RECEIVED,
  FB_NO_DATA_ACK,
  FB_STRIPPED,
  fallBack,
  isJoinPending,
  followsStream,
  isSoleAndContiguous,
  mayFallBack,
  onStripped,
} from './fallback.js'
import { onCapableAck, onCapableSynAck, onJoinAck, onJoinSynAck } from './handshake.js'
import type { KeyMaterial } from './keys.js'
import type { DataOff } from './mapping.js'
import { MAP_CONTRADICTS, MAP_FULL, SUM_IMPLIED } from './rx-mappings.js'
import { PHASE_DEAD, PHASE_JOINING, PHASE_OPEN, PHASE_PLAIN, PHASE_SYN, PHASE_UNCONFIRMED } from './phase.js'
import type { Subflow } from './subflow.js'

/** Segments in a row without any option, after which the path is believed to strip them (RFC 8684 §3.7). */
export const BARE_RUN = 3

/** The MPTCP options of an acceptable segment, before its ACK and payload are used (RFC 8684 §3: after the checks of RFC 5961). */
export function readOptions(s: Subflow, pkt: Packet, opts: TcpOptions, segOff: SeqOff, ackOff: SeqOff, now: Micros): OptionsVerdict {
  const phase = s.phase
  const m = opts.mptcp
  if (phase === PHASE_DEAD) return readLate(s, m)
  if (opts.fastOpenLen > 0 && s.isActive && !s.isJoin) s.conn.takeCookie(pkt, opts)
  if (phase === PHASE_PLAIN) return readPlain(s, pkt, m, segOff, now)
  if ((pkt.flags & SYN) !== 0) {
    if (phase !== PHASE_SYN) return ON_CONTINUE
    return s.isJoin ? onJoinSynAck(s, pkt, m, ackOff) : onCapableSynAck(s, pkt, m, ackOff, now)
  }
  if (phase === PHASE_SYN) {
    const verdict = s.isJoin ? onJoinAck(s, pkt, m) : onCapableAck(s, pkt, m, now)
    if (verdict !== ON_CONTINUE || s.phase !== PHASE_OPEN) return verdict
  } else if (phase === PHASE_JOINING) {
    // The fourth ACK. Linux sends it with a DATA_ACK; one without is no evidence of stripping
    s.open()
    if (m.present === 0 && pkt.payLen === 0) return ON_CONTINUE
  }
  if (m.present === 0) return readBare(s, pkt, segOff, ackOff, now)
  if (ackOff >= s.ackedSeq) s.bareRun = 0 // an overtaken segment says nothing about now
  if ((m.present & ~(HAS_DSS | HAS_CAPABLE)) !== 0) {
    const verdict = readSignals(s, pkt, m, now)
    if (verdict !== ON_CONTINUE) return verdict
  }
  if ((m.present & HAS_CAPABLE) !== 0 && m.capableDataLen > 0 && !s.isActive && !s.isJoin) {
    const verdict = readCapableData(s, pkt, m, segOff)
    if (verdict !== ON_CONTINUE) return verdict
  }
  if ((m.present & HAS_DSS) !== 0) return readDss(s, pkt, m, segOff, now)
  // An announcement or its echo leaves no room for a DATA_ACK (ours and Linux's stand alone), and shows that options get through
  // Nor does the third ACK, which a client repeats until it knows that we have its key (Fast Open: data of ours may have come before)
  if ((m.present & (HAS_ADD_ADDR | HAS_CAPABLE)) !== 0) return ON_CONTINUE
  return checkDataAck(s, ackOff, now)
}

/** In TIME-WAIT: a repeated DATA_FIN is acknowledged again (RFC 8684 §3.3.3). */
function readLate(s: Subflow, m: MptcpOptions): OptionsVerdict {
  if (s.conn.isMptcp && m.dataFin) s.answer()
  return ON_CONTINUE
}

/**
 * After a fallback options say nothing any more, but for two: an abrupt end, and a mapping that shows that the peer has not fallen back
 * and puts bytes elsewhere than their order says. To take those for the stream would corrupt it.
 */
function readPlain(s: Subflow, pkt: Packet, m: MptcpOptions, segOff: SeqOff, now: Micros): OptionsVerdict {
  const c = s.conn
  const remote = c.remoteKey
  if (s.isDataAckKept && pkt.payLen > 0) noteInfinite(s, m)
  if (m.present === 0 || remote === null) return ON_CONTINUE
  if ((m.present & HAS_FASTCLOSE) !== 0) return readFastclose(s, m, now)
  if (m.dsnLen !== 8 || m.dataLen === 0 || pkt.payLen === 0 || !isSilent(c.fallbackReason)) return ON_CONTINUE
  const seq = seqOfSsn(s, segOff, m.ssn)
  const data = dataOffOf64(remote.idsnHi, remote.idsnLo, m.dsnHi, m.dsnLo)
  if (seq >= segOff + pkt.payLen || data - seq === c.rx.dataOfStream(c.rx.delta)) return ON_CONTINUE
  c.env.counters.DSSNotMatching++
  return s.refuse(RST_MPTCP_ERROR)
}

/** The peer's stream goes on without mappings: it says so, or shows it. */
function noteInfinite(s: Subflow, m: MptcpOptions): void {
  const isInfinite = (m.present & HAS_DSS) !== 0 && m.dsnLen > 0 && m.dataLen === 0
  if (isInfinite) s.conn.env.counters.InfiniteMapRx++
  if (isInfinite || (m.present & HAS_DSS) === 0) s.isDataAckKept = false
}

/**
 * A DSS shows that the server has our key, and the third ACK need not be repeated (RFC 8684 §3.1). Not so after Fast Open when it has no
 * DATA_ACK: then it may have left before our third ACK came (appendix B.3). Once it is certain, the DATA_ACK that had to wait follows.
 */
function confirm(s: Subflow, m: MptcpOptions): void {
  const used = s.conn.fastOpenUsed // a SYN with a cookie may open a connection at once also when it has no data
  const isFast = used !== null && used.length > 0
  if (isFast && m.dataAckLen === 0) return
  s.phase = PHASE_OPEN
  if (isFast && s.conn.rcv.dataAck > 0) s.answer()
}

/** A fallback that the peer was not told of. */
function isSilent(reason: number): boolean {
  return reason === FB_DATA_WITHOUT || reason === FB_NO_DATA_ACK || reason === FB_STRIPPED
}

/** Who still speaks MPTCP says at the data level what it acknowledges anew. */
function readBare(s: Subflow, pkt: Packet, segOff: SeqOff, ackOff: SeqOff, now: Micros): OptionsVerdict {
  if (pkt.payLen === 0 || ackOff > s.ackedSeq || !mayGoWithout(s, segOff)) s.bareRun++
  return checkDataAck(s, ackOff, now)
}

/**
 * §3.3.1: a mapping covers many segments, and not all of them need to say so. One beyond a gap may belong to a mapping that is in the gap;
 * if it does not, that shows once it is in order.
 */
function mayGoWithout(s: Subflow, segOff: SeqOff): boolean {
  return segOff > s.ep.rcvNxt || (s.rx !== null && s.rx.find(Math.max(segOff, s.ep.rcvNxt)) >= 0)
}

/**
 * RFC 8684 §3.7: new data acknowledged without a DATA_ACK, before there ever was one, means that options do not get through. Where that
 * would cost the subflow, one segment is not enough: a box that splits leaves the second part of a segment without options.
 */
function checkDataAck(s: Subflow, ackOff: SeqOff, now: Micros): OptionsVerdict {
  if (s.hasDataAck || Math.min(ackOff, s.nextSeq) <= s.ackedSeq) return ON_CONTINUE
  const c = s.conn
  if (s.phase === PHASE_OPEN && !mayFallBack(c, s)) {
    // a join of the peer decides first: has it fallen back, it resets that one
    if (s.bareRun < BARE_RUN || (isJoinPending(c) && isSoleAndContiguous(c, s))) return ON_CONTINUE
  }
  return stripped(s, FB_NO_DATA_ACK, now)
}

function stripped(s: Subflow, reason: number, now: Micros): OptionsVerdict {
  if (onStripped(s.conn, s, reason, now)) return ON_CONTINUE
  return s.refuse(RST_MIDDLEBOX)
}

/** Wait for a mapping. */
export const UNMAPPED_STAGE = 0
/** The bytes have a mapping now. */
export const UNMAPPED_IMPLIED = 1
/** The connection has fallen back. */
export const UNMAPPED_PLAIN = 2
export type UnmappedResult = 0 | 1 | 2

/**
 * In-order bytes [seqOff, seqOff + len) that no mapping covers. On the only subflow of a connection that was never joined they can but
 * continue the stream (RFC 8684 §3.7). Where options have passed before, a box in the path has joined segments, or dropped an
 * option: the bytes are placed, and DATA_ACKs go on, so that a peer who still speaks MPTCP has no reason to send them again
 * elsewhere in the sequence. Where none ever passed, or none passes any more, it is a fallback.
 */
export function onUnmapped(s: Subflow, seqOff: SeqOff, len: number, now: Micros): UnmappedResult {
  const c = s.conn
  const n = c.env.counters
  if (!isSoleAndContiguous(c, s, seqOff) || !followsStream(c, s, seqOff)) return UNMAPPED_STAGE
  if ((s.phase === PHASE_OPEN && s.bareRun < BARE_RUN) || isJoinPending(c)) {
    n.ImpliedMappings++
    const data = c.rx.dataOfStream(c.recvQueue.readyEnd)
    return s.addRxMapping(seqOff, data, len, SUM_IMPLIED) === MAP_FULL ? UNMAPPED_STAGE : UNMAPPED_IMPLIED
  }
  if (s.phase === PHASE_OPEN) n.DssFallback++
  else n.MPCapableDataFallback++
  fallBack(c, s, FB_DATA_WITHOUT, now, seqOff)
  return UNMAPPED_PLAIN
}

function readSignals(s: Subflow, pkt: Packet, m: MptcpOptions, now: Micros): OptionsVerdict {
  const n = s.conn.env.counters
  if ((m.present & HAS_FASTCLOSE) !== 0) {
    const verdict = readFastclose(s, m, now)
    if (verdict !== ON_CONTINUE) return verdict
  }
  if ((m.present & HAS_JOIN) !== 0 && s.isJoin && !s.isActive) {
    // The third ACK again: ours was lost (RFC 8684 §3.2)
    s.answer()
  }
  if ((m.present & HAS_PRIO) !== 0) {
    n.MPPrioRx++
    s.isPeerBackup = m.prioBackup
    s.conn.onPriority(s, now)
  }
  if ((m.present & (HAS_ADD_ADDR | HAS_REMOVE_ADDR)) !== 0 && s.conn.isMptcp) s.conn.addressing.onOptions(s, pkt, m, now)
  if ((m.present & HAS_FAIL) !== 0) return readFail(s, m, now)
  return ON_CONTINUE
}

/** Only with our own key (RFC 8684 §3.5). */
export function isFastclose(s: Subflow, m: MptcpOptions): boolean {
  const own = s.conn.localKey
  return own !== null && (m.present & HAS_FASTCLOSE) !== 0 && m.fastcloseHi === own.hi && m.fastcloseLo === own.lo
}

function readFastclose(s: Subflow, m: MptcpOptions, now: Micros): OptionsVerdict {
  if (!isFastclose(s, m)) return ON_CONTINUE
  s.conn.onFastclose(s, now)
  return s.refuse(RST_UNSPECIFIED)
}

/** The peer found a wrong checksum: RFC 8684 §3.7. */
function readFail(s: Subflow, m: MptcpOptions, now: Micros): OptionsVerdict {
  const c = s.conn
  c.env.counters.MPFailRx++
  // who says so speaks of one subflow, and takes back a join that it has asked for
  if (!isSoleAndContiguous(c, s)) return s.refuse(RST_MIDDLEBOX)
  const own = c.localKey as KeyMaterial
  const at = dataOffOf64(own.idsnHi, own.idsnLo, m.failHi, m.failLo)
  if (at < 0 || at > c.snd.nxt) return ON_CONTINUE
  // Answered with an MP_FAIL of our own, and one infinite mapping from the last byte known to have arrived intact
  const isAnswer = s.failAt >= 0
  s.isFailDue = !isAnswer
  if (isAnswer) s.isDataAckKept = true
  else s.failAt = c.rcv.dataAck
  s.answer()
  s.announceInfinite(c.snd.una, c.snd.una - c.snd.nxt + s.mappedEnd)
  fallBack(c, s, FB_FAIL_RECEIVED, now)
  return ON_CONTINUE
}

/** MP_CAPABLE with data is a mapping: DSN = IDSN + 1, subflow sequence 1 (RFC 8684 §3.1). It counts as a 64-bit DSN. */
function readCapableData(s: Subflow, pkt: Packet, m: MptcpOptions, segOff: SeqOff): OptionsVerdict {
  const c = s.conn
  c.rcv.uses64 = true
  if (m.capableChecksum >= 0 !== c.isChecksummed) return s.refuse(RST_MPTCP_ERROR)
  return addMapping(s, pkt, segOff, 1 + s.peerFastOpenLen, 0, m.capableDataLen, statedSum(s, 0, 1, m.capableDataLen, m.capableChecksum))
}

/** Pseudo-header and checksum field: what the mapped bytes must sum up to all ones with. -1: no checksum in use. */
function statedSum(s: Subflow, data: DataOff, ssn: number, dataLen: number, field: number): number {
  if (field < 0) return -1
  const remote = s.conn.remoteKey as KeyMaterial
  const hi = dsnHiOf(remote.idsnHi, remote.idsnLo, Math.max(0, data))
  return addSums(dssPseudoSum(hi, dsnLoOf(remote.idsnLo, data), ssn, dataLen), field)
}

function readDss(s: Subflow, pkt: Packet, m: MptcpOptions, segOff: SeqOff, now: Micros): OptionsVerdict {
  const c = s.conn
  if (s.phase === PHASE_UNCONFIRMED) confirm(s, m)
  if (m.dataAckLen !== 0) {
    const own = c.localKey as KeyMaterial
    const at =
      m.dataAckLen === 8 ? dataOffOf64(own.idsnHi, own.idsnLo, m.dataAckHi, m.dataAckLo) : dataOffOf32(own.idsnLo, c.snd.una, m.dataAckLo)
    s.hasDataAck = true
    c.onDataAck(at, pkt.window << s.ep.sndWscale)
  }
  if (m.dsnLen === 0) return ON_CONTINUE
  const remote = c.remoteKey as KeyMaterial
  let data: DataOff
  if (m.dsnLen === 8) {
    data = dataOffOf64(remote.idsnHi, remote.idsnLo, m.dsnHi, m.dsnLo)
  } else data = dataOffOf32(remote.idsnLo, c.rcv.dataAck, m.dsnLo)
  // §3.3: negotiated but absent, or present but not negotiated
  if (m.dssChecksum >= 0 !== c.isChecksummed) return s.refuse(RST_MPTCP_ERROR)
  // §3.7: the infinite mapping comes with the data that it is for; Linux takes no notice of others either
  if (m.dataLen === 0) return pkt.payLen > 0 ? readInfinite(s, now) : ON_CONTINUE
  if (data < 0) {
    c.env.counters.BadOption++
    return ON_CONTINUE
  }
  noteWidth(s, m)
  const sum = statedSum(s, data, m.ssn, m.dataLen, m.dssChecksum)
  let len = m.dataLen
  if (m.dataFin) {
    len-- // §3.3.3: the DATA_FIN is in the data-level length, not on the subflow
    if (len === 0 && sum >= 0 && !isSumValid(sum)) return ON_CONTINUE
    if (!c.onDataFin(s, data + len)) {
      c.env.counters.BadOption++
      return s.refuse(RST_MPTCP_ERROR)
    }
    if (len === 0) return ON_CONTINUE
  }
  return addMapping(s, pkt, segOff, seqOfSsn(s, segOff, m.ssn), data, len, sum)
}

/** Where a subflow sequence number stands: what the peer's SYN brought is not counted (RFC 8684 appendix B.2). */
function seqOfSsn(s: Subflow, segOff: SeqOff, ssn: number): SeqOff {
  return unwrap(segOff - s.peerFastOpenLen, 0, ssn) + s.peerFastOpenLen
}

/**
 * RFC 8684 §3.3.2: data with an 8-byte DSN MUST be acknowledged with 8 bytes. As Linux takes it, a DATA_FIN alone is no data; and 4 bytes are
 * enough again for a 4-byte DSN, here once all that came before has been acknowledged.
 */
function noteWidth(s: Subflow, m: MptcpOptions): void {
  const { rcv } = s.conn
  if (m.dataLen === 1 && m.dataFin) return
  if (m.dsnLen === 8) rcv.uses64 = true
  else if (s.sentDataAck === rcv.dataAck) rcv.uses64 = false
}

function addMapping(s: Subflow, pkt: Packet, segOff: SeqOff, seq: SeqOff, data: DataOff, len: number, sum: number): OptionsVerdict {
  const n = s.conn.env.counters
  // §3.3.1: a mapping must apply to some of the segment that carries it
  if (seq < 1 || seq >= segOff + pkt.payLen || seq + len <= segOff) {
    if (pkt.payLen > 0) n.DSSNoMatchTCP++
    return ON_CONTINUE
  }
  switch (s.addRxMapping(seq, data, len, sum)) {
    case MAP_CONTRADICTS:
      // §3.3.1: fixed once declared. What the bytes are is not known any more
      n.DSSNotMatching++
      return s.refuse(RST_MPTCP_ERROR)
    case MAP_FULL:
      return ON_DROP
    default:
      return ON_CONTINUE
  }
}

/**
 * The peer's stream continues on this subflow without mappings (RFC 8684 §3.3.1, §3.7). It acts retroactively: the next byte that
 * the stream lacks is the next one that the subflow has, whatever a middlebox did to the bytes in between.
 */
function readInfinite(s: Subflow, now: Micros): OptionsVerdict {
  const c = s.conn
  c.env.counters.InfiniteMapRx++
  // who sends it has given up whatever join it asked for
  if (!isSoleAndContiguous(c, s)) return s.refuse(RST_MPTCP_ERROR)
  fallBack(c, s, FB_INFINITE_RECEIVED, now)
  return ON_CONTINUE
}
