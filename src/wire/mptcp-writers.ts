import type { IpAddress } from '../base/address.js'
import { writeI32, writeU16 } from '../base/bytes.js'
import {
  DSS_ACK,
  DSS_ACK8,
  DSS_DSN8,
  DSS_FIN,
  DSS_MAP,
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
} from './mptcp-format.js'

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
