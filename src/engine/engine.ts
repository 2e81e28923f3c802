import { Arena } from '../base/arena.js'
import { FlowTable } from '../base/flow-table.js'
import type { Tuple } from '../base/address.js'
import type { Host } from '../base/host.js'
import { MemoryBudget } from '../base/memory-budget.js'
import { RX_SLOT_LEN, RxRing, TX_HEADER_ROOM, TxRing } from '../base/rings.js'
import type { Micros } from '../base/time.js'
import { TimerQueue } from '../base/timers.js'
import type { MptcpConnection } from '../mptcp/connection.js'
import { MptcpCounters } from '../mptcp/counters.js'
import type { TcpEndpoint } from '../tcp/endpoint.js'
import { TIME_WAIT } from '../tcp/state.js'
import type { PacketDevice } from '../tun/device.js'
import { Acceptor } from './acceptor.js'
import type { EngineConfig } from './config.js'
import { DestinationCache } from './destination-cache.js'
import { Demux } from './demux.js'
import { DirtyRing } from './dirty-ring.js'
import { EngineEnv } from './env.js'
import { Interceptor } from './intercept.js'
import { EngineCounters } from './metrics.js'
import { PassThrough } from './pass-through.js'
import type { PathControl } from './path-control.js'
import { PathTable } from './paths.js'
import { PortPicker } from './ports.js'
import type { Probe } from './probe.js'
import type { Flow, Owner, Port } from './owner.js'
import { TimeWaits } from './time-waits.js'

/** Turns in a row without the timers, while a device still has packets: no RTO fires before the ACK that stands in the ring was read. */
const MAX_UNDRAINED = 16
/** Pumps of one turn; what is left over waits for the next turn, behind new packets. */
const MAX_PUMPS = 4096
/** A pump starts only when this many tx slots are free, so that one owner's replies always find room. */
const MIN_FREE_SLOTS = 8

/**
 * The composition root: everything between packet devices and connections, without clock and without I/O of its own.
 * Whoever drives it (the real-time loop, the simulator, a packet script) calls `turn` when a device is ready, when the deadline
 * that the last turn returned has come, and after `wake`.
 *
 *     read a batch of every device -> Demux -> endpoint.onSegment, owner marked
 *     timers that are due          -> owner.onTimeout, owner marked          (only once the devices are drained)
 *     marked owners, round-robin   -> owner.pump: schedule, transmit into the ring, take events
 *     flush the rings; pages freed meanwhile become usable when no ring refers to them
 */
export class Engine {
  readonly host: Host
  readonly config: EngineConfig
  readonly arena: Arena
  readonly budget: MemoryBudget
  readonly ports: readonly Port[]
  readonly flows: FlowTable<Flow>
  readonly counters = new EngineCounters()
  readonly mptcpCounters = new MptcpCounters()
  readonly timeWaits: TimeWaits
  readonly env: EngineEnv
  readonly portPicker: PortPicker
  readonly interceptor: Interceptor
  readonly passThrough: PassThrough
  readonly paths: PathTable
  readonly acceptor: Acceptor
  readonly destinations = new DestinationCache()
  /** A probe that waits for its answer. */
  probe: Probe | null = null
  /** Live relays and library connections, for status. */
  readonly connections = new Set<Connection>()
  private readonly demux: Demux
  private readonly timers = new TimerQueue()
  private readonly timerOwners: (Owner | null)[] = []
  private readonly dirty = new DirtyRing()
  private undrained = 0
  private nextId = 1
  private isInTurn = false
  /** Of the turn that runs, or ran last. */
  now: Micros = 0
  private wakeUp: () => void = () => {}

