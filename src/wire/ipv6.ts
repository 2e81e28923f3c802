import { writeI32, writeU16 } from '../base/bytes.js'

/** Without extension headers; we send none. */
export const IPV6_HEADER_LEN = 40

/** Next header values, RFC 8200 §4. */
export const NEXT_HOP_BY_HOP = 0
export const NEXT_ROUTING = 43
export const NEXT_FRAGMENT = 44
export const NEXT_AH = 51
export const NEXT_DESTINATION = 60
export const NEXT_MOBILITY = 135
export const NEXT_HIP = 139
export const NEXT_SHIM6 = 140

/** Writes an IPv6 header (RFC 8200 §3), flow label 0; addresses as 32-bit words. Returns 40. */
export function writeIpv6Header(
  mem: Uint8Array,
  off: number,
  s0: number,
  s1: number,
  s2: number,
  s3: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
  proto: number,
  l4Len: number,
  tclass: number,
  hopLimit: number,
): number {
  writeI32(mem, off, (6 << 28) | ((tclass & 255) << 20))
  writeU16(mem, off + 4, l4Len)
  mem[off + 6] = proto
  mem[off + 7] = hopLimit
  writeI32(mem, off + 8, s0)
  writeI32(mem, off + 12, s1)
  writeI32(mem, off + 16, s2)
  writeI32(mem, off + 20, s3)
  writeI32(mem, off + 24, d0)
  writeI32(mem, off + 28, d1)
  writeI32(mem, off + 32, d2)
  writeI32(mem, off + 36, d3)
  return IPV6_HEADER_LEN
}

/** Sets the payload length of the IPv6 header at mem[off]. */
export function setIpv6Length(mem: Uint8Array, off: number, payloadLen: number): void {
  writeU16(mem, off + 4, payloadLen)
}

/** Whether the walk over extension headers steps over this next-header value. The fragment header is treated apart. */
export function isExtensionHeader(next: number): boolean {
  switch (next) {
    case NEXT_HOP_BY_HOP:
    case NEXT_ROUTING:
    case NEXT_AH:
    case NEXT_DESTINATION:
    case NEXT_MOBILITY:
    case NEXT_HIP:
    case NEXT_SHIM6:
      return true
    default:
      return false
  }
}

/** Bytes of an extension header with this length field: 8-octet units without the first (RFC 8200 §4), AH 4-octet ones without two (RFC 4302 §2.2). */
export function extensionHeaderLen(next: number, lenField: number): number {
  return next === NEXT_AH ? (lenField + 2) << 2 : (lenField + 1) << 3
}
