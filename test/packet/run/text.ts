import { readI32, readU16 } from '../../../src/base/bytes.js'
import * as mp from '../../../src/wire/mptcp-options.js'
import { formatFlags } from '../../../src/wire/pretty.js'
import * as opt from '../../../src/wire/tcp-options.js'
import type { OptionSpec, TcpSpec } from '../language/ast.js'
import { type Flow, Keys } from './flow.js'
import { liveOptions, u64 } from './option-matcher.js'

/** A packet of ours, parsed. */
export interface LivePacket {
  readonly mem: Uint8Array
  readonly flags: number
  readonly seq: number
  readonly ack: number
  readonly window: number
  readonly urgent: number
  readonly tclass: number
  readonly ttl: number
  readonly optOff: number
  readonly optLen: number
  readonly payOff: number
  readonly len: number
  /** Several segments, or bursts of them, that are shown as one. */
  readonly isJoined: boolean
}

const flagText = (flags: number): string => (flags === 0 ? '-' : formatFlags(flags))

/** A line of the script's language. */
export function specText(spec: TcpSpec): string {
  let text = `${flagText(spec.flags)} ${spec.seq}:${spec.seq + spec.len}(${spec.len})`
  if (spec.ack !== null) text += ` ack ${spec.ack}`
  if (spec.window !== null) text += ` win ${spec.window}`
  if (spec.urgent !== 0) text += ` urg ${spec.urgent}`
  if (spec.options === null) return `${text} <...>`
  return spec.options.length === 0 ? text : `${text} <${spec.options.map(optionText).join(',')}>`
}

function optionText(o: OptionSpec): string {
  switch (o.kind) {
    case 'mss':
    case 'wscale':
      return `${o.kind} ${o.value}`
    case 'sack':
      return `sack ${o.blocks.map(([left, right]) => `${left}:${right}`).join(' ')}`
    case 'TS':
      return `TS val ${o.val} ecr ${o.ecr}`
    case 'FO':
      return `FO ${o.cookie}`.trimEnd()
    case 'mp_capable':
      return `mp_capable v${o.version} flags 0x${o.flags.toString(16)}${o.keys.length > 0 ? ` key[${o.keys.map((k) => k.name).join(',')}]` : ' nokey'}${o.dataLen >= 0 ? ` mpcdatalen ${o.dataLen}` : ''}`
    case 'dss': {
      const seq = (name: string, s: typeof o.ack): string => (s === null ? '' : ` ${name}${s.len}${s.value === null ? '' : `=${s.value}`}`)
      const mapping = o.dsn === null ? '' : `${o.ssn < 0 ? '' : ` ssn=${o.ssn}`}${o.dll < 0 ? '' : ` dll=${o.dll}`}`
      return `dss${seq('dack', o.ack)}${seq('dsn', o.dsn)}${mapping}${o.checksum === 'none' ? ' nocs' : ''}${o.fin ? ' fin' : ''}`
    }
    case 'mp_tcprst':
      return `mp_tcprst ${o.reason}`
  }
  return o.kind
}

/** What we sent, in the script's coordinates and language. */
export function liveText(p: LivePacket, flow: Flow, keys: Keys, form: mp.OptionForm): string {
  const isSyn = (p.flags & 2) !== 0
  const seq = flow.toScriptLocal(p.seq, isSyn)
  let text = `${flagText(p.flags)} ${seq}:${seq + p.len}(${p.len})`
  if ((p.flags & 16) !== 0) text += ` ack ${flow.toScriptRemote(p.ack, (p.flags & 2) !== 0)}`
  text += ` win ${p.window}`
  if (p.urgent !== 0) text += ` urg ${p.urgent}`
  const options = liveOptions(p.mem, p.optOff, p.optLen).map((o) => liveOptionText(p.mem, o.kind, o.at, o.len, flow, keys, form))
  return options.length === 0 ? text : `${text} <${options.join(',')}>`
}

function liveOptionText(mem: Uint8Array, kind: number, at: number, len: number, flow: Flow, keys: Keys, form: mp.OptionForm): string {
  switch (kind) {
    case opt.OPT_NOP:
      return 'nop'
    case opt.OPT_EOL:
      return 'eol'
    case opt.OPT_MSS:
      return `mss ${readU16(mem, at + 2)}`
    case opt.OPT_WSCALE:
      return `wscale ${mem[at + 2]}`
    case opt.OPT_SACK_PERMITTED:
      return 'sackOK'
    case opt.OPT_SACK: {
      const edges: string[] = []
      for (let i = at + 2; i < at + len; i += 8) {
        edges.push(`${flow.toScriptRemote(readI32(mem, i))}:${flow.toScriptRemote(readI32(mem, i + 4))}`)
      }
      return `sack ${edges.join(' ')}`
    }
    case opt.OPT_TIMESTAMPS:
      return `TS val ${flow.stampInScript(readI32(mem, at + 2)) >>> 0} ecr ${readI32(mem, at + 6) >>> 0}`
    case opt.OPT_FAST_OPEN:
      return `FO ${Buffer.from(mem.subarray(at + 2, at + len)).toString('hex')}`.trimEnd()
    case mp.OPT_MPTCP:
      return mptcpText(mem, at, len, keys, form)
  }
  return `kind ${kind}`
}

function mptcpText(mem: Uint8Array, at: number, len: number, keys: Keys, form: mp.OptionForm): string {
  const m = new mp.MptcpOptions()
  mp.parseMptcpOption(mem, at, len, form, m)
  if ((m.present & mp.HAS_CAPABLE) !== 0) {
    const key = ['', ' key[1]', ' key[2]'][m.capableLen === 4 ? 0 : m.capableLen === 12 ? 1 : 2] || ' nokey'
    return `mp_capable v${m.capableVersion} flags 0x${m.capableFlags.toString(16)}${key}${m.capableDataLen >= 0 ? ` mpcdatalen ${m.capableDataLen}` : ''}`
  }
  if ((m.present & mp.HAS_DSS) !== 0) {
    const relative = (high: number, low: number, n: number, key: bigint | null): bigint =>
      key === null ? u64(high, low) : BigInt.asIntN(n * 8, u64(n === 8 ? high : 0, low) - BigInt.asUintN(n * 8, Keys.dsn(key, 0n)))
    const ack = m.dataAckLen === 0 ? '' : ` dack${m.dataAckLen}=${relative(m.dataAckHi, m.dataAckLo, m.dataAckLen, keys.remote)}`
    const map = m.dsnLen === 0 ? '' : ` dsn${m.dsnLen}=${relative(m.dsnHi, m.dsnLo, m.dsnLen, keys.local)} ssn=${m.ssn} dll=${m.dataLen}`
    return `dss${ack}${map}${m.dssChecksum < 0 ? ' nocs' : ''}${m.dataFin ? ' fin' : ''}`
  }
  if ((m.present & mp.HAS_RST) !== 0) return `mp_tcprst ${m.rstReason}`
  return `mptcp subtype ${(mem[at + 2] as number) >> 4} of ${len} bytes`
}
