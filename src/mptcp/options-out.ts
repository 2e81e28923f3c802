import type { Micros } from '../base/time.js'
import {
  ACK_ALONE,
  ACK_NONE,
  KIND_ACK3,
  KIND_DATA,
  KIND_FIN,
  KIND_PURE_ACK,
  KIND_RST,
  KIND_SYN,
  KIND_SYNACK,
  type Run,
  type SegmentKind,
  type SeqOff,
} from '../tcp/extension.js'
import { dsnHiOf, dsnLoOf } from '../wire/dsn.js'
import {
  isTransient,
  dssLen,
  MPTCP_VERSION,
  writeCapable,
  writeDss,
  writeFail,
  writeFastclose,
  writeJoinAck,
  writeJoinSyn,
  writeJoinSynAck,
  writePrio,
  writeTcpRst,
} from '../wire/mptcp-options.js'
import { pad } from '../wire/tcp-options.js'
import type { Addresses } from './addresses.js'
import { dssChecksum, sumQueue } from './dss-checksum.js'
import { capableFlags, type JoinState } from './handshake.js'
import type { KeyMaterial } from './keys.js'
import type { DataOff } from './mapping.js'
import { isBare } from './sparse.js'
import { PHASE_DEAD, PHASE_JOINING, PHASE_PLAIN, PHASE_SYN, PHASE_UNCONFIRMED } from './phase.js'
import type { Subflow } from './subflow.js'

/** Lengths of options whose length never varies. */
const CAPABLE_SYN_LEN = 4
const CAPABLE_SYNACK_LEN = 12
const CAPABLE_ACK_LEN = 20
const JOIN_SYN_LEN = 12
const JOIN_SYNACK_LEN = 16
const JOIN_ACK_LEN = 24
const FAIL_LEN = 12
const FASTCLOSE_LEN = 12
const TCPRST_LEN = 4
const PRIO_LEN = 3

/**
 * A data segment repeats the DATA_ACK when the window has opened that much since the last one: without a DATA_ACK the peer must
 * not use the window (RFC 8684 §3.3.2).
 */
const WINDOW_GAIN = 65_536

function pad4(n: number): number {
  return (n + 3) & ~3
}

/** Bytes, a multiple of 4, that the subflow wants on the next segment of `kind`; the first that fits into `room`, most important first. */
export function optionLen(s: Subflow, kind: SegmentKind, room: number, isRetransmit: boolean): number {
  const len = wantedLen(s, kind, room, isRetransmit)
  return len <= room ? len : 0
}

function wantedLen(s: Subflow, kind: SegmentKind, room: number, isRetransmit: boolean): number {
  if (kind === KIND_RST) return resetLen(s)
  if (s.phase === PHASE_PLAIN || (s.phase === PHASE_DEAD && !s.conn.isMptcp)) return plainLen(s, kind)
  switch (kind) {
    case KIND_SYN:
      if (s.isJoin) return JOIN_SYN_LEN
      return s.isPlainSyn ? 0 : CAPABLE_SYN_LEN
    case KIND_SYNACK:
      if (s.isJoin) return JOIN_SYNACK_LEN
      return s.isPlainSyn ? 0 : CAPABLE_SYNACK_LEN
    case KIND_DATA:
      return !isRetransmit && isBare(s) ? 0 : pad4(dataLen(s, room))
    default:
      return ackLen(s, kind, room)
  }
}

function plainLen(s: Subflow, kind: SegmentKind): number {
  if (kind === KIND_DATA) return s.infiniteSsn >= 0 ? pad4(dssLen(0, 8, s.conn.isChecksummed)) : 0
  const ack = s.isDataAckKept && kind === KIND_PURE_ACK ? pad4(dssLen(s.conn.rcv.uses64 ? 8 : 4, 0, false)) : 0
  return ack + (s.isFailDue ? FAIL_LEN : 0)
}

function resetLen(s: Subflow): number {
  const fail = s.failAt >= 0 ? FAIL_LEN : 0
  const fast = hasFastclose(s) ? FASTCLOSE_LEN : 0
  return fail + fast + (s.rstReason >= 0 ? TCPRST_LEN : 0)
}

function hasFastclose(s: Subflow): boolean {
  const c = s.conn
  return c.fastclose !== null && c.isMptcp && c.fastclose.isToldOn(s)
}

/** DSS of a data segment; with MP_CAPABLE instead it is never longer (24 bytes, and no 8-byte DATA_ACK before a DSS came). */
function dataLen(s: Subflow, room: number): number {
  const csum = s.conn.isChecksummed
  const ack = dataAckLen(s)
  const len = dssLen(ack, 8, csum)
  const first = s.phase === PHASE_UNCONFIRMED ? 24 : 0
  return Math.max(first, len > room ? dssLen(0, 8, csum) : len)
}

