import { IpAddress } from '../../../src/base/address.js'
import { readI32, readU16 } from '../../../src/base/bytes.js'
import * as mp from '../../../src/wire/mptcp-options.js'
import * as opt from '../../../src/wire/tcp-options.js'
import type { DataSeq, KeyRef, MptcpSpec, OptionSpec } from '../language/ast.js'
import { cookieBytes } from '../stack/fast-open.js'
import { type Flow, Keys } from './flow.js'
import { addressHmac } from './option-writer.js'
import { parseAddress } from '../../../src/config/address-text.js'

const HAS_OF: Readonly<Record<MptcpSpec['kind'], number>> = {
  mp_capable: mp.HAS_CAPABLE,
  dss: mp.HAS_DSS,
  mp_join_syn: mp.HAS_JOIN,
  mp_join_syn_ack: mp.HAS_JOIN,
  mp_join_ack: mp.HAS_JOIN,
  add_address: mp.HAS_ADD_ADDR,
  remove_address: mp.HAS_REMOVE_ADDR,
  mp_prio: mp.HAS_PRIO,
  mp_fail: mp.HAS_FAIL,
  mp_fastclose: mp.HAS_FASTCLOSE,
  mp_tcprst: mp.HAS_RST,
}

export const u64 = (high: number, low: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)

/** One option of a packet that we sent. */
export interface LiveOption {
  readonly kind: number
  readonly at: number
  readonly len: number
}

/** Cuts mem[off, off + len) into options, NOPs and the end of the list counted one by one. */
export function liveOptions(mem: Uint8Array, off: number, len: number): LiveOption[] {
  const options: LiveOption[] = []
  for (let at = off; at < off + len; ) {
    const kind = mem[at] as number
    const n = kind === opt.OPT_NOP || kind === opt.OPT_EOL ? 1 : Math.max(2, mem[at + 1] as number)
    options.push({ kind, at, len: n })
    at += n
  }
  return options
}

/** What a comparison of options needs to know. */
export interface OptionContext {
  readonly flow: Flow
  readonly keys: Keys
  /** Drift of timestamps that is let pass, in ticks; Infinity: any. */
  readonly stampTolerance: number
  readonly form: mp.OptionForm
  readonly line: number
  /** Compares also what the language leaves open, see `withoutRepetition`. */
  readonly isStrict: boolean
}

/** Compares the options of a packet of ours with what the script wants, in order. @returns '' or what differs. */
export function matchOptions(wanted: readonly OptionSpec[], mem: Uint8Array, off: number, len: number, ctx: OptionContext): string {
  const live = liveOptions(mem, off, len)
  if (!ctx.isStrict && isLateDataAck(wanted, live, mem, ctx)) live.pop()
  const specs = ctx.isStrict ? wanted : withoutRepetition(wanted, live, ctx)
  for (let i = 0; i < Math.max(specs.length, live.length); i++) {
    const [spec, actual] = [specs[i], live[i]]
    if (spec === undefined) return `option ${i + 1} is not expected`
    if (actual === undefined) return `option ${spec.kind} is missing`
    const why = matchOne(spec, mem, actual, ctx)
    if (why !== '') return why
  }
  return ''
}

/**
 * RFC 8684 §3.3.2: a DATA_ACK need not be said twice. Beside an announced address a script for Linux shows one that says nothing new; we let
 * the address stand alone.
 */
function withoutRepetition(wanted: readonly OptionSpec[], live: readonly LiveOption[], ctx: OptionContext): readonly OptionSpec[] {
  const isAlone = live.filter(({ kind }) => kind === mp.OPT_MPTCP).length === 1
  if (!isAlone || !wanted.some((o) => o.kind === 'add_address')) return wanted
  return wanted.filter((o) => o.kind !== 'dss' || o.dsn !== null || !isRepeated(o.ack, ctx.keys, ctx.line))
}

/** After the FINs of both sides Linux speaks of the data level no more, whereas our last ACKs repeat the DATA_ACK, which may have been lost. */
function isLateDataAck(wanted: readonly OptionSpec[], live: readonly LiveOption[], mem: Uint8Array, ctx: OptionContext): boolean {
  const last = live.at(-1)
  if (!ctx.flow.hasOurFin || !ctx.flow.hasPeerFin || last?.kind !== mp.OPT_MPTCP || wanted.length !== live.length - 1) return false
  const m = new mp.MptcpOptions()
  return mp.parseMptcpOption(mem, last.at, last.len, ctx.form, m) && m.present === mp.HAS_DSS && m.dsnLen === 0
}

