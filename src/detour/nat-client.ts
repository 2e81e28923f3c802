import type { IpAddress } from '../base/address.js'
import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import { type Asked, Asking } from './nat-asking.js'
import { Grants } from './nat-grants.js'
import { Corrections } from './nat-limits.js'
import { downText, NatCounters } from './nat-report.js'
import type { Mapping } from './nat-mapping.js'
import { type Demands, targetKey } from './nat-memory.js'
import { Probe } from './nat-probe.js'
import type { Request } from './nat-requests.js'
import { MappingTable, type NatPaths, type NatWorld } from './nat-table.js'
import type { NatWire } from './nat-wire.js'

/** A mapping without subflow is deleted after that. */
const IDLE_US = 30 * US_PER_S
/** A mapping that is used again after that is asked for once more. */
const TRUSTED_US = 2 * US_PER_S
/** A detour that comes up is asked for what was connected to within the last hour, the newest first. */
const DEMAND_US = 3600 * US_PER_S
const DEMANDS_AT_UP = 16

export type NatState = 'starting' | 'up' | 'down'

/**
 * The client of one detour in one address family: pure, in virtual or real time. Datagrams and `now` go in, datagrams and paths go
 * out by its `NatWorld`, at once.
 *
 *     starting --answer--> up --no answer to five attempts, or BYE--> down --answer--> up
 *         '------------------ no answer to five attempts ---------------^
 *
 * While it is up, mappings are asked for as applications connect. When it goes down, mappings with subflows stay, because the kernel
 * of the detour carries them without its daemon; after a BYE they are gone too.
 */
export class NatClient {
  readonly counters = new NatCounters()
  state: NatState = 'starting'
  /** How the detour sees us; null: not known. */
  seenAddress: IpAddress | null = null
  private readonly wire: NatWire
  private readonly demands: Demands
  private readonly mappings: MappingTable
  private readonly asking: Asking
  private readonly probe: Probe
  private readonly grants: Grants
  private readonly corrections = new Corrections()
  /** Why it does not answer, or not as it should; null: it does. */
  private trouble: string | null = null
  private isStopped = false

  /** @param demands shared by all clients of the host */
  constructor(wire: NatWire, paths: NatPaths, demands: Demands, world: NatWorld, now: Micros) {
    this.wire = wire
    this.mappings = new MappingTable(paths, world)
    this.demands = demands
    this.asking = new Asking(wire, this.mappings, this.counters, world)
    this.probe = new Probe(wire.hasLeases ? now : NEVER, () => world.random32())
    this.grants = new Grants(wire, this.mappings, this.asking, this.counters, (span) => this.probe.jittered(span))
  }

  /** In plain words; null: nothing is wrong. */
  get lastError(): string | null {
    return this.trouble ?? this.grants.lastError
  }

  get quotaLeft(): number | null {
    return this.grants.quotaLeft
  }

  get rttUs(): number | null {
    return this.asking.requests.rttUs
  }

  get loss(): number | null {
    return this.asking.requests.loss
  }

  /** Mappings that are granted. */
  get leases(): number {
    return this.mappings.granted
  }

  /** Nothing waits for an answer. */
  get isQuiet(): boolean {
    return this.asking.isQuiet
  }

  /** An application connects there. */
  onConnect(remote: IpAddress, port: number, now: Micros): void {
    if (this.isStopped) return
    const key = targetKey(remote, port)
    const known = this.mappings.get(key)
    if (known !== undefined) {
      known.idleAt = now
      return
    }
    if (this.state === 'down' || !this.grants.mayAsk(key, now) || !this.makeRoom(now)) {
      this.counters.skipped++
      return
    }
    this.asking.ask([this.add(remote, port, now)], now)
  }

  /** The server there speaks no MPTCP. */
  onPlain(remote: IpAddress, port: number, now: Micros): void {
    const key = targetKey(remote, port)
    const mapping = this.mappings.get(key)
    if (mapping !== undefined && mapping.uses > 0) return // it does, for others
    this.grants.refusals.add(key, now)
    if (mapping !== undefined) this.delete(mapping, now)
  }

