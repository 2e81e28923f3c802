import type { IpAddress } from '../base/address.js'
import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import { deniedText, downText, fullText, NatCounters } from './nat-report.js'
import type { Mapping } from './nat-mapping.js'
import { type Demands, Refusals, targetKey } from './nat-memory.js'
import { MAX_RETRIES, type Request, Requests } from './nat-requests.js'
import { destinationOf, MappingTable, type NatPaths, type NatWorld } from './nat-table.js'
import { mapOp, type NatWire } from './nat-wire.js'
import {
  type MappedOp,
  RESULT_BAD_REQUEST,
  RESULT_CONFLICT,
  RESULT_DENIED,
  RESULT_NO_PORT,
  RESULT_OK,
  type RequestOp,
} from './protocol/ops.js'

const LEASE_S = 120
/** A mapping without subflow is deleted after that. */
const IDLE_US = 30 * US_PER_S
/** A mapping that is used again after that is asked for once more. */
const TRUSTED_US = 2 * US_PER_S
/** A quiet detour is measured so often. */
const PING_US = 15 * US_PER_S
/** Of a detour that is down: first and longest time between PINGs. */
const FIRST_PROBE_US = US_PER_S
const LAST_PROBE_US = 60 * US_PER_S
/** After "quota" and "try later" nothing new is asked for so long, twice as long each time in a row. */
const FIRST_HOLD_US = 2 * US_PER_S
const LAST_HOLD_US = 60 * US_PER_S
const MAX_REFUSALS = 1024
/** A detour that comes up is asked for what was connected to within the last hour, the newest first. */
const DEMAND_US = 3600 * US_PER_S
const DEMANDS_AT_UP = 16
/** A clock is corrected so often in a row; then the usual retransmission has its turn. */
const MAX_CORRECTIONS = 2
const MAX_CONFLICTS = 3
/** Lost mappings are asked for at once, but not more often. */
const EPOCH_US = US_PER_S

export type NatState = 'starting' | 'up' | 'down'