/** Whether the stack has sent this DATA_ACK before. */
function isRepeated(ack: DataSeq | null, keys: Keys, line: number): boolean {
  if (ack === null) return false
  const { remote } = keys.both(line)
  return ack.value === null || Keys.dsn(ack.key === null ? remote : keys.named(ack.key, line), ack.value) === keys.dataAck
}

function matchOne(spec: OptionSpec, mem: Uint8Array, live: LiveOption, ctx: OptionContext): string {
  const { at, kind, len } = live
  const is = (wanted: number, same: boolean): string => (kind === wanted && same ? '' : `option ${spec.kind}`)
  switch (spec.kind) {
    case 'nop':
      return is(opt.OPT_NOP, true)
    case 'eol':
      return is(opt.OPT_EOL, true)
    case 'sackOK':
      return is(opt.OPT_SACK_PERMITTED, true)
    case 'mss':
      return is(opt.OPT_MSS, readU16(mem, at + 2) === spec.value)
    case 'wscale':
      return is(opt.OPT_WSCALE, mem[at + 2] === spec.value)
    case 'sack':
      return is(
        opt.OPT_SACK,
        len === 2 + 8 * spec.blocks.length && spec.blocks.every((block, i) => isBlock(block, mem, at + 2 + 8 * i, ctx)),
      )
    case 'TS': {
      if (kind !== opt.OPT_TIMESTAMPS) return 'option TS'
      const drift = ctx.flow.noteStamp(spec.val, readI32(mem, at + 2))
      if (Math.abs(drift) > ctx.stampTolerance) return `timestamp, which is off by ${drift} ticks`
      return !ctx.isStrict || readI32(mem, at + 6) === (spec.ecr | 0) ? '' : `timestamp echo ${readI32(mem, at + 6) >>> 0}`
    }
    case 'FO':
      return is(
        opt.OPT_FAST_OPEN,
        Buffer.from(mem.subarray(at + 2, at + len)).equals(cookieBytes(spec.cookie, ctx.flow.remote, ctx.flow.local)),
      )
  }
  if (kind !== mp.OPT_MPTCP) return `option ${spec.kind}`
  const m = new mp.MptcpOptions()
  if (!mp.parseMptcpOption(mem, at, len, ctx.form, m) || m.present !== HAS_OF[spec.kind]) return `option ${spec.kind}`
  return matchMptcp(spec, m, mem, ctx)
}

function isBlock([left, right]: readonly [number, number], mem: Uint8Array, at: number, { flow }: OptionContext): boolean {
  return flow.toScriptRemote(readI32(mem, at)) === (left | 0) && flow.toScriptRemote(readI32(mem, at + 4)) === (right | 0)
}

function matchMptcp(spec: MptcpSpec, m: mp.MptcpOptions, mem: Uint8Array, ctx: OptionContext): string {
  const { keys, line } = ctx
  const unless = (same: boolean, what: string): string => (same ? '' : `${what} of ${spec.kind}`)
  switch (spec.kind) {
    case 'mp_capable':
      return matchCapable(spec, m, keys)
    case 'dss':
      return matchDss(spec, m, ctx)
    case 'mp_join_syn':
      keys.localNonce = m.joinNonce
      if (m.joinLen !== 12) return 'length of mp_join'
      return unless(m.joinBackup === spec.backup && (spec.id < 0 || m.joinAddrId === spec.id), 'backup flag or address id')
    case 'mp_join_syn_ack':
      keys.localNonce = m.joinNonce
      if (m.joinLen !== 16) return 'length of mp_join'
      return unless(m.joinBackup === spec.backup && (!ctx.isStrict || spec.id < 0 || m.joinAddrId === spec.id), 'backup flag or address id')
    case 'mp_join_ack':
      return unless(m.joinLen === 24, 'length')
    case 'add_address': {
      if ((spec.id >= 0 && m.addAddrId !== spec.id) || m.addEcho !== spec.isEcho || m.addPort !== spec.port)
        return 'address id, echo flag or port of add_address'
      const ip = new IpAddress(m.add0, m.add1, m.add2, m.add3)
      const wanted = spec.address === null ? keys.names.get(spec.name)?.address : parseAddress(spec.address)
      if (wanted !== undefined && !wanted.equals(ip)) return 'address of add_address'
      if (spec.isEcho) return ''
      keys.names.addOurs(m.addAddrId, ip)
      keys.names.bind(spec.name, ip, m.addPort === 0 ? ctx.flow.localPort : m.addPort)
      const { local, remote } = keys.both(line)
      const hmac = spec.hmac === null ? addressHmac(local, remote, m.addAddrId, ip, spec.port) : Keys.bytes(spec.hmac)
      return unless(hmac.subarray(hmac.length - 8).equals(mem.subarray(m.addHmacOff, m.addHmacOff + 8)), 'HMAC')
    }
    case 'remove_address':
      return unless(m.removeCount === spec.ids.length && spec.ids.every((id, i) => m.removeIds[i] === id), 'address ids')
    case 'mp_prio':
      return unless(m.prioBackup === spec.backup && spec.id < 0, 'backup flag or form')
    case 'mp_fail':
      return unless(spec.dsn.value === null || u64(m.failHi, m.failLo) === Keys.dsn(keys.both(line).remote, spec.dsn.value), 'DSN')
    case 'mp_fastclose': {
      const key = (spec.key === null ? keys.both(line).remote : keys.named(spec.key.name, line)) + spec.add
      return unless(u64(m.fastcloseHi, m.fastcloseLo) === key, 'key')
    }
    case 'mp_tcprst':
      return unless(m.rstReason === spec.reason && m.rstTransient === spec.isTransient, 'reason')
  }
}

