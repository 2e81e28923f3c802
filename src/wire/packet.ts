import { readI32, readU16, readU16le } from '../base/bytes.js'
import { isSumValid, sumBytes } from '../base/checksum.js'
import { VNET_HDR_LEN } from '../base/rings.js'
import {
  ICMP_FRAG_NEEDED,
  ICMP_PARAMETER_PROBLEM,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  ICMPV6_TOO_BIG,
} from './icmp.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, pseudoSumAt } from './ip.js'
import { IPV4_HEADER_LEN, sumIpv4Header } from './ipv4.js'
import { extensionHeaderLen, IPV6_HEADER_LEN, isExtensionHeader, NEXT_FRAGMENT, NEXT_ROUTING } from './ipv6.js'
import { TCP_HEADER_LEN } from './tcp.js'
import { VNET_DATA_VALID, VNET_NEEDS_CSUM } from './vnet-hdr.js'

/** TCP or ICMP, well formed, checksum right (or vouched for by the device). */
export const PARSE_OK = 0
/** Shorter than its headers say. */
export const PARSE_SHORT = 1
/** A header that contradicts itself, or a wrong IPv4 header checksum. */
export const PARSE_BAD_HEADER = 2
/** A fragment: addresses and `proto` are filled, no transport header is read. */
export const PARSE_FRAGMENT = 3
/** TCP or ICMP with a wrong checksum; fields are filled and must not be acted upon. */
export const PARSE_BAD_CHECKSUM = 4
/** Another protocol: IP fields are filled, for UDP the ports too. */
export const PARSE_OTHER = 5
export type ParseResult = 0 | 1 | 2 | 3 | 4 | 5

/** By ParseResult; names of drop counters. */
export const PARSE_RESULT_NAMES: readonly string[] = ['ok', 'short', 'bad-header', 'fragment', 'bad-checksum', 'other']

/** Extension headers that are walked; a real packet has at most a few. */
const MAX_EXTENSION_HEADERS = 8
const ICMP_HEADER_LEN = 8
/** A quotation must reach the ports and the sequence number (RFC 792: 64 bits of the data). */
const QUOTED_L4_LEN = 8

/**
 * What `parsePacket` found: one scratch object per reader, overwritten by the next packet. Addresses are four int32 words (IPv4
 * v4-mapped); offsets are absolute in `mem`. Fields of a protocol that the packet does not have keep arbitrary older values,
 * except for the ICMP fields and `qFamily`, which are reset.
 *
 *     off - 10       off              l4Off       optOff        payOff
 *     | vnet header  | IP (+ ext.)    | TCP (20)  | options     | payload |
 *                    |<-- len ----------------------------------------->|
 */
export class Packet {
  mem: Uint8Array = new Uint8Array(0)
  /** Of the IP header. */
  off = 0
  /** Bytes from the IP header to the end, padding behind the IP length excluded. */
  len = 0
  vnetFlags = 0
  /** GSO_* with GSO_ECN; GSO_NONE: one segment. */
  gsoType = 0
  /** Payload bytes per wire segment of a super-segment, 0 otherwise. */
  gsoSize = 0
  /** The transport checksum is partial: it holds the pseudo-header's sum, the payload is not summed. */
  needsCsum = false
  family: 4 | 6 = 4
  src0 = 0
  src1 = 0
  src2 = 0
  src3 = 0
  dst0 = 0
  dst1 = 0
  dst2 = 0
  dst3 = 0
  /** Transport protocol, behind the extension headers. */
  proto = 0
  /** TTL or hop limit. */
  ttl = 0
  /** TOS or traffic class; ECN in the low two bits. */
  tclass = 0
  l4Off = 0
  l4Len = 0
  isFragment = false
  // TCP (ports: UDP too)
  srcPort = 0
  dstPort = 0
  seq = 0
  ack = 0
  flags = 0
  /** The field, not scaled. */
  window = 0
  urgent = 0
  optOff = 0
  optLen = 0
  payOff = 0
  payLen = 0
  // ICMP and ICMPv6
  icmpType = -1
  icmpCode = -1
  /** Next-hop MTU of "fragmentation needed" (0 when an old router left it out, RFC 1191 §5) and "packet too big"; else -1. */
  icmpMtu = -1
  // The packet that an ICMP error quotes, as we sent it
  /** 0: nothing usable quoted. */
  qFamily: 0 | 4 | 6 = 0
  qSrc0 = 0
  qSrc1 = 0
  qSrc2 = 0
  qSrc3 = 0
  qDst0 = 0
  qDst1 = 0
  qDst2 = 0
  qDst3 = 0
  qProto = 0
  /** Ports of TCP and UDP, 0 otherwise. */
  qSrcPort = 0
  qDstPort = 0
  /** TCP sequence number, int32; 0 otherwise. */
  qSeq = 0
  /** Of the quoted IP header, for rewriting it. */
  qOff = 0
  /** Of the quoted transport header. */
  qL4Off = 0
}

