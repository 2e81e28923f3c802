import { readI32, readU16, writeI32, writeU16 } from '../base/bytes.js'
import {
  FORM_ACK,
  FORM_ANY_SYN,
  FORM_SYN,
  FORM_SYNACK,
  MptcpOptions,
  OPT_MPTCP,
  parseMptcpOption,
  type OptionForm,
} from './mptcp-options.js'
import type { Packet } from './packet.js'
import { ACK, SYN } from './tcp.js'

/** Option kinds: RFC 9293 §3.2, RFC 7323, RFC 2018, RFC 7413. */
export const OPT_EOL = 0
export const OPT_NOP = 1
export const OPT_MSS = 2
export const OPT_WSCALE = 3
export const OPT_SACK_PERMITTED = 4
export const OPT_SACK = 5
export const OPT_TIMESTAMPS = 8
export const OPT_FAST_OPEN = 34

/** RFC 7323 §2.3: a larger shift count counts as 14. */
export const MAX_WSCALE = 14
/** RFC 2018 §3: as many blocks as fit into 40 bytes. */
export const MAX_SACK_BLOCKS = 4

/** NOP NOP, kind 8, length 10: how nearly every segment's options begin (RFC 7323 appendix A). */
const NOP_NOP_TIMESTAMPS = 0x0101080a

/**
 * The options of one segment: a scratch object, overwritten by the next parse. After it every field that no valid option set has
 * its empty value: an option that is rejected leaves no trace but in `ignored`.
 */
export class TcpOptions {
  /** -1: none; else as received, 0..65535. */
  mss = -1
  /** -1: none; 0..14. */
  wscale = -1
  sackPermitted = false
  hasTs = false
  tsVal = 0
  tsEcr = 0
  sackCount = 0
  /** Edges of SACK blocks as received, raw sequence numbers (int32), [0, sackCount). */
  readonly sackLeft = new Int32Array(MAX_SACK_BLOCKS)
  readonly sackRight = new Int32Array(MAX_SACK_BLOCKS)
  /** Bytes of the Fast Open cookie, 0: a cookie is requested, -1: no option. */
  fastOpenLen = -1
  /** Offset of the cookie in the memory that was parsed. */
  fastOpenOff = -1
  /** The list is broken: an option without, with an impossible, or with an overlong length. What precedes it was used. */
  malformed = false
  /** Options of known kind that were ignored: wrong length, wrong kind of segment, or repeated. */
  ignored = 0
  readonly mptcp: MptcpOptions = new MptcpOptions()

  /** Back to the state of a segment without options. */
  reset(): void {
    this.mss = -1
    this.wscale = -1
    this.sackPermitted = false
    this.hasTs = false
    this.tsVal = 0
    this.tsEcr = 0
    this.sackCount = 0
    this.fastOpenLen = -1
    this.fastOpenOff = -1
    this.malformed = false
    this.ignored = 0
    if (this.mptcp.present !== 0) this.mptcp.reset()
  }
}

/** Parses the options of a TCP packet; its flags tell SYN, SYN/ACK and others apart, which decides the legal MPTCP lengths. */
export function parseOptionsOf(pkt: Packet, out: TcpOptions): void {
  const flags = pkt.flags
  const form = (flags & SYN) === 0 ? FORM_ACK : (flags & ACK) === 0 ? FORM_SYN : FORM_SYNACK
  parseOptions(pkt.mem, pkt.optOff, pkt.optLen, form, out)
}

/**
 * Parses mem[off, off + len), 0 <= len <= 40. Never throws, never reads outside. With `isSyn` both SYN and SYN/ACK forms of
 * MP_CAPABLE and MP_JOIN are accepted; `parseOptionsOf` is exact.
 */
export function parseTcpOptions(mem: Uint8Array, off: number, len: number, isSyn: boolean, out: TcpOptions): void {
  parseOptions(mem, off, len, isSyn ? FORM_ANY_SYN : FORM_ACK, out)
}

function parseOptions(mem: Uint8Array, off: number, len: number, form: OptionForm, out: TcpOptions): void {
  out.reset()
  const end = off + len
  let at = off
  if (len >= 12 && readI32(mem, off) === NOP_NOP_TIMESTAMPS) {
    out.hasTs = true
    out.tsVal = readI32(mem, off + 4)
    out.tsEcr = readI32(mem, off + 8)
    at += 12
  }
  while (at < end) {
    const kind = mem[at] as number
    if (kind === OPT_NOP) {
      at++
      continue
    }
    if (kind === OPT_EOL) return
    // RFC 9293 §3.1 (MUST-7): an illegal length must not hurt. Linux: the rest is skipped
    if (at + 1 >= end) {
      out.malformed = true
      return
    }
    const optLen = mem[at + 1] as number
    if (optLen < 2 || at + optLen > end) {
      out.malformed = true
      return
    }
    if (kind === OPT_MPTCP) {
      if (!parseMptcpOption(mem, at, optLen, form, out.mptcp)) out.ignored++
    } else if (!parseOption(mem, at, kind, optLen, form !== FORM_ACK, out)) out.ignored++
    at += optLen
  }
}

