import type { TxRing } from '../base/rings.js'
import { US_PER_S, NEVER, type Micros } from '../base/time.js'
import { C_ADDRESSES, C_CLOSED, C_ESTABLISHED, C_FALLBACK, C_SUBFLOW, MptcpConnection } from '../mptcp/connection.js'
import type { TcpEndpoint } from '../tcp/endpoint.js'
import type { HalfOpen } from '../tcp/half-open.js'
import { PlainFlow } from '../tcp/plain.js'
import * as st from '../tcp/state.js'
import type { Engine } from './engine.js'
import { PathControl } from './path-control.js'
import { TunedQueues } from './queue-tuner.js'
import { isSpent, releaseSubflows } from './leg.js'
import { DSCP_MASK, Flow, type HeldSyn, type Owner, type Port } from './owner.js'

/** Segments that one pump sends towards the application; 16 super-segments are 1 MB. */
const APP_BURST = 16

/** An application that still waits repeats its SYN at intervals that double at most; Windows starts with 3 s. */
const HELD_GRACE_US = 8 * US_PER_S

/** After a reset by the server the application gets what had arrived before, but not for ever. */
const DRAIN_US = 5 * US_PER_S

/**
 * The application has closed and is gone; what it wrote last is on its way. A server that takes none of it for so long never will (about as
 * long as Linux keeps an orphaned socket, tcp_orphan_retries).
 */
const ORPHAN_US = 60 * US_PER_S

/**
 * One intercepted connection: the application's TCP connection and the MPTCP connection to its destination, back to back on two
 * shared queues. Nothing is copied between the legs, and nothing else buffers: a queue that is full closes the window of the
 * leg that fills it.
 *
 *     application --- app: TcpEndpoint --- up --->  conn: MptcpConnection --- server
 *                          |              (conn.sendQueue)     |
 *                          +------------- down <---------------+
 *                                         (conn.recvQueue)
 *
 *     held:   no `app` yet, `half` waits for the remote leg         -> open, or an answer and gone
 *     open:   FINs travel through the queues (`finAt`), each direction on its own; resets are passed on here
 *     gone:   both legs closed; an endpoint in TIME-WAIT lingers by itself
 */
export class Relay implements Owner, HeldSyn {
  timer = -1
  isDirty = false
  readonly port: Port
  readonly id: number
  readonly half: HalfOpen
  readonly conn: MptcpConnection
  readonly since: Micros
  app: TcpEndpoint | null = null
  private readonly engine: Engine
  private readonly queues: TunedQueues
  /** The application's SYN is not answered yet. */
  isHeld = true
  private isConnClosed = false
  private isAppClosed = false
  /** The application gets its RST at the latest now (the server reset, and bytes are still on their way); NEVER: no such thing. */
  private resetAt: Micros = NEVER
  readonly control: PathControl
  private repeatedAt: Micros
  /** When a connection without application is given up unless the server has taken more than `orphanBase` by then; NEVER: it has one. */
  private orphanAt: Micros = NEVER
  private orphanBase = 0
  /** Code of the last ICMP error for the connecting leg, -1: none. */
  private icmpCode = -1
  /** The application's entry in the flow table; it knows the DSCP that the application asks for. */
  private flow: Flow

  /** @param tclass TOS or traffic class of the application's SYN */
  constructor(engine: Engine, port: Port, half: HalfOpen, tclass: number, now: Micros) {
    this.engine = engine
    this.port = port
    this.half = half
    this.id = engine.newId()
    this.since = now
    this.repeatedAt = now
    this.queues = new TunedQueues(engine)
    this.conn = new MptcpConnection(engine.env, engine.config.mptcp, this.queues.up, this.queues.down)
    this.flow = new Flow(this, null, this, tclass & DSCP_MASK)
    this.control = new PathControl(engine, this.conn, half.tuple.local, half.tuple.localPort, now)
  }

  /** Holds the SYN and begins to connect the remote leg. */
  start(now: Micros): void {
    const { engine, half } = this
    engine.addOwner(this)
    engine.env.adopt(this.conn, this)
    engine.connections.add(this)
    engine.bind(half.tuple, this.flow)
    const path = engine.config.paths[0]
    const tuple = path === undefined ? null : engine.env.openFlow(path, half.tuple.local, half.tuple.localPort, now)
    if (path === undefined || tuple === null) {
      this.settle(st.CAUSE_UNREACHABLE)
      this.remove()
      return
    }
    const { local, localPort } = half.tuple
    const tries = engine.destinations.capableTries(local, localPort, engine.config.mptcp.capableTries, now)
    this.conn.connect(path, tuple, now, tries)
    this.control.tellConnect()
  }

  // ---------------------------------------------------------------- held SYN

  onRepeat(now: Micros): void {
    this.engine.counters.EngineHeldRepeats++
    this.repeatedAt = now
  }

  onGone(now: Micros): void {
    if (!this.isHeld) return
    this.engine.counters.EngineHeldAbandoned++
    this.settle(st.CAUSE_ABORTED)
    this.conn.abort(now)
  }

  onUnreachable(code: number): void {
    this.icmpCode = code
  }

  /** The instant after which the application must have given up: it should have repeated its SYN long ago. */
  private get givenUpAt(): Micros {
    return this.isHeld ? this.repeatedAt + 2 * (this.repeatedAt - this.since) + HELD_GRACE_US : NEVER
  }

  // ---------------------------------------------------------------- owner