/**
 * Parses mem[off, off + len): a vnet header and an IP packet. Never throws and never reads outside of that range; the result says
 * which fields of `out` hold. The vnet header's hdr_len, csum_start and csum_offset are not used: header lengths are computed.
 */
export function parsePacket(mem: Uint8Array, off: number, len: number, out: Packet): ParseResult {
  out.mem = mem
  const ipOff = off + VNET_HDR_LEN
  const avail = len - VNET_HDR_LEN
  out.off = ipOff
  out.isFragment = false
  out.icmpType = -1
  out.icmpCode = -1
  out.icmpMtu = -1
  out.qFamily = 0
  if (avail < IPV4_HEADER_LEN) return PARSE_SHORT
  const vnetFlags = mem[off] as number
  out.vnetFlags = vnetFlags
  out.needsCsum = (vnetFlags & VNET_NEEDS_CSUM) !== 0
  const gsoType = mem[off + 1] as number
  out.gsoType = gsoType
  out.gsoSize = gsoType === 0 ? 0 : readU16le(mem, off + 4)
  const version = (mem[ipOff] as number) >>> 4
  let result: ParseResult
  if (version === 4) result = parseIpv4(mem, ipOff, avail, out)
  else if (version === 6) result = parseIpv6(mem, ipOff, avail, out)
  else return PARSE_BAD_HEADER
  if (result !== PARSE_OK) return result
  const proto = out.proto
  if (proto === PROTO_TCP) return parseTcp(mem, out)
  if (proto === (version === 4 ? PROTO_ICMP : PROTO_ICMPV6)) return parseIcmp(mem, out)
  if (proto === PROTO_UDP && out.l4Len >= 8) {
    out.srcPort = readU16(mem, out.l4Off)
    out.dstPort = readU16(mem, out.l4Off + 2)
  }
  return PARSE_OTHER
}

function parseIpv4(mem: Uint8Array, off: number, avail: number, out: Packet): ParseResult {
  const hdrLen = ((mem[off] as number) & 15) << 2
  const totalLen = readU16(mem, off + 2)
  if (hdrLen < IPV4_HEADER_LEN || totalLen < hdrLen) return PARSE_BAD_HEADER
  if (totalLen > avail) return PARSE_SHORT
  out.family = 4
  out.len = totalLen
  out.tclass = mem[off + 1] as number
  out.ttl = mem[off + 8] as number
  out.proto = mem[off + 9] as number
  out.src0 = 0
  out.src1 = 0
  out.src2 = 0xffff
  out.src3 = readI32(mem, off + 12)
  out.dst0 = 0
  out.dst1 = 0
  out.dst2 = 0xffff
  out.dst3 = readI32(mem, off + 16)
  out.l4Off = off + hdrLen
  out.l4Len = totalLen - hdrLen
  if (!isSumValid(sumIpv4Header(mem, off, hdrLen))) return PARSE_BAD_HEADER
  // more fragments, or an offset (RFC 791 §3.1)
  if ((readU16(mem, off + 6) & 0x3fff) !== 0) {
    out.isFragment = true
    return PARSE_FRAGMENT
  }
  return PARSE_OK
}

