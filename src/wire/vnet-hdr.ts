import { writeU16le } from '../base/bytes.js'

/**
 * virtio_net_hdr without num_buffers (10 bytes, host order), which leads every packet of the device in both directions.
 *
 *     0 flags | 1 gso_type | 2-3 hdr_len | 4-5 gso_size | 6-7 csum_start | 8-9 csum_offset
 *
 * hdr_len is written but never read: on forwarded packets it is wrong.
 */
export const VNET_NEEDS_CSUM = 1
/** The checksum was verified by whoever handed the packet over. */
export const VNET_DATA_VALID = 2

export const GSO_NONE = 0
export const GSO_TCPV4 = 1
export const GSO_TCPV6 = 4
/** Flag in gso_type: only the first segment may carry CWR (RFC 3168 §6.1.2). */
export const GSO_ECN = 0x80

/** Writes the header of a packet that is complete as it is: checksum full, no segmentation. */
export function writePlainVnetHdr(mem: Uint8Array, off: number): void {
  mem[off] = 0
  mem[off + 1] = 0
  writeU16le(mem, off + 2, 0)
  writeU16le(mem, off + 4, 0)
  writeU16le(mem, off + 6, 0)
  writeU16le(mem, off + 8, 0)
}

/** Writes the header of a packet whose checksum at csumStart + csumOffset (from the IP header) holds the pseudo-header sum only. */
export function writeVnetHdr(
  mem: Uint8Array,
  off: number,
  gsoType: number,
  gsoSize: number,
  hdrLen: number,
  csumStart: number,
  csumOffset: number,
): void {
  mem[off] = VNET_NEEDS_CSUM
  mem[off + 1] = gsoType
  writeU16le(mem, off + 2, hdrLen)
  writeU16le(mem, off + 4, gsoSize)
  writeU16le(mem, off + 6, csumStart)
  writeU16le(mem, off + 8, csumOffset)
}
