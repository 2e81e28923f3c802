import { type Micros, US_PER_S } from '../../../src/base/time.js'
import { FORM_ACK, FORM_SYN, FORM_SYNACK, type OptionForm } from '../../../src/wire/mptcp-options.js'
import { PARSE_OK, Packet, parsePacket } from '../../../src/wire/packet.js'
import { ACK, CWR, FIN, PSH, SYN } from '../../../src/wire/tcp.js'
import { Mismatch, sideBySide } from '../errors.js'
import type { TcpSpec } from '../language/ast.js'
import { type Sent, START, withVnet } from '../stack/world.js'
import type { Flow, Keys } from './flow.js'
import { matchOptions } from './option-matcher.js'
import { type LivePacket, liveText, specText } from './text.js'

/** When a packet may leave, and how far off it may be. */
export interface Due {
  readonly from: Micros
  readonly to: Micros
  readonly tolerance: Micros
}

export function parseSent(ip: Uint8Array): Packet {
  const pkt = new Packet()
  const bytes = withVnet(ip)
  const result = parsePacket(bytes, 0, bytes.length, pkt)
  if (result !== PARSE_OK) throw new Error(`the stack sent a packet that does not parse: ${result}`)
  return pkt
}

/**
 * Takes the packet that is next to be compared off `sent`, which is not empty. The wire has segments, a script for Linux may show the
 * super-segment that they were cut from, or several: pieces that left at the same instant are joined as long as all but the last are
 * full. As in the language, what is joined has the number and the CWR of its first piece, everything else of its last.
 * @param isExact only pieces of one super-segment (`--strict_segments`)
 */
export function takeNext(sent: Sent[], wantedLen: number, isExact: boolean, index = 0): { pkt: Packet; live: LivePacket; at: Micros } {
  const [first] = sent.splice(index, 1) as [Sent]
  const pkt = parseSent(first.ip)
  let len = pkt.payLen
  let last = pkt
  while (sent.length > index && len > 0 && len < wantedLen && last.payLen === pkt.payLen) {
    const next = sent[index] as Sent
    const piece = parseSent(next.ip)
    const isSame =
      next.at === first.at && piece.srcPort === pkt.srcPort && piece.dstPort === pkt.dstPort && ((piece.seq - pkt.seq) | 0) === len
    const isOther = isExact && next.burst !== first.burst
    if (!isSame || piece.payLen === 0 || piece.payLen > pkt.payLen || (last.flags & FIN) !== 0 || isOther) break
    sent.splice(index, 1)
    len += piece.payLen
    last = piece
  }
  return {
    pkt,
    at: first.at,
    live: { ...fieldsOf(last), seq: pkt.seq, flags: (last.flags & ~CWR) | (pkt.flags & CWR), len, isJoined: last !== pkt },
  }
}

/** Which of the packets that left at the same instant as the first one `fits`; 0 when none does: subflows have no order among themselves. */
export function indexOfFirst(sent: readonly Sent[], fits: (pkt: Packet) => boolean): number {
  const at = sent[0]?.at
  const found = sent.findIndex((s) => s.at === at && fits(parseSent(s.ip)))
  return Math.max(0, found)
}

function fieldsOf(p: Packet): LivePacket {
  return {
    mem: p.mem,
    flags: p.flags,
    seq: p.seq,
    ack: p.ack,
    window: p.window,
    urgent: p.urgent,
    tclass: p.tclass,
    ttl: p.ttl,
    optOff: p.optOff,
    optLen: p.optLen,
    payOff: p.payOff,
    len: p.payLen,
    isJoined: false,
  }
}

export function formOf(flags: number): OptionForm {
  if ((flags & SYN) === 0) return FORM_ACK
  return (flags & ACK) === 0 ? FORM_SYN : FORM_SYNACK
}

/** Compares a packet of ours with what the script expects, field by field. @param due null: any time. @throws Mismatch */
export function matchPacket(
  spec: TcpSpec,
  line: number,
  live: LivePacket,
  at: Micros,
  due: Due | null,
  flow: Flow,
  keys: Keys,
  stampTolerance: number,
  isStrict: boolean,
): void {
  const why = firstDifference(spec, line, live, flow, keys, stampTolerance, isStrict)
  const detail = () => sideBySide(specText(spec), liveText(live, flow, keys, formOf(live.flags)))
  if (why !== '') throw new Mismatch(line, why, detail())
  if (due !== null && (at < due.from - due.tolerance || at > due.to + due.tolerance)) {
    throw new Mismatch(line, `sent at ${seconds(at)}, expected ${dueText(due)}`, detail())
  }
}

export function seconds(at: Micros): string {
  return ((at - START) / US_PER_S).toFixed(6)
}

export function dueText(due: Due): string {
  return due.from === due.to ? `at ${seconds(due.from)}` : `from ${seconds(due.from)} to ${seconds(due.to)}`
}

function firstDifference(
  spec: TcpSpec,
  line: number,
  live: LivePacket,
  flow: Flow,
  keys: Keys,
  stampTolerance: number,
  isStrict: boolean,
): string {
  const isSyn = (live.flags & SYN) !== 0
  // a CWR or ECE that a script does not mention is a difference like any other
  // kernels differ in whether they push behind every burst
  const compared = live.isJoined && !isStrict ? ~PSH : ~0
  if (((spec.flags ^ live.flags) & compared) !== 0) return `flags`
  if (isSyn) flow.onOutboundSyn(live.seq, spec.seq)
  if ((live.flags & FIN) !== 0) flow.hasOurFin = true
  if (flow.toScriptLocal(live.seq, isSyn) !== (spec.seq | 0)) return 'sequence number'
  if (live.len !== spec.len) return 'payload length'
  // without the flag the field means nothing, and is compared as it stands
  const ack = (live.flags & ACK) === 0 ? live.ack : flow.toScriptRemote(live.ack, isSyn)
  if (spec.ack !== null && ack !== (spec.ack | 0)) return 'acknowledgment number'
  if (spec.window !== null && live.window !== spec.window) return 'window'
  if (spec.urgent !== live.urgent) return 'urgent pointer'
  const ip = spec.ip
  if (ip !== null) {
    const ecn = live.tclass & 3
    if (ip.ecn === 4 ? ecn !== 1 && ecn !== 2 : ip.ecn >= 0 && ip.ecn !== ecn) return `ECN codepoint ${ecn}`
    if (ip.tos >= 0 && ip.tos !== live.tclass) return `traffic class 0x${live.tclass.toString(16)}`
    if (ip.ttl >= 0 && ip.ttl !== live.ttl) return `TTL ${live.ttl}`
  }
  if (spec.options === null) return ''
  return matchOptions(spec.options, live.mem, live.optOff, live.optLen, {
    flow,
    keys,
    stampTolerance,
    form: formOf(live.flags),
    line,
    isStrict,
  })
}