function parseIpv6(mem: Uint8Array, off: number, avail: number, out: Packet): ParseResult {
  if (avail < IPV6_HEADER_LEN) return PARSE_SHORT
  const totalLen = IPV6_HEADER_LEN + readU16(mem, off + 4)
  if (totalLen > avail) return PARSE_SHORT
  out.family = 6
  out.len = totalLen
  out.tclass = (readU16(mem, off) >>> 4) & 255
  out.ttl = mem[off + 7] as number
  out.src0 = readI32(mem, off + 8)
  out.src1 = readI32(mem, off + 12)
  out.src2 = readI32(mem, off + 16)
  out.src3 = readI32(mem, off + 20)
  out.dst0 = readI32(mem, off + 24)
  out.dst1 = readI32(mem, off + 28)
  out.dst2 = readI32(mem, off + 32)
  out.dst3 = readI32(mem, off + 36)
  const next = mem[off + 6] as number
  out.proto = next
  out.l4Off = off + IPV6_HEADER_LEN
  out.l4Len = totalLen - IPV6_HEADER_LEN
  return next === PROTO_TCP ? PARSE_OK : walkExtensions(mem, off + totalLen, out)
}

/** Steps from out.l4Off over extension headers (RFC 8200 §4) up to `end`; leaves proto, l4Off, l4Len at the transport header. */
function walkExtensions(mem: Uint8Array, end: number, out: Packet): ParseResult {
  for (let i = 0; ; i++) {
    const next = out.proto
    if (next !== NEXT_FRAGMENT && !isExtensionHeader(next)) return PARSE_OK
    if (i === MAX_EXTENSION_HEADERS) return PARSE_BAD_HEADER
    const at = out.l4Off
    if (at + 8 > end) return PARSE_SHORT
    // Not at its last destination yet: nothing that a host may look into
    if (next === NEXT_ROUTING && mem[at + 3] !== 0) return PARSE_OTHER
    const hdrLen = next === NEXT_FRAGMENT ? 8 : extensionHeaderLen(next, mem[at + 1] as number)
    if (at + hdrLen > end) return PARSE_SHORT
    out.proto = mem[at] as number
    out.l4Off = at + hdrLen
    out.l4Len = end - at - hdrLen
    // An offset or more fragments; neither: an atomic fragment, which is a whole packet (RFC 6946)
    if (next === NEXT_FRAGMENT && (readU16(mem, at + 2) & 0xfff9) !== 0) {
      out.isFragment = true
      return PARSE_FRAGMENT
    }
  }
}

function parseTcp(mem: Uint8Array, out: Packet): ParseResult {
  const off = out.l4Off
  const len = out.l4Len
  if (len < TCP_HEADER_LEN) return PARSE_SHORT
  const hdrLen = ((mem[off + 12] as number) >>> 4) << 2
  if (hdrLen < TCP_HEADER_LEN || hdrLen > len) return PARSE_BAD_HEADER
  out.srcPort = readU16(mem, off)
  out.dstPort = readU16(mem, off + 2)
  out.seq = readI32(mem, off + 4)
  out.ack = readI32(mem, off + 8)
  out.flags = mem[off + 13] as number
  out.window = readU16(mem, off + 14)
  out.urgent = readU16(mem, off + 18)
  out.optOff = off + TCP_HEADER_LEN
  out.optLen = hdrLen - TCP_HEADER_LEN
  out.payOff = off + hdrLen
  out.payLen = len - hdrLen
  return (out.vnetFlags & (VNET_NEEDS_CSUM | VNET_DATA_VALID)) !== 0 || isL4SumValid(mem, out, PROTO_TCP) ? PARSE_OK : PARSE_BAD_CHECKSUM
}

function isL4SumValid(mem: Uint8Array, out: Packet, proto: number): boolean {
  return isSumValid(sumBytes(mem, out.l4Off, out.l4Len, pseudoSumAt(mem, out.off, proto, out.l4Len)))
}

function parseIcmp(mem: Uint8Array, out: Packet): ParseResult {
  const off = out.l4Off
  const len = out.l4Len
  if (len < ICMP_HEADER_LEN) return PARSE_SHORT
  const type = mem[off] as number
  const code = mem[off + 1] as number
  out.icmpType = type
  out.icmpCode = code
  out.payOff = off + ICMP_HEADER_LEN
  out.payLen = len - ICMP_HEADER_LEN
  if ((out.vnetFlags & (VNET_NEEDS_CSUM | VNET_DATA_VALID)) === 0) {
    // RFC 792: over the message alone; RFC 4443 §2.3: with the pseudo-header
    const isRight = out.family === 6 ? isL4SumValid(mem, out, PROTO_ICMPV6) : isSumValid(sumBytes(mem, off, len))
    if (!isRight) return PARSE_BAD_CHECKSUM
  }
  if (out.family === 4) {
    if (type === ICMP_UNREACHABLE && code === ICMP_FRAG_NEEDED) out.icmpMtu = readU16(mem, off + 6)
    if (isIcmpError(type)) parseQuote(mem, off + ICMP_HEADER_LEN, off + len, out)
  } else if (type < 128) {
    // a 32-bit field; more than a small integer is no MTU of this world
    if (type === ICMPV6_TOO_BIG) out.icmpMtu = Math.min(readI32(mem, off + 4) >>> 0, 0x7fffffff)
    parseQuote(mem, off + ICMP_HEADER_LEN, off + len, out)
  }
  return PARSE_OK
}