/** One option but MPTCP; false when it is of a known kind and must be ignored. Of repeated ones the first counts. */
function parseOption(mem: Uint8Array, at: number, kind: number, len: number, isSyn: boolean, out: TcpOptions): boolean {
  switch (kind) {
    case OPT_TIMESTAMPS:
      if (len !== 10 || out.hasTs) return false
      out.hasTs = true
      out.tsVal = readI32(mem, at + 2)
      out.tsEcr = readI32(mem, at + 6)
      return true
    case OPT_SACK:
      return parseSack(mem, at, len, isSyn, out)
    case OPT_MSS:
      if (len !== 4 || !isSyn || out.mss >= 0) return false
      out.mss = readU16(mem, at + 2)
      return true
    case OPT_WSCALE:
      if (len !== 3 || !isSyn || out.wscale >= 0) return false
      out.wscale = Math.min(mem[at + 2] as number, MAX_WSCALE)
      return true
    case OPT_SACK_PERMITTED:
      if (len !== 2 || !isSyn || out.sackPermitted) return false
      out.sackPermitted = true
      return true
    case OPT_FAST_OPEN:
      // RFC 7413 §4.1.1: a cookie has 4 to 16 bytes, an even number; anything else, or without SYN, is ignored
      if (!isSyn || out.fastOpenLen >= 0 || !isCookieLen(len - 2)) return false
      out.fastOpenLen = len - 2
      out.fastOpenOff = at + 2
      return true
    default:
      return true
  }
}

function parseSack(mem: Uint8Array, at: number, len: number, isSyn: boolean, out: TcpOptions): boolean {
  if (isSyn || out.sackCount > 0 || len < 10 || ((len - 2) & 7) !== 0) return false
  const count = (len - 2) >> 3
  if (count > MAX_SACK_BLOCKS) return false
  for (let i = 0; i < count; i++) {
    out.sackLeft[i] = readI32(mem, at + 2 + 8 * i)
    out.sackRight[i] = readI32(mem, at + 6 + 8 * i)
  }
  out.sackCount = count
  return true
}

function isCookieLen(n: number): boolean {
  return n === 0 || (n >= 4 && n <= 16 && (n & 1) === 0)
}

/** MSS, 4 bytes. */
export function writeMss(mem: Uint8Array, off: number, mss: number): number {
  mem[off] = OPT_MSS
  mem[off + 1] = 4
  writeU16(mem, off + 2, mss)
  return 4
}

/** NOP and window scale, 4 bytes, as Linux writes them. */
export function writeWscale(mem: Uint8Array, off: number, shift: number): number {
  mem[off] = OPT_NOP
  mem[off + 1] = OPT_WSCALE
  mem[off + 2] = 3
  mem[off + 3] = shift
  return 4
}

/** SACK permitted, 2 bytes: followed by bare timestamps it needs no padding. */
export function writeSackPermitted(mem: Uint8Array, off: number): number {
  mem[off] = OPT_SACK_PERMITTED
  mem[off + 1] = 2
  return 2
}

/** NOP NOP and timestamps, 12 bytes. */
export function writeTimestamps(mem: Uint8Array, off: number, tsVal: number, tsEcr: number): number {
  writeI32(mem, off, NOP_NOP_TIMESTAMPS)
  writeI32(mem, off + 4, tsVal)
  writeI32(mem, off + 8, tsEcr)
  return 12
}

/** Timestamps without padding, 10 bytes: behind SACK permitted, and beside an ADD_ADDR of 30 bytes. */
export function writeBareTimestamps(mem: Uint8Array, off: number, tsVal: number, tsEcr: number): number {
  mem[off] = OPT_TIMESTAMPS
  mem[off + 1] = 10
  writeI32(mem, off + 2, tsVal)
  writeI32(mem, off + 6, tsEcr)
  return 10
}

/** NOP NOP and `count` (1..4) SACK blocks of raw sequence numbers, 4 + 8 * count bytes. */
export function writeSack(mem: Uint8Array, off: number, count: number, left: Int32Array, right: Int32Array): number {
  mem[off] = OPT_NOP
  mem[off + 1] = OPT_NOP
  mem[off + 2] = OPT_SACK
  mem[off + 3] = 2 + 8 * count
  for (let i = 0; i < count; i++) {
    writeI32(mem, off + 4 + 8 * i, left[i] as number)
    writeI32(mem, off + 8 + 8 * i, right[i] as number)
  }
  return 4 + 8 * count
}

/** Fast Open with a cookie of `cookieLen` bytes (4..16, even), or a request for one (0); 2 + cookieLen bytes. */
export function writeFastOpen(mem: Uint8Array, off: number, cookie: Uint8Array, cookieOff: number, cookieLen: number): number {
  mem[off] = OPT_FAST_OPEN
  mem[off + 1] = 2 + cookieLen
  for (let i = 0; i < cookieLen; i++) mem[off + 2 + i] = cookie[cookieOff + i] as number
  return 2 + cookieLen
}

/** Appends NOPs behind `len` bytes of options at mem[off] up to a multiple of 4; returns the new length. */
export function pad(mem: Uint8Array, off: number, len: number): number {
  let n = len
  while ((n & 3) !== 0) mem[off + n++] = OPT_NOP
  return n
}