/** 0 while neither the DATA_ACK nor the window has moved since the last one on this subflow (RFC 8684 §3.3.2 allows it). */
export function dataAckLen(s: Subflow): 0 | 4 | 8 {
  const rcv = s.conn.rcv
  if (s.conn.remoteKey === null) return 0 // Fast Open: no third ACK came yet
  if (rcv.dataAck === s.sentDataAck && rcv.window < rcv.promised + WINDOW_GAIN && !s.isAnswerDue) return 0
  return rcv.uses64 ? 8 : 4
}

function ackLen(s: Subflow, kind: SegmentKind, room: number): number {
  if (s.phase === PHASE_JOINING) return JOIN_ACK_LEN
  if (s.phase === PHASE_SYN) return 0
  if (isCapableAck(s)) return CAPABLE_ACK_LEN
  const addresses = s.conn.addresses
  if (kind === KIND_PURE_ACK && s.ackWish === ACK_ALONE && addresses !== null && s.conn.isMptcp) {
    const alone = addresses.aloneLen(s)
    if (alone > 0) return alone
  }
  const ack = s.conn.rcv.uses64 ? 8 : 4
  const bare = dssLen(ack, 0, false)
  if (hasFastclose(s)) return FASTCLOSE_LEN + pad4(bare)
  if (s.isFailDue) return FAIL_LEN + pad4(bare)
  const fixed = s.isPrioDue ? bare + PRIO_LEN : bare
  const remove = addresses === null ? 0 : addresses.removeLen(s, room - fixed)
  if (s.isPrioDue || remove > 0) return Math.min(room, pad4(fixed + remove))
  return pad4(dssLen(ack, s.conn.isDataFinDue ? 8 : 0, s.conn.isChecksummed))
}

/**
 * Until a DSS of the peer came, it may not have our key: pure ACKs repeat the third ACK (RFC 8684 §3.1). A DATA_FIN takes turns
 * with it, since both do not fit.
 */
function isCapableAck(s: Subflow): boolean {
  if (s.phase !== PHASE_UNCONFIRMED) return false
  return !s.conn.isDataFinDue || !s.isCapableAckSent || (s.conn.dataFins & 1) === 1
}

/** Writes what `optionLen` announced in the same turn; returns the bytes, a multiple of 4. */
export function writeOptions(
  s: Subflow,
  kind: SegmentKind,
  mem: Uint8Array,
  off: number,
  room: number,
  seqOff: SeqOff,
  run: Run | null,
  isRetransmit: boolean,
  now: Micros,
): number {
  switch (kind) {
    case KIND_SYN:
      return s.isJoin ? writeSynOfJoin(s, mem, off, isRetransmit) : writeSynOfCapable(s, mem, off, isRetransmit)
    case KIND_SYNACK:
      return writeSynAck(s, mem, off)
    case KIND_DATA:
      if (run === null) return 0
      return s.phase === PHASE_PLAIN
        ? writeInfinite(s, mem, off, seqOff, isRetransmit)
        : writeData(s, mem, off, room, seqOff, run, isRetransmit)
    case KIND_RST:
      return writeReset(s, mem, off)
    case KIND_ACK3:
    case KIND_PURE_ACK:
    case KIND_FIN:
      return writeAck(s, kind, mem, off, room, now)
  }
}

function writeSynOfCapable(s: Subflow, mem: Uint8Array, off: number, isRetransmit: boolean): number {
  if (!isRetransmit) s.conn.env.counters.MPCapableSYNTX++
  const flags = capableFlags(s.conn.cfg, s.conn.isChecksummed)
  return writeCapable(mem, off, CAPABLE_SYN_LEN, MPTCP_VERSION, flags, 0, 0, 0, 0, 0, 0)
}

function writeSynOfJoin(s: Subflow, mem: Uint8Array, off: number, isRetransmit: boolean): number {
  if (!isRetransmit) s.conn.env.counters.MPJoinSynTx++
  const remote = s.conn.remoteKey as KeyMaterial
  return writeJoinSyn(mem, off, s.isBackupHere, s.localAddrId, remote.token, (s.join as JoinState).localNonce)
}

function writeSynAck(s: Subflow, mem: Uint8Array, off: number): number {
  const own = s.conn.localKey as KeyMaterial
  if (!s.isJoin) {
    const flags = capableFlags(s.conn.cfg, s.conn.isChecksummed)
    return writeCapable(mem, off, CAPABLE_SYNACK_LEN, MPTCP_VERSION, flags, own.hi, own.lo, 0, 0, 0, 0)
  }
  const join = s.join as JoinState
  return writeJoinSynAck(mem, off, s.isBackupHere, s.localAddrId, join.hmac as Uint8Array, 0, join.localNonce)
}

