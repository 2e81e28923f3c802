import type { IpAddress, Tuple } from '../../../src/base/address.js'
import { US_PER_MS, US_PER_S } from '../../../src/base/time.js'
import * as st from '../../../src/tcp/state.js'
import { HAS_JOIN } from '../../../src/wire/mptcp-options.js'
import type { Packet } from '../../../src/wire/packet.js'
import type { TcpOptions } from '../../../src/wire/tcp-options.js'
import { type Connection, MultipathConnection, PlainConnection } from './connection.js'
import { BLOCKED, CallError } from './errno.js'
import type { MptcpSide } from './mptcp-side.js'
import type { Settings } from './settings.js'
import type { PortOwner, World } from './world.js'

/** Addresses and ports of a run. */
export interface Network {
  readonly local: IpAddress
  readonly remote: IpAddress
  readonly bindPort: number
  readonly connectPort: number
}

/** What sockets of one run share. */
export interface Stack {
  readonly world: World
  readonly side: MptcpSide
  readonly settings: Settings
  readonly network: Network
}

/** poll(2). */
export const POLLIN = 1
export const POLLOUT = 4
export const POLLERR = 8
export const POLLHUP = 16
export const POLLRDHUP = 0x2000

const ERRNO_OF: Readonly<Record<number, string>> = {
  [st.CAUSE_RESET]: 'ECONNRESET',
  [st.CAUSE_REFUSED]: 'ECONNREFUSED',
  [st.CAUSE_TIMEOUT]: 'ETIMEDOUT',
  [st.CAUSE_UNREACHABLE]: 'EHOSTUNREACH',
}

/**
 * A stream socket as a Linux process sees it, over an endpoint of ours. Calls throw `CallError` or return `BLOCKED` when they would
 * wait; whoever issued them decides whether they may.
 */
export class Socket implements PortOwner {
  readonly stack: Stack
  readonly isMptcp: boolean
  isNonBlocking = false
  isNagle = true
  isKeptAlive = false
  /** Linux tcp_keepalive_time. */
  keepIdleS = 7200
  private userTimeoutMs = 0
  /** SO_LINGER: null: off; else seconds. */
  linger: number | null = null
  fastOpenCookie: Uint8Array | null = null
  conn: Connection | null = null
  private port = 0
  private isListening = false
  private readonly backlog: Connection[] = []
  private isErrorTaken = false
  private isConnectReported = false
  private isWriteShut = false
  private isReadShut = false
  private receiveBuffer = 0
  private sendBuffer = 0

  constructor(stack: Stack, isMptcp: boolean) {
    this.stack = stack
    this.isMptcp = isMptcp
    this.receiveBuffer = stack.settings.receiveBuffer
    this.sendBuffer = stack.settings.sendBuffer
  }

  bind(port: number): void {
    this.port = port > 0 ? port : this.stack.network.bindPort
  }

  listen(): void {
    if (this.port === 0) this.bind(0)
    this.isListening = true
    this.stack.world.ports.set(this.port, this)
  }

  private newConnection(): MultipathConnection | PlainConnection {
    const { world, side, settings } = this.stack
    const conn = this.isMptcp
      ? new MultipathConnection(side, this.sendBuffer, this.receiveBuffer)
      : new PlainConnection(world, settings.tcpConfig, this.sendBuffer, this.receiveBuffer)
    conn.setNagle(this.isNagle)
    this.setTimers(conn)
    return conn
  }

  onSyn(syn: Packet, opts: TcpOptions, tuple: Tuple, now: number): boolean {
    if (this.isMptcp && (opts.mptcp.present & HAS_JOIN) !== 0) return this.stack.side.onSyn(syn, opts, tuple, now)
    const conn = this.newConnection()
    conn.onEstablished = () => this.backlog.push(conn)
    conn.accept(tuple, syn, opts)
    return true
  }

  accept(): Socket | typeof BLOCKED {
    if (!this.isListening) throw new CallError('EINVAL')
    const conn = this.backlog.shift()
    if (conn === undefined) return BLOCKED
    conn.isAccepted = true
    const socket = new Socket(this.stack, this.isMptcp)
    socket.conn = conn
    socket.isConnectReported = true
    return socket
  }

  connect(): 0 | typeof BLOCKED {
    if (this.conn === null) this.open()
    const conn = this.conn as Connection
    if (conn.isEstablished) {
      if (this.isConnectReported) throw new CallError('EISCONN')
      this.isConnectReported = true
      return 0
    }
    this.throwError()
    if (conn.isClosed) throw new CallError('ECONNABORTED')
    return BLOCKED
  }

  /** The SYN leaves in the turn that follows. */
  open(): void {
    const { world, network } = this.stack
    const conn = this.newConnection()
    const tuple = {
      local: network.local,
      localPort: this.port > 0 ? this.port : world.freePort(),
      remote: network.remote,
      remotePort: network.connectPort,
    }
    this.conn = conn
    if (conn instanceof MultipathConnection) conn.connect(tuple)
    else conn.connect(tuple, this.fastOpenCookie)
  }

