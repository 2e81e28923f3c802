import type { Tuple } from '../../../src/base/address.js'
import type { TxRing } from '../../../src/base/rings.js'
import { StreamQueue } from '../../../src/base/stream-queue.js'
import { type Micros, NEVER } from '../../../src/base/time.js'
import { C_CLOSED, C_DONE, C_ESTABLISHED, MptcpConnection } from '../../../src/mptcp/connection.js'
import type { MptcpConfig } from '../../../src/mptcp/env.js'
import type { TcpConfig } from '../../../src/tcp/config.js'
import { TcpEndpoint } from '../../../src/tcp/endpoint.js'
import { besideCookie, giveCookie, takeFastOpen } from '../../../src/mptcp/fast-open.js'
import { HalfOpen } from '../../../src/tcp/half-open.js'
import { openFast } from '../../../src/tcp/opening.js'
import { path as makePath } from '../../../src/pathmgr/path.js'
import * as st from '../../../src/tcp/state.js'
import type { Packet } from '../../../src/wire/packet.js'
import type { TcpOptions } from '../../../src/wire/tcp-options.js'
import { CallError } from './errno.js'
import type { MptcpSide } from './mptcp-side.js'
import { ScriptFlow, type WriteMode } from './script-flow.js'
import type { Actor, World } from './world.js'

/** The connection behind a socket, plain or MPTCP, with the queues that the socket reads and writes. */
export abstract class Connection implements Actor {
  readonly world: World
  readonly out: StreamQueue
  readonly in: StreamQueue
  isEstablished = false
  isClosed = false
  /** By Fast Open: it may be used before it is established. */
  isFastOpen = false
  /** All data of the SYN, ours or the peer's, was taken. */
  isSynDataTaken = false
  /** Bytes that our SYN had, and how many of them the SYN/ACK acknowledged. */
  private synLen = 0
  synAcked = 0
  onClosed: () => void = () => {}
  /** The application has it in hand: opened by it, or accepted. */
  isAccepted = false
  cause: st.CloseCause = st.CAUSE_NONE
  /** The application has closed it: bytes that still come have no reader. */
  isOrphan = false
  onEstablished: () => void = () => {}
  /** The endpoint exists. */
  onBegun: () => void = () => {}
  /** May be written to. */
  get isOpen(): boolean {
    return this.isEstablished || this.isFastOpen
  }

  /** Fast Open cookie of the peer's SYN/ACK, null: none. */
  abstract get cookie(): Uint8Array | null

  /** Of this connection alone, so that `setsockopt` can change it. */
  protected cfg: { -readonly [K in keyof TcpConfig]: TcpConfig[K] }

  constructor(world: World, cfg: TcpConfig, sendBuffer: number, receiveBuffer: number) {
    this.world = world
    this.cfg = { ...cfg }
    this.out = new StreamQueue(world.arena, sendBuffer)
    this.in = new StreamQueue(world.arena, receiveBuffer)
  }

  abstract pump(tx: TxRing, now: Micros): boolean
  abstract settle(now: Micros): void
  abstract nextTimeout(): Micros
  abstract onTimeout(now: Micros): void
  abstract abort(): void
  /** The endpoint that `TCP_INFO` tells of. */
  abstract get endpoint(): TcpEndpoint

  configure(change: (cfg: Connection['cfg']) => void): void {
    change(this.cfg)
  }

  isDeaf(): boolean {
    return false
  }

  /** TCP_CORK. */
  abstract cork(isOn: boolean): void
  /** What waits for a full segment leaves, whatever made it wait. */
  abstract uncork(): void
  /** TCP_KEEPCNT. */
  abstract setKeepCount(n: number): void
  /** The application has written. */
  abstract onWrite(mode: WriteMode): void

  /** TCP_QUICKACK: segments are acknowledged at once, or not. */
  quickAck(isOn: boolean): void {
    const { rcv } = this.endpoint
    rcv.quickAcks = isOn ? this.cfg.quickAcks : 0
    if (isOn && rcv.delackAt !== NEVER) rcv.ackNow = true
  }

  /** Edges for epoll: how often something became readable or writable. */
  activity = 0
  private seenIn = 0
  private wasWritable = false

  /** Whether a writer may go on: Linux wants a third of the buffer free, and little that was not sent. */
  isWritable(notSentMax: number): boolean {
    const free = this.out.edge() - this.out.readyEnd
    return this.isOpen && free > 0 && 2 * free >= this.out.readyEnd - this.out.base && 2 * this.notSent < notSentMax
  }