function isIcmpError(type: number): boolean {
  switch (type) {
    case ICMP_UNREACHABLE:
    case ICMP_SOURCE_QUENCH:
    case ICMP_REDIRECT:
    case ICMP_TIME_EXCEEDED:
    case ICMP_PARAMETER_PROBLEM:
      return true
    default:
      return false
  }
}

/** Reads the quoted packet in mem[at, end), truncated as it may be; qFamily stays 0 unless it shows a transport header's first 8 bytes. */
function parseQuote(mem: Uint8Array, at: number, end: number, out: Packet): void {
  if (at >= end) return
  const version = (mem[at] as number) >>> 4
  let family: 4 | 6
  let l4Off: number
  if (version === 4) {
    family = 4
    l4Off = quotedL4Ipv4(mem, at, end, out)
  } else if (version === 6) {
    family = 6
    l4Off = quotedL4Ipv6(mem, at, end, out)
  } else return
  // The embedded packet is one that we sent: same family
  if (l4Off < 0 || family !== out.family || l4Off + QUOTED_L4_LEN > end) return
  out.qFamily = family
  out.qOff = at
  out.qL4Off = l4Off
  const hasPorts = out.qProto === PROTO_TCP || out.qProto === PROTO_UDP
  out.qSrcPort = hasPorts ? readU16(mem, l4Off) : 0
  out.qDstPort = hasPorts ? readU16(mem, l4Off + 2) : 0
  out.qSeq = out.qProto === PROTO_TCP ? readI32(mem, l4Off + 4) : 0
}

/** Fills the quoted addresses and protocol; offset of the transport header, -1 when there is none. */
function quotedL4Ipv4(mem: Uint8Array, at: number, end: number, out: Packet): number {
  const hdrLen = ((mem[at] as number) & 15) << 2
  if (hdrLen < IPV4_HEADER_LEN || at + hdrLen > end) return -1
  if ((readU16(mem, at + 6) & 0x1fff) !== 0) return -1 // not the first fragment
  out.qProto = mem[at + 9] as number
  out.qSrc0 = 0
  out.qSrc1 = 0
  out.qSrc2 = 0xffff
  out.qSrc3 = readI32(mem, at + 12)
  out.qDst0 = 0
  out.qDst1 = 0
  out.qDst2 = 0xffff
  out.qDst3 = readI32(mem, at + 16)
  return at + hdrLen
}

function quotedL4Ipv6(mem: Uint8Array, at: number, end: number, out: Packet): number {
  if (at + IPV6_HEADER_LEN > end) return -1
  out.qSrc0 = readI32(mem, at + 8)
  out.qSrc1 = readI32(mem, at + 12)
  out.qSrc2 = readI32(mem, at + 16)
  out.qSrc3 = readI32(mem, at + 20)
  out.qDst0 = readI32(mem, at + 24)
  out.qDst1 = readI32(mem, at + 28)
  out.qDst2 = readI32(mem, at + 32)
  out.qDst3 = readI32(mem, at + 36)
  let next = mem[at + 6] as number
  let l4Off = at + IPV6_HEADER_LEN
  for (let i = 0; next === NEXT_FRAGMENT || isExtensionHeader(next); i++) {
    if (i === MAX_EXTENSION_HEADERS || l4Off + 8 > end) return -1
    if (next === NEXT_FRAGMENT && (readU16(mem, l4Off + 2) & 0xfff8) !== 0) return -1
    const hdrLen = next === NEXT_FRAGMENT ? 8 : extensionHeaderLen(next, mem[l4Off + 1] as number)
    next = mem[l4Off] as number
    l4Off += hdrLen
  }
  out.qProto = next
  return l4Off
}
