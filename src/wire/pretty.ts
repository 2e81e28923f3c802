import { IpAddress } from '../base/address.js'
import { readI32, readU16 } from '../base/bytes.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from './ip.js'
import {
  MP_ADD_ADDR,
  MP_CAPABLE,
  MP_DSS,
  MP_FAIL,
  MP_FASTCLOSE,
  MP_JOIN,
  MP_PRIO,
  MP_REMOVE_ADDR,
  MP_TCPRST,
  OPT_MPTCP,
  FORM_ACK,
  FORM_SYN,
  FORM_SYNACK,
  type OptionForm,
  MptcpOptions,
  parseMptcpOption,
} from './mptcp-options.js'
import {
  PARSE_BAD_CHECKSUM,
  PARSE_FRAGMENT,
  PARSE_OK,
  PARSE_OTHER,
  PARSE_RESULT_NAMES,
  Packet,
  parsePacket,
  type ParseResult,
} from './packet.js'
import { OPT_EOL, OPT_FAST_OPEN, OPT_MSS, OPT_NOP, OPT_SACK, OPT_SACK_PERMITTED, OPT_TIMESTAMPS, OPT_WSCALE } from './tcp-options.js'
import { ACK, CWR, ECE, FIN, PSH, RST, SYN, URG } from './tcp.js'

/** Makes sequence numbers in the text relative: raw numbers (int32) that print as 0. */
export interface SeqBase {
  readonly seq: number
  readonly ack: number
}

const ABSOLUTE: SeqBase = { seq: 0, ack: 0 }

/** Letters as tcpdump has them; "." is ACK. */
const FLAG_LETTERS: readonly (readonly [number, string])[] = [
  [FIN, 'F'],
  [SYN, 'S'],
  [RST, 'R'],
  [PSH, 'P'],
  [ACK, '.'],
  [URG, 'U'],
  [ECE, 'E'],
  [CWR, 'W'],
]

/**
 * A packet in one line, like tcpdump's: for tests, traces and packet scripts. mem[off, off + len) begins with the vnet header.
 *
 *     IP 10.0.0.1.4000 > 10.0.0.2.80: Flags [S], seq 7, win 64240, options [mss 1460,sackOK,mptcp 4 capable v1 [H]], length 0
 */
export function formatPacket(mem: Uint8Array, off: number, len: number, base: SeqBase = ABSOLUTE): string {
  const pkt = new Packet()
  return formatParsed(pkt, parsePacket(mem, off, len, pkt), base)
}

/** The same of a packet that was parsed with `result`. */
export function formatParsed(pkt: Packet, result: ParseResult, base: SeqBase = ABSOLUTE): string {
  if (result !== PARSE_OK && result !== PARSE_FRAGMENT && result !== PARSE_BAD_CHECKSUM && result !== PARSE_OTHER) {
    return `IP? ${PARSE_RESULT_NAMES[result]}`
  }
  const ip = pkt.family === 4 ? 'IP' : 'IP6'
  const src = new IpAddress(pkt.src0, pkt.src1, pkt.src2, pkt.src3).toString()
  const dst = new IpAddress(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3).toString()
  if (result === PARSE_FRAGMENT) return `${ip} ${src} > ${dst}: fragment, proto ${pkt.proto}, length ${pkt.l4Len}`
  const bad = result === PARSE_BAD_CHECKSUM ? ' [bad checksum]' : ''
  switch (pkt.proto) {
    case PROTO_TCP:
      return `${ip} ${src}.${pkt.srcPort} > ${dst}.${pkt.dstPort}:${bad} ${formatTcp(pkt, base)}`
    case PROTO_UDP:
      return `${ip} ${src}.${pkt.srcPort} > ${dst}.${pkt.dstPort}: UDP, length ${Math.max(0, pkt.l4Len - 8)}`
    case PROTO_ICMP:
    case PROTO_ICMPV6:
      if (result !== PARSE_OTHER) return `${ip} ${src} > ${dst}:${bad} ${formatIcmp(pkt)}`
      break
  }
  return `${ip} ${src} > ${dst}: proto ${pkt.proto}, length ${pkt.l4Len}`
}

/** Letters of TCP flags, `S.` for SYN and ACK; `none` for none. */
export function formatFlags(flags: number): string {
  let text = ''
  for (const [bit, letter] of FLAG_LETTERS) if ((flags & bit) !== 0) text += letter
  return text === '' ? 'none' : text
}