  pump(tx: TxRing, now: Micros): boolean {
    this.control.step(now)
    this.copyDscp()
    let hasMore = this.conn.pump(tx, now)
    this.queues.update(this.conn, now)
    const events = this.conn.takeEvents()
    if ((events & C_ESTABLISHED) !== 0) {
      this.engine.destinations.onEstablished(this.conn, now)
      this.onEstablished(now)
    }
    if ((events & C_FALLBACK) !== 0) this.control.tellPlain()
    if ((events & C_CLOSED) !== 0) this.onConnClosed(now)
    if ((events & (C_SUBFLOW | C_ADDRESSES)) !== 0) {
      this.control.step(now)
      this.engine.mark(this) // what it asked for is sent by the next pump
    }
    if (this.app !== null && this.pumpApp(this.app, tx, now)) hasMore = true
    if (this.isConnClosed && !this.isHeld && this.app === null && isSpent(this.conn)) this.remove()
    return hasMore
  }

  /** The network sees of a connection what it would see without us: its DSCP is the application's, on every subflow. */
  private copyDscp(): void {
    const { tclass } = this.flow
    for (const s of this.conn.subflows) s.ep.tuple.tclass = tclass
  }

  private pumpApp(app: TcpEndpoint, tx: TxRing, now: Micros): boolean {
    if (this.resetAt !== NEVER && (this.queues.down.isEmpty || now >= this.resetAt)) {
      this.resetAt = NEVER
      app.abort()
    }
    let n = 0
    while (n < APP_BURST && app.pollTransmit(tx, now)) n++
    if ((app.takeEvents() & st.EV_CLOSED) !== 0) this.onAppClosed(app, tx, now)
    if (!this.isAppClosed || !(app.isDone || app.state === st.TIME_WAIT)) return n === APP_BURST || this.isAppClosed
    // Its tuple must be free for the application's next connection, whatever the other leg still has to do.
    this.engine.release(app)
    this.app = null
    this.orphan(now)
    return false
  }

  private orphan(now: Micros): void {
    this.orphanAt = this.isConnClosed ? NEVER : now + ORPHAN_US
    this.orphanBase = this.queues.up.base
  }

  private onOrphanTimeout(now: Micros): void {
    if (this.queues.up.base > this.orphanBase) {
      this.orphan(now)
      return
    }
    this.orphanAt = NEVER
    if (this.isConnClosed) return
    this.engine.counters.EngineRelayOrphans++
    this.conn.abort(now)
  }

  private onAppClosed(app: TcpEndpoint, tx: TxRing, now: Micros): void {
    this.isAppClosed = true
    this.resetAt = NEVER
    if (app.cause === st.CAUSE_FIN || this.isConnClosed) return
    if (app.cause !== st.CAUSE_ABORTED) this.engine.counters.EngineRelayResetByApplication++
    this.conn.abort(now)
    this.conn.pump(tx, now)
    if ((this.conn.takeEvents() & C_CLOSED) !== 0) this.isConnClosed = true
  }

  private onEstablished(now: Micros): void {
    const { engine, half } = this
    if (!this.isHeld) return
    this.unhold()
    engine.counters.EngineHeldAccepted++
    engine.counters.TcpPassiveOpens++
    const flow = new PlainFlow(this.queues.down, this.queues.up)
    const { tuple } = half
    this.app = half.accept(engine.config.app, engine.env.issOf(tuple, now), flow, flow, flow, now, engine.env.tsOffsetOf(tuple))
    this.flow = new Flow(this, this.app, null, this.flow.tclass)
    engine.bind(half.tuple, this.flow)
  }

  private onConnClosed(now: Micros): void {
    this.isConnClosed = true
    const cause = this.conn.cause
    if (this.isHeld) this.settle(cause)
    if (this.app === null || cause === st.CAUSE_FIN || this.isAppClosed) return
    this.engine.counters.EngineRelayResetByServer++
    this.engine.counters.TcpEstabResets++
    this.resetAt = now + DRAIN_US
  }

  /** Answers the held SYN: the remote leg failed with `cause`. */
  private settle(cause: st.CloseCause): void {
    this.unhold()
    this.engine.unbind(this.half.tuple)
    this.engine.interceptor.refuse(this.port, this.half, cause, this.icmpCode)
  }

  private unhold(): void {
    this.isHeld = false
    this.engine.interceptor.onSettled(this.half.tuple)
  }

  nextTimeout(): Micros {
    const legs = Math.min(this.conn.nextTimeout(), this.app === null ? NEVER : this.app.nextTimeout())
    return Math.min(legs, this.resetAt, this.givenUpAt, this.orphanAt, this.control.nextTimeout())
  }

  onTimeout(now: Micros): void {
    if (this.conn.nextTimeout() <= now) this.conn.onTimeout(now)
    if (this.app !== null && this.app.nextTimeout() <= now) this.app.onTimeout(now)
    if (this.givenUpAt <= now) this.onGone(now)
    if (this.orphanAt <= now) this.onOrphanTimeout(now)
  }

  get isEstablished(): boolean {
    return !this.isHeld
  }

  /** Resets both legs; the next pump sends and removes. */
  abort(now: Micros): void {
    if (this.isHeld) this.settle(st.CAUSE_REFUSED)
    this.conn.abort(now)
    this.app?.abort()
    this.engine.mark(this)
  }

  fail(now: Micros): void {
    try {
      this.abort(now)
      this.conn.pump(this.port.tx, now)
      this.app?.pollTransmit(this.port.tx, now)
    } finally {
      this.remove()
    }
  }

  private remove(): void {
    const { engine } = this
    if (this.timer < 0) return
    if (this.isHeld) this.unhold()
    this.control.close()
    if (this.app !== null) engine.release(this.app)
    releaseSubflows(engine, this.conn)
    this.queues.close()
    engine.env.forget(this.conn)
    engine.connections.delete(this)
    engine.removeOwner(this)
  }
}