  /** Bytes that were written and not sent. */
  get notSent(): number {
    return this.isEstablished ? Math.max(0, this.out.readyEnd - (Math.max(1, this.endpoint.sndNxt) - 1)) : 0
  }

  /** When bytes came last. */
  lastDataAt: Micros = 0

  /** How long there was something to send or to be acknowledged, and how long the peer's window alone kept it back. */
  busyUs: Micros = 0
  windowLimitedUs: Micros = 0
  private isBusy = false
  private isWindowLimited = false
  private lookedAt: Micros = 0

  private clock(): void {
    const since = this.world.now - this.lookedAt
    this.lookedAt = this.world.now
    if (this.isBusy) this.busyUs += since
    if (this.isWindowLimited) this.windowLimitedUs += since
    const { mss, snd } = this.endpoint
    this.isBusy = this.isEstablished && this.out.readyEnd > this.out.base
    this.isWindowLimited = this.notSent > 0 && snd.sndEdge - snd.sndNxt < Math.min(mss, this.notSent) && snd.cwndSpace() >= mss
  }

  protected watch(): void {
    this.clock()
    const readable = this.in.readyEnd + (this.in.isFinReady() ? 1 : 0) + (this.isClosed ? 1 : 0) + (this.isEstablished ? 1 : 0)
    if (readable > this.seenIn) {
      this.activity++
      this.lastDataAt = this.world.now
    }
    this.seenIn = readable
    const isWritable = this.isWritable(this.notSentMax)
    if (isWritable && !this.wasWritable) this.activity++
    this.wasWritable = isWritable
  }

  /** TCP_NOTSENT_LOWAT. */
  notSentMax = Number.POSITIVE_INFINITY

  /** Linux: bytes for a socket that nobody can read any more reset the connection. */
  protected checkOrphan(): void {
    if (this.isOrphan && this.in.ready > 0) {
      this.in.release(this.in.readyEnd)
      this.abort()
    }
  }

  protected establish(): void {
    if (this.isEstablished) return
    this.isEstablished = true
    this.synAcked = Math.min(this.synLen, this.endpoint.bytesAcked)
    if (this.synLen > 0) this.isSynDataTaken = this.synAcked === this.synLen
    this.onEstablished()
  }

  protected noteSyn(ep: TcpEndpoint | undefined): void {
    if (ep?.hs != null && ep.hs.fastOpenLen > 0) this.synLen = ep.hs.fastOpenLen
  }

  protected close(cause: st.CloseCause): void {
    if (this.isClosed) return
    this.isClosed = true
    this.cause = cause
    this.onClosed()
  }
}

export class PlainConnection extends Connection {
  private readonly flow: ScriptFlow
  private ep!: TcpEndpoint

  constructor(world: World, cfg: TcpConfig, sendBuffer: number, receiveBuffer: number) {
    super(world, cfg, sendBuffer, receiveBuffer)
    this.flow = new ScriptFlow(this.out, this.in)
  }

  /** @param mss of a server whose cookie is known, 0 */
  connect(tuple: Tuple, cookie: Uint8Array | null, mss: number): void {
    const ep = new TcpEndpoint(this.cfg, tuple, this.world.host.rng(), this.flow, this.flow, this.flow)
    ep.connect(this.world.now, cookie, mss)
    this.adopt(ep)
  }

  /** @param cookie for the SYN/ACK, null: none. Then `isFastOpen` says whether the SYN's data is taken */
  accept(tuple: Tuple, syn: Packet, opts: TcpOptions, cookie: Uint8Array | null): void {
    const now = this.world.now
    const half = new HalfOpen(this.cfg, tuple, syn, opts, now)
    const ep = half.accept(this.cfg, this.world.host.rng(), this.flow, this.flow, this.flow, now)
    if (ep.hs !== null) ep.hs.fastOpenCookie = cookie
    this.adopt(ep)
    if (this.isFastOpen) this.isSynDataTaken = openFast(ep, syn, now) > 0
  }

  override get cookie(): Uint8Array | null {
    return this.flow.cookie
  }

  private adopt(ep: TcpEndpoint): void {
    this.ep = ep
    this.world.bind(ep, this)
    this.world.add(this)
    this.onBegun()
  }

  get endpoint(): TcpEndpoint {
    return this.ep
  }

  /** Linux: bytes for a socket that was closed are answered as those for no socket, and it is gone. */
  override isDeaf(): boolean {
    if (!this.isOrphan || this.in.ready === 0) return false
    this.in.release(this.in.readyEnd)
    this.ep.finish(st.CAUSE_ABORTED)
    return true
  }

