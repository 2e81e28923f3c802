import { readI32, readU16 } from '../base/bytes.js'
import {
  DSS_ACK,
  DSS_ACK8,
  DSS_DSN8,
  DSS_FIN,
  DSS_MAP,
  HAS_ADD_ADDR,
  HAS_CAPABLE,
  HAS_DSS,
  HAS_JOIN,
  HAS_REMOVE_ADDR,
  MAX_REMOVE_IDS,
  MP_ADD_ADDR,
  MP_CAPABLE,
  MP_DSS,
  MP_FAIL,
  MP_FASTCLOSE,
  MP_JOIN,
  MP_PRIO,
  MP_REMOVE_ADDR,
  MP_TCPRST,
} from './mptcp-format.js'

// The one door to MPTCP options: constants and writers are in files of their own
export {
  CAPABLE_CHECKSUM,
  CAPABLE_DENY_JOIN,
  CAPABLE_EXTENSIBILITY,
  CAPABLE_HMAC_SHA256,
  HAS_ADD_ADDR,
  HAS_CAPABLE,
  HAS_DSS,
  HAS_FAIL,
  HAS_FASTCLOSE,
  HAS_JOIN,
  HAS_PRIO,
  HAS_REMOVE_ADDR,
  HAS_RST,
  MAX_REMOVE_IDS,
  MPTCP_VERSION,
  MP_ADD_ADDR,
  MP_CAPABLE,
  MP_DSS,
  MP_FAIL,
  MP_FASTCLOSE,
  MP_JOIN,
  MP_PRIO,
  MP_REMOVE_ADDR,
  MP_TCPRST,
  OPT_MPTCP,
  RST_BAD_PERFORMANCE,
  RST_MIDDLEBOX,
  RST_MPTCP_ERROR,
  RST_NO_RESOURCES,
  RST_PROHIBITED,
  RST_TOO_MUCH_OUTSTANDING,
  RST_UNSPECIFIED,
  isTransient,
} from './mptcp-format.js'
export {
  dssLen,
  writeAddAddr,
  writeCapable,
  writeDss,
  writeFail,
  writeFastclose,
  writeJoinAck,
  writeJoinSyn,
  writeJoinSynAck,
  writePrio,
  writeRemoveAddr,
  writeTcpRst,
} from './mptcp-writers.js'

/** Kind of segment, for the lengths of MP_CAPABLE and MP_JOIN. FORM_ANY_SYN: a SYN or a SYN/ACK. */
export const FORM_ACK = 0
export const FORM_SYN = 1
export const FORM_SYNACK = 2
export const FORM_ANY_SYN = 3
export type OptionForm = 0 | 1 | 2 | 3

/**
 * The MPTCP options of one segment; part of the scratch object `TcpOptions`. A bit of `present` says which groups of fields hold;
 * all others have their empty values. 64-bit quantities are two int32 words. Offsets are absolute in the memory that was parsed.
 */
export class MptcpOptions {
  present = 0
  /** 4, 12, 20, 22 or 24; 0: none. */
  capableLen = 0
  capableVersion = 0
  /** CAPABLE_*. */
  capableFlags = 0
  /** The sender's key (length > 4). */
  keyHi = 0
  keyLo = 0
  /** The receiver's key as the sender knows it (length > 12). */
  peerKeyHi = 0
  peerKeyLo = 0
  /** Data-level length (length > 20), else -1. */
  capableDataLen = -1
  /** Checksum (length 24), else -1. */
  capableChecksum = -1
  /** 12, 16 or 24; 0: none. */
  joinLen = 0
  joinBackup = false
  joinAddrId = -1
  /** The receiver's token (length 12). */
  joinToken = 0
  /** The sender's random number (length 12, 16). */
  joinNonce = 0
  /** Of 8 (length 16) or 20 (length 24) bytes of HMAC, else -1. */
  joinHmacOff = -1
  /** 4 or 8; 0: no DATA_ACK. */
  dataAckLen: 0 | 4 | 8 = 0
  /** Only with dataAckLen 8. */
  dataAckHi = 0
  dataAckLo = 0
  /** 4 or 8; 0: no mapping. */
  dsnLen: 0 | 4 | 8 = 0
  /** Only with dsnLen 8. */
  dsnHi = 0
  dsnLo = 0
  /** Relative subflow sequence number. */
  ssn = 0
  /** Data-level length; 0: infinite mapping. */
  dataLen = 0
  /** -1: none. */
  dssChecksum = -1
  /** Only with a mapping. */
  dataFin = false
  addEcho = false
  addAddrId = -1
  addFamily: 0 | 4 | 6 = 0
  /** The address, IPv4 v4-mapped. */
  add0 = 0
  add1 = 0
  add2 = 0
  add3 = 0
  /** 0: none given. */
  addPort = 0
  /** Of 8 bytes; -1 in an echo. */
  addHmacOff = -1
  removeCount = 0
  readonly removeIds = new Uint8Array(MAX_REMOVE_IDS)
  prioBackup = false
  /** DSN at which the mapping whose checksum failed begins. */
  failHi = 0
  failLo = 0
  /** The receiver's key. */
  fastcloseHi = 0
  fastcloseLo = 0
  rstReason = -1
  rstTransient = false

