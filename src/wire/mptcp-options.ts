import type { IpAddress } from '../base/address.js'
import { readI32, readU16, writeI32, writeU16 } from '../base/bytes.js'

/** TCP option kind of all MPTCP options (RFC 8684 §3). */
export const OPT_MPTCP = 30

/** Subtypes, RFC 8684 §7.2. */
export const MP_CAPABLE = 0
export const MP_JOIN = 1
export const MP_DSS = 2
export const MP_ADD_ADDR = 3
export const MP_REMOVE_ADDR = 4
export const MP_PRIO = 5
export const MP_FAIL = 6
export const MP_FASTCLOSE = 7
export const MP_TCPRST = 8

/** Bits of `MptcpOptions.present`: 1 << subtype. */
export const HAS_CAPABLE = 1
export const HAS_JOIN = 2
export const HAS_DSS = 4
export const HAS_ADD_ADDR = 8
export const HAS_REMOVE_ADDR = 16
export const HAS_PRIO = 32
export const HAS_FAIL = 64
export const HAS_FASTCLOSE = 128
export const HAS_RST = 256

/** Flags of MP_CAPABLE, RFC 8684 §3.1. */
export const CAPABLE_CHECKSUM = 0x80
export const CAPABLE_EXTENSIBILITY = 0x40
export const CAPABLE_DENY_JOIN = 0x20
export const CAPABLE_HMAC_SHA256 = 0x01

/** Reasons of MP_TCPRST, RFC 8684 §3.6. */
export const RST_UNSPECIFIED = 0
export const RST_MPTCP_ERROR = 1
export const RST_NO_RESOURCES = 2
export const RST_PROHIBITED = 3
export const RST_TOO_MUCH_OUTSTANDING = 4
export const RST_BAD_PERFORMANCE = 5
export const RST_MIDDLEBOX = 6

/** The version that we speak. */
export const MPTCP_VERSION = 1

/** Flags of DSS, RFC 8684 §3.3. */
const DSS_ACK = 1
const DSS_ACK8 = 2
const DSS_MAP = 4
const DSS_DSN8 = 8
const DSS_FIN = 16

/** Address ids that fit into one REMOVE_ADDR of 40 bytes. */
export const MAX_REMOVE_IDS = 37

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

/** Kind, length, subtype with its low four bits, and the byte behind it. */
function writeHead(mem: Uint8Array, off: number, len: number, subtype: number, low: number, next: number): void {
  mem[off] = OPT_MPTCP
  mem[off + 1] = len
  mem[off + 2] = (subtype << 4) | low
  mem[off + 3] = next
}

/**
 * MP_CAPABLE of `len` bytes: 4 (SYN), 12 (SYN/ACK: key), 20 (both keys), 22 (and data-level length), 24 (and checksum).
 * `key` is the writer's own, `peer` the other one's. Returns `len`; 22 needs padding.
 */
export function writeCapable(
  mem: Uint8Array,
  off: number,
  len: 4 | 12 | 20 | 22 | 24,
  version: number,
  flags: number,
  keyHi: number,
  keyLo: number,
  peerHi: number,
  peerLo: number,
  dataLen: number,
  checksum: number,
): number {
  writeHead(mem, off, len, MP_CAPABLE, version, flags)
  if (len >= 12) {
    writeI32(mem, off + 4, keyHi)
    writeI32(mem, off + 8, keyLo)
  }
  if (len >= 20) {
    writeI32(mem, off + 12, peerHi)
    writeI32(mem, off + 16, peerLo)
  }
  if (len >= 22) writeU16(mem, off + 20, dataLen)
  if (len === 24) writeU16(mem, off + 22, checksum)
  return len
}

/** MP_JOIN of a SYN, 12 bytes; `token` is the peer's. */
export function writeJoinSyn(mem: Uint8Array, off: number, isBackup: boolean, addrId: number, token: number, nonce: number): number {
  writeHead(mem, off, 12, MP_JOIN, isBackup ? 1 : 0, addrId)
  writeI32(mem, off + 4, token)
  writeI32(mem, off + 8, nonce)
  return 12
}

/** MP_JOIN of a SYN/ACK, 16 bytes; the leftmost 8 bytes of the HMAC stand at hmac[hmacOff]. */
export function writeJoinSynAck(
  mem: Uint8Array,
  off: number,
  isBackup: boolean,
  addrId: number,
  hmac: Uint8Array,
  hmacOff: number,
  nonce: number,
): number {
  writeHead(mem, off, 16, MP_JOIN, isBackup ? 1 : 0, addrId)
  copyBytes(mem, off + 4, hmac, hmacOff, 8)
  writeI32(mem, off + 12, nonce)
  return 16
}

/** MP_JOIN of the third ACK, 24 bytes; the leftmost 20 bytes of the HMAC stand at hmac[hmacOff]. */
export function writeJoinAck(mem: Uint8Array, off: number, hmac: Uint8Array, hmacOff: number): number {
  writeHead(mem, off, 24, MP_JOIN, 0, 0)
  copyBytes(mem, off + 4, hmac, hmacOff, 20)
  return 24
}

