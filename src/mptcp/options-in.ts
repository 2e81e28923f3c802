import { addSums, isSumValid } from '../base/checksum.js'
import type { Micros } from '../base/time.js'
import { ON_CONTINUE, ON_DROP, ON_RESET, type OptionsVerdict, type SeqOff } from '../tcp/extension.js'
import { dataOffOf32, dataOffOf64, dsnHiOf, dsnLoOf, dssPseudoSum } from '../wire/dsn.js'
import {
  HAS_CAPABLE,
  HAS_DSS,
  HAS_FAIL,
  HAS_FASTCLOSE,
  HAS_JOIN,
  HAS_PRIO,
  type MptcpOptions,
  RST_MIDDLEBOX,
  RST_MPTCP_ERROR,
} from '../wire/mptcp-options.js'
import type { Packet } from '../wire/packet.js'
import { unwrap } from '../wire/seq.js'
import { SYN } from '../wire/tcp.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import { FB_DATA_WITHOUT, FB_FAIL_RECEIVED, FB_INFINITE_RECEIVED, FB_NO_DATA_ACK, fallBack, mayFallBack, onStripped } from './fallback.js'
import { onCapableAck, onCapableSynAck, onJoinAck, onJoinSynAck } from './handshake.js'
import type { KeyMaterial } from './keys.js'
import type { DataOff } from './mapping.js'
import { MAP_CONTRADICTS, MAP_FULL } from './rx-mappings.js'
import { PHASE_DEAD, PHASE_JOINING, PHASE_OPEN, PHASE_PLAIN, PHASE_SYN, PHASE_UNCONFIRMED, type Subflow } from './subflow.js'

/** The MPTCP options of an acceptable segment, before its ACK and payload are used (RFC 8684 §3: after the checks of RFC 5961). */
export function readOptions(s: Subflow, pkt: Packet, opts: TcpOptions, segOff: SeqOff, ackOff: SeqOff, now: Micros): OptionsVerdict {
  const phase = s.phase
  const m = opts.mptcp
  if (phase === PHASE_DEAD) return readLate(s, m)
  if (phase === PHASE_PLAIN) return readPlain(s, m, now)
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
  if (m.present === 0) return readBare(s, ackOff, now)
  s.bareRun = 0
  if ((m.present & ~(HAS_DSS | HAS_CAPABLE)) !== 0) {
    const verdict = readSignals(s, m, now)
    if (verdict !== ON_CONTINUE) return verdict
  }
  if ((m.present & HAS_CAPABLE) !== 0 && m.capableDataLen > 0 && !s.isActive && !s.isJoin) {
    const verdict = readCapableData(s, pkt, m, segOff)
    if (verdict !== ON_CONTINUE) return verdict
  }
  if ((m.present & HAS_DSS) !== 0) return readDss(s, pkt, m, segOff, now)
  return checkDataAck(s, ackOff, now)
}

/** In TIME-WAIT: a repeated DATA_FIN is acknowledged again (RFC 8684 §3.3.3). */
function readLate(s: Subflow, m: MptcpOptions): OptionsVerdict {
  if (s.conn.isMptcp && m.dataFin) s.answer()
  return ON_CONTINUE
}

/** After a fallback nothing counts any more but the end of the other direction (RFC 8684 §3.7). */
function readPlain(s: Subflow, m: MptcpOptions, now: Micros): OptionsVerdict {
  if (m.present === 0 || s.conn.remoteKey === null) return ON_CONTINUE
  if ((m.present & HAS_FASTCLOSE) !== 0) return readFastclose(s, m, now)
  return ON_CONTINUE
}

function readBare(s: Subflow, ackOff: SeqOff, now: Micros): OptionsVerdict {
  s.bareRun++
  return checkDataAck(s, ackOff, now)
}

/** RFC 8684 §3.7: new data acknowledged without a DATA_ACK, before there ever was one, means that options do not get through. */
function checkDataAck(s: Subflow, ackOff: SeqOff, now: Micros): OptionsVerdict {
  if (s.hasDataAck || Math.min(ackOff, s.nextSeq) <= s.ackedSeq) return ON_CONTINUE
  return stripped(s, FB_NO_DATA_ACK, now)
}

function stripped(s: Subflow, reason: number, now: Micros): OptionsVerdict {
  if (onStripped(s.conn, s, reason, now)) return ON_CONTINUE
  return s.refuse(RST_MIDDLEBOX)
}

/** In-order payload at `seqOff` that no mapping covers. True: the connection has fallen back and the payload is stream data. */
export function onUnmapped(s: Subflow, seqOff: SeqOff, now: Micros): boolean {
  if (!mayFallBack(s.conn, s, seqOff)) return false
  s.conn.env.counters.MPCapableDataFallback++
  fallBack(s.conn, s, FB_DATA_WITHOUT, now, seqOff)
  return true
}

function readSignals(s: Subflow, m: MptcpOptions, now: Micros): OptionsVerdict {
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
  return ON_RESET
}

/** The peer found a wrong checksum: RFC 8684 §3.7. */
function readFail(s: Subflow, m: MptcpOptions, now: Micros): OptionsVerdict {
  const c = s.conn
  c.env.counters.MPFailRx++
  if (!mayFallBack(c, s)) return s.refuse(RST_MIDDLEBOX)
  const own = c.localKey as KeyMaterial
  const at = dataOffOf64(own.idsnHi, own.idsnLo, m.failHi, m.failLo)
  if (at < 0 || at > c.snd.nxt) return ON_CONTINUE
  // Answered with an MP_FAIL of our own, and one infinite mapping from the last byte known to have arrived intact
  s.failAt = c.rcv.dataAck
  s.isFailDue = true
  s.announceInfinite(c.snd.una, c.snd.una - c.snd.nxt + s.nextSeq)
  fallBack(c, s, FB_FAIL_RECEIVED, now)
  return ON_CONTINUE
}

/** MP_CAPABLE with data is a mapping: DSN = IDSN + 1, subflow sequence 1 (RFC 8684 §3.1). It counts as a 64-bit DSN. */
function readCapableData(s: Subflow, pkt: Packet, m: MptcpOptions, segOff: SeqOff): OptionsVerdict {
  const c = s.conn
  c.rcv.uses64 = true
  if (m.capableChecksum >= 0 !== c.isChecksummed) return s.refuse(RST_MPTCP_ERROR)
  return addMapping(s, pkt, segOff, 1, 0, m.capableDataLen, statedSum(s, 0, 1, m.capableDataLen, m.capableChecksum))
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
  if (s.phase === PHASE_UNCONFIRMED) s.phase = PHASE_OPEN
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
    c.rcv.uses64 = true
    data = dataOffOf64(remote.idsnHi, remote.idsnLo, m.dsnHi, m.dsnLo)
  } else data = dataOffOf32(remote.idsnLo, c.rcv.dataAck, m.dsnLo)
  // §3.3: negotiated but absent, or present but not negotiated
  if (m.dssChecksum >= 0 !== c.isChecksummed) return s.refuse(RST_MPTCP_ERROR)
  if (m.dataLen === 0) return readInfinite(s, now)
  if (data < 0) {
    c.env.counters.BadOption++
    return ON_CONTINUE
  }
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
  return addMapping(s, pkt, segOff, unwrap(segOff, 0, m.ssn), data, len, sum)
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
  if (!mayFallBack(c, s)) return s.refuse(RST_MPTCP_ERROR)
  fallBack(c, s, FB_INFINITE_RECEIVED, now)
  return ON_CONTINUE
}
