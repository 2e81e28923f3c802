import { writeI32, writeU16, writeU16le } from '../../../src/base/bytes.js'
import type { Rng } from '../../../src/base/rng.js'
import { naiveSum } from '../../oracle/naive-checksum.js'

/** Pseudo-header of an IP packet without extension headers, as bytes. */
export function pseudoHeader(ip: Uint8Array): Uint8Array {
  const isV4 = (ip[0] as number) >>> 4 === 4
  const head = isV4 ? 4 * ((ip[0] as number) & 15) : 40
  const addresses = isV4 ? ip.subarray(12, 20) : ip.subarray(8, 40)
  const proto = ip[isV4 ? 9 : 6] as number
  const len = ip.length - head
  return Uint8Array.from([...addresses, 0, proto, len >>> 8, len & 255])
}

/** Whether TCP's (or UDP's) checksum in a whole IP packet is right. */
export function isTransportSumRight(ip: Uint8Array): boolean {
  const head = (ip[0] as number) >>> 4 === 4 ? 4 * ((ip[0] as number) & 15) : 40
  return sumOf(Uint8Array.from([...pseudoHeader(ip), ...ip.subarray(head)])) === 0xffff
}

export interface SuperSegment {
  readonly isV6: boolean
  readonly payloadLen: number
  /** 0: no GSO. */
  readonly gsoSize: number
  readonly flags: number
  /** TCP options, a multiple of 4, at most 40. */
  readonly optionsLen: number
}

/** A TCP packet with random content and a vnet header that leaves the checksum to the device. */
export function superSegment(rng: Rng, s: SuperSegment): Uint8Array {
  const head = s.isV6 ? 40 : 20
  const tcpLen = 20 + s.optionsLen
  const ipLen = head + tcpLen + s.payloadLen
  const bytes = new Uint8Array(10 + ipLen)
  rng.fill(bytes, 0, bytes.length)
  const ip = bytes.subarray(10)
  if (s.isV6) {
    ip[0] = 0x60 | ((ip[0] as number) & 15)
    writeU16(ip, 4, ipLen - 40)
    ip[6] = 6
  } else {
    ip[0] = 0x45
    writeU16(ip, 2, ipLen)
    writeU16(ip, 6, 0x4000)
    ip[9] = 6
    writeU16(ip, 10, 0)
    writeU16(ip, 10, ~sumOf(ip.subarray(0, 20)))
  }
  ip[head + 12] = (tcpLen / 4) << 4
  ip[head + 13] = s.flags
  writeI32(ip, head + 4, rng.int32())
  writeU16(ip, head + 16, sumOf(pseudoHeader(ip)))
  bytes[0] = 1
  bytes[1] = s.gsoSize === 0 ? 0 : s.isV6 ? 4 : 1
  writeU16le(bytes, 2, rng.below(65_536)) // hdr_len: not to be trusted
  writeU16le(bytes, 4, s.gsoSize)
  writeU16le(bytes, 6, head)
  writeU16le(bytes, 8, 16)
  return bytes
}

function sumOf(bytes: Uint8Array): number {
  return naiveSum(bytes, 0, bytes.length)
}