  constructor(host: Host, devices: readonly PacketDevice[], config: EngineConfig) {
    this.host = host
    this.config = config
    const perPort = config.rxSlots * RX_SLOT_LEN + config.txSlots * TX_HEADER_ROOM + 128
    this.arena = new Arena(perPort * devices.length, config.memoryPages)
    this.budget = new MemoryBudget(this.arena)
    this.ports = devices.map((device) => ({
      device,
      rx: new RxRing(this.arena, config.rxSlots),
      tx: new TxRing(this.arena, config.txSlots),
      isBlocked: false,
    }))
    this.flows = new FlowTable<Flow>(host.rng(), host.rng())
    this.timeWaits = new TimeWaits(this, config.timeWaitMax)
    this.env = new EngineEnv(this)
    this.portPicker = new PortPicker(host, this.env.numbers, this.flows, this.timeWaits, config.portMin, config.portMax)
    this.interceptor = new Interceptor(this)
    this.passThrough = new PassThrough(this)
    this.paths = new PathTable(this)
    this.acceptor = new Acceptor(this)
    this.demux = new Demux(this)
  }

  /**
   * One turn. @param now never smaller than at the turn before.
   * @returns when the next turn is due: `now` when work is left, NEVER when nothing is pending.
   */
  turn(now: Micros): Micros {
    this.isInTurn = true
    this.now = now
    this.counters.EngineTurns++
    const isDrained = this.readAll(now)
    if (isDrained || ++this.undrained >= MAX_UNDRAINED) {
      this.undrained = 0
      this.fireTimers(now)
    }
    this.pumpMarked(now)
    this.flush()
    this.isInTurn = false
    if (!isDrained || (this.dirty.count > 0 && !this.isBlocked)) return now
    return this.timers.next()
  }

  /** Whether every device refuses packets at the moment: marked owners wait for `writable`, not for a deadline. */
  get isBlocked(): boolean {
    return this.ports.every((port) => port.isBlocked)
  }

  /** The device of `port` takes packets again. */
  onWritable(port: Port): void {
    port.isBlocked = false
  }

  /** `cb` is called when something outside of a turn needs one (library calls, control commands). */
  onWake(cb: () => void): void {
    this.wakeUp = cb
  }

  /** Asks for a turn from outside of one: something was put into a ring. */
  wake(): void {
    if (!this.isInTurn) this.wakeUp()
  }

  /** Marks `owner` for the next round; outside of a turn it also asks for one. */
  mark(owner: Owner): void {
    if (owner.timer < 0) return
    this.dirty.push(owner)
    if (!this.isInTurn) this.wakeUp()
  }

  /** Takes up a new owner and marks it. */
  addOwner(owner: Owner): void {
    owner.timer = this.timers.add()
    while (this.timerOwners.length <= owner.timer) this.timerOwners.push(null)
    this.timerOwners[owner.timer] = owner
    this.mark(owner)
  }

  /** Forgets an owner; its flows must have been unbound. Idempotent. */
  removeOwner(owner: Owner): void {
    if (owner.timer < 0) return
    this.timerOwners[owner.timer] = null
    this.timers.remove(owner.timer)
    owner.timer = -1
  }

  /** A number for a new connection, for people to name it by. */
  newId(): number {
    return this.nextId++
  }

  find(t: Tuple): Flow | null {
    const l = t.local
    const r = t.remote
    return this.flows.find(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, (t.localPort << 16) | t.remotePort)
  }

  /** From now on segments of `t` are for `flow`. */
  bind(t: Tuple, flow: Flow): void {
    this.timeWaits.succeed(t)
    const l = t.local
    const r = t.remote
    this.flows.set(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, (t.localPort << 16) | t.remotePort, flow)
  }

  unbind(t: Tuple): void {
    const l = t.local
    const r = t.remote
    this.flows.delete(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, (t.localPort << 16) | t.remotePort)
  }

  /**
   * Its owner has no more use for `endpoint`: what TIME-WAIT needs of it is kept, else it goes.
   */
  release(endpoint: TcpEndpoint): void {
    const flow = this.find(endpoint.tuple)
    if (flow === null || flow.endpoint !== endpoint) return
    this.dismiss(endpoint)
    if (endpoint.state === TIME_WAIT) this.timeWaits.add(endpoint, flow.owner.port, this.now)
  }