  /** A subflow by one of the paths has begun or ended. @returns whether the path is one of ours */
  onUse(id: number, delta: 1 | -1, now: Micros): boolean {
    const mapping = this.mappings.ofPath(id)
    if (mapping === undefined) return false
    mapping.uses = Math.max(0, mapping.uses + delta)
    mapping.idleAt = now
    if (delta === 1) {
      this.grants.refusals.clear(mapping.key)
      // The detour may have lost it since: then it is there again before the join is repeated.
      const mayBeLost = mapping.isGranted && !mapping.isAsking && now - mapping.grantedAt > TRUSTED_US
      if (mayBeLost && this.wire.hasLeases && this.state !== 'down') this.asking.ask([mapping], now)
      else if (!mapping.isGranted) this.asking.hasten(mapping, now)
    }
    if (mapping.uses === 0 && this.state === 'down') this.mappings.forget(mapping)
    return true
  }

  /** A datagram from the detour's address. */
  onDatagram(datagram: Uint8Array, now: Micros): void {
    this.counters.received++
    const reply = this.wire.open(datagram)
    if (reply === null) {
      this.counters.forged++
      return
    }
    if (reply.tag === null) {
      this.onBye(now)
      return
    }
    const request = this.asking.requests.answered(reply, now)
    if (request === null) {
      this.counters.stray++
      return
    }
    for (const op of reply.ops) {
      if (op.op === 'time') {
        this.onTime(op.timeUs, request, now)
        return
      }
      if (op.op === 'bye') {
        this.onBye(now)
        return
      }
    }
    this.corrections.reset()
    this.probe.onAnswer(this.wire.hasLeases, now)
    const isBack = this.state !== 'up'
    this.state = 'up'
    this.trouble = null
    if (isBack) this.grants.lastError = null
    for (const op of reply.ops) {
      if (op.op === 'mapped') this.grants.onMapped(op, request.what, now)
      else if (op.op === 'pong') this.onPong(op.seenAddress, now)
    }
    if (isBack && !this.isStopped) this.onUp(request.what, now)
  }

  /** Nobody listens at the detour's port, says its kernel (or somebody who claims to be it): the attempts go on, the reason is told. */
  onUnreachable(what: string): void {
    if (this.state !== 'up') this.trouble = what
  }

  /** The detour sees another client from now on: everything is asked for again. */
  onMoved(now: Micros): void {
    if (this.state !== 'down') this.asking.ask(this.mappings.all(), now)
  }

  /** Changes what paths are like, live. */
  setPaths(paths: NatPaths): void {
    this.mappings.setLook(paths)
  }

  /** When `onTimeout` is wanted next. */
  nextTimeout(): Micros {
    if (this.isStopped) return NEVER
    let at = Math.min(this.probe.at, this.asking.nextTimeout())
    for (const mapping of this.mappings.values()) {
      at = Math.min(at, mapping.retryAt, mapping.askAt, mapping.rejoinAt)
      if (mapping.uses === 0) at = Math.min(at, mapping.idleAt + IDLE_US)
    }
    return at
  }

  onTimeout(now: Micros): void {
    if (this.isStopped) return
    this.asking.requests.expire(now)
    if (!this.asking.retransmit(now)) {
      this.goDown('silent', now)
      return
    }
    const due: Mapping[] = []
    for (const mapping of this.mappings.all()) {
      if (mapping.uses === 0 && mapping.idleAt + IDLE_US <= now) this.delete(mapping, now)
      else if (mapping.askAt <= now) due.push(mapping)
      if (mapping.rejoinAt <= now) this.mappings.rejoin(mapping)
    }
    this.asking.ask(due, now)
    if (this.probe.at <= now) this.ping(now)
  }

