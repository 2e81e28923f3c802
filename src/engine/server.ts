import { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import { MptcpError } from '../base/errors.js'
import { parseAddress } from '../config/address-text.js'
import { Listener } from './acceptor.js'
import type { Engine } from './engine.js'
import type { MptcpStream } from './stream.js'

/** Half-open connections of a listener before it answers with SYN cookies (Linux: somaxconn 4096, tcp_max_syn_backlog by memory). */
const BACKLOG = 511

export interface ListenOptions {
  /** 1-65535. */
  readonly port: number
  /** A stack address; all of them without it. */
  readonly host?: string
  /** Half-open connections before new ones are answered by SYN cookies. Default 511. */
  readonly backlog?: number
}

/** What a server tells. */
interface ServerEvents {
  listening: []
  connection: [stream: MptcpStream & Duplex]
  close: []
}

/**
 * Takes up connections to addresses of a stack: MPTCP from peers that speak it, TCP from others. Like `net.Server`: 'connection' has
 * a stream each, `close` stops listening and leaves the connections that are there; joins to those go on being taken.
 */
export class MptcpServer extends EventEmitter<ServerEvents> {
  private readonly engine: Engine
  private readonly streams = new Set<MptcpStream>()
  private listener: Listener | null = null
  private limit = Number.POSITIVE_INFINITY

  constructor(engine: Engine) {
    super()
    this.engine = engine
  }

  /**
   * Begins to listen; 'listening' follows.
   * @throws {MptcpError} ERR_PORT, ERR_ADDRESS, ERR_ALREADY_LISTENING, EADDRNOTAVAIL, EADDRINUSE
   */
  listen({ port, host, backlog = BACKLOG }: ListenOptions): this {
    if (this.listener !== null) throw new MptcpError('ERR_ALREADY_LISTENING', 'the server listens already: close it first')
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new MptcpError('ERR_PORT', `port ${port} is not in 1-65535`)
    const address = host === undefined ? null : parseAddress(host)
    const { config } = this.engine
    if (address !== null && !config.isOurs(address.w0, address.w1, address.w2, address.w3))
      throw new MptcpError('EADDRNOTAVAIL', `${host} is none of the stack's addresses: listen on one of them, or on all`)
    const listener = new Listener({ address, port, backlog, onStream: (stream) => this.onStream(stream) })
    if (!this.engine.acceptor.add(listener))
      throw new MptcpError('EADDRINUSE', `port ${port} of ${host ?? 'all addresses'} is listened on already: choose another port`)
    listener.maxConnections = this.limit
    this.listener = listener
    process.nextTick(() => this.emit('listening'))
    return this
  }

  get listening(): boolean {
    return this.listener !== null
  }

  /** SYNs are dropped while so many connections are open. */
  get maxConnections(): number {
    return this.limit
  }
  set maxConnections(n: number) {
    this.limit = n
    if (this.listener !== null) this.listener.maxConnections = n
  }

  /** Connections that are open. */
  get connections(): number {
    return this.streams.size
  }

  /** Where it listens; `address` null: on all addresses of the stack. Null while it does not. */
  address(): { readonly address: string | null; readonly port: number } | null {
    if (this.listener === null) return null
    const { address, port } = this.listener.terms
    return { address: address?.toString() ?? null, port }
  }

  /** No new connections; 'close' follows when the last one has ended. Idempotent. */
  close(done?: () => void): this {
    if (done !== undefined) this.once('close', done)
    if (this.listener !== null) {
      this.engine.acceptor.remove(this.listener)
      this.listener = null
    }
    this.closeIfEmpty()
    return this
  }

  private onStream(stream: MptcpStream): void {
    this.streams.add(stream)
    stream.once('close', () => {
      this.streams.delete(stream)
      if (this.listener === null) this.closeIfEmpty()
    })
    // Their code never runs inside of a turn.
    process.nextTick(() => this.emit('connection', stream))
  }

  private closeIfEmpty(): void {
    if (this.streams.size === 0) process.nextTick(() => this.emit('close'))
  }
}