function writeReset(s: Subflow, mem: Uint8Array, off: number): number {
  const n = s.conn.env.counters
  let at = off
  if (hasFastclose(s)) {
    const remote = s.conn.remoteKey as KeyMaterial
    at += writeFastclose(mem, at, remote.hi, remote.lo)
  }
  if (s.failAt >= 0) {
    at += writeFailOf(s, mem, at, s.failAt)
    n.MPFailTx++
  }
  if (s.rstReason >= 0) {
    at += writeTcpRst(mem, at, s.rstReason, isTransient(s.rstReason))
    n.MPRstTx++
  }
  return at - off
}

/** MP_FAIL names a DSN of the peer's stream (RFC 8684 §3.7). */
function writeFailOf(s: Subflow, mem: Uint8Array, off: number, at: DataOff): number {
  const remote = s.conn.remoteKey as KeyMaterial
  return writeFail(mem, off, dsnHiOf(remote.idsnHi, remote.idsnLo, at), dsnLoOf(remote.idsnLo, at))
}

function writeAck(s: Subflow, kind: SegmentKind, mem: Uint8Array, off: number, room: number, now: Micros): number {
  const c = s.conn
  const { addresses } = c
  let at = off
  const wasAlone = s.ackWish === ACK_ALONE
  s.ackWish = ACK_NONE
  if (
    kind === KIND_PURE_ACK &&
    wasAlone &&
    addresses !== null &&
    c.isMptcp &&
    s.phase !== PHASE_JOINING &&
    !isCapableAck(s) &&
    addresses.aloneLen(s) > 0
  ) {
    const n = addresses.writeAlone(s, mem, off, now)
    addresses.prompt()
    return n
  }
  s.isAnswerDue = false
  if (s.phase === PHASE_JOINING) {
    s.onJoinAckSent(now)
    return writeJoinAck(mem, at, (s.join as JoinState).hmac as Uint8Array, 0)
  }
  if (isCapableAck(s)) {
    if (!s.isCapableAckSent) c.env.counters.MPCapableACKTX++
    s.isCapableAckSent = true
    s.isAckWritten = true // its window is the first one of the data level
    if (c.isDataFinDue) c.dataFins++
    const own = c.localKey as KeyMaterial
    const remote = c.remoteKey as KeyMaterial
    const flags = capableFlags(c.cfg, c.isChecksummed)
    at += writeCapable(mem, at, CAPABLE_ACK_LEN, MPTCP_VERSION, flags, own.hi, own.lo, remote.hi, remote.lo, 0, 0)
    return at - off
  }
  let withFin = c.isDataFinDue
  if (s.isFailDue) {
    at += writeFailOf(s, mem, at, s.failAt)
    c.env.counters.MPFailTx++
    s.isFailDue = false
    withFin = false
  }
  if (s.phase === PHASE_PLAIN && s.isDataAckKept && kind === KIND_PURE_ACK) {
    at += writeMapping(s, mem, at, c.rcv.uses64 ? 8 : 4, -1, 0, 0, -1, false)
    return pad(mem, off, at - off)
  }
  if (s.phase === PHASE_PLAIN || s.phase === PHASE_SYN || !c.isMptcp) return at - off
  if (hasFastclose(s)) {
    const remote = c.remoteKey as KeyMaterial
    at += writeFastclose(mem, at, remote.hi, remote.lo)
    withFin = false
  }
  const signals = writeSmallSignals(s, kind, mem, at, room - (at - off) - dssLen(c.rcv.uses64 ? 8 : 4, 0, false), now)
  at += signals
  if (signals > 0) withFin = false
  if (withFin) {
    // §3.3.3: alone it has subflow sequence 0 and length 1, and its checksum covers the pseudo-header only
    c.onDataFinSent()
    at += writeMapping(s, mem, at, c.rcv.uses64 ? 8 : 4, c.snd.nxt, 0, 1, c.isChecksummed ? 0 : -1, true)
  } else at += writeMapping(s, mem, at, c.rcv.uses64 ? 8 : 4, -1, 0, 0, -1, false)
  return pad(mem, off, at - off)
}

/** MP_PRIO and REMOVE_ADDR, which share an ACK with a DSS but not with a DATA_FIN. Unpadded: the DSS follows. */
function writeSmallSignals(s: Subflow, kind: SegmentKind, mem: Uint8Array, off: number, room: number, now: Micros): number {
  const c = s.conn
  if (kind !== KIND_PURE_ACK || s.isFailDue || hasFastclose(s)) return 0
  let at = off
  if (s.isPrioDue) {
    s.isPrioDue = false
    if (s.isPrioRepeated) s.isPrioRepeated = false
    else c.addressing.onPrioSent(s, now)
    c.env.counters.MPPrioTx++
    at += writePrio(mem, at, s.isBackupHere)
  }
  const len = c.addresses === null ? 0 : c.addresses.removeLen(s, room - (at - off))
  if (len > 0) at += (c.addresses as Addresses).writeRemove(s, mem, at, len, now)
  return at - off
}