function matchCapable(spec: MptcpSpec & { kind: 'mp_capable' }, m: mp.MptcpOptions, keys: Keys): string {
  if (m.capableVersion !== spec.version) return `version ${m.capableVersion} of mp_capable`
  if (m.capableFlags !== spec.flags) return `flags 0x${m.capableFlags.toString(16)} of mp_capable`
  if (m.capableDataLen !== spec.dataLen) return `data length ${m.capableDataLen} of mp_capable`
  if (m.capableChecksum >= 0 !== (spec.checksum !== 'none')) return 'checksum of mp_capable'
  const count = m.capableLen === 4 ? 0 : m.capableLen === 12 ? 1 : 2
  if (count !== spec.keys.length) return `length ${m.capableLen} of mp_capable`
  if (count === 0) keys.begin()
  const values = [u64(m.keyHi, m.keyLo), u64(m.peerKeyHi, m.peerKeyLo)]
  for (let i = 0; i < count; i++) {
    const ref = spec.keys[i] as KeyRef
    const value = values[i] as bigint
    const wanted = ref.value ?? keys.get(ref.name)
    if (wanted !== undefined && wanted !== value) return `key ${ref.name} of mp_capable`
    keys.bind(ref.name, value)
    if (i === 0) keys.local ??= value
  }
  return ''
}

function matchDss(spec: MptcpSpec & { kind: 'dss' }, m: mp.MptcpOptions, { keys, line, isStrict }: OptionContext): string {
  const { local, remote } = keys.both(line)
  // beside data a DATA_ACK that says nothing new may be left out
  const isLeftOut = !isStrict && m.dataAckLen === 0 && m.dsnLen > 0 && isRepeated(spec.ack, keys, line)
  if (!isLeftOut && m.dataAckLen !== (spec.ack?.len ?? 0)) return `DATA_ACK of ${m.dataAckLen} bytes`
  if (m.dsnLen !== (spec.dsn?.len ?? 0)) return `DSN of ${m.dsnLen} bytes`
  if (!isLeftOut && !isData(spec.ack, m.dataAckLen, m.dataAckHi, m.dataAckLo, remote, keys, line)) return 'DATA_ACK'
  keys.noteDataAck(m.dataAckLen, m.dataAckHi, m.dataAckLo)
  if (!isData(spec.dsn, m.dsnLen, m.dsnHi, m.dsnLo, local, keys, line)) return 'DSN'
  if (m.dataFin !== spec.fin) return 'DATA_FIN'
  if (spec.dsn === null) return ''
  if (spec.ssn >= 0 && m.ssn !== (spec.ssn | 0)) return `subflow sequence number ${m.ssn} of dss`
  if (spec.dll >= 0 && m.dataLen !== spec.dll) return `length ${m.dataLen} of dss`
  const hasSum = m.dssChecksum >= 0
  if (spec.checksum === 'none') return hasSum ? 'a checksum in dss' : ''
  if (!hasSum) return 'no checksum in dss'
  return typeof spec.checksum === 'number' && spec.checksum !== m.dssChecksum ? 'checksum of dss' : ''
}

function isData(
  spec: { value: bigint | null; key: string | null } | null,
  len: 0 | 4 | 8,
  high: number,
  low: number,
  key: bigint,
  keys: Keys,
  line: number,
): boolean {
  if (spec === null || spec.value === null) return true
  const wanted = Keys.dsn(spec.key === null ? key : keys.named(spec.key, line), spec.value)
  return len === 8 ? u64(high, low) === wanted : BigInt.asUintN(32, wanted) === BigInt(low >>> 0)
}