/** Bytes of a DSS option, unpadded: `ackLen` and `dsnLen` are 0 (absent), 4 or 8. */
export function dssLen(ackLen: 0 | 4 | 8, dsnLen: 0 | 4 | 8, hasChecksum: boolean): number {
  return 4 + ackLen + (dsnLen === 0 ? 0 : dsnLen + 6 + (hasChecksum ? 2 : 0))
}

/** DSS; `checksum` -1 for none; mapping and `isFin` count with dsnLen > 0 only. Returns its bytes, unpadded (`dssLen`). */
export function writeDss(
  mem: Uint8Array,
  off: number,
  ackLen: 0 | 4 | 8,
  ackHi: number,
  ackLo: number,
  dsnLen: 0 | 4 | 8,
  dsnHi: number,
  dsnLo: number,
  ssn: number,
  dataLen: number,
  checksum: number,
  isFin: boolean,
): number {
  let flags = 0
  let p = off + 4
  if (ackLen !== 0) {
    flags = DSS_ACK
    if (ackLen === 8) {
      flags |= DSS_ACK8
      writeI32(mem, p, ackHi)
      p += 4
    }
    writeI32(mem, p, ackLo)
    p += 4
  }
  if (dsnLen !== 0) {
    flags |= isFin ? DSS_MAP | DSS_FIN : DSS_MAP
    if (dsnLen === 8) {
      flags |= DSS_DSN8
      writeI32(mem, p, dsnHi)
      p += 4
    }
    writeI32(mem, p, dsnLo)
    writeI32(mem, p + 4, ssn)
    writeU16(mem, p + 8, dataLen)
    p += 10
    if (checksum >= 0) {
      writeU16(mem, p, checksum)
      p += 2
    }
  }
  writeHead(mem, off, p - off, MP_DSS, 0, flags)
  return p - off
}

/**
 * ADD_ADDR; port 0: none. The rightmost 8 bytes of the HMAC stand at hmac[hmacOff] (that is digest offset 24);
 * null: an echo. Returns 16, 18, 28 or 30 (echo 8, 10, 20 or 22), unpadded.
 */
export function writeAddAddr(
  mem: Uint8Array,
  off: number,
  addrId: number,
  address: IpAddress,
  port: number,
  hmac: Uint8Array | null,
  hmacOff: number,
): number {
  let p = off + 4
  if (!address.isV4) {
    writeI32(mem, p, address.w0)
    writeI32(mem, p + 4, address.w1)
    writeI32(mem, p + 8, address.w2)
    p += 12
  }
  writeI32(mem, p, address.w3)
  p += 4
  if (port !== 0) {
    writeU16(mem, p, port)
    p += 2
  }
  if (hmac !== null) {
    copyBytes(mem, p, hmac, hmacOff, 8)
    p += 8
  }
  writeHead(mem, off, p - off, MP_ADD_ADDR, hmac === null ? 1 : 0, addrId)
  return p - off
}

/** REMOVE_ADDR of ids[0, count), 1 <= count <= 37; 3 + count bytes, unpadded. */
export function writeRemoveAddr(mem: Uint8Array, off: number, ids: Uint8Array, count: number): number {
  writeHead(mem, off, 3 + count, MP_REMOVE_ADDR, 0, 0)
  copyBytes(mem, off + 3, ids, 0, count)
  return 3 + count
}

/** MP_PRIO, 3 bytes, unpadded. */
export function writePrio(mem: Uint8Array, off: number, isBackup: boolean): number {
  mem[off] = OPT_MPTCP
  mem[off + 1] = 3
  mem[off + 2] = (MP_PRIO << 4) | (isBackup ? 1 : 0)
  return 3
}

/** MP_FAIL, 12 bytes; the DSN at which the mapping that failed begins. */
export function writeFail(mem: Uint8Array, off: number, dsnHi: number, dsnLo: number): number {
  writeHead(mem, off, 12, MP_FAIL, 0, 0)
  writeI32(mem, off + 4, dsnHi)
  writeI32(mem, off + 8, dsnLo)
  return 12
}

/** MP_FASTCLOSE, 12 bytes, with the peer's key. */
export function writeFastclose(mem: Uint8Array, off: number, peerKeyHi: number, peerKeyLo: number): number {
  writeHead(mem, off, 12, MP_FASTCLOSE, 0, 0)
  writeI32(mem, off + 4, peerKeyHi)
  writeI32(mem, off + 8, peerKeyLo)
  return 12
}

/** MP_TCPRST, 4 bytes. */
export function writeTcpRst(mem: Uint8Array, off: number, reason: number, isTransient: boolean): number {
  writeHead(mem, off, 4, MP_TCPRST, isTransient ? 1 : 0, reason)
  return 4
}

function copyBytes(dst: Uint8Array, dstOff: number, src: Uint8Array, srcOff: number, len: number): void {
  for (let i = 0; i < len; i++) dst[dstOff + i] = src[srcOff + i] as number
}