function writeData(s: Subflow, mem: Uint8Array, off: number, room: number, seqOff: SeqOff, run: Run, isRetransmit: boolean): number {
  const c = s.conn
  const tx = s.tx
  let data: DataOff
  let seq = seqOff
  let len = run.span
  let sum = -1
  if (tx !== null && (isRetransmit || s.reserveEnd > seqOff)) {
    // §3.3.1: the mapping as it was declared, however the segments are cut now
    data = tx.dataAt(run.tag)
    seq = tx.seqAt(run.tag)
    len = tx.lenAt(run.tag)
    sum = tx.sumAt(run.tag)
  } else {
    data = run.tag
    if (c.isChecksummed) sum = sumQueue(c.sendQueue, run.off, len)
    s.declaredSum = sum
  }
  let n: number
  if (s.phase === PHASE_UNCONFIRMED && seq === 1 + s.fastOpenLen && data === 0) n = writeFirstData(s, mem, off, len, sum)
  else {
    let ack = dataAckLen(s)
    if (dssLen(ack, 8, c.isChecksummed) > room) ack = 0
    if (ack !== 0) s.isAnswerDue = false
    n = writeMapping(s, mem, off, ack, data, seq, len, sum, false)
  }
  return pad(mem, off, n)
}

/** MP_CAPABLE with data stands for DSN = IDSN + 1 and subflow sequence 1 (RFC 8684 §3.1). */
function writeFirstData(s: Subflow, mem: Uint8Array, off: number, len: number, dataSum: number): number {
  const c = s.conn
  const own = c.localKey as KeyMaterial
  const remote = c.remoteKey as KeyMaterial
  const flags = capableFlags(c.cfg, c.isChecksummed)
  const sum = dataSum < 0 ? -1 : dssChecksum(dataSum, dsnHiOf(own.idsnHi, own.idsnLo, 0), dsnLoOf(own.idsnLo, 0), 1, len)
  if (!s.isCapableAckSent) c.env.counters.MPCapableACKTX++
  s.isCapableAckSent = true
  s.isAckWritten = true
  return writeCapable(mem, off, sum < 0 ? 22 : 24, MPTCP_VERSION, flags, own.hi, own.lo, remote.hi, remote.lo, len, sum)
}

/**
 * One DSS. @param ack length of the DATA_ACK, @param data start of the mapping or -1: none, @param dataSum sum of the mapped bytes,
 * -1: no checksum. Returns its bytes, unpadded.
 */
function writeMapping(
  s: Subflow,
  mem: Uint8Array,
  off: number,
  ack: 0 | 4 | 8,
  data: DataOff,
  seq: SeqOff,
  len: number,
  dataSum: number,
  isFin: boolean,
): number {
  const c = s.conn
  const own = c.localKey as KeyMaterial
  let ackHi = 0
  let ackLo = 0
  if (ack !== 0) {
    const remote = c.remoteKey as KeyMaterial
    const at = c.rcv.dataAck
    s.sentDataAck = at
    s.isAckWritten = true
    ackHi = dsnHiOf(remote.idsnHi, remote.idsnLo, at)
    ackLo = dsnLoOf(remote.idsnLo, at)
  }
  if (data < 0) return writeDss(mem, off, ack, ackHi, ackLo, 0, 0, 0, 0, 0, -1, false)
  const hi = dsnHiOf(own.idsnHi, own.idsnLo, data)
  const lo = dsnLoOf(own.idsnLo, data)
  const ssn = seq === 0 ? 0 : (seq - s.fastOpenLen) | 0 // 0: a DATA_FIN alone
  const sum = dataSum < 0 ? -1 : dssChecksum(dataSum, hi, lo, ssn, len)
  return writeDss(mem, off, ack, ackHi, ackLo, 8, hi, lo, ssn, len, sum, isFin)
}

/** The last DSS ever: length 0, from the oldest byte that is not known to have arrived intact (RFC 8684 §3.7). */
function writeInfinite(s: Subflow, mem: Uint8Array, off: number, seqOff: SeqOff, isRetransmit: boolean): number {
  if (s.infiniteSsn < 0 || (s.infiniteAt < 0 ? isRetransmit : s.infiniteAt !== seqOff)) return 0
  const c = s.conn
  const own = c.localKey as KeyMaterial
  const at = s.infiniteData
  const hi = dsnHiOf(own.idsnHi, own.idsnLo, at)
  const lo = dsnLoOf(own.idsnLo, at)
  c.env.counters.InfiniteMapTx++
  const n = writeDss(mem, off, 0, 0, 0, 8, hi, lo, (s.infiniteSsn - s.fastOpenLen) | 0, 0, c.isChecksummed ? 0 : -1, false)
  return pad(mem, off, n)
}