  /** The tuple of `endpoint` is free; what it sent is added to the totals. */
  dismiss(endpoint: TcpEndpoint): void {
    this.counters.TcpOutSegs += endpoint.segsOut
    this.counters.TcpRetransSegs += endpoint.retransSegs
    this.unbind(endpoint.tuple)
  }

  /** Something of `owner` threw: our fault. That connection is reset, the others go on. */
  fail(owner: Owner, error: unknown, now: Micros): void {
    this.counters.EngineInternalErrors++
    try {
      owner.fail(now)
    } catch {
      // It is past saving; removing it below is all that can be done.
    }
    this.removeOwner(owner)
    this.config.onInternalError(error)
  }

  private readAll(now: Micros): boolean {
    let isDrained = true
    for (const port of this.ports) {
      const n = port.device.readBatch(port.rx)
      if (n === port.rx.slots) isDrained = false
      for (let i = 0; i < n; i++) this.demux.input(port, i, now)
    }
    return isDrained
  }

  private fireTimers(now: Micros): void {
    for (let id = this.timers.popDue(now); id >= 0; id = this.timers.popDue(now)) {
      const owner = this.timerOwners[id] as Owner | null
      if (owner === null) continue
      const due = owner.nextTimeout()
      if (due > now) {
        this.timers.arm(id, due) // it had moved to later meanwhile
        continue
      }
      try {
        owner.onTimeout(now)
      } catch (error) {
        this.fail(owner, error, now)
      }
      this.mark(owner)
    }
  }

  private pumpMarked(now: Micros): void {
    for (let n = 0; n < MAX_PUMPS; n++) {
      // Every owner that is there at most once while all devices are blocked: each would only come back to the ring.
      if (this.isBlocked) return
      const owner = this.dirty.shift()
      if (owner === null) return
      if (owner.timer < 0) continue
      const port = owner.port
      if (port.tx.slots - port.tx.count < MIN_FREE_SLOTS) this.flushPort(port)
      let hasMore = true
      if (!port.isBlocked || port.tx.count < port.tx.slots) {
        try {
          hasMore = owner.pump(port.tx, now)
        } catch (error) {
          this.fail(owner, error, now)
        }
      }
      if (owner.timer < 0) continue
      if (hasMore) this.dirty.push(owner)
      const due = owner.nextTimeout()
      if (due < this.timers.deadline(owner.timer)) this.timers.arm(owner.timer, due)
    }
  }

  private flush(): void {
    for (const port of this.ports) this.flushPort(port)
  }

  private flushPort(port: Port): void {
    const tx = port.tx
    const before = tx.count
    if (before > 0) {
      const taken = port.device.writeBatch(tx)
      this.counters.IpOutRequests += taken
      port.isBlocked = taken < before
      if (port.isBlocked) this.counters.EngineTxBlocked++
    }
    if (this.ports.every((p) => p.tx.count === 0)) this.arena.recycle()
  }

  /** The earliest deadline as of the last turn. */
  get nextDeadline(): Micros {
    return this.dirty.count > 0 && !this.isBlocked ? 0 : this.timers.next()
  }

  /** Flows, those in TIME-WAIT included. */
  get flowCount(): number {
    return this.flows.size + this.timeWaits.size
  }
}

/** A connection that the engine carries: relays and library streams. */
export interface Connection extends Owner {
  readonly id: number
  readonly conn: MptcpConnection
  /** Its path manager's hands, null: the peer opened it, and opens its subflows. */
  readonly control: PathControl | null
  /** When it began. */
  readonly since: Micros
  /** The handshakes of both legs succeeded. */
  readonly isEstablished: boolean
  /** Resets it; the next turn sends. */
  abort(now: Micros): void
}

/** Composes an engine. `devices` stay the caller's to close. */
export function createEngine(host: Host, devices: readonly PacketDevice[], config: EngineConfig): Engine {
  return new Engine(host, devices, config)
}
