import { IpAddress } from '../../../src/base/address.js'
import { VNET_HDR_LEN } from '../../../src/base/rings.js'
import { finishSum, sumBytes } from '../../../src/base/checksum.js'
import { writeU16 } from '../../../src/base/bytes.js'
import { PROTO_TCP, pseudoSumAt, writeIpHeader } from '../../../src/wire/ip.js'
import { TCP_HEADER_LEN, writeTcpSegment, finishTcp } from '../../../src/wire/tcp.js'

export const A4 = IpAddress.v4(0x0a000001)
export const B4 = IpAddress.v4(0xc0000202 | 0)
export const A6 = new IpAddress(0x20010db8, 0, 0, 1)
export const B6 = new IpAddress(0x20010db8, 0xffff, 0x80000000 | 0, 2)

/** What a test segment is made of; the rest has plain values. */
export interface SegmentSpec {
  readonly src?: IpAddress
  readonly dst?: IpAddress
  readonly srcPort?: number
  readonly dstPort?: number
  readonly seq?: number
  readonly ack?: number
  readonly flags?: number
  readonly window?: number
  readonly options?: Uint8Array
  readonly payload?: Uint8Array
  readonly gsoSize?: number
  readonly tclass?: number
  readonly ttl?: number
  /** A complete checksum and no vnet flags, as a packet from a network without offload. */
  readonly isSummed?: boolean
}

/** A TCP packet, vnet header first. Options must be a multiple of 4. */
export function segment(spec: SegmentSpec): Uint8Array {
  const { src = A4, dst = B4, options = new Uint8Array(0), payload = new Uint8Array(0) } = spec
  const mem = new Uint8Array(VNET_HDR_LEN + 40 + TCP_HEADER_LEN + options.length + payload.length)
  const hdrLen = TCP_HEADER_LEN + options.length
  const ipOff = VNET_HDR_LEN
  const l4Len = hdrLen + payload.length
  const tcpOff = ipOff + writeIpHeader(mem, ipOff, src, dst, PROTO_TCP, l4Len, spec.tclass ?? 0, spec.ttl ?? 64)
  writeTcpSegment(
    mem,
    tcpOff,
    spec.srcPort ?? 4000,
    spec.dstPort ?? 80,
    spec.seq ?? 1000,
    spec.ack ?? 2000,
    spec.flags ?? 16,
    spec.window ?? 65535,
  )
  mem.set(options, tcpOff + TCP_HEADER_LEN)
  mem.set(payload, tcpOff + hdrLen)
  finishTcp(mem, 0, ipOff, tcpOff, hdrLen, payload.length, spec.gsoSize ?? 0)
  if (spec.isSummed === true) {
    mem.fill(0, 0, VNET_HDR_LEN)
    writeU16(mem, tcpOff + 16, 0)
    writeU16(mem, tcpOff + 16, finishSum(sumBytes(mem, tcpOff, l4Len, pseudoSumAt(mem, ipOff, PROTO_TCP, l4Len))))
  }
  return mem.slice(0, tcpOff + l4Len)
}
