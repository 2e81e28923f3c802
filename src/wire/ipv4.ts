import { readU16, writeI32, writeU16 } from '../base/bytes.js'
import { finishSum, sumBytes } from '../base/checksum.js'

/** Without options; we send none. */
export const IPV4_HEADER_LEN = 20

/** Flags and fragment offset: don't fragment. Path MTU discovery needs it, and it makes identification 0 legal (RFC 6864 §4.1). */
const DONT_FRAGMENT = 0x4000

/** Writes an IPv4 header (RFC 791 §3.1) with its checksum; addresses as 32-bit words. Returns 20. */
export function writeIpv4Header(
  mem: Uint8Array,
  off: number,
  src: number,
  dst: number,
  proto: number,
  l4Len: number,
  tos: number,
  ttl: number,
): number {
  mem[off] = 0x45
  mem[off + 1] = tos
  writeU16(mem, off + 2, IPV4_HEADER_LEN + l4Len)
  writeI32(mem, off + 4, DONT_FRAGMENT)
  mem[off + 8] = ttl
  mem[off + 9] = proto
  writeI32(mem, off + 12, src)
  writeI32(mem, off + 16, dst)
  finishIpv4(mem, off)
  return IPV4_HEADER_LEN
}

/** Sets the total length of the IPv4 header at mem[off] and computes its checksum anew. */
export function setIpv4Length(mem: Uint8Array, off: number, totalLen: number): void {
  writeU16(mem, off + 2, totalLen)
  finishIpv4(mem, off)
}

/** Fills in the header checksum. */
function finishIpv4(mem: Uint8Array, off: number): void {
  writeU16(mem, off + 10, 0)
  writeU16(mem, off + 10, finishSum(sumIpv4Header(mem, off, ipv4HeaderLen(mem, off))))
}

/** Length of the header at mem[off] by its IHL field: 0-60, below 20 when malformed. */
export function ipv4HeaderLen(mem: Uint8Array, off: number): number {
  return ((mem[off] as number) & 15) << 2
}

/** Sum over an IPv4 header, its checksum field included: 0xffff when that is right. The usual 20 bytes without a loop. */
export function sumIpv4Header(mem: Uint8Array, off: number, len: number): number {
  if (len !== IPV4_HEADER_LEN) return sumBytes(mem, off, len)
  const sum =
    readU16(mem, off) +
    readU16(mem, off + 2) +
    readU16(mem, off + 4) +
    readU16(mem, off + 6) +
    readU16(mem, off + 8) +
    readU16(mem, off + 10) +
    readU16(mem, off + 12) +
    readU16(mem, off + 14) +
    readU16(mem, off + 16) +
    readU16(mem, off + 18)
  // ten words carry at most 9 * 2^16: the second fold cannot carry again
  const once = (sum & 0xffff) + (sum >>> 16)
  return (once & 0xffff) + (once >>> 16)
}
