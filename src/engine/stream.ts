import { Duplex } from 'node:stream'
import type { IpAddress } from '../base/address.js'
import { MptcpError } from '../base/errors.js'
import type { TxRing } from '../base/rings.js'
import type { StreamQueue } from '../base/stream-queue.js'
import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import { C_ADDRESSES, C_CLOSED, C_ESTABLISHED, C_FALLBACK, C_SUBFLOW, MptcpConnection } from '../mptcp/connection.js'
import * as st from '../tcp/state.js'
import type { SynHolder } from '../mptcp/env.js'
import { takeFastOpen } from '../mptcp/fast-open.js'
import type { KeyMaterial } from '../mptcp/keys.js'
import type { MptcpOptions } from '../wire/mptcp-options.js'
import type { Packet } from '../wire/packet.js'
import type { Listener } from './acceptor.js'
import type { Engine } from './engine.js'
import { FAST_OPEN_REFUSED, FAST_OPEN_TAKEN } from './fast-open.js'
import { isSpent, releaseSubflows } from './leg.js'
import { PathControl } from './path-control.js'
import { TunedQueues } from './queue-tuner.js'
import type { Owner, Port } from './owner.js'

/** Bytes handed to the reader in one piece, and the stream's own buffers. */
const CHUNK_LEN = 64 << 10

/** How long a connection whose stream is gone waits for the peer's end. */
const ORPHAN_US = 60 * US_PER_S

/** Causes of a failed or broken connection, as node's sockets name them. */
const ERRORS: Readonly<Record<number, { code: string; text: string }>> = {
  [st.CAUSE_RESET]: { code: 'ECONNRESET', text: 'connection reset by the peer' },
  [st.CAUSE_REFUSED]: { code: 'ECONNREFUSED', text: 'connection refused' },
  [st.CAUSE_TIMEOUT]: { code: 'ETIMEDOUT', text: 'the peer does not answer' },
  [st.CAUSE_UNREACHABLE]: { code: 'EHOSTUNREACH', text: 'the destination is unreachable' },
  [st.CAUSE_ABORTED]: { code: 'ECONNABORTED', text: 'connection aborted' },
}

/**
 * An MPTCP connection as a Duplex, for programs that embed the stack. Emits 'connect' when it is established; `end()`
 * half-closes, `destroy()` resets, but for what was ended: that still arrives; `resetAndDestroy()` resets in any case. The bytes stand in
 * the connection's queues; the stream's own buffers add at most one chunk.
 */
export class MptcpStream extends Duplex implements Owner {
  timer = -1
  isDirty = false
  readonly port: Port
  readonly id: number
  readonly conn: MptcpConnection
  control: PathControl | null = null
  /** Established at some time. */
  isEstablished = false
  /** Handed out before it was established. */
  private isFastOpen = false
  private readonly engine: Engine
  private readonly queues: TunedQueues
  private readonly sendQueue: StreamQueue
  private readonly recvQueue: StreamQueue
  private chunk: Buffer | null = null
  private chunkAt = 0
  private written: ((error?: Error | null) => void) | null = null
  /** The reader wants bytes. */
  private isReading = false
  private isDelivering = false
  private isDestroyedByUser = false
  private isConnClosed = false
  private isResetWanted = false
  /** Destroyed after its end was written: what is on its way still arrives, as from a socket that was closed. */
  private isOrphan = false
  /** Waits for the peer's end no longer than this; NEVER: it is not an orphan, or not all is acknowledged. */
  private orphanUntil: Micros = NEVER
  since: Micros = 0
  /** Who took it up, null: it was opened from here. */
  private readonly listener: Listener | null

  /** @param port where its first packet came in; the first one for active opens */
  constructor(engine: Engine, port: Port = engine.ports[0] as Port, listener: Listener | null = null) {
    super({ allowHalfOpen: true, writableHighWaterMark: CHUNK_LEN, readableHighWaterMark: CHUNK_LEN })
    this.engine = engine
    this.port = port
    this.listener = listener
    this.id = engine.newId()
    this.queues = new TunedQueues(engine)
    this.sendQueue = this.queues.up
    this.recvQueue = this.queues.down
    this.conn = new MptcpConnection(engine.env, engine.config.mptcp, this.sendQueue, this.recvQueue)
  }