/** What one datagram asked. */
interface Asked {
  readonly mappings: readonly { readonly mapping: Mapping; readonly isDelete: boolean }[]
  readonly isPing: boolean
}

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
  /** In plain words; null: nothing is wrong. */
  lastError: string | null = null
  /** How the detour sees us; null: not known. */
  seenAddress: IpAddress | null = null
  quotaLeft: number | null = null
  private readonly wire: NatWire
  private readonly world: NatWorld
  private readonly demands: Demands
  private readonly requests: Requests<Asked>
  private readonly refusals = new Refusals(MAX_REFUSALS)
  private readonly mappings: MappingTable
  private readonly deleting = new Set<Mapping>()
  private epoch: number | null = null
  private epochAt: Micros = -EPOCH_US
  private pingAttempt = -1
  private pingAt: Micros
  private probeUs = FIRST_PROBE_US
  private holdUntil: Micros = 0
  private holdUs = FIRST_HOLD_US
  private corrections = 0
  private correctedAt: Micros = 0
  private isStopped = false

  /** @param demands shared by all clients of the host */
  constructor(wire: NatWire, paths: NatPaths, demands: Demands, world: NatWorld, now: Micros) {
    this.wire = wire
    this.mappings = new MappingTable(paths, world)
    this.demands = demands
    this.world = world
    this.requests = new Requests(wire)
    this.pingAt = wire.hasLeases ? now : NEVER
  }

  get rttUs(): number | null {
    return this.requests.rttUs
  }

  get loss(): number | null {
    return this.requests.loss
  }

  /** Mappings that are granted. */
  get leases(): number {
    return this.mappings.granted
  }

  /** Nothing waits for an answer. */
  get isQuiet(): boolean {
    return this.deleting.size === 0
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
    if (this.state === 'down' || this.refusals.has(key, now) || now < this.holdUntil || !this.makeRoom(now)) {
      this.counters.skipped++
      return
    }
    this.ask([this.add(remote, port, now)], now)
  }

  /** The server there speaks no MPTCP. */
  onPlain(remote: IpAddress, port: number, now: Micros): void {
    const key = targetKey(remote, port)
    const mapping = this.mappings.get(key)
    if (mapping !== undefined && mapping.uses > 0) return // it does, for others
    this.refusals.add(key, now)
    if (mapping !== undefined) this.delete(mapping, now)
  }

  /** A subflow by one of the paths has begun or ended. @returns whether the path is one of ours */
  onUse(id: number, delta: 1 | -1, now: Micros): boolean {
    const mapping = this.mappings.ofPath(id)
    if (mapping === undefined) return false
    mapping.uses = Math.max(0, mapping.uses + delta)
    mapping.idleAt = now
    if (delta === 1) {
      this.refusals.clear(mapping.key)
      // The detour may have lost it since: then it is there again before the join is repeated.
      const mayBeLost = mapping.isGranted && !mapping.isAsking && now - mapping.grantedAt > TRUSTED_US
      if (mayBeLost && this.wire.hasLeases && this.state !== 'down') this.ask([mapping], now)
      // One datagram was lost already: the join must not wait for a third attempt.
      else if (mapping.attempt > 0 && !mapping.isGranted) this.transmit([mapping], mapping.attempt, now)
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
    const request = this.requests.answered(reply, now)
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
    this.corrections = 0
    const isBack = this.state !== 'up'
    this.state = 'up'
    this.pingAttempt = -1
    this.probeUs = FIRST_PROBE_US
    this.pingAt = this.wire.hasLeases ? now + this.jittered(PING_US) : NEVER
    if (isBack) this.lastError = null
    for (const op of reply.ops) {
      if (op.op === 'mapped') this.onMapped(op, request.what, now)
      else if (op.op === 'pong') this.onPong(op.seenAddress, now)
    }
    if (isBack && !this.isStopped) this.onUp(request.what, now)
  }

  /** Nobody listens at the detour's port, says its kernel (or somebody who claims to be it): the attempts go on, the reason is told. */
  onUnreachable(what: string): void {
    if (this.state !== 'up') this.lastError = what
  }

  /** The detour sees another client from now on: everything is asked for again. */
  onMoved(now: Micros): void {
    if (this.state !== 'down') this.ask(this.mappings.all(), now)
  }

  /** Changes what paths are like, live. */
  setPaths(paths: NatPaths): void {
    this.mappings.setLook(paths)
  }

  /** When `onTimeout` is wanted next. */
  nextTimeout(): Micros {
    if (this.isStopped) return NEVER
    let at = this.pingAt
    for (const mapping of this.mappings.values()) {
      at = Math.min(at, mapping.retryAt, mapping.askAt)
      if (mapping.uses === 0) at = Math.min(at, mapping.idleAt + IDLE_US)
    }
    for (const mapping of this.deleting) at = Math.min(at, mapping.retryAt)
    return at
  }

  onTimeout(now: Micros): void {
    if (this.isStopped) return
    this.requests.expire(now)
    if (!this.retransmit(now)) return
    const due: Mapping[] = []
    for (const mapping of this.mappings.all()) {
      if (mapping.uses === 0 && mapping.idleAt + IDLE_US <= now) this.delete(mapping, now)
      else if (mapping.askAt <= now) due.push(mapping)
    }
    this.ask(due, now)
    if (this.pingAt <= now) this.ping(now)
  }

  /** Takes all paths away and tells the detour, which may answer (`isQuiet`) or not. */
  stop(now: Micros): void {
    if (this.isStopped) return
    this.isStopped = true
    const held = this.mappings.all()
    for (const mapping of held) this.mappings.forget(mapping)
    if (!this.wire.hasLeases || this.state === 'down') return
    for (const mapping of held) {
      mapping.isDeleting = true
      this.deleting.add(mapping)
    }
    this.transmit(held, 0, now)
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

  /** Begins a row of requests for each. */
  private ask(mappings: readonly Mapping[], now: Micros): void {
    for (const mapping of mappings) mapping.askAt = NEVER
    this.transmit(mappings, 0, now)
  }

  /** @param attempt of the row that these mappings are in */
  private transmit(mappings: readonly Mapping[], attempt: number, now: Micros): void {
    for (let i = 0; i < mappings.length; i += this.wire.opsPerDatagram) {
      const batch = mappings.slice(i, i + this.wire.opsPerDatagram)
      const ops = batch.map(({ mapId, isDeleting, remote, port, detourPort }) =>
        mapOp(mapId, isDeleting ? 0 : LEASE_S, remote, port, detourPort),
      )
      for (const mapping of batch) {
        mapping.attempt = attempt
        mapping.retryAt = now + this.requests.rto(attempt)
      }
      this.send(ops, { mappings: batch.map((mapping) => ({ mapping, isDelete: mapping.isDeleting })), isPing: false }, attempt, now)
    }
  }

  private send(ops: readonly RequestOp[], asked: Asked, attempt: number, now: Micros): void {
    this.counters.sent++
    if (attempt > 0) this.counters.retransmitted++
    this.world.send(this.requests.seal(ops, asked, attempt, now))
  }

  /** Repeats what has waited long enough. @returns false when the detour went down over it */
  private retransmit(now: Micros): boolean {
    const byAttempt = new Map<number, Mapping[]>()
    for (const mapping of [...this.mappings.values(), ...this.deleting]) {
      if (mapping.retryAt > now) continue
      if (mapping.attempt >= MAX_RETRIES) {
        this.goDown('silent', now)
        return false
      }
      const attempt = mapping.attempt + 1
      const row = byAttempt.get(attempt)
      if (row === undefined) byAttempt.set(attempt, [mapping])
      else row.push(mapping)
    }
    for (const [attempt, mappings] of byAttempt) this.transmit(mappings, attempt, now)
    return true
  }

  /** The next PING of a measurement, or of the probing while the detour is down. */
  private ping(now: Micros): void {
    if (this.state === 'down') {
      this.pingAt = now + this.jittered(this.probeUs)
      this.probeUs = Math.min(2 * this.probeUs, LAST_PROBE_US)
      this.sendProbe(now)
      return
    }
    if (this.pingAttempt >= MAX_RETRIES) {
      this.goDown('silent', now)
      return
    }
    this.pingAttempt++
    this.pingAt = now + this.requests.rto(this.pingAttempt)
    this.sendPing(this.pingAttempt, now)
  }

  private sendPing(attempt: number, now: Micros): void {
    const word = () => (this.world.random32() >>> 0).toString(16).padStart(8, '0')
    this.send([{ op: 'ping', echo: word() + word() }], { mappings: [], isPing: true }, attempt, now)
  }

  private sendProbe(now: Micros): void {
    if (this.wire.hasLeases) {
      this.sendPing(0, now)
      return
    }
    // Version 1 has no PING: the last target is asked for, which is idempotent.
    const [last] = this.demanded(now)
    if (last === undefined) return
    const { remote, port } = last
    this.send([mapOp(this.wire.newMapId(remote, port), LEASE_S, remote, port, port)], { mappings: [], isPing: true }, 0, now)
  }

  /** The clock is set, and the same is asked again at once. */
  private onTime(timeUs: number, request: Request<Asked>, now: Micros): void {
    // What left before the last correction needs none of its own.
    if (request.sentAt >= this.correctedAt) {
      this.wire.onTime(timeUs, now - request.sentAt)
      this.counters.corrections++
      this.corrections++
      this.correctedAt = now
    }
    if (this.corrections > MAX_CORRECTIONS) {
      this.lastError = 'the detour does not accept the time of requests: its clock or ours jumps'
      return
    }
    const { mappings, isPing } = request.what
    const open = mappings.filter(({ mapping, isDelete }) => mapping.isAsking && mapping.isDeleting === isDelete)
    this.transmit(
      open.map(({ mapping }) => mapping),
      0,
      now,
    )
    if (isPing) this.sendPing(0, now)
  }

  private onPong(seen: IpAddress, now: Micros): void {
    const before = this.seenAddress
    this.seenAddress = seen
    if (before !== null && !before.equals(seen)) this.onMoved(now)
  }

  private onMapped(op: MappedOp, asked: Asked, now: Micros): void {
    const entry = asked.mappings.find(({ mapping }) => mapping.mapId === op.mapId)
    if (entry === undefined) return
    const { mapping, isDelete } = entry
    if (isDelete) {
      mapping.settle()
      this.deleting.delete(mapping)
      return
    }
    if (this.mappings.get(mapping.key) !== mapping) return // given up meanwhile
    mapping.settle()
    this.quotaLeft = op.quotaLeft
    if (op.result === RESULT_OK && op.leaseS > 0 && op.detourPort > 0) this.onGranted(mapping, op, now)
    else this.onRefused(mapping, op, now)
    this.onEpoch(op.epoch, mapping, now)
  }

  private onGranted(mapping: Mapping, op: MappedOp, now: Micros): void {
    this.counters.granted++
    this.holdUs = FIRST_HOLD_US
    this.lastError = null
    mapping.isGranted = true
    mapping.grantedAt = now
    mapping.conflicts = 0
    mapping.detourPort = op.detourPort
    mapping.askAt = this.wire.hasLeases ? now + (op.leaseS * US_PER_S) / 2 : NEVER
    this.mappings.show(mapping, destinationOf(op.detour, this.mappings.peer), false)
  }

  private onRefused(mapping: Mapping, op: MappedOp, now: Micros): void {
    this.counters.refused++
    mapping.isGranted = false
    if (op.result === RESULT_CONFLICT && mapping.conflicts < MAX_CONFLICTS) {
      mapping.conflicts++
      mapping.mapId = this.wire.newMapId(mapping.remote, mapping.port)
      this.ask([mapping], now)
      return
    }
    if (op.result === RESULT_NO_PORT && mapping.detourPort !== 0) {
      mapping.detourPort = 0
      this.ask([mapping], now)
      return
    }
    if (op.result === RESULT_DENIED || op.result === RESULT_BAD_REQUEST || op.result === RESULT_CONFLICT) {
      this.lastError = deniedText(mapping, op.result)
      this.refusals.add(mapping.key, now)
      this.mappings.forget(mapping)
      return
    }
    this.lastError = fullText(mapping, op.result)
    this.mappings.drop(mapping)
    this.holdUntil = now + this.holdUs
    mapping.askAt = now + this.jittered(this.holdUs)
    this.holdUs = Math.min(2 * this.holdUs, LAST_HOLD_US)
  }

  /** The daemon tells by another epoch that it has lost what it had. */
  private onEpoch(epoch: number, told: Mapping, now: Micros): void {
    const before = this.epoch
    this.epoch = epoch
    if (before === null || before === epoch) return
    this.counters.epochs++
    const lost = this.mappings.all().filter((mapping) => mapping !== told && !mapping.isAsking)
    // Two daemons behind one address would make an endless storm of it.
    const at = this.epochAt + EPOCH_US
    if (now < at) {
      for (const mapping of lost) mapping.askAt = Math.min(mapping.askAt, at)
      return
    }
    this.epochAt = now
    this.ask(lost, now)
  }

  private onBye(now: Micros): void {
    this.counters.byes++
    for (const mapping of this.mappings.values()) this.mappings.drop(mapping)
    this.goDown('bye', now)
  }

  private goDown(why: 'silent' | 'bye', now: Micros): void {
    if (this.state !== 'down') this.counters.downs++
    this.state = 'down'
    this.lastError = downText(why, this.wire.hasLeases)
    for (const mapping of this.deleting) mapping.settle()
    this.deleting.clear()
    for (const mapping of this.mappings.all()) {
      mapping.settle()
      // The detour's kernel carries on what it has.
      if (mapping.uses === 0 || !mapping.isGranted) this.mappings.forget(mapping)
    }
    this.pingAttempt = -1
    this.probeUs = FIRST_PROBE_US
    this.pingAt = now + this.jittered(this.probeUs)
  }

  /** It answers, for the first time or again: what it is wanted for is asked for. */
  private onUp(told: Asked, now: Micros): void {
    const isTold = (one: Mapping) => told.mappings.some(({ mapping }) => mapping === one)
    const wanted = this.mappings.all().filter((mapping) => !mapping.isAsking && !isTold(mapping))
    for (const { remote, port } of this.demanded(now).slice(0, DEMANDS_AT_UP)) {
      const key = targetKey(remote, port)
      if (this.mappings.get(key) === undefined && !this.refusals.has(key, now) && this.makeRoom(now))
        wanted.push(this.add(remote, port, now))
    }
    this.ask(wanted, now)
  }

  private demanded(now: Micros): { readonly remote: IpAddress; readonly port: number }[] {
    return this.demands.since(now - DEMAND_US).filter(({ remote }) => remote.isV4 === this.mappings.peer.isV4)
  }

  /** The mapping and its path go; the daemon is told. */
  private delete(mapping: Mapping, now: Micros): void {
    const mayExist = mapping.isGranted || mapping.isAsking
    this.mappings.forget(mapping)
    if (!this.wire.hasLeases || !mayExist || this.state === 'down') return
    mapping.isDeleting = true
    this.deleting.add(mapping)
    this.transmit([mapping], 0, now)
  }

  /** 3/4 to 5/4 of a span. */
  private jittered(span: Micros): Micros {
    return Math.round(span * (0.75 + (this.world.random32() >>> 0) / 0x2_0000_0000))
  }
}
