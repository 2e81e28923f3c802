import type { IpAddress } from '../../../src/base/address.js'
import { type Micros, NEVER, US_PER_S } from '../../../src/base/time.js'
import { parseAddress } from '../../../src/config/address-text.js'
import { ACK, FIN, SYN } from '../../../src/wire/tcp.js'
import { Mismatch, Unsupported } from '../errors.js'
import type { CallSpec, CodeSpec, EventTime, IcmpSpec, Script, ScriptEvent, TcpSpec } from '../language/ast.js'
import { Code } from '../language/code.js'
import type { FileReader } from '../language/shell.js'
import { BLOCKED, CallError } from '../stack/errno.js'
import { MptcpSide } from '../stack/mptcp-side.js'
import { Settings } from '../stack/settings.js'
import { Socket, type Stack } from '../stack/socket.js'
import { INFO_CONSTANTS, tcpInfo } from '../stack/tcp-info.js'
import { type Sent, START, World } from '../stack/world.js'
import { type Call, Calls, checkCall, type Outcome } from './calls.js'
import { Flows } from './flows.js'
import { buildIcmp, buildInbound } from './inject.js'
import { type Due, dueText, indexOfFirst, matchPacket, parseSent, seconds, takeNext } from './matcher.js'
import { liveText, specText } from './text.js'

/** Two names of one errno. */
const ALIASES: Readonly<Record<string, string>> = { EWOULDBLOCK: 'EAGAIN', ENOTSUP: 'EOPNOTSUPP' }
/** Default of `--tolerance_usecs`. */
const TOLERANCE_US: Micros = 4_000
/** Default of `--tolerance_percent`. */
const TOLERANCE_PERCENT = 12.5
/** How long a packet is waited for that may come at any time. */
const PATIENCE_US: Micros = 3600 * US_PER_S

interface Pending {
  readonly spec: CallSpec
  readonly line: number
  readonly call: Call
  readonly endAt: Micros
  readonly tolerance: Micros
}

/** Runs one script against a fresh stack in virtual time. */
export class Runtime {
  readonly settings: Settings
  private readonly script: Script
  private readonly world: World
  private readonly calls: Calls
  private readonly flows: Flows
  private readonly codes = new Code()
  private readonly tolerance: Micros
  private readonly stampTolerance: number
  private readonly isScaled: boolean
  private readonly mtu: number
  /** Payload of the segments that a longer packet to us was merged from, at most. */
  private readonly mss: number
  /** Time that relative times count from. */
  private base: Micros = START
  private pending: Pending | null = null
  private lastSocket: Socket | null = null
  /** SYNs that were let pass. */
  private readonly openings: Sent[] = []
  private readonly isStrict: boolean
  private readonly isExact: boolean
  /** Share of the time since the event before that an event may be off. */
  private readonly laxity: number
  private readonly read: FileReader

  /**
   * @param isStrict packets that the script does not mention are a failure at its end too.
   * @param read files that commands of the script run.
   */
  constructor(script: Script, seed: number, isStrict: boolean, read: FileReader) {
    this.read = read
    for (const { action, line } of script.events) if (action.kind === 'call') checkCall(action, line)
    this.script = script
    this.isStrict = isStrict
    const option = (name: string, missing: string): string => script.options.get(name) ?? missing
    const version = option('ip_version', 'ipv4')
    if (!/^ipv(?:4|6|4-mapped-ipv6)$/.test(version)) throw new Unsupported(1, `--ip_version=${version}`)
    const isV4 = version !== 'ipv6' // mapped addresses are what a process sees; packets are of IPv4
    const address = (name: string, v4: string, v6: string): IpAddress => parseAddress(option(name, isV4 ? v4 : v6).split('/')[0] as string)
    this.tolerance = Number(option('tolerance_usecs', String(TOLERANCE_US)))
    const tick = Number(option('tcp_ts_tick_usecs', '0'))
    this.stampTolerance = tick > 0 ? Math.max(1, this.tolerance / tick) : Number.POSITIVE_INFINITY
    this.laxity = isStrict ? 0 : Number(option('tolerance_percent', String(TOLERANCE_PERCENT))) / 100
    this.isExact = script.options.has('strict_segments')
    this.isScaled = script.options.has('tcp_ts_ecr_scaled')
    this.world = new World(seed)
    this.mtu = Number(option('mtu', '1500'))
    this.mss = Number(option('mss', String(this.mtu)))
    const network = {
      local: address('local_ip', '192.168.0.1', 'fd3d:fa7b:d17d::1'),
      remote: address('remote_ip', '192.0.2.1', '2001:db8::1'),
      bindPort: Number(option('bind_port', '8080')),
      connectPort: Number(option('connect_port', '8080')),
    }
    this.settings = new Settings(this.mtu, network.local)
    const side = new MptcpSide(this.world, this.settings.mptcpConfig, this.settings.paths, network.local)
    const stack: Stack = { world: this.world, side, settings: this.settings, network }
    this.calls = new Calls(stack)
    this.flows = new Flows(network, this.world.host.rng() | 0)
    if (script.init !== null) this.command(script.init.text, stack.side)
    const scale = shownScale(script)
    if (scale >= 0) this.settings.showScale(scale)
    this.side = stack.side
  }