  /**
   * Begins to connect. @param isFastOpen what was written before travels in the SYN when the server has given a cookie (RFC 7413)
   * @throws {MptcpError} ERR_MPTCP_NO_PATH
   */
  open(remote: IpAddress, remotePort: number, now: Micros, isFastOpen = false): void {
    const { engine } = this
    const path = engine.config.paths[0]
    const tuple = path === undefined ? null : engine.env.openFlow(path, remote, remotePort, now)
    if (path === undefined || tuple === null) {
      throw new MptcpError('ERR_MPTCP_NO_PATH', `no path to ${remote}: give the stack an IPv${remote.isV4 ? 4 : 6} address`)
    }
    this.since = now
    engine.addOwner(this)
    engine.env.adopt(this.conn, this)
    engine.connections.add(this)
    this.control = new PathControl(engine, this.conn, remote, remotePort, now)
    const tries = engine.destinations.capableTries(remote, remotePort, engine.config.mptcp.capableTries, now)
    const cookie = isFastOpen ? engine.destinations.fastOpenCookie(remote, now) : null
    this.conn.connect(path, tuple, now, tries, cookie, engine.destinations.fastOpenMss(remote))
    this.control.tellConnect()
  }

  /** Takes up a connection that comes from the network. @param key ours, when a SYN cookie named it already; null: drawn */
  accept(half: SynHolder, m: MptcpOptions, key: KeyMaterial | null, now: Micros): void {
    const { engine, listener } = this
    this.since = now
    engine.addOwner(this)
    engine.env.adopt(this.conn, this)
    engine.connections.add(this)
    if (listener !== null) listener.halfOpen++
    this.conn.open(half, m, key, now)
  }

  /**
   * The SYN that was just accepted showed a valid Fast Open cookie: the listener has the connection from here on, with the data of the SYN
   * and before the third ACK (RFC 7413 §4.2.2).
   */
  openFast(syn: Packet, now: Micros): void {
    this.isFastOpen = true
    takeFastOpen(this.conn, syn, now)
    this.listener?.terms.onStream(this)
  }

  /** The peer's address and port, and ours; null before the connection was begun. Those of the first subflow. */
  get remote(): { readonly address: string; readonly port: number } | null {
    const tuple = this.conn.firstTuple
    return tuple === null ? null : { address: tuple.remote.toString(), port: tuple.remotePort }
  }
  get local(): { readonly address: string; readonly port: number } | null {
    const tuple = this.conn.firstTuple
    return tuple === null ? null : { address: tuple.local.toString(), port: tuple.localPort }
  }

