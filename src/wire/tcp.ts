import { writeI32, writeU16 } from '../base/bytes.js'
import { VNET_HDR_LEN } from '../base/rings.js'
import { DEFAULT_TTL, PROTO_TCP, pseudoSumAt } from './ip.js'
import { setIpv4Length, writeIpv4Header } from './ipv4.js'
import { setIpv6Length, writeIpv6Header } from './ipv6.js'
import { isTransient } from './mptcp-format.js'
import { writeTcpRst } from './mptcp-writers.js'
import type { Packet } from './packet.js'
import { GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, writeVnetHdr } from './vnet-hdr.js'

export const FIN = 1
export const SYN = 2
export const RST = 4
export const PSH = 8
export const ACK = 16
export const URG = 32
export const ECE = 64
export const CWR = 128

/** The control bits (RFC 9293 §3.1) by name. */
export const TCP_FLAGS = { FIN, SYN, RST, PSH, ACK, URG, ECE, CWR } as const

/** Without options. */
export const TCP_HEADER_LEN = 20
/** Offset of the checksum in the header. */
const TCP_CSUM_OFFSET = 16

/**
 * Writes the fixed 20 bytes of a TCP header (RFC 9293 §3.1); returns 20. Options may follow; `finishTcp` then sets data offset and
 * checksum. `window` is the field's value, already scaled; seq and ack are int32.
 */
export function writeTcpSegment(
  mem: Uint8Array,
  off: number,
  srcPort: number,
  dstPort: number,
  seq: number,
  ack: number,
  flags: number,
  window: number,
): number {
  writeU16(mem, off, srcPort)
  writeU16(mem, off + 2, dstPort)
  writeI32(mem, off + 4, seq)
  writeI32(mem, off + 8, ack)
  mem[off + 12] = 5 << 4
  mem[off + 13] = flags
  writeU16(mem, off + 14, window)
  writeI32(mem, off + 16, 0)
  return TCP_HEADER_LEN
}

/**
 * Completes a TCP packet whose IP and TCP headers and options were written: data offset, IP length and checksum, the pseudo-header
 * sum as partial checksum, and the vnet header. The payload is not touched: the kernel sums it, and cuts it into pieces of
 * `gsoSize` bytes when it is longer.
 *
 *     vnetOff (10) | ipOff (20 or 40) | tcpOff (tcpHdrLen, a multiple of 4, options included) | payload, maybe elsewhere
 *
 * @param gsoSize payload bytes per segment on the wire; 0: no segmentation.
 */
export function finishTcp(
  mem: Uint8Array,
  vnetOff: number,
  ipOff: number,
  tcpOff: number,
  tcpHdrLen: number,
  payloadLen: number,
  gsoSize: number,
): void {
  const l4Len = tcpHdrLen + payloadLen
  const ipHdrLen = tcpOff - ipOff
  mem[tcpOff + 12] = tcpHdrLen << 2
  let gsoType = GSO_NONE
  if (mem[ipOff] === 0x45) {
    setIpv4Length(mem, ipOff, ipHdrLen + l4Len)
    gsoType = GSO_TCPV4
  } else {
    setIpv6Length(mem, ipOff, l4Len)
    gsoType = GSO_TCPV6
  }
  writeU16(mem, tcpOff + TCP_CSUM_OFFSET, pseudoSumAt(mem, ipOff, PROTO_TCP, l4Len))
  if (gsoSize > 0 && payloadLen > gsoSize) {
    if (((mem[tcpOff + 13] as number) & CWR) !== 0) gsoType |= GSO_ECN
    writeVnetHdr(mem, vnetOff, gsoType, gsoSize, ipHdrLen + tcpHdrLen, ipHdrLen, TCP_CSUM_OFFSET)
  } else writeVnetHdr(mem, vnetOff, GSO_NONE, 0, 0, ipHdrLen, TCP_CSUM_OFFSET)
}

/** Length of a segment in sequence space: payload, SYN and FIN (RFC 9293 §3.4). */
export function segmentLen(pkt: Packet): number {
  return pkt.payLen + ((pkt.flags & SYN) !== 0 ? 1 : 0) + ((pkt.flags & FIN) !== 0 ? 1 : 0)
}

/**
 * Writes the reset that answers a segment of an unknown connection (RFC 9293 §3.10.7.1), vnet header first, at mem[off].
 * Returns the bytes written, 0 when there must be no answer (the segment is a reset itself).
 * @param rstReason reason of an MP_TCPRST option (RFC 8684 §3.6), or -1 for none. At most 84 bytes are written.
 */
export function buildRst(mem: Uint8Array, off: number, pkt: Packet, rstReason = -1): number {
  if ((pkt.flags & RST) !== 0) return 0
  const ipOff = off + VNET_HDR_LEN
  const tcpLen = TCP_HEADER_LEN + (rstReason >= 0 ? 4 : 0)
  const ipLen =
    pkt.family === 4
      ? writeIpv4Header(mem, ipOff, pkt.dst3, pkt.src3, PROTO_TCP, tcpLen, 0, DEFAULT_TTL)
      : writeIpv6Header(
          mem,
          ipOff,
          pkt.dst0,
          pkt.dst1,
          pkt.dst2,
          pkt.dst3,
          pkt.src0,
          pkt.src1,
          pkt.src2,
          pkt.src3,
          PROTO_TCP,
          tcpLen,
          0,
          DEFAULT_TTL,
        )
  const tcpOff = ipOff + ipLen
  if ((pkt.flags & ACK) !== 0) writeTcpSegment(mem, tcpOff, pkt.dstPort, pkt.srcPort, pkt.ack, 0, RST, 0)
  else writeTcpSegment(mem, tcpOff, pkt.dstPort, pkt.srcPort, 0, (pkt.seq + segmentLen(pkt)) | 0, RST | ACK, 0)
  if (rstReason >= 0) writeTcpRst(mem, tcpOff + TCP_HEADER_LEN, rstReason, isTransient(rstReason))
  finishTcp(mem, off, ipOff, tcpOff, tcpLen, 0, 0)
  return VNET_HDR_LEN + ipLen + tcpLen
}
