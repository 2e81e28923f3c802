import { readU16, readU16le, writeU16 } from '../base/bytes.js'
import { finishSum, sumBytes } from '../base/checksum.js'
import { VNET_HDR_LEN } from '../base/rings.js'

// linux/virtio_net.h
export const VNET_F_NEEDS_CSUM = 1
export const VNET_GSO_NONE = 0
export const VNET_GSO_TCPV4 = 1
export const VNET_GSO_TCPV6 = 4
/** A flag on top of the type: the super-segment may carry CWR. */
export const VNET_GSO_ECN = 0x80

/** Offset of the checksum field in a UDP header, by which UDP is told from TCP (16). */
const UDP_CSUM_OFFSET = 6

/** Super-segment type without the ECN flag: VNET_GSO_NONE, _TCPV4 or _TCPV6, or one that we never asked for. */
export function gsoType(mem: Uint8Array, off: number): number {
  return (mem[off + 1] as number) & ~VNET_GSO_ECN
}

/** Payload bytes of each segment but the last; 0 without GSO. */
export function gsoSize(mem: Uint8Array, off: number): number {
  return readU16le(mem, off + 4)
}

/** Whether the transport checksum field holds the pseudo-header's sum only. */
export function needsChecksum(mem: Uint8Array, off: number): boolean {
  return ((mem[off] as number) & VNET_F_NEEDS_CSUM) !== 0
}

/** Writes the header of a packet that is complete as it stands. */
export function clearVnetHdr(mem: Uint8Array, off: number): void {
  mem.fill(0, off, off + VNET_HDR_LEN)
}

/**
 * Completes the partial checksum of the packet mem[off, off+len), vnet header included, and says so in that header. A packet whose
 * checksum is complete already stays as it is.
 * @returns false (nothing changed) for a super-segment, which has no checksum of its own, and when the header points outside.
 */
export function completeChecksum(mem: Uint8Array, off: number, len: number): boolean {
  if (!needsChecksum(mem, off)) return true
  const start = readU16le(mem, off + 6)
  const offset = readU16le(mem, off + 8)
  if (gsoType(mem, off) !== VNET_GSO_NONE || VNET_HDR_LEN + start + offset + 2 > len) return false
  const from = off + VNET_HDR_LEN + start
  let field = finishSum(sumBytes(mem, from, off + len - from))
  // RFC 768: an all-zero UDP checksum means that there is none.
  if (field === 0 && offset === UDP_CSUM_OFFSET) field = 0xffff
  writeU16(mem, from + offset, field)
  clearVnetHdr(mem, off)
  return true
}

/** Whether mem[off, off+len) is long enough to be a packet behind a vnet header, and of the length that its IP header says. */
export function isWholePacket(mem: Uint8Array, off: number, len: number): boolean {
  const ip = off + VNET_HDR_LEN
  const ipLen = len - VNET_HDR_LEN
  if (ipLen < 20) return false
  const version = (mem[ip] as number) >>> 4
  if (version === 4) return readU16(mem, ip + 2) === ipLen
  return version === 6 && ipLen >= 40 && readU16(mem, ip + 4) === ipLen - 40
}