  // ---------------------------------------------------------------- the stream's side, outside of turns

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.chunk = chunk
    this.chunkAt = 0
    this.written = done
    this.engine.mark(this)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.sendQueue.setFin(this.sendQueue.readyEnd)
    this.engine.mark(this)
    done()
  }

  override _read(): void {
    this.isReading = true
    this.deliver()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // Node.js destroys by itself what has ended in both directions: the last bytes and FINs may still be on their way.
    this.isDestroyedByUser = error !== null || !this.writableFinished || !this.readableEnded
    // RFC 2525 §2.17: who has not read everything says so by a reset
    this.isOrphan = error === null && this.writableFinished && !this.isResetWanted && this.recvQueue.ready === 0
    this.engine.mark(this)
    done(error)
  }

  /** Resets the connection and destroys the stream, as that of `net.Socket`. No 'error' follows. */
  resetAndDestroy(): this {
    this.isResetWanted = true
    return this.destroy()
  }

  /** Hands received bytes to the reader while it wants them, and the end. Runs the reader's code: never inside of a turn. */
  private deliver(): void {
    this.isDelivering = false
    const queue = this.recvQueue
    const before = queue.base
    while (this.isReading && queue.ready > 0) {
      const piece = Buffer.allocUnsafe(Math.min(queue.ready, CHUNK_LEN))
      queue.copyOut(queue.base, piece, 0, piece.length)
      queue.release(queue.base + piece.length)
      this.isReading = this.push(piece)
    }
    if (this.isReading && queue.ready === 0 && queue.isFinReady()) {
      this.isReading = false
      this.push(null)
    }
    if (queue.base > before) this.engine.mark(this) // the window opened
    this.removeIfOver()
  }

  // ---------------------------------------------------------------- the engine's side, inside of turns

  pump(tx: TxRing, now: Micros): boolean {
    if (this.isDestroyedByUser && !this.isConnClosed && !this.isDraining(now)) this.conn.abort(now)
    this.takeChunk()
    this.control?.step(now)
    const hasMore = this.conn.pump(tx, now)
    this.queues.update(this.conn, now)
    const events = this.conn.takeEvents()
    if ((events & C_ESTABLISHED) !== 0) {
      this.isEstablished = true
      if (this.listener === null) {
        const outcome = this.engine.destinations.onEstablished(this.conn, now)
        if (outcome === FAST_OPEN_TAKEN) this.engine.counters.TcpExtTCPFastOpenActive++
        else if (outcome === FAST_OPEN_REFUSED) this.engine.counters.TcpExtTCPFastOpenActiveFail++
        process.nextTick(() => this.emit('connect'))
      } else this.onAccepted(this.listener)
    }
    if (this.isReading && !this.isDelivering && (this.recvQueue.ready > 0 || this.recvQueue.isFinReady())) {
      this.isDelivering = true
      process.nextTick(() => this.deliver())
    }
    if ((events & C_FALLBACK) !== 0) this.control?.tellPlain()
    if ((events & C_CLOSED) !== 0) this.onClosed()
    if (this.control !== null && (events & (C_SUBFLOW | C_ADDRESSES)) !== 0) {
      this.control.step(now)
      this.engine.mark(this) // what it asked for is sent by the next pump
    }
    this.removeIfOver()
    return hasMore
  }

  /** Whether an orphan still has something to wait for: acknowledgements, then for a minute (Linux tcp_fin_timeout) the peer's end. */
  private isDraining(now: Micros): boolean {
    if (!this.isOrphan || this.recvQueue.ready > 0) return false
    if (this.orphanUntil === NEVER && this.sendQueue.isEmpty) this.orphanUntil = now + ORPHAN_US
    return now < this.orphanUntil
  }

  /** Its handshake is complete. The peer opens further subflows: it is told by which addresses it may. */
  private onAccepted(listener: Listener): void {
    const { conn, engine } = this
    listener.halfOpen--
    listener.connections++
    for (const a of engine.config.announced) {
      if (conn.firstTuple?.local.equals(a.local) !== true) conn.announce(a.id, a.address, a.port)
    }
    if (this.isFastOpen) listener.terms.fastOpen?.onSettled()
    else listener.terms.onStream(this)
  }

  /** Moves what the writer gave into the queue, as far as there is room. */
  private takeChunk(): void {
    const chunk = this.chunk
    if (chunk === null) return
    this.chunkAt += this.sendQueue.append(chunk, this.chunkAt, chunk.length - this.chunkAt)
    if (this.chunkAt < chunk.length) return
    const done = this.written
    this.chunk = null
    this.written = null
    if (done !== null) process.nextTick(done)
  }

  private onClosed(): void {
    this.isConnClosed = true
    const error = ERRORS[this.conn.cause]
    if (error === undefined || this.isDestroyedByUser) return
    this.recvQueue.clear()
    if (this.listener !== null && !this.isEstablished && !this.isFastOpen) return // nobody has it in hand
    process.nextTick(() => this.destroy(new MptcpError(error.code, error.text)))
  }

  /** Nothing more to exchange with the peer, nothing more for the reader. */
  private removeIfOver(): void {
    if (this.isConnClosed && isSpent(this.conn) && (this.recvQueue.isEmpty || this.isDestroyedByUser)) this.remove()
  }

  nextTimeout(): Micros {
    return Math.min(this.conn.nextTimeout(), this.control?.nextTimeout() ?? NEVER, this.isConnClosed ? NEVER : this.orphanUntil)
  }

  onTimeout(now: Micros): void {
    this.conn.onTimeout(now)
  }

  /** Resets the connection; 'error' follows. */
  abort(now: Micros): void {
    this.conn.abort(now)
    this.engine.mark(this)
  }

  fail(now: Micros): void {
    try {
      this.conn.abort(now)
      this.conn.pump(this.port.tx, now)
    } finally {
      this.remove()
      process.nextTick(() => this.destroy(new MptcpError('ERR_INTERNAL', 'the connection hit a bug of the stack and was reset')))
    }
  }

  private remove(): void {
    if (this.timer < 0) return
    const { engine } = this
    this.isConnClosed = true
    if (this.listener !== null) {
      if (this.isEstablished) this.listener.connections--
      else this.listener.halfOpen--
      const gate = this.isFastOpen && !this.isEstablished ? this.listener.terms.fastOpen : null
      if (this.conn.cause === st.CAUSE_RESET) gate?.onReset(engine.now)
      else gate?.onSettled()
    }
    releaseSubflows(engine, this.conn)
    this.queues.close()
    this.control?.close()
    engine.env.forget(this.conn)
    engine.connections.delete(this)
    engine.removeOwner(this)
  }
}
