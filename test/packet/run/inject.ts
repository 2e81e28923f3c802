import { writeU16 } from '../../../src/base/bytes.js'
import { VNET_HDR_LEN } from '../../../src/base/rings.js'
import {
  buildPacketTooBig,
  ICMP_ERROR_MAX,
  ICMPV6_TOO_BIG,
  ICMPV6_UNREACHABLE,
  ICMP_FRAG_NEEDED,
  ICMP_UNREACHABLE,
} from '../../../src/wire/icmp.js'
import { ACK, SYN } from '../../../src/wire/tcp.js'
import { segment } from '../../unit/wire/packet-support.js'
import { Unsupported } from '../errors.js'
import type { IcmpSpec, TcpSpec } from '../language/ast.js'
import type { Flow, Keys } from './flow.js'
import { OptionWriter } from './option-writer.js'

const DEFAULT_WINDOW = 65_535

/** The packet that the script sends to the stack, vnet header first. Payload bytes tell their position. @param mtu of the device, `mssMax` of segments that were merged. */
export function buildInbound(
  spec: TcpSpec,
  line: number,
  flow: Flow,
  keys: Keys,
  isScaled: boolean,
  mtu: number,
  mssMax: number,
): Uint8Array {
  const isSyn = (spec.flags & SYN) !== 0
  const hasAck = (spec.flags & ACK) !== 0
  const payload = new Uint8Array(spec.len)
  for (let i = 0; i < payload.length; i++) payload[i] = (spec.seq + i) * 31
  if (spec.options === null) throw new Unsupported(line, '<...> in a packet to the stack')
  const options = new OptionWriter(line, flow, keys, isScaled, payload).write(spec.options, hasAck)
  // longer than the MTU: what the receiving kernel has merged
  const mss = Math.min(mssMax, mtu - (flow.local.isV4 ? 40 : 60) - options.length)
  const tclass = spec.ip === null ? 0 : spec.ip.tos >= 0 ? spec.ip.tos : Math.max(0, spec.ip.ecn)
  const bytes = segment({
    src: flow.remote,
    dst: flow.local,
    srcPort: flow.remotePort,
    dstPort: flow.localPort,
    seq: flow.toWireRemote(spec.seq, isSyn),
    ack: hasAck ? flow.toWireLocal(spec.ack ?? 0) : 0,
    flags: spec.flags,
    window: spec.window ?? DEFAULT_WINDOW,
    options,
    payload,
    gsoSize: mss,
    tclass,
    ttl: spec.ip === null || spec.ip.ttl < 0 ? 64 : spec.ip.ttl,
  })
  // the checksum is left to the device here, so that a change of the header needs no repair
  if (spec.urgent > 0) writeU16(bytes, VNET_HDR_LEN + (flow.local.isV4 ? 20 : 40) + 18, spec.urgent)
  return bytes
}

/** RFC 792 and RFC 4443, by the names that scripts use. */
const UNREACHABLE_V4: Readonly<Record<string, number>> = {
  net_unreachable: 0,
  host_unreachable: 1,
  protocol_unreachable: 2,
  port_unreachable: 3,
  frag_needed: 4,
  source_route_failed: 5,
  net_unknown: 6,
  host_unknown: 7,
  source_host_isolated: 8,
  net_prohibited: 9,
  host_prohibited: 10,
  net_unreachable_for_tos: 11,
  host_unreachable_for_tos: 12,
  packet_filtered: 13,
}
const UNREACHABLE_V6: Readonly<Record<string, number>> = {
  net_unreachable: 0,
  no_route: 0,
  admin_prohibited: 1,
  not_neighbour: 2,
  address_unreachable: 3,
  port_unreachable: 4,
}
const OTHER_V4: Readonly<Record<string, number>> = { source_quench: 4, redirect: 5, time_exceeded: 11, parameter_problem: 12 }
const OTHER_V6: Readonly<Record<string, number>> = { time_exceeded: 3, parameter_problem: 4 }

/** Type and code on the wire. */
function icmpNumbers(spec: IcmpSpec, line: number, isV4: boolean): readonly [number, number] {
  if (spec.type === 'unreachable') {
    const code = (isV4 ? UNREACHABLE_V4 : UNREACHABLE_V6)[spec.code]
    if (code !== undefined) return [isV4 ? ICMP_UNREACHABLE : ICMPV6_UNREACHABLE, code]
  } else if (spec.type === 'packet_too_big' && !isV4) return [ICMPV6_TOO_BIG, 0]
  else {
    const type = (isV4 ? OTHER_V4 : OTHER_V6)[spec.type]
    if (type !== undefined && spec.code === '') return [type, 0]
  }
  throw new Unsupported(line, `ICMP ${spec.type} ${spec.code} over IPv${isV4 ? 4 : 6}`)
}

/** An ICMP error about a segment of ours, vnet header first. */
export function buildIcmp(spec: IcmpSpec, line: number, flow: Flow): Uint8Array {
  if (spec.quoted === null) throw new Unsupported(line, 'ICMP without a quotation')
  const isV4 = flow.local.isV4
  const [type, code] = icmpNumbers(spec, line, isV4)
  const original = segment({
    src: flow.local,
    dst: flow.remote,
    srcPort: flow.localPort,
    dstPort: flow.remotePort,
    seq: flow.toWireLocal(spec.quoted.seq),
    ack: 0,
    payload: new Uint8Array(spec.quoted.len),
    isSummed: true,
  }).slice(VNET_HDR_LEN)
  const mem = new Uint8Array(ICMP_ERROR_MAX)
  const len = buildPacketTooBig(mem, 0, Math.max(0, spec.mtu), flow.remote, original, 0, original.length)
  const at = VNET_HDR_LEN + (isV4 ? 20 : 40)
  const built = isV4 ? [ICMP_UNREACHABLE, ICMP_FRAG_NEEDED] : [ICMPV6_TOO_BIG, 0]
  if (built[0] !== type || built[1] !== code) {
    const sum = ((mem[at + 2] as number) << 8) | (mem[at + 3] as number)
    mem[at] = type
    mem[at + 1] = code
    writeU16(mem, at + 2, repaired(sum, ((built[0] as number) << 8) | (built[1] as number), (type << 8) | code))
  }
  return mem.slice(0, len)
}

/** RFC 1624: the checksum after one 16-bit word has changed. */
function repaired(sum: number, before: number, after: number): number {
  let s = (~sum & 0xffff) + (~before & 0xffff) + after
  while (s > 0xffff) s = (s & 0xffff) + (s >>> 16)
  return ~s & 0xffff
}