function formatTcp(pkt: Packet, base: SeqBase): string {
  const seq = (pkt.seq - base.seq) >>> 0
  const fields = [`Flags [${formatFlags(pkt.flags)}]`]
  fields.push(pkt.payLen > 0 ? `seq ${seq}:${(seq + pkt.payLen) >>> 0}` : `seq ${seq}`)
  if ((pkt.flags & ACK) !== 0) fields.push(`ack ${(pkt.ack - base.ack) >>> 0}`)
  fields.push(`win ${pkt.window}`)
  if ((pkt.flags & URG) !== 0) fields.push(`urg ${pkt.urgent}`)
  if (pkt.optLen > 0) {
    const form = (pkt.flags & SYN) === 0 ? FORM_ACK : (pkt.flags & ACK) === 0 ? FORM_SYN : FORM_SYNACK
    fields.push(`options [${formatOptions(pkt.mem, pkt.optOff, pkt.optLen, form, base)}]`)
  }
  fields.push(`length ${pkt.payLen}`)
  if (pkt.gsoSize > 0) fields.push(`gso ${pkt.gsoSize}`)
  return fields.join(', ')
}

/** The options in mem[off, off + len) as they stand there, padding and broken ones included. */
export function formatOptions(mem: Uint8Array, off: number, len: number, form: OptionForm, base: SeqBase = ABSOLUTE): string {
  const parts: string[] = []
  const end = off + len
  for (let at = off; at < end; ) {
    const kind = mem[at] as number
    if (kind === OPT_EOL) {
      parts.push('eol')
      break
    }
    if (kind === OPT_NOP) {
      parts.push('nop')
      at++
      continue
    }
    const optLen = at + 1 < end ? (mem[at + 1] as number) : 0
    if (optLen < 2 || at + optLen > end) {
      parts.push(`bad opt-${kind}`)
      break
    }
    parts.push(formatOption(mem, at, kind, optLen, form, base))
    at += optLen
  }
  return parts.join(',')
}

function formatOption(mem: Uint8Array, at: number, kind: number, len: number, form: OptionForm, base: SeqBase): string {
  if (kind === OPT_MPTCP) return `mptcp ${len} ${formatMptcp(mem, at, len, form)}`
  if (kind === OPT_MSS && len === 4) return `mss ${readU16(mem, at + 2)}`
  if (kind === OPT_WSCALE && len === 3) return `wscale ${mem[at + 2]}`
  if (kind === OPT_SACK_PERMITTED && len === 2) return 'sackOK'
  if (kind === OPT_TIMESTAMPS && len === 10) return `TS val ${readI32(mem, at + 2) >>> 0} ecr ${readI32(mem, at + 6) >>> 0}`
  if (kind === OPT_FAST_OPEN) return len === 2 ? 'tfo cookiereq' : `tfo cookie ${hexOf(mem, at + 2, len - 2)}`
  if (kind === OPT_SACK && len >= 10 && ((len - 2) & 7) === 0) {
    let text = `sack ${(len - 2) >> 3} `
    for (let p = at + 2; p < at + len; p += 8) {
      text += `{${(readI32(mem, p) - base.ack) >>> 0}:${(readI32(mem, p + 4) - base.ack) >>> 0}}`
    }
    return text
  }
  return `opt-${kind} ${hexOf(mem, at + 2, len - 2)}`
}

function formatMptcp(mem: Uint8Array, at: number, len: number, form: OptionForm): string {
  const m = new MptcpOptions()
  if (!parseMptcpOption(mem, at, len, form, m)) return `bad ${hexOf(mem, at + 2, len - 2)}`
  switch ((mem[at + 2] as number) >>> 4) {
    case MP_CAPABLE:
      return formatCapable(m)
    case MP_JOIN:
      return formatJoin(mem, m)
    case MP_DSS:
      return formatDss(m)
    case MP_ADD_ADDR:
      return formatAddAddr(mem, m)
    case MP_REMOVE_ADDR:
      return `rem-addr id ${Array.from(m.removeIds.subarray(0, m.removeCount)).join(' ')}`
    case MP_PRIO:
      return m.prioBackup ? 'prio backup' : 'prio'
    case MP_FAIL:
      return `fail seq ${hex64(m.failHi, m.failLo)}`
    case MP_FASTCLOSE:
      return `fast-close key ${hex64(m.fastcloseHi, m.fastcloseLo)}`
    case MP_TCPRST:
      return m.rstTransient ? `tcprst reason ${m.rstReason} transient` : `tcprst reason ${m.rstReason}`
    default:
      return ''
  }
}

