import { readI32, readU16, readU16le, writeI32, writeU16, writeU16le } from '../../src/base/bytes.js'
import { pseudoSum4, pseudoSum6 } from '../../src/base/checksum.js'
import { VNET_HDR_LEN } from '../../src/base/rings.js'
import * as pk from './packet.js'

const NEEDS_CSUM = 1
const GSO_TCPV4 = 1
const GSO_TCPV6 = 4
const GSO_ECN = 0x80
const MAX_PACKET = 65_535
const FIN_PSH = 0x09
const PSH = 0x08
const CWR = 0x80

/**
 * What the kernel does with a packet written into a TUN: completes the checksum, cuts a super-segment. Stricter than the kernel:
 * any inconsistency of the vnet header is an error of the test.
 * @param packet vnet header and IP packet.
 */
export function segment(packet: Uint8Array): Uint8Array[] {
  const flags = packet[0] as number
  const gsoType = (packet[1] as number) & ~GSO_ECN
  const gsoSize = readU16le(packet, 4)
  const ip = packet.subarray(VNET_HDR_LEN)
  const total = pk.isV4(ip) ? readU16(ip, 2) : readU16(ip, 4) + 40
  check(total === ip.length, `length field ${total} of a packet of ${ip.length} bytes`)
  if ((flags & NEEDS_CSUM) === 0) {
    check(gsoType === 0, 'GSO without checksum offload')
    if (pk.isTcp(ip)) check(pk.tcpSum(ip) === 0xffff, 'wrong TCP checksum in a packet without offload')
    return [ip.slice()]
  }
  const l4 = pk.l4Off(ip)
  check(readU16le(packet, 6) === l4 && readU16le(packet, 8) === 16, 'csum_start and csum_offset')
  check(readU16(ip, l4 + 16) === pseudo(ip), 'partial checksum is not that of the pseudo-header')
  if (gsoType === 0) {
    const one = ip.slice()
    pk.fixTcp(one)
    return [one]
  }
  check(gsoType === (pk.isV4(ip) ? GSO_TCPV4 : GSO_TCPV6), `GSO type ${gsoType}`)
  const payOff = pk.payOff(ip)
  const hdrLen = readU16le(packet, 2)
  check(hdrLen === 0 || hdrLen === payOff, `hdr_len ${hdrLen}`)
  check(gsoSize > 0 && payOff + gsoSize < ip.length, `GSO size ${gsoSize} of a payload of ${ip.length - payOff}`)
  const out: Uint8Array[] = []
  const id = readU16(ip, 4)
  for (let at = payOff; at < ip.length; at += gsoSize) {
    const isFirst = at === payOff
    const isLast = at + gsoSize >= ip.length
    const part = new Uint8Array(payOff + Math.min(gsoSize, ip.length - at))
    part.set(ip.subarray(0, payOff))
    part.set(ip.subarray(at, at + part.length - payOff), payOff)
    if (pk.isV4(part)) {
      writeU16(part, 2, part.length)
      writeU16(part, 4, id + out.length)
    } else writeU16(part, 4, part.length - 40)
    writeI32(part, l4 + 4, readI32(part, l4 + 4) + (at - payOff))
    let tcpFlags = part[l4 + 13] as number
    if (!isLast) tcpFlags &= ~FIN_PSH
    if (!isFirst) tcpFlags &= ~CWR
    part[l4 + 13] = tcpFlags
    pk.fixIp(part)
    pk.fixTcp(part)
    out.push(part)
  }
  return out
}

/**
 * What the kernel does with packets on their way to a reader of a TUN: merges consecutive segments of one flow that differ in
 * nothing but sequence number, length and PSH. @returns packets with vnet headers.
 */