  get isConnecting(): boolean {
    return this.conn !== null && !this.conn.isEstablished && !this.conn.isClosed
  }

  /** Bytes taken, as many as the buffer has room for. @param n of a pattern: no script looks into its payload. */
  write(n: number): number | typeof BLOCKED {
    const conn = this.conn
    if (conn === null || this.isListening) throw new CallError('EPIPE')
    this.throwError()
    if (this.isWriteShut || conn.isClosed) throw new CallError('EPIPE')
    if (n === 0) return 0
    if (!conn.isEstablished) return BLOCKED
    const taken = conn.out.append(new Uint8Array(n), 0, n)
    return taken === 0 ? BLOCKED : taken
  }

  read(n: number, isPeek: boolean): number | typeof BLOCKED {
    const conn = this.conn
    if (conn === null || this.isListening) throw new CallError('ENOTCONN')
    const got = Math.min(n, conn.in.ready)
    if (got > 0 || n === 0) {
      if (!isPeek) conn.in.release(conn.in.base + got)
      return got
    }
    if (conn.in.isFinReady() || this.isReadShut) return 0
    this.throwError()
    if (conn.isClosed) return 0
    return BLOCKED
  }

  shutdown(how: number): void {
    const conn = this.conn
    if (conn === null || conn.isClosed) throw new CallError('ENOTCONN')
    if (!conn.isEstablished) {
      conn.abort() // Linux: ends the attempt
      return
    }
    if (how !== 1) this.isReadShut = true
    if (how !== 0) this.endOutput(conn)
  }

  private endOutput(conn: Connection): void {
    if (!this.isWriteShut) conn.out.setFin(conn.out.readyEnd)
    this.isWriteShut = true
  }

  close(): void {
    if (this.isListening) {
      this.stack.world.ports.delete(this.port)
      for (const conn of this.backlog) conn.abort()
    }
    const conn = this.conn
    if (conn === null || conn.isClosed) return
    // RFC 2525 §2.17: bytes that nobody read are lost, and the peer learns so
    if (!conn.isEstablished || this.linger === 0 || conn.in.ready > 0) conn.abort()
    else {
      conn.isOrphan = true
      this.endOutput(conn)
    }
  }

  /** SO_ERROR: reports an error once. '' for none. */
  takeError(): string {
    const conn = this.conn
    if (conn === null || !conn.isClosed || this.isErrorTaken) return ''
    const name = ERRNO_OF[conn.cause] ?? ''
    this.isErrorTaken = name !== ''
    // Linux: behind the peer's FIN a reset is a broken pipe
    return name === 'ECONNRESET' && conn.in.isFinReady() ? 'EPIPE' : name
  }

  private throwError(): void {
    const name = this.takeError()
    if (name !== '') throw new CallError(name)
  }

  /** Conditions of poll(2) that hold now. */
  poll(): number {
    const conn = this.conn
    if (conn === null) return this.isListening ? (this.backlog.length > 0 ? POLLIN : 0) : POLLOUT | POLLHUP
    let events = 0
    const isEnded = conn.in.isFinReady() || this.isReadShut
    if (conn.in.ready > 0 || isEnded || conn.isClosed) events |= POLLIN
    if (isEnded || conn.isClosed) events |= POLLRDHUP
    if (conn.isClosed || (isEnded && this.isWriteShut)) events |= POLLHUP
    if (conn.isClosed && !this.isErrorTaken && ERRNO_OF[conn.cause] !== undefined) events |= POLLERR
    if (conn.isClosed || (conn.isEstablished && conn.out.edge() > conn.out.readyEnd)) events |= POLLOUT
    return events
  }

  setNagle(isOn: boolean): void {
    this.isNagle = isOn
    this.conn?.setNagle(isOn)
  }

  /** SO_KEEPALIVE and TCP_KEEPIDLE. */
  setKeepalive(isOn: boolean, idleS: number): void {
    this.isKeptAlive = isOn
    this.keepIdleS = idleS
    this.setTimers()
  }

  /** TCP_USER_TIMEOUT. */
  setUserTimeout(ms: number): void {
    this.userTimeoutMs = ms
    this.setTimers()
  }

  private setTimers(conn = this.conn): void {
    conn?.setTimers(this.isKeptAlive ? this.keepIdleS * US_PER_S : 0, this.userTimeoutMs * US_PER_MS)
  }

  /** SO_RCVBUF and SO_SNDBUF, as Linux takes them: the value is doubled, and half of that is window. */
  setReceiveBuffer(bytes: number): void {
    this.receiveBuffer = bytes
    if (this.conn !== null) this.conn.in.capacity = bytes
  }

  setSendBuffer(bytes: number): void {
    this.sendBuffer = bytes
    if (this.conn !== null) this.conn.out.capacity = bytes
  }
}
