import { createHash, createHmac } from 'node:crypto'
import type { IpAddress, Tuple } from '../../src/base/address.js'
import type { Host } from '../../src/base/host.js'
import type { TxRing } from '../../src/base/rings.js'
import type { Rng } from '../../src/base/rng.js'
import { StreamQueue } from '../../src/base/stream-queue.js'
import type { Micros } from '../../src/base/time.js'
import { C_CLOSED, C_DONE, C_ESTABLISHED, C_SUBFLOW, JOIN_ACCEPTED, MptcpConnection } from '../../src/mptcp/connection.js'
import { MptcpCounters } from '../../src/mptcp/counters.js'
import { type ConnectionEnv, type MptcpConfig, mptcpConfig } from '../../src/mptcp/env.js'
import type { Path } from '../../src/pathmgr/path.js'
import { type TcpConfig, tcpConfig } from '../../src/tcp/config.js'
import type { TcpEndpoint } from '../../src/tcp/endpoint.js'
import { HalfOpen } from '../../src/tcp/half-open.js'
import { InitialNumbers } from '../../src/tcp/isn.js'
import { CAUSE_NONE, type CloseCause } from '../../src/tcp/state.js'
import { HAS_JOIN } from '../../src/wire/mptcp-options.js'
import type { Packet } from '../../src/wire/packet.js'
import { QueueSocket } from './byte-socket.js'
import { SimHost, type SimHostConfig, type SimOwner } from './host.js'
import type { VirtualLoop } from './loop.js'

export interface MptcpHostConfig extends SimHostConfig {
  readonly tcp?: Partial<TcpConfig>
  readonly mptcp?: Partial<MptcpConfig>
}

/** Seeded randomness and real hashes. */
export function seededHost(rng: Rng): Host {
  return {
    rng: () => rng.int32(),
    hash: {
      sha256: (data) => createHash('sha256').update(data).digest(),
      hmacSha256: (key, data) => createHmac('sha256', key).update(data).digest(),
    },
  }
}

/** A host with MPTCP sockets, both roles, without engine. It stands for a server with MPTCP. */
export class MptcpHost extends SimHost implements ConnectionEnv {
  readonly host: Host
  readonly mptcp: MptcpConfig
  private readonly numbers: InitialNumbers
  readonly counters = new MptcpCounters()
  private readonly listeners = new Map<number, (socket: MptcpSocket) => void>()
  private readonly tokens = new Map<number, MptcpConnection>()
  private readonly sockets = new Map<MptcpConnection, MptcpSocket>()
  /** While a socket is made: its connection registers endpoints before the maker has it in hand. */
  private making: MptcpSocket | null = null

  constructor(loop: VirtualLoop, rng: Rng, config: MptcpHostConfig = {}) {
    super(loop, rng, config)
    this.host = seededHost(rng)
    this.numbers = new InitialNumbers(() => this.host.rng())
    const mtu = this.device.caps.mtu
    const tcp = tcpConfig({ mss4: mtu - 40, mss6: mtu - 60, gso: this.device.caps.gso, ...config.tcp })
    this.mptcp = mptcpConfig({ tcp, ...config.mptcp })
  }

  listen(port: number, onSocket: (socket: MptcpSocket) => void): void {
    this.listeners.set(port, onSocket)
  }

  /** An active open by `path`, whose source must be given. */
  connect(path: Path, remote: IpAddress, remotePort: number): MptcpSocket {
    const tuple = this.openFlow(path, remote, remotePort)
    return this.make((socket) => {
      const conn = new MptcpConnection(this, this.mptcp, socket.out, socket.in)
      this.sockets.set(conn, socket)
      conn.connect(path, tuple, this.loop.now)
      return conn
    })
  }

  openFlow(path: Path, remote: IpAddress, remotePort: number): Tuple {
    if (path.source === null) throw new Error('a path without source')
    return { local: path.source, localPort: this.freePort(), remote, remotePort }
  }

  issOf(tuple: Tuple, now: Micros): number {
    return this.numbers.issOf(tuple, now)
  }

  tsOffsetOf(tuple: Tuple): number {
    return this.numbers.tsOffsetOf(tuple)
  }

  register(endpoint: TcpEndpoint, connection: MptcpConnection): void {
    const socket = this.sockets.get(connection) ?? this.making
    if (socket === null) throw new Error('an endpoint of no socket')
    this.bind(endpoint, socket)
  }

  unregister(endpoint: TcpEndpoint): void {
    this.unbind(endpoint)
  }

  claimToken(token: number, connection: MptcpConnection): boolean {
    if (this.tokens.has(token)) return false
    this.tokens.set(token, connection)
    return true
  }

  releaseToken(token: number): void {
    this.tokens.delete(token)
  }

  /** The socket has nothing more to do. */
  forget(socket: MptcpSocket): void {
    this.sockets.delete(socket.conn)
    this.removeOwner(socket)
  }

  protected override onSyn(syn: Packet, tuple: Tuple, now: Micros): boolean {
    const m = this.options.mptcp
    const half = new HalfOpen(this.mptcp.tcp, tuple, syn, this.options, now)
    if ((m.present & HAS_JOIN) !== 0) {
      const conn = this.tokens.get(m.joinToken)
      if (conn === undefined || conn.acceptJoin(half, m, now) !== JOIN_ACCEPTED) return false
      this.touch(this.sockets.get(conn) as MptcpSocket)
      return true
    }
    const onSocket = this.listeners.get(tuple.localPort)
    if (onSocket === undefined) return false
    onSocket(this.make((socket) => MptcpConnection.accept(this, this.mptcp, socket.out, socket.in, half, m, now)))
    return true
  }

  private make(open: (socket: MptcpSocket) => MptcpConnection): MptcpSocket {
    const socket = new MptcpSocket(this)
    this.making = socket
    socket.conn = open(socket)
    this.making = null
    this.sockets.set(socket.conn, socket)
    this.addOwner(socket)
    return socket
  }
}

export class MptcpSocket extends QueueSocket implements SimOwner {
  timer = -1
  conn!: MptcpConnection
  cause: CloseCause = CAUSE_NONE
  /** A subflow came up or went down. */
  onSubflows: () => void = () => {}
  private readonly host: MptcpHost

  constructor(host: MptcpHost) {
    super(new StreamQueue(host.arena, host.sendBuffer), new StreamQueue(host.arena, host.receiveBuffer))
    this.host = host
  }

  addPath(path: Path): boolean {
    const taken = this.conn.addPath(path, this.host.loop.now)
    this.touch()
    return taken
  }

  override abort(): void {
    this.conn.abort(this.host.loop.now)
    this.touch()
  }

  protected override touch(): void {
    this.host.touch(this)
  }

  pump(tx: TxRing, now: Micros): boolean {
    return this.conn.pump(tx, now)
  }

  settle(): void {
    const events = this.conn.takeEvents()
    if ((events & C_ESTABLISHED) !== 0) this.isOpen = true
    if ((events & C_SUBFLOW) !== 0) this.onSubflows()
    if ((events & C_CLOSED) !== 0) {
      this.isClosed = true
      this.cause = this.conn.cause
    }
    if ((events & C_DONE) !== 0) {
      this.out.clear()
      this.host.forget(this)
    }
    this.onActivity()
  }

  nextTimeout(): Micros {
    return this.conn.nextTimeout()
  }

  onTimeout(now: Micros): void {
    this.conn.onTimeout(now)
  }
}