export function coalesce(packets: readonly Uint8Array[]): Uint8Array[] {
  const out: Uint8Array[] = []
  let run: Uint8Array[] = []
  let size = 0
  const flush = (): void => {
    const first = run[0]
    if (first !== undefined) out.push(run.length === 1 ? plain(first) : merged(run, size))
    run = []
  }
  for (const p of packets) {
    if (!isMergeable(p)) {
      flush()
      out.push(plain(p))
      continue
    }
    if (run.length > 0 && fits(run, p, size)) {
      run.push(p)
      size += pk.payLen(p)
    } else {
      flush()
      run = [p]
      size = p.length
    }
    // A short segment or a PSH ends the run.
    if (p.length < (run[0] as Uint8Array).length || (pk.flagsOf(p) & PSH) !== 0) flush()
  }
  flush()
  return out
}

/** A packet with an empty vnet header: its checksum is complete and not yet verified. */
export function plain(packet: Uint8Array): Uint8Array {
  const out = new Uint8Array(VNET_HDR_LEN + packet.length)
  out.set(packet, VNET_HDR_LEN)
  return out
}

function isMergeable(p: Uint8Array): boolean {
  if (!pk.isTcp(p) || p.length < pk.l4Off(p) + 20) return false
  return pk.payLen(p) > 0 && (pk.flagsOf(p) & ~PSH) === pk.ACK && pk.tcpSum(p) === 0xffff
}

function fits(run: readonly Uint8Array[], p: Uint8Array, size: number): boolean {
  const first = run[0] as Uint8Array
  const last = run[run.length - 1] as Uint8Array
  if (pk.payOff(p) !== pk.payOff(first) || p.length > first.length) return false
  if (size + pk.payLen(p) > MAX_PACKET || pk.isV4(p) !== pk.isV4(first)) return false
  if (pk.seqOfPacket(p) !== ((pk.seqOfPacket(last) + pk.payLen(last)) | 0)) return false
  const l4 = pk.l4Off(p)
  const addresses = pk.isV4(p) ? 12 : 8
  for (let i = addresses; i < pk.payOff(p); i++) {
    // sequence number, flags (checked above), window, checksum and urgent pointer may differ; the kernel does not compare windows
    if ((i >= l4 + 4 && i < l4 + 8) || i === l4 + 13 || (i >= l4 + 14 && i < l4 + 20)) continue
    if (p[i] !== first[i]) return false
  }
  return true
}

function merged(run: readonly Uint8Array[], size: number): Uint8Array {
  const first = run[0] as Uint8Array
  const head = pk.payOff(first)
  const l4 = pk.l4Off(first)
  const out = new Uint8Array(VNET_HDR_LEN + size)
  out.set(first.subarray(0, head), VNET_HDR_LEN)
  let at = VNET_HDR_LEN + head
  let flags = 0
  for (const p of run) {
    out.set(p.subarray(head), at)
    at += p.length - head
    flags |= pk.flagsOf(p)
  }
  const ip = out.subarray(VNET_HDR_LEN)
  if (pk.isV4(ip)) {
    writeU16(ip, 2, ip.length)
    pk.fixIp(ip)
  } else writeU16(ip, 4, ip.length - 40)
  ip[l4 + 13] = flags
  writeU16(ip, l4 + 16, pseudo(ip))
  out[0] = NEEDS_CSUM
  out[1] = pk.isV4(ip) ? GSO_TCPV4 : GSO_TCPV6
  writeU16le(out, 2, 0xbad) // hdr_len: must not be trusted
  writeU16le(out, 4, pk.payLen(first))
  writeU16le(out, 6, l4)
  writeU16le(out, 8, 16)
  return out
}

function pseudo(ip: Uint8Array): number {
  const len = ip.length - pk.l4Off(ip)
  if (pk.isV4(ip)) return pseudoSum4(readI32(ip, 12), readI32(ip, 16), 6, len)
  const w = (i: number): number => readI32(ip, 8 + 4 * i)
  return pseudoSum6(w(0), w(1), w(2), w(3), w(4), w(5), w(6), w(7), 6, len)
}

function check(cond: boolean, what: string): void {
  if (!cond) throw new Error(`a device would reject or mangle this packet: ${what}`)
}