  /** Empties the groups that are present. */
  reset(): void {
    const had = this.present
    this.present = 0
    if ((had & HAS_DSS) !== 0) this.resetDss()
    if ((had & ~HAS_DSS) === 0) return
    if ((had & HAS_CAPABLE) !== 0) this.resetCapable()
    if ((had & HAS_JOIN) !== 0) this.resetJoin()
    if ((had & HAS_ADD_ADDR) !== 0) this.resetAddAddr()
    if ((had & HAS_REMOVE_ADDR) !== 0) {
      this.removeIds.fill(0, 0, this.removeCount)
      this.removeCount = 0
    }
    this.prioBackup = false
    this.failHi = 0
    this.failLo = 0
    this.fastcloseHi = 0
    this.fastcloseLo = 0
    this.rstReason = -1
    this.rstTransient = false
  }

  private resetDss(): void {
    this.dataAckLen = 0
    this.dataAckHi = 0
    this.dataAckLo = 0
    this.dsnLen = 0
    this.dsnHi = 0
    this.dsnLo = 0
    this.ssn = 0
    this.dataLen = 0
    this.dssChecksum = -1
    this.dataFin = false
  }

  private resetCapable(): void {
    this.capableLen = 0
    this.capableVersion = 0
    this.capableFlags = 0
    this.keyHi = 0
    this.keyLo = 0
    this.peerKeyHi = 0
    this.peerKeyLo = 0
    this.capableDataLen = -1
    this.capableChecksum = -1
  }

  private resetJoin(): void {
    this.joinLen = 0
    this.joinBackup = false
    this.joinAddrId = -1
    this.joinToken = 0
    this.joinNonce = 0
    this.joinHmacOff = -1
  }

  private resetAddAddr(): void {
    this.addEcho = false
    this.addAddrId = -1
    this.addFamily = 0
    this.add0 = 0
    this.add1 = 0
    this.add2 = 0
    this.add3 = 0
    this.addPort = 0
    this.addHmacOff = -1
  }
}

/**
 * Parses the MPTCP option mem[at, at + len), whose kind and length were checked against the list (2 <= len). False when it is
 * ignored: its length is not exactly that of its subtype, flags and kind of segment; an earlier one of its subtype was
 * accepted; or the subtype is unknown.
 */
export function parseMptcpOption(mem: Uint8Array, at: number, len: number, form: OptionForm, out: MptcpOptions): boolean {
  if (len < 3) return false
  const subtype = (mem[at + 2] as number) >>> 4
  const bit = 1 << subtype
  if ((out.present & bit) !== 0) return false
  let isValid = false
  switch (subtype) {
    case MP_DSS:
      isValid = parseDss(mem, at, len, out)
      break
    case MP_CAPABLE:
      isValid = parseCapable(mem, at, len, form, out)
      break
    case MP_JOIN:
      isValid = parseJoin(mem, at, len, form, out)
      break
    case MP_ADD_ADDR:
      isValid = parseAddAddr(mem, at, len, out)
      break
    case MP_REMOVE_ADDR:
      isValid = parseRemoveAddr(mem, at, len, out)
      break
    case MP_PRIO:
      isValid = len === 3
      if (isValid) out.prioBackup = ((mem[at + 2] as number) & 1) !== 0
      break
    case MP_FAIL:
      isValid = len === 12
      if (isValid) {
        out.failHi = readI32(mem, at + 4)
        out.failLo = readI32(mem, at + 8)
      }
      break
    case MP_FASTCLOSE:
      isValid = len === 12
      if (isValid) {
        out.fastcloseHi = readI32(mem, at + 4)
        out.fastcloseLo = readI32(mem, at + 8)
      }
      break
    case MP_TCPRST:
      isValid = len === 4
      if (isValid) {
        out.rstTransient = ((mem[at + 2] as number) & 1) !== 0
        out.rstReason = mem[at + 3] as number
      }
      break
  }
  if (isValid) out.present |= bit
  return isValid
}

