import type { IpAddress, Tuple } from '../../../src/base/address.js'
import type { FastOpenGate } from '../../../src/engine/fast-open-gate.js'
import type { TcpConfig } from '../../../src/tcp/config.js'
import type { FastOpenKeys } from '../../../src/tcp/fast-open.js'
import * as st from '../../../src/tcp/state.js'
import { HAS_JOIN } from '../../../src/wire/mptcp-options.js'
import type { Packet } from '../../../src/wire/packet.js'
import type { TcpOptions } from '../../../src/wire/tcp-options.js'
import { type Connection, MultipathConnection, PlainConnection } from './connection.js'
import { BLOCKED, CallError } from './errno.js'
import type { MptcpSide } from './mptcp-side.js'
import { COOKIE_REQUEST, keysOfBytes } from './fast-open.js'
import type { WriteMode } from './script-flow.js'
import { congestionOf, scaleOf, type Settings } from './settings.js'
import { SocketOptions } from './socket-options.js'
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

/** Linux: SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF, and TCP_MSS_DEFAULT. */
const RCVBUF_MIN = 2304
const SNDBUF_MIN = 4608
const DEFAULT_MSS = 536

/** Of a SYN with data: room for all options (Linux MAX_TCP_OPTION_SPACE). */
const OPTION_SPACE = 40

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
  private readonly options: SocketOptions
  private congestion: Partial<TcpConfig> = {}
  /** SO_LINGER: null: off; else seconds. */
  linger: number | null = null
  /** TCP_FASTOPEN_KEY, null: the keys that all listeners share. */
  private fastOpenKeys: FastOpenKeys | null = null
  fastOpenKey: Uint8Array = new Uint8Array(0)
  private gate: FastOpenGate | null = null
  private backlogMax = 0
  /** TCP_FASTOPEN_CONNECT: `connect` has succeeded, and the SYN leaves with the first bytes that are written. */
  isDeferred = false
  conn: Connection | null = null
  private port = 0
  private isListening = false
  private readonly backlog: Connection[] = []
  private isErrorTaken = false
  private isConnectReported = false
  private isWriteShut = false
  private isReadShut = false
  private receiveBuffer = 0
  private isReceiveBufferSet = false
  private sendBuffer = 0

  /** @param listener whose options an accepted socket inherits */
  constructor(stack: Stack, isMptcp: boolean, listener: Socket | null = null) {
    this.stack = stack
    this.isMptcp = isMptcp
    this.options = new SocketOptions(listener?.options)
    this.congestion = listener?.congestion ?? {}
    this.receiveBuffer = listener?.receiveBuffer ?? stack.settings.receiveBuffer
    this.isReceiveBufferSet = listener?.isReceiveBufferSet ?? false
    this.sendBuffer = listener?.sendBuffer ?? stack.settings.sendBuffer
  }

  bind(port: number): void {
    this.port = port > 0 ? port : this.stack.network.bindPort
  }

  listen(backlog: number): void {
    if (this.port === 0) this.bind(0)
    this.backlogMax = backlog
    this.isListening = true
    this.stack.world.ports.set(this.port, this)
  }

  private newConnection(): MultipathConnection | PlainConnection {
    const { world, side, settings } = this.stack
    const conn = this.isMptcp
      ? new MultipathConnection(side, this.sendBuffer, this.receiveBuffer)
      : new PlainConnection(world, settings.tcpConfig, this.sendBuffer, this.receiveBuffer)
    this.options.configure(conn)
    conn.configure((cfg) => Object.assign(cfg, this.congestion))
    if (this.isReceiveBufferSet) conn.configure((cfg) => Object.assign(cfg, { windowScale: scaleOf(this.receiveBuffer) }))
    conn.notSentMax = settings.notSentMax
    conn.onBegun = () => this.options.act(conn)
    return conn
  }

  onSyn(syn: Packet, opts: TcpOptions, tuple: Tuple, now: number): boolean {
    if (this.isMptcp && (opts.mptcp.present & HAS_JOIN) !== 0) return this.stack.side.onSyn(syn, opts, tuple, now)
    const { fastOpen } = this.stack.settings
    const conn = this.newConnection()
    const gate = this.fastOpenGate()
    let cookie: Uint8Array | null = null
    if (gate !== null && (fastOpen.isServerWithoutCookie || this.options.get('TCP_FASTOPEN_NO_COOKIE') > 0)) {
      conn.isFastOpen = syn.payLen > 0 || opts.fastOpenLen >= 0
      if (conn.isFastOpen) gate.pending++
    } else if (gate !== null) {
      conn.isFastOpen = gate.admit(syn, opts, fastOpen.counted, now)
      cookie = gate.cookie
    }
    const arrive = (): void => {
      this.backlog.push(conn)
      this.arrivals++
    }
    conn.onEstablished = () => {
      if (conn.isFastOpen) gate?.onSettled()
      else arrive()
    }
    conn.onClosed = () => {
      if (!conn.isFastOpen || conn.isEstablished) return
      if (conn.cause === st.CAUSE_RESET) gate?.onReset(this.stack.world.now)
      else gate?.onSettled()
    }
    conn.accept(tuple, syn, opts, cookie)
    if (conn.isFastOpen) arrive()
    return true
  }

  private fastOpenGate(): FastOpenGate | null {
    if (this.gate === null) {
      this.gate = this.stack.settings.fastOpen.gate(this.options.get('TCP_FASTOPEN'), this.backlogMax, this.fastOpenKeys)
    }
    return this.gate
  }

  /** TCP_FASTOPEN_KEY. @throws CallError */
  setFastOpenKey(bytes: Uint8Array): void {
    const keys = keysOfBytes(bytes)
    if (keys === null) throw new CallError('EINVAL')
    this.fastOpenKeys = keys
    this.fastOpenKey = bytes
    if (this.gate !== null) this.gate.keys = keys
  }

  accept(): Socket | typeof BLOCKED {
    if (!this.isListening) throw new CallError('EINVAL')
    const conn = this.backlog.shift()
    if (conn === undefined) return BLOCKED
    conn.isAccepted = true
    const socket = new Socket(this.stack, this.isMptcp, this)
    socket.conn = conn
    socket.isConnectReported = true
    return socket
  }

  connect(): 0 | typeof BLOCKED {
    if (this.conn === null) {
      const isFast = this.options.get('TCP_FASTOPEN_CONNECT') > 0 && this.stack.settings.fastOpen.isClient
      if (isFast && this.stack.settings.fastOpen.known(this.stack.network.remote) !== null) {
        this.isDeferred = true
        this.isConnectReported = true
        return 0
      }
      this.open(isFast ? COOKIE_REQUEST : null)
    }
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

  /**
   * The SYN of a Fast Open: with as many of the `n` bytes as it has room for when the cookie is known, else it asks for one.
   * @param isBlocking the rest waits behind them
   * @returns how many were taken @throws CallError
   */
  openFast(n: number, isBlocking: boolean): number {
    const { fastOpen } = this.stack.settings
    if (!fastOpen.isClient) throw new CallError('EOPNOTSUPP')
    const { network } = this.stack
    this.isDeferred = false
    const known = fastOpen.known(network.remote)
    if (known === null) {
      this.open(COOKIE_REQUEST)
      return 0
    }
    const { mss4, mss6 } = this.stack.settings.tcpConfig
    const limit = this.options.get('TCP_MAXSEG') || Number.POSITIVE_INFINITY
    const room = Math.min(network.local.isV4 ? mss4 : mss6, known.mss, limit) - OPTION_SPACE
    const len = Math.min(n, isBlocking ? this.sendBuffer : room)
    this.open(known.cookie, known.mss, len)
    return len
  }

  /** What a blocking Fast Open returns in the end. @throws CallError */
  opened(n: number): number {
    this.throwError()
    return n
  }

  /** The SYN leaves in the turn that follows. @param cookie, mss as `TcpEndpoint.connect` takes them. @param len bytes for it */
  private open(cookie: Uint8Array | null, mss = 0, len = 0): void {
    const { world, network } = this.stack
    const conn = this.newConnection()
    const tuple = {
      local: network.local,
      localPort: this.port > 0 ? this.port : world.freePort(),
      remote: network.remote,
      remotePort: network.connectPort,
    }
    this.conn = conn
    conn.onEstablished = () => {
      if (cookie !== null) this.stack.settings.fastOpen.remember(network.remote, conn.cookie ?? cookie, conn.endpoint.peerMss)
    }
    if (len > 0) conn.out.append(new Uint8Array(len), 0, len)
    conn.connect(tuple, cookie, mss)
  }

  get isConnecting(): boolean {
    return this.conn !== null && !this.conn.isEstablished && !this.conn.isClosed
  }

  /** Bytes taken, as many as the buffer has room for. @param n of a pattern: no script looks into its payload. */
  write(n: number, mode: WriteMode = 'plain'): number | typeof BLOCKED {
    const conn = this.conn
    if (conn === null || this.isListening) throw new CallError('EPIPE')
    this.throwError()
    if (this.isWriteShut || conn.isClosed) throw new CallError('EPIPE')
    if (n === 0) return 0
    if (!conn.isOpen) return BLOCKED
    const taken = conn.out.append(new Uint8Array(n), 0, n)
    if (taken === 0) return BLOCKED
    conn.onWrite(taken < n ? 'plain' : mode)
    return taken
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
    if (!conn.isOpen) {
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
    if (!conn.isOpen || this.linger === 0 || conn.in.ready > 0) conn.abort()
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
    if (conn === null && this.isDeferred) return POLLOUT
    if (conn === null) return this.isListening ? (this.backlog.length > 0 ? POLLIN : 0) : POLLOUT | POLLHUP
    let events = 0
    const isEnded = conn.in.isFinReady() || this.isReadShut
    if (conn.in.ready > 0 || isEnded || conn.isClosed) events |= POLLIN
    if (isEnded || conn.isClosed) events |= POLLRDHUP
    if (conn.isClosed || (isEnded && this.isWriteShut)) events |= POLLHUP
    if (conn.isClosed && !this.isErrorTaken && ERRNO_OF[conn.cause] !== undefined) events |= POLLERR
    if (conn.isClosed || conn.isWritable(conn.notSentMax)) events |= POLLOUT
    return events
  }

  /** Edges for epoll: grows with everything that makes a poll worth while. */
  get activity(): number {
    return this.arrivals + (this.conn?.activity ?? 0)
  }

  private arrivals = 0

  /** TCP_CONGESTION. False: a name that we do not know. */
  setCongestion(name: string): boolean {
    const congestion = congestionOf(name)
    if (congestion === null) return false
    this.congestion = congestion
    this.conn?.configure((cfg) => Object.assign(cfg, congestion))
    return true
  }

  /** An option that is a number. False: unknown. @throws CallError */
  setOption(name: string, value: number): boolean {
    switch (name) {
      // Linux doubles the value, and half of that is window
      case 'SO_RCVBUF':
      case 'SO_RCVBUFFORCE':
        this.receiveBuffer = Math.max(value, RCVBUF_MIN / 2)
        this.isReceiveBufferSet = true
        if (this.conn !== null) this.conn.in.capacity = this.receiveBuffer
        return true
      case 'SO_SNDBUF':
      case 'SO_SNDBUFFORCE':
        this.sendBuffer = Math.max(2 * value, SNDBUF_MIN)
        if (this.conn !== null) this.conn.out.capacity = this.sendBuffer
        return true
    }
    if (!SocketOptions.isKnown(name)) return false
    if (name === 'TCP_FASTOPEN_CONNECT' && !this.stack.settings.fastOpen.isClient) throw new CallError('EOPNOTSUPP')
    this.options.set(name, value, this.conn)
    return true
  }

  /** Its value; null: unknown. */
  getOption(name: string): number | null {
    switch (name) {
      case 'SO_RCVBUF':
        return 2 * this.receiveBuffer
      case 'SO_SNDBUF':
        return this.sendBuffer
      case 'SO_ACCEPTCONN':
        return this.isListening ? 1 : 0
      case 'SO_TYPE':
        return 1
      case 'TCP_MAXSEG':
        if (this.conn?.isEstablished === true) return this.conn.endpoint.mss
        return this.options.get(name) || DEFAULT_MSS
    }
    return SocketOptions.isKnown(name) ? this.options.get(name) : null
  }

  /** SIOCINQ: bytes that may be read. */
  get readable(): number {
    return this.conn?.in.ready ?? 0
  }

  /** TCP_INQ: the same, and 1 when what follows is the end. */
  get inQueue(): number {
    const conn = this.conn
    return conn === null ? 0 : Math.max(conn.in.ready, conn.in.isFinReady() ? 1 : 0)
  }

  /** SIOCOUTQ: bytes that the peer has not acknowledged, sent or not; SIOCOUTQNSD: those that were not sent. */
  get unacknowledged(): number {
    return this.conn === null ? 0 : this.conn.out.readyEnd - this.conn.out.base
  }

  get notSent(): number {
    return this.conn?.notSent ?? 0
  }
}