  private readonly side: MptcpSide

  /** @throws Mismatch, Unsupported */
  run(): void {
    for (const event of this.script.events) this.event(event)
    this.finishPending()
    if (this.isStrict && this.world.sent.length > 0) {
      const { live, pkt } = takeNext(this.world.sent, 0, false)
      const flow = this.flows.ofSent(pkt)
      const line = this.script.events.at(-1)?.line ?? 0
      throw new Mismatch(line, 'a packet that the script does not expect', [`actual:   ${liveText(live, flow, this.flows.keys, 0)}`])
    }
    if (this.script.cleanup !== null) this.command(this.script.cleanup.text, this.side)
  }

  private event({ line, time, action }: ScriptEvent): void {
    const due = this.dueOf(time)
    if (action.kind === 'tcp' && !action.isInbound) {
      this.expectPacket(action, line, due)
      return
    }
    if (due === null) throw new Unsupported(line, 'any time for something that the script does')
    if (due.from !== due.to) throw new Unsupported(line, 'a range of time for something that the script does')
    if (action.kind === 'call') this.finishPending()
    this.advance(due.from)
    this.base = due.from
    switch (action.kind) {
      case 'tcp':
        this.inject(action, line)
        break
      case 'icmp':
        this.injectIcmp(action, line)
        break
      case 'call':
        this.issue(action, line, time)
        break
      case 'command':
        this.command(action.text, this.side)
        break
      case 'code':
        this.code(action, line)
    }
    this.poke()
  }

  private dueOf(time: EventTime): Due | null {
    if (time.kind === 'any') return null
    const origin = time.isRelative ? this.base : START
    const [from, to] = time.kind === 'at' ? [time.us, time.us] : [time.fromUs, time.toUs]
    return { from: origin + from, to: origin + to, tolerance: this.toleranceAt(origin + from) }
  }

  /** How far off an event at `at` may be. */
  private toleranceAt(at: Micros): Micros {
    return Math.max(this.tolerance, Math.floor((at - this.base) * this.laxity))
  }

  /** Lets virtual time pass; timers run, and a blocking call is tried after each of them. */
  private advance(until: Micros): void {
    while (this.world.step(until)) this.poke()
    this.poke()
  }

  // ---------------------------------------------------------------- packets

  private expectPacket(spec: TcpSpec, line: number, due: Due | null): void {
    const world = this.world
    const limit = due === null ? world.now + PATIENCE_US : due.to + due.tolerance
    this.skipOpenings(spec)
    while (world.sent.length === 0) {
      if (world.nextTimeout() === NEVER || !world.step(limit)) {
        const when = due === null ? 'at any time' : dueText(due)
        throw new Mismatch(line, `no packet, expected ${when}`, [
          `expected: ${specText(spec)}`,
          `actual:   nothing until ${seconds(limit)}`,
        ])
      }
      this.poke()
      this.skipOpenings(spec)
    }
    const index = indexOfFirst(world.sent, (pkt) => this.flows.isBetween(spec.tuple, pkt))
    const { pkt, live, at } = takeNext(world.sent, spec.len, this.isExact, index)
    const flow = this.flows.ofSent(pkt)
    this.flows.check(spec, line, flow)
    matchPacket(spec, line, live, at, due, flow, this.flows.keys, this.stampTolerance, this.isStrict)
    this.base = due === null || due.from !== due.to ? at : due.from
  }

  /**
   * The language knows nothing of subflows that the script does not mention: their SYNs are let pass, unless the next lines of the same
   * instant do mention them.
   */
  private skipOpenings(spec: TcpSpec): void {
    if (this.isStrict) return
    const { sent } = this.world
    if ((spec.flags & (SYN | ACK)) === SYN) {
      sent.unshift(...this.openings.splice(0).filter((one) => one.at >= this.base))
      return
    }
    for (let i = sent.length - 1; i >= 0; i--) {
      const pkt = parseSent((sent[i] as Sent).ip)
      if ((pkt.flags & (SYN | ACK)) === SYN && this.flows.isUnknown(pkt)) this.openings.unshift(...sent.splice(i, 1))
    }
  }

  private inject(spec: TcpSpec, line: number): void {
    const isFirst = (spec.flags & (SYN | ACK)) === SYN
    const flow = this.flows.ofInbound(spec, line, isFirst)
    if ((spec.flags & SYN) !== 0) flow.onInboundSyn(spec.seq)
    if ((spec.flags & FIN) !== 0) flow.hasPeerFin = true
    this.world.deliver(buildInbound(spec, line, flow, this.flows.keys, this.isScaled, this.mtu, this.mss))
  }

