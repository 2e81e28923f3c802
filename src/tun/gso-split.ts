import { readI32, readU16, writeI32, writeU16 } from '../base/bytes.js'
import { addSums, finishSum, pseudoSum4, pseudoSum6, sumBytes } from '../base/checksum.js'
import { VNET_HDR_LEN } from '../base/rings.js'
import {
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  clearVnetHdr,
  completeChecksum,
  gsoSize,
  gsoType,
  isWholePacket,
} from './vnet-hdr.js'

const PROTO_TCP = 6
const FIN = 0x01
const PSH = 0x08
const CWR = 0x80

/**
 * Software TCP segmentation, as a network card or the kernel does it: cuts a super-segment into packets of at most gso_size
 * payload bytes, each with all options copied as they are. One object serves any number of packets, one after the other.
 *
 *     | vnet | IP | TCP, options | 0 ....... gso_size ....... 2 gso_size ... |   FIN and PSH: last only, CWR: first only
 *
 * A packet without GSO counts as one segment, whose checksum gets completed.
 */
export class GsoSplitter {
  private mem: Uint8Array = new Uint8Array(0)
  private ip = 0
  private len = 0
  private isV6 = false
  /** Bytes of IP and TCP headers; 0 for a packet without GSO. */
  private headerLen = 0
  private ipHeaderLen = 0
  private size = 0

  /**
   * Takes up the packet mem[off, off+len), vnet header included; the memory must not change until its last segment is written.
   * @returns number of segments, 0 when the packet is malformed or no TCP super-segment
   */
  start(mem: Uint8Array, off: number, len: number): number {
    if (!isWholePacket(mem, off, len)) return 0
    this.mem = mem
    this.ip = off + VNET_HDR_LEN
    this.len = len - VNET_HDR_LEN
    this.isV6 = (mem[this.ip] as number) >>> 4 === 6
    this.headerLen = 0
    const type = gsoType(mem, off)
    if (type === VNET_GSO_NONE) return 1
    if (type !== (this.isV6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4)) return 0
    this.size = gsoSize(mem, off)
    this.ipHeaderLen = this.isV6 ? 40 : 4 * ((mem[this.ip] as number) & 15)
    // Linux never makes TCP super-segments with IPv6 extension headers for a TUN; they would have to be walked here.
    if (mem[this.ip + (this.isV6 ? 6 : 9)] !== PROTO_TCP || this.len < this.ipHeaderLen + 20) return 0
    const tcpHeaderLen = ((mem[this.ip + this.ipHeaderLen + 12] as number) >>> 4) * 4
    const headerLen = this.ipHeaderLen + tcpHeaderLen
    if (this.ipHeaderLen < 20 || tcpHeaderLen < 20 || headerLen >= this.len || this.size === 0) return 0
    this.headerLen = headerLen
    return Math.ceil((this.len - headerLen) / this.size)
  }

  /** Writes segment `i` with a plain vnet header to dst[dstOff..]; returns its length, vnet header included. */
  segment(i: number, dst: Uint8Array, dstOff: number): number {
    if (this.headerLen === 0) return this.copyWhole(dst, dstOff)
    const { mem, ip, headerLen, ipHeaderLen } = this
    const from = headerLen + i * this.size
    const payloadLen = Math.min(this.size, this.len - from)
    const isLast = from + payloadLen === this.len
    const to = dstOff + VNET_HDR_LEN
    clearVnetHdr(dst, dstOff)
    dst.set(mem.subarray(ip, ip + headerLen), to)
    dst.set(mem.subarray(ip + from, ip + from + payloadLen), to + headerLen)

    const tcp = to + ipHeaderLen
    writeI32(dst, tcp + 4, readI32(mem, ip + ipHeaderLen + 4) + i * this.size)
    let flags = dst[tcp + 13] as number
    if (!isLast) flags &= ~(FIN | PSH)
    if (i > 0) flags &= ~CWR // RFC 3168 §6.1.2: only the first new segment tells of the reduction
    dst[tcp + 13] = flags
    this.finish(dst, to, tcp, i, headerLen + payloadLen)
    return VNET_HDR_LEN + headerLen + payloadLen
  }

  /** Lengths, IPv4 identification and both checksums. */
  private finish(dst: Uint8Array, to: number, tcp: number, i: number, len: number): void {
    const l4Len = len - this.ipHeaderLen
    let pseudo: number
    if (this.isV6) {
      writeU16(dst, to + 4, len - 40)
      // Addresses are summed where they stand; only protocol and length are left of the pseudo-header.
      pseudo = sumBytes(dst, to + 8, 32, pseudoSum6(0, 0, 0, 0, 0, 0, 0, 0, PROTO_TCP, l4Len))
    } else {
      writeU16(dst, to + 2, len)
      writeU16(dst, to + 4, readU16(dst, to + 4) + i)
      writeU16(dst, to + 10, 0)
      writeU16(dst, to + 10, finishSum(sumBytes(dst, to, this.ipHeaderLen)))
      pseudo = sumBytes(dst, to + 12, 8, pseudoSum4(0, 0, PROTO_TCP, l4Len))
    }
    writeU16(dst, tcp + 16, 0)
    writeU16(dst, tcp + 16, finishSum(addSums(sumBytes(dst, tcp, l4Len), pseudo)))
  }

  private copyWhole(dst: Uint8Array, dstOff: number): number {
    const from = this.ip - VNET_HDR_LEN
    const len = this.len + VNET_HDR_LEN
    dst.set(this.mem.subarray(from, from + len), dstOff)
    completeChecksum(dst, dstOff, len)
    return len
  }
}