function formatCapable(m: MptcpOptions): string {
  let text = `capable v${m.capableVersion}`
  const flags = [...'ABCDEFGH'].filter((_, i) => (m.capableFlags & (0x80 >>> i)) !== 0).join('')
  if (flags !== '') text += ` [${flags}]`
  if (m.capableLen >= 12) text += ` {${hex64(m.keyHi, m.keyLo)}`
  if (m.capableLen >= 20) text += `,${hex64(m.peerKeyHi, m.peerKeyLo)}`
  if (m.capableLen >= 12) text += '}'
  if (m.capableDataLen >= 0) text += ` len ${m.capableDataLen}`
  return m.capableChecksum >= 0 ? `${text} csum ${hex16(m.capableChecksum)}` : text
}

function formatJoin(mem: Uint8Array, m: MptcpOptions): string {
  const backup = m.joinBackup ? ' backup' : ''
  if (m.joinLen === 12) return `join${backup} id ${m.joinAddrId} token ${hex32(m.joinToken)} nonce ${hex32(m.joinNonce)}`
  if (m.joinLen === 24) return `join hmac ${hexOf(mem, m.joinHmacOff, 20)}`
  return `join${backup} id ${m.joinAddrId} hmac ${hexOf(mem, m.joinHmacOff, 8)} nonce ${hex32(m.joinNonce)}`
}

function formatDss(m: MptcpOptions): string {
  let text = m.dataFin ? 'dss fin' : 'dss'
  if (m.dataAckLen === 4) text += ` ack ${hex32(m.dataAckLo)}`
  if (m.dataAckLen === 8) text += ` ack ${hex64(m.dataAckHi, m.dataAckLo)}`
  if (m.dsnLen === 0) return text
  text += ` seq ${m.dsnLen === 4 ? hex32(m.dsnLo) : hex64(m.dsnHi, m.dsnLo)} subseq ${m.ssn >>> 0} len ${m.dataLen}`
  return m.dssChecksum >= 0 ? `${text} csum ${hex16(m.dssChecksum)}` : text
}

function formatAddAddr(mem: Uint8Array, m: MptcpOptions): string {
  const address = new IpAddress(m.add0, m.add1, m.add2, m.add3).toString()
  const port = m.addPort === 0 ? '' : `:${m.addPort}`
  const tail = m.addHmacOff < 0 ? ' echo' : ` hmac ${hexOf(mem, m.addHmacOff, 8)}`
  return `add-addr id ${m.addAddrId} ${m.addFamily === 6 && port !== '' ? `[${address}]` : address}${port}${tail}`
}

function formatIcmp(pkt: Packet): string {
  const mtu = pkt.icmpMtu >= 0 ? `, mtu ${pkt.icmpMtu}` : ''
  let text = `ICMP${pkt.family === 6 ? '6' : ''} type ${pkt.icmpType} code ${pkt.icmpCode}${mtu}`
  if (pkt.qFamily !== 0) {
    const src = new IpAddress(pkt.qSrc0, pkt.qSrc1, pkt.qSrc2, pkt.qSrc3).toString()
    const dst = new IpAddress(pkt.qDst0, pkt.qDst1, pkt.qDst2, pkt.qDst3).toString()
    text += `, for ${src}.${pkt.qSrcPort} > ${dst}.${pkt.qDstPort} proto ${pkt.qProto}`
    if (pkt.qProto === PROTO_TCP) text += ` seq ${pkt.qSeq >>> 0}`
  }
  return `${text}, length ${pkt.l4Len}`
}

function hex16(value: number): string {
  return `0x${(value & 0xffff).toString(16).padStart(4, '0')}`
}

function hex32(value: number): string {
  return `0x${(value >>> 0).toString(16).padStart(8, '0')}`
}

function hex64(hi: number, lo: number): string {
  return `${hex32(hi)}${hex32(lo).slice(2)}`
}

function hexOf(mem: Uint8Array, off: number, len: number): string {
  let text = '0x'
  for (let i = 0; i < len; i++) text += (mem[off + i] as number).toString(16).padStart(2, '0')
  return text
}
