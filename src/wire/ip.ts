import type { IpAddress } from '../base/address.js'
import { readI32 } from '../base/bytes.js'
import { pseudoSum4, pseudoSum6 } from '../base/checksum.js'
import { IPV4_HEADER_LEN, writeIpv4Header } from './ipv4.js'
import { IPV6_HEADER_LEN, writeIpv6Header } from './ipv6.js'

export const PROTO_ICMP = 1
export const PROTO_TCP = 6
export const PROTO_UDP = 17
export const PROTO_ICMPV6 = 58

/** RFC 1700; what Linux sends. */
export const DEFAULT_TTL = 64

/** Length of the IP header that `writeIpHeader` writes for this address family. */
export function ipHeaderLen(address: IpAddress): number {
  return address.isV4 ? IPV4_HEADER_LEN : IPV6_HEADER_LEN
}

/**
 * Writes an IP header of the family of `local` from `local` to `remote` at mem[off]; returns its length. `l4Len` is what follows
 * it in bytes, `tclass` the TOS or traffic class byte with its ECN bits. The IPv4 header checksum is filled in.
 */
export function writeIpHeader(
  mem: Uint8Array,
  off: number,
  local: IpAddress,
  remote: IpAddress,
  proto: number,
  l4Len: number,
  tclass: number,
  ttl: number,
): number {
  if (local.isV4) return writeIpv4Header(mem, off, local.w3, remote.w3, proto, l4Len, tclass, ttl)
  return writeIpv6Header(
    mem,
    off,
    local.w0,
    local.w1,
    local.w2,
    local.w3,
    remote.w0,
    remote.w1,
    remote.w2,
    remote.w3,
    proto,
    l4Len,
    tclass,
    ttl,
  )
}

/** Sum of the pseudo-header that belongs to the IP header at mem[ipOff]; `len` bytes of `proto` follow the IP headers. */
export function pseudoSumAt(mem: Uint8Array, ipOff: number, proto: number, len: number): number {
  if ((mem[ipOff] as number) >>> 4 === 4) return pseudoSum4(readI32(mem, ipOff + 12), readI32(mem, ipOff + 16), proto, len)
  return pseudoSum6(
    readI32(mem, ipOff + 8),
    readI32(mem, ipOff + 12),
    readI32(mem, ipOff + 16),
    readI32(mem, ipOff + 20),
    readI32(mem, ipOff + 24),
    readI32(mem, ipOff + 28),
    readI32(mem, ipOff + 32),
    readI32(mem, ipOff + 36),
    proto,
    len,
  )
}
