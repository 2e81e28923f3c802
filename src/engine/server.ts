import { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import { MptcpError } from '../base/errors.js'
import { parseAddress } from '../config/address-text.js'
import { FastOpenKeys, type FastOpenKey, parseFastOpenKey } from '../tcp/fast-open.js'
import { Listener } from './acceptor.js'
import type { Engine } from './engine.js'
import { FastOpenGate } from './fast-open-gate.js'
import type { MptcpStream } from './stream.js'

/** Half-open connections of a listener before it answers with SYN cookies (Linux: somaxconn 4096, tcp_max_syn_backlog by memory). */
const BACKLOG = 511

/** Connections by Fast Open that wait for their third ACK, unless the program says how many may. */
const FAST_OPEN_PENDING = 256

export interface ServerOptions {
  /**
   * TCP Fast Open (RFC 7413): data in the SYN of a client that has been here before is taken at once, and `connection` comes with it, before
   * the handshake is complete. The network may repeat a SYN, so requests must bear to be carried out twice. A number: of connections that
   * may wait for the end of their handshake at the same time (`true`: 256); beyond that handshakes are plain. Default false, as on Linux.
   */
  readonly fastOpen?: boolean | number
  /**
   * Keys of its cookies, as in Linux's `net.ipv4.tcp_fastopen_key`: the one that cookies are made with, and one whose cookies are still
   * good. Servers behind one address need the same. Without keys a random one that all servers of the stack share, a new one every day.
   */
  readonly fastOpenKeys?: readonly string[]
}

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
  private readonly fastOpen: FastOpenGate | null

  /** @throws {MptcpError} ERR_FAST_OPEN */
  constructor(engine: Engine, { fastOpen = false, fastOpenKeys = [] }: ServerOptions = {}) {
    super()
    this.engine = engine
    const pending = typeof fastOpen === 'number' ? fastOpen : fastOpen ? FAST_OPEN_PENDING : 0
    if (!Number.isInteger(pending) || pending < 0) throw new MptcpError('ERR_FAST_OPEN', `fastOpen is ${fastOpen}: true, or a whole number`)
    const keys = keysOf(fastOpenKeys)
    this.fastOpen = pending === 0 ? null : new FastOpenGate(keys ?? engine.acceptor.fastOpenKeys, pending)
  }

  /**
   * From now on Fast Open cookies are made with the first of `keys`, and those of the second are good too (see `ServerOptions`).
   * @throws {MptcpError} ERR_FAST_OPEN
   */
  setFastOpenKeys(keys: readonly string[]): void {
    const parsed = keysOf(keys)
    if (parsed === null) throw new MptcpError('ERR_FAST_OPEN', 'no key: give one, or two when cookies of a previous one are to be good')
    if (this.fastOpen !== null) this.fastOpen.keys = parsed
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
    const listener = new Listener({ address, port, backlog, onStream: (stream) => this.onStream(stream), fastOpen: this.fastOpen })
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

/** Null: there are none. @throws {MptcpError} ERR_FAST_OPEN */
function keysOf(texts: readonly string[]): FastOpenKeys | null {
  const [current, previous = null] = texts.map((text): FastOpenKey => {
    const key = parseFastOpenKey(text)
    if (key !== null) return key
    throw new MptcpError(
      'ERR_FAST_OPEN',
      `"${text}" is no key: it is four words of hexadecimal digits, xxxxxxxx-xxxxxxxx-xxxxxxxx-xxxxxxxx`,
    )
  })
  if (texts.length > 2) throw new MptcpError('ERR_FAST_OPEN', `${texts.length} keys: at most the present one and the previous one`)
  return current === undefined ? null : new FastOpenKeys(current, previous)
}