/** RFC 8684 Figure 9. The checksum is there when the length says so. */
function parseDss(mem: Uint8Array, at: number, len: number, out: MptcpOptions): boolean {
  if (len < 4) return false
  const flags = mem[at + 3] as number
  const ackLen = (flags & DSS_ACK) === 0 ? 0 : (flags & DSS_ACK8) === 0 ? 4 : 8
  const dsnLen = (flags & DSS_MAP) === 0 ? 0 : (flags & DSS_DSN8) === 0 ? 4 : 8
  const bareLen = 4 + ackLen + (dsnLen === 0 ? 0 : dsnLen + 6)
  const hasChecksum = dsnLen !== 0 && len === bareLen + 2
  if (len !== bareLen && !hasChecksum) return false
  let p = at + 4
  out.dataAckLen = ackLen
  if (ackLen !== 0) {
    if (ackLen === 8) {
      out.dataAckHi = readI32(mem, p)
      p += 4
    }
    out.dataAckLo = readI32(mem, p)
    p += 4
  }
  out.dsnLen = dsnLen
  if (dsnLen === 0) return true
  if (dsnLen === 8) {
    out.dsnHi = readI32(mem, p)
    p += 4
  }
  out.dsnLo = readI32(mem, p)
  out.ssn = readI32(mem, p + 4)
  out.dataLen = readU16(mem, p + 8)
  if (hasChecksum) out.dssChecksum = readU16(mem, p + 10)
  // F says something about a mapping; without one it says nothing
  out.dataFin = (flags & DSS_FIN) !== 0
  return true
}

/** RFC 8684 Figure 4: SYN 4, SYN/ACK 12, third ACK 20, with the first data 22 or 24. */
function parseCapable(mem: Uint8Array, at: number, len: number, form: OptionForm, out: MptcpOptions): boolean {
  if (form === FORM_ACK) {
    if (len !== 20 && len !== 22 && len !== 24) return false
  } else if (!(len === 4 && form !== FORM_SYNACK) && !(len === 12 && form !== FORM_SYN)) return false
  out.capableLen = len
  out.capableVersion = (mem[at + 2] as number) & 15
  out.capableFlags = mem[at + 3] as number
  if (len >= 12) {
    out.keyHi = readI32(mem, at + 4)
    out.keyLo = readI32(mem, at + 8)
  }
  if (len >= 20) {
    out.peerKeyHi = readI32(mem, at + 12)
    out.peerKeyLo = readI32(mem, at + 16)
  }
  if (len >= 22) out.capableDataLen = readU16(mem, at + 20)
  if (len === 24) out.capableChecksum = readU16(mem, at + 22)
  return true
}

/** RFC 8684 Figures 5-7: SYN 12, SYN/ACK 16, third ACK 24. */
function parseJoin(mem: Uint8Array, at: number, len: number, form: OptionForm, out: MptcpOptions): boolean {
  if (form === FORM_ACK) {
    if (len !== 24) return false
    out.joinHmacOff = at + 4
  } else if (len === 12 && form !== FORM_SYNACK) {
    out.joinToken = readI32(mem, at + 4)
    out.joinNonce = readI32(mem, at + 8)
  } else if (len === 16 && form !== FORM_SYN) {
    out.joinHmacOff = at + 4
    out.joinNonce = readI32(mem, at + 12)
  } else return false
  out.joinLen = len
  if (len !== 24) {
    out.joinBackup = ((mem[at + 2] as number) & 1) !== 0
    out.joinAddrId = mem[at + 3] as number
  }
  return true
}

/** RFC 8684 Figure 12: 8 bytes of HMAC unless it is an echo, two of port or none. */
function parseAddAddr(mem: Uint8Array, at: number, len: number, out: MptcpOptions): boolean {
  const isEcho = ((mem[at + 2] as number) & 1) !== 0
  const bareLen = isEcho ? len : len - 8
  const isV4 = bareLen === 8 || bareLen === 10
  if (!isV4 && bareLen !== 20 && bareLen !== 22) return false
  out.addEcho = isEcho
  out.addAddrId = mem[at + 3] as number
  let p = at + 4
  if (isV4) {
    out.addFamily = 4
    out.add2 = 0xffff
  } else {
    out.addFamily = 6
    out.add0 = readI32(mem, p)
    out.add1 = readI32(mem, p + 4)
    out.add2 = readI32(mem, p + 8)
    p += 12
  }
  out.add3 = readI32(mem, p)
  p += 4
  if ((bareLen & 2) !== 0) {
    out.addPort = readU16(mem, p)
    p += 2
  }
  if (!isEcho) out.addHmacOff = p
  return true
}

/** RFC 8684 Figure 13. */
function parseRemoveAddr(mem: Uint8Array, at: number, len: number, out: MptcpOptions): boolean {
  const count = len - 3
  if (count < 1 || count > MAX_REMOVE_IDS) return false
  for (let i = 0; i < count; i++) out.removeIds[i] = mem[at + 3 + i] as number
  out.removeCount = count
  return true
}
