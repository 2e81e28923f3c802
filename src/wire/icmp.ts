import type { IpAddress } from '../base/address.js'
import { readI32, writeI32, writeU16 } from '../base/bytes.js'
import { finishSum, sumBytes } from '../base/checksum.js'
import { VNET_HDR_LEN } from '../base/rings.js'
import { DEFAULT_TTL, PROTO_ICMP, PROTO_ICMPV6, pseudoSumAt } from './ip.js'
import { writeIpv4Header } from './ipv4.js'
import { writeIpv6Header } from './ipv6.js'
import { writePlainVnetHdr } from './vnet-hdr.js'

/** ICMP types, RFC 792. */
export const ICMP_ECHO_REPLY = 0
export const ICMP_UNREACHABLE = 3
export const ICMP_SOURCE_QUENCH = 4
export const ICMP_REDIRECT = 5
export const ICMP_ECHO = 8
export const ICMP_TIME_EXCEEDED = 11
export const ICMP_PARAMETER_PROBLEM = 12
/** Code of ICMP_UNREACHABLE that carries a next-hop MTU (RFC 1191 §4). */
export const ICMP_FRAG_NEEDED = 4

/** ICMPv6 types, RFC 4443 §2.1: errors are those below 128. */
export const ICMPV6_UNREACHABLE = 1
export const ICMPV6_TOO_BIG = 2
export const ICMPV6_TIME_EXCEEDED = 3
export const ICMPV6_PARAMETER_PROBLEM = 4
export const ICMPV6_ECHO = 128
export const ICMPV6_ECHO_REPLY = 129

/** Why a destination cannot be reached, for `buildIcmpUnreachable`: the same word for both families. */
export const UNREACH_NET = 0
export const UNREACH_HOST = 1
export const UNREACH_PORT = 2
export const UNREACH_ADMIN = 3
export type UnreachReason = 0 | 1 | 2 | 3

/** RFC 792, RFC 1812 §5.2.7.1; RFC 4443 §3.1. Indexed by UnreachReason. */
const UNREACH_CODE_V4: readonly number[] = [0, 1, 3, 13]
const UNREACH_CODE_V6: readonly number[] = [0, 3, 4, 1]

const ICMP_HEADER_LEN = 8

/**
 * Bytes of the offending packet that are quoted: its IP and TCP headers with all options.
 * Deviation: RFC 4443 §3.1 wants as much as fits into 1280 bytes; a control packet must fit into the header room of a tx entry.
 */
export const ICMP_QUOTE_MAX = 160

/** Largest packet that the builders of this file write, vnet header included. */
export const ICMP_ERROR_MAX = VNET_HDR_LEN + 40 + ICMP_HEADER_LEN + ICMP_QUOTE_MAX

/**
 * Writes "destination unreachable", vnet header first, at mem[off]; returns its length (<= ICMP_ERROR_MAX). It goes to the source
 * of the offending IP packet orig[origOff, origOff + origLen), which must not be an ICMP error itself and stays unchanged.
 * @param source who complains; null: the destination that the packet was sent to.
 */
export function buildIcmpUnreachable(
  mem: Uint8Array,
  off: number,
  reason: UnreachReason,
  source: IpAddress | null,
  orig: Uint8Array,
  origOff: number,
  origLen: number,
): number {
  const isV4 = (orig[origOff] as number) >>> 4 === 4
  const code = (isV4 ? UNREACH_CODE_V4 : UNREACH_CODE_V6)[reason] as number
  return buildIcmpError(mem, off, isV4 ? ICMP_UNREACHABLE : ICMPV6_UNREACHABLE, code, 0, source, orig, origOff, origLen)
}

/** Writes "fragmentation needed" (RFC 1191 §4) or "packet too big" (RFC 4443 §3.2); as `buildIcmpUnreachable`. `mtu` in bytes of IP packet. */
export function buildPacketTooBig(
  mem: Uint8Array,
  off: number,
  mtu: number,
  source: IpAddress | null,
  orig: Uint8Array,
  origOff: number,
  origLen: number,
): number {
  if ((orig[origOff] as number) >>> 4 === 4) {
    return buildIcmpError(mem, off, ICMP_UNREACHABLE, ICMP_FRAG_NEEDED, Math.min(mtu, 0xffff), source, orig, origOff, origLen)
  }
  return buildIcmpError(mem, off, ICMPV6_TOO_BIG, 0, mtu, source, orig, origOff, origLen)
}

/** Writes an ICMP error of the family of `orig`; `word` is the second 32-bit word of the header. */
function buildIcmpError(
  mem: Uint8Array,
  off: number,
  type: number,
  code: number,
  word: number,
  source: IpAddress | null,
  orig: Uint8Array,
  origOff: number,
  origLen: number,
): number {
  const isV4 = (orig[origOff] as number) >>> 4 === 4
  const quoteLen = Math.min(origLen, ICMP_QUOTE_MAX)
  const l4Len = ICMP_HEADER_LEN + quoteLen
  const ipOff = off + VNET_HDR_LEN
  const ipLen = isV4
    ? writeReplyHeader4(mem, ipOff, source, orig, origOff, l4Len)
    : writeReplyHeader6(mem, ipOff, source, orig, origOff, l4Len)
  writePlainVnetHdr(mem, off)
  const icmpOff = ipOff + ipLen
  mem[icmpOff] = type
  mem[icmpOff + 1] = code
  writeU16(mem, icmpOff + 2, 0)
  writeI32(mem, icmpOff + 4, word)
  for (let i = 0; i < quoteLen; i++) mem[icmpOff + ICMP_HEADER_LEN + i] = orig[origOff + i] as number
  // RFC 792: the ICMP message alone; RFC 4443 §2.3: with the pseudo-header
  const start = isV4 ? 0 : pseudoSumAt(mem, ipOff, PROTO_ICMPV6, l4Len)
  writeU16(mem, icmpOff + 2, finishSum(sumBytes(mem, icmpOff, l4Len, start)))
  return VNET_HDR_LEN + ipLen + l4Len
}

function writeReplyHeader4(
  mem: Uint8Array,
  ipOff: number,
  source: IpAddress | null,
  orig: Uint8Array,
  origOff: number,
  l4Len: number,
): number {
  const src = source === null ? readI32(orig, origOff + 16) : source.w3
  return writeIpv4Header(mem, ipOff, src, readI32(orig, origOff + 12), PROTO_ICMP, l4Len, 0, DEFAULT_TTL)
}

function writeReplyHeader6(
  mem: Uint8Array,
  ipOff: number,
  source: IpAddress | null,
  orig: Uint8Array,
  origOff: number,
  l4Len: number,
): number {
  return writeIpv6Header(
    mem,
    ipOff,
    source === null ? readI32(orig, origOff + 24) : source.w0,
    source === null ? readI32(orig, origOff + 28) : source.w1,
    source === null ? readI32(orig, origOff + 32) : source.w2,
    source === null ? readI32(orig, origOff + 36) : source.w3,
    readI32(orig, origOff + 8),
    readI32(orig, origOff + 12),
    readI32(orig, origOff + 16),
    readI32(orig, origOff + 20),
    PROTO_ICMPV6,
    l4Len,
    0,
    DEFAULT_TTL,
  )
}