  private injectIcmp(spec: IcmpSpec, line: number): void {
    if (!spec.isInbound) throw new Unsupported(line, 'ICMP of ours')
    this.world.deliver(buildIcmp(spec, line, this.flows.current(line)))
  }

  // ---------------------------------------------------------------- calls

  private issue(spec: CallSpec, line: number, time: EventTime): void {
    const call = this.calls.prepare(spec, line)
    const isListen = spec.name === 'listen'
    const origin = time.kind !== 'any' && time.isRelative ? this.base - (time.kind === 'at' ? time.us : 0) : START
    const endAt = spec.endUs === null ? this.world.now : origin + spec.endUs
    const pending = { spec, line, call, endAt, tolerance: this.toleranceAt(endAt) }
    if (this.tryCall(pending)) {
      if (isListen) this.flows.expectPassive()
      return
    }
    if (spec.endUs === null) throw new Mismatch(line, `${spec.name}() blocks`, [`expected: ${resultText(spec)}`, 'actual:   no result'])
    this.pending = pending
  }

  /** One more attempt at the blocking call, if there is one. */
  private poke(): void {
    const pending = this.pending
    if (pending !== null && this.tryCall(pending)) this.pending = null
    this.world.turn()
  }

  private finishPending(): void {
    while (this.pending !== null) {
      const { endAt, spec, line, tolerance } = this.pending
      if (!this.world.step(endAt + tolerance)) {
        this.poke()
        if (this.pending === null) return
        throw new Mismatch(line, `${spec.name}() still blocks`, [
          `expected: ${resultText(spec)} at ${seconds(endAt)}`,
          'actual:   no result',
        ])
      }
      this.poke()
    }
  }

  /** True: it returned, and what it returned is right. */
  private tryCall(pending: Pending): boolean {
    const { spec, line, call, endAt, tolerance } = pending
    let outcome: Outcome | string
    try {
      outcome = call.attempt()
    } catch (error) {
      if (!(error instanceof CallError)) throw error
      outcome = error.errno
    }
    this.world.turn()
    if (outcome === BLOCKED) {
      if (call.wouldBlock === null) return false
      outcome = call.wouldBlock
    }
    this.checkOutcome(spec, line, outcome)
    const what = call.check()
    if (what !== '') throw new Mismatch(line, `${spec.name}(): ${what}`)
    const off = Math.abs(this.world.now - endAt)
    if (spec.endUs !== null && off > tolerance) {
      throw new Mismatch(line, `${spec.name}() returned at ${seconds(this.world.now)}, expected at ${seconds(endAt)}`)
    }
    return true
  }

  private checkOutcome(spec: CallSpec, line: number, outcome: Outcome | string): void {
    const result = spec.result
    const isNew = typeof outcome === 'object'
    const actual = typeof outcome === 'string' ? `-1 ${outcome}` : isNew ? 'a descriptor' : String(outcome as number)
    const differs = (): never => {
      throw new Mismatch(line, `${spec.name}() returned something else`, [`expected: ${resultText(spec)}`, `actual:   ${actual}`])
    }
    if (isNew) {
      if (result.kind !== 'int' || result.value < 0) differs()
      else this.calls.name(result.value, outcome)
      if (outcome instanceof Socket) this.lastSocket = outcome
      return
    }
    if (result.kind === 'any') return
    if (result.kind !== 'int') throw new Unsupported(line, 'a result that is no number')
    if (typeof outcome === 'string') {
      if (result.value !== -1 || (spec.errno !== '' && (ALIASES[spec.errno] ?? spec.errno) !== outcome)) differs()
    } else if (result.value !== outcome) differs()
  }

  // ---------------------------------------------------------------- the rest

  private command(text: string, side: MptcpSide): void {
    this.settings.command(text, this.read)
    side.config = this.settings.mptcpConfig
  }

  private code(spec: CodeSpec, line: number): void {
    const conn = this.lastSocket?.conn ?? null
    const failed = this.codes.run(spec.text, line, (name) => INFO_CONSTANTS[name] ?? (conn === null ? null : tcpInfo(conn, name)))
    if (failed !== null) throw new Mismatch(line, 'assertion', [`expected: ${failed.text}`, `actual:   ${failed.values}`])
  }
}

/** Window scale that the script shows in the stack's own SYN; -1: none. On a kernel it follows from the memory for sockets. */
function shownScale(script: Script): number {
  for (const { action } of script.events) {
    if (action.kind !== 'tcp' || action.isInbound || (action.flags & SYN) === 0) continue
    for (const option of action.options ?? []) if (option.kind === 'wscale') return option.value
  }
  return -1
}

function resultText(spec: CallSpec): string {
  const value = spec.result.kind === 'int' ? String(spec.result.value) : spec.result.kind
  return spec.errno === '' ? value : `${value} ${spec.errno}`
}