  /** Takes all paths away and tells the detour, which may answer (`isQuiet`) or not. */
  stop(now: Micros): void {
    if (this.isStopped) return
    this.isStopped = true
    const held = this.mappings.all()
    for (const mapping of held) this.mappings.forget(mapping)
    if (!this.wire.hasLeases || this.state === 'down') return
    this.asking.askToDelete(held, now)
  }

  private add(remote: IpAddress, port: number, now: Micros): Mapping {
    const proposed = this.wire.proposePort(port, (taken) => this.mappings.hasPort(taken))
    return this.mappings.add(remote, port, this.wire.newMapId(remote, port), proposed, now)
  }

  /** Whether one more mapping may be; an idle one goes for it. */
  private makeRoom(now: Micros): boolean {
    if (!this.mappings.isFull) return true
    const idlest = this.mappings.idlest()
    if (idlest !== null) this.delete(idlest, now)
    return idlest !== null
  }

  /** The next PING of a measurement, or of the probing while the detour is down. */
  private ping(now: Micros): void {
    const { asking, probe } = this
    if (this.state !== 'down') {
      const attempt = probe.nextAttempt(now, (nth) => asking.requests.rto(nth))
      if (attempt < 0) this.goDown('silent', now)
      else asking.ping(attempt, now)
      return
    }
    probe.onProbe(now)
    const [last] = this.wire.hasLeases ? [] : this.demanded(now)
    if (this.wire.hasLeases) asking.ping(0, now)
    else if (last !== undefined) asking.pingByMap(last.remote, last.port, now)
  }

  /** The clock is set, and the same is asked again at once. */
  private onTime(timeUs: number, request: Request<Asked>, now: Micros): void {
    if (this.corrections.isNeeded(request.sentAt, now)) {
      this.wire.onTime(timeUs, now - request.sentAt)
      this.counters.corrections++
    }
    if (this.corrections.isVain) this.trouble = 'the detour does not accept the time of requests: its clock or ours jumps'
    else this.asking.askAgain(request.what, now)
  }

  private onPong(seen: IpAddress, now: Micros): void {
    const before = this.seenAddress
    this.seenAddress = seen
    if (before !== null && !before.equals(seen)) this.onMoved(now)
  }

  private onBye(now: Micros): void {
    this.counters.byes++
    for (const mapping of this.mappings.values()) this.mappings.drop(mapping)
    this.goDown('bye', now)
  }

  private goDown(why: 'silent' | 'bye', now: Micros): void {
    if (this.state !== 'down') this.counters.downs++
    this.state = 'down'
    this.trouble = downText(why, this.wire.hasLeases)
    this.asking.giveUpDeleting()
    for (const mapping of this.mappings.all()) {
      mapping.settle()
      // The detour's kernel carries on what it has.
      if (mapping.uses === 0 || !mapping.isGranted) this.mappings.forget(mapping)
    }
    this.probe.onDown(now)
  }

  /** It answers, for the first time or again: what it is wanted for is asked for. */
  private onUp(told: Asked, now: Micros): void {
    const isTold = (one: Mapping) => told.mappings.some(({ mapping }) => mapping === one)
    const wanted = this.mappings.all().filter((mapping) => !mapping.isAsking && !isTold(mapping))
    for (const { remote, port } of this.demanded(now).slice(0, DEMANDS_AT_UP)) {
      const key = targetKey(remote, port)
      if (this.mappings.get(key) === undefined && !this.grants.refusals.has(key, now) && this.makeRoom(now))
        wanted.push(this.add(remote, port, now))
    }
    this.asking.ask(wanted, now)
  }

  private demanded(now: Micros): { readonly remote: IpAddress; readonly port: number }[] {
    return this.demands.since(now - DEMAND_US).filter(({ remote }) => remote.isV4 === this.mappings.peer.isV4)
  }

  /** The mapping and its path go; the daemon is told. */
  private delete(mapping: Mapping, now: Micros): void {
    const mayExist = mapping.isGranted || mapping.isAsking
    this.mappings.forget(mapping)
    if (!this.wire.hasLeases || !mayExist || this.state === 'down') return
    this.asking.askToDelete([mapping], now)
  }
}