  override cork(isOn: boolean): void {
    this.flow.cork(isOn)
  }

  override uncork(): void {
    this.flow.release()
  }

  override setKeepCount(n: number): void {
    this.flow.keepCount = n
  }

  override onWrite(mode: WriteMode): void {
    this.flow.mss = this.ep.mss
    this.flow.onWrite(mode, this.ep.baseRtoUs(), this.world.now)
  }

  pump(tx: TxRing, now: Micros): boolean {
    while (this.ep.pollTransmit(tx, now)) {
      this.noteSyn(this.ep)
      if (tx.count === tx.slots) return true
    }
    return false
  }

  settle(): void {
    const events = this.ep.takeEvents()
    if ((events & st.EV_ESTABLISHED) !== 0) this.establish()
    if ((events & st.EV_CLOSED) !== 0) this.close(this.ep.cause)
    this.watch()
    this.checkOrphan()
    if (this.ep.isDone) {
      this.world.unbind(this.ep)
      this.world.remove(this)
    }
  }

  nextTimeout(): Micros {
    return this.ep.nextTimeout()
  }

  onTimeout(now: Micros): void {
    this.ep.onTimeout(now)
  }

  override abort(): void {
    this.ep.abort()
  }
}

export class MultipathConnection extends Connection {
  conn!: MptcpConnection
  private last!: TcpEndpoint
  private readonly side: MptcpSide
  private readonly config: MptcpConfig

  constructor(side: MptcpSide, sendBuffer: number, receiveBuffer: number) {
    super(side.world, side.config.tcp, sendBuffer, receiveBuffer)
    this.side = side
    this.config = { ...side.config, tcp: this.cfg }
  }

  connect(tuple: Tuple, cookie: Uint8Array | null, mss: number): void {
    this.isAccepted = true
    this.open(() => {
      const conn = new MptcpConnection(this.side, this.config, this.out, this.in)
      this.side.sockets.set(conn, this)
      conn.connect(makePath({ label: 'script' }), tuple, this.world.now, this.config.capableTries, cookie, mss)
      return conn
    })
  }

  accept(tuple: Tuple, syn: Packet, opts: TcpOptions, cookie: Uint8Array | null): void {
    const { now } = this.world
    const half = new HalfOpen(this.cfg, tuple, syn, cookie === null ? opts : besideCookie(this.config, opts), now)
    this.open(() => MptcpConnection.accept(this.side, this.config, this.out, this.in, half, opts.mptcp, now))
    if (cookie !== null) giveCookie(this.conn, cookie)
    if (!this.isFastOpen) return
    takeFastOpen(this.conn, syn, now)
    this.isSynDataTaken = this.in.ready > 0
  }

  override get cookie(): Uint8Array | null {
    return this.conn.fastOpenCookie
  }

  private open(make: () => MptcpConnection): void {
    this.side.making = this
    this.conn = make()
    this.side.making = null
    this.side.sockets.set(this.conn, this)
    this.world.add(this)
    this.onBegun()
  }

  override cork(isOn: boolean): void {
    if (isOn) throw new CallError('EOPNOTSUPP')
  }

  override uncork(): void {}

  override setKeepCount(): void {}

  override onWrite(): void {}

  get endpoint(): TcpEndpoint {
    const first = this.conn.subflows[0]
    if (first !== undefined) this.last = first.ep
    return this.last
  }

  pump(tx: TxRing, now: Micros): boolean {
    // Linux: a connection that waits for accept() is told nothing of addresses
    if (this.isAccepted) this.side.paths.look(this.conn, now)
    const hasMore = this.conn.pump(tx, now)
    this.noteSyn(this.conn.subflows[0]?.ep)
    return hasMore
  }

  settle(): void {
    const events = this.conn.takeEvents()
    if ((events & C_ESTABLISHED) !== 0) this.establish()
    if ((events & C_CLOSED) !== 0) this.close(this.conn.cause)
    this.watch()
    this.checkOrphan()
    if ((events & C_DONE) !== 0) {
      this.side.sockets.delete(this.conn)
      this.world.remove(this)
    }
  }

  nextTimeout(): Micros {
    return this.conn.nextTimeout()
  }

  onTimeout(now: Micros): void {
    this.conn.onTimeout(now)
  }

  override abort(): void {
    this.conn.abort(this.world.now)
  }
}
