import { readI32, readU16, writeU16 } from '../../src/base/bytes.js'
import { addSums, finishSum, pseudoSum4, pseudoSum6, sumBytes } from '../../src/base/checksum.js'

/*
 * Packets between simulated nodes are complete IP packets, one Uint8Array each, with full checksums and at most the MTU long.
 * These readers are deliberately separate from src/wire: a mistake there must not hide itself.
 */

export const PROTO_ICMP = 1
export const PROTO_TCP = 6
export const PROTO_ICMP6 = 58

export const FIN = 1
export const SYN = 2
export const RST = 4
export const ACK = 16

export const isV4 = (p: Uint8Array): boolean => (p[0] as number) >> 4 === 4

/** Offset of the transport header. Simulated hosts send no IPv6 extension headers. */
export const l4Off = (p: Uint8Array): number => (isV4(p) ? ((p[0] as number) & 15) * 4 : 40)

export const protoOf = (p: Uint8Array): number => (isV4(p) ? p[9] : p[6]) as number

export const isTcp = (p: Uint8Array): boolean => protoOf(p) === PROTO_TCP

export const flagsOf = (p: Uint8Array): number => p[l4Off(p) + 13] as number

export const seqOfPacket = (p: Uint8Array): number => readI32(p, l4Off(p) + 4)

export const srcPort = (p: Uint8Array): number => readU16(p, l4Off(p))

export const dstPort = (p: Uint8Array): number => readU16(p, l4Off(p) + 2)

/** Offset of the TCP payload. */
export const payOff = (p: Uint8Array): number => l4Off(p) + ((p[l4Off(p) + 12] as number) >> 4) * 4

export const payLen = (p: Uint8Array): number => p.length - payOff(p)

/** Last word of the source address: simulated addresses differ in it. */
export const srcWord = (p: Uint8Array): number => readI32(p, isV4(p) ? 12 : 20)

export const dstWord = (p: Uint8Array): number => readI32(p, isV4(p) ? 16 : 36)

/** Calls `visit(kind, offset, length)` for each TCP option but NOP and END; stops at a malformed one. */
export function eachOption(p: Uint8Array, visit: (kind: number, off: number, len: number) => void): void {
  let at = l4Off(p) + 20
  const end = payOff(p)
  while (at < end) {
    const kind = p[at] as number
    if (kind === 0) return
    if (kind === 1) {
      at++
      continue
    }
    const len = p[at + 1] as number
    if (len < 2 || at + len > end) return
    visit(kind, at, len)
    at += len
  }
}

/** Whether a TCP packet carries an option of this kind. */
export function hasOption(p: Uint8Array, kind: number): boolean {
  let found = false
  eachOption(p, (k) => {
    if (k === kind) found = true
  })
  return found
}

/** Sum over pseudo-header and segment: 0xffff when the checksum in it is right. */
export function tcpSum(p: Uint8Array): number {
  const at = l4Off(p)
  const len = p.length - at
  const pseudo = isV4(p)
    ? pseudoSum4(readI32(p, 12), readI32(p, 16), protoOf(p), len)
    : pseudoSum6(
        readI32(p, 8),
        readI32(p, 12),
        readI32(p, 16),
        readI32(p, 20),
        readI32(p, 24),
        readI32(p, 28),
        readI32(p, 32),
        readI32(p, 36),
        protoOf(p),
        len,
      )
  return addSums(pseudo, sumBytes(p, at, len))
}

/** Fills in the TCP checksum anew. */
export function fixTcp(p: Uint8Array): void {
  const at = l4Off(p) + 16
  writeU16(p, at, 0)
  writeU16(p, at, finishSum(tcpSum(p)))
}

/** Fills in the IPv4 header checksum anew. */
export function fixIp(p: Uint8Array): void {
  if (!isV4(p)) return
  writeU16(p, 10, 0)
  writeU16(p, 10, finishSum(sumBytes(p, 0, l4Off(p))))
}
