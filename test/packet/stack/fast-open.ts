import type { IpAddress } from '../../../src/base/address.js'
import { EngineCounters } from '../../../src/engine/metrics.js'
import { FastOpenGate } from '../../../src/engine/fast-open-gate.js'
import { type FastOpenKey, FastOpenKeys, parseFastOpenKey } from '../../../src/tcp/fast-open.js'

/** Bits of net.ipv4.tcp_fastopen. */
const CLIENT = 1
const SERVER = 2
const SERVER_WITHOUT_COOKIE = 0x200
const SERVER_WITHOUT_OPTION = 0x400

/** What a client remembers of a server. */
export interface KnownServer {
  readonly cookie: Uint8Array
  readonly mss: number
}

export const COOKIE_REQUEST = new Uint8Array(0)

/** What scripts for Linux call cookies by the keys that they set: of a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4, and of zeros. */
const NAMED: Readonly<Record<string, FastOpenKey>> = {
  TFO_COOKIE: [0xa1a1a1a1, 0xb2b2b2b2, 0xc3c3c3c3, 0xd4d4d4d4],
  TFO_COOKIE_ZERO: [0, 0, 0, 0],
}

/** The cookie that a script writes, in hexadecimal digits or by name. */
export function cookieBytes(text: string, client: IpAddress, local: IpAddress): Uint8Array {
  const key = NAMED[text]
  return key === undefined ? Buffer.from(text, 'hex') : new FastOpenKeys(key).give(client, local)
}

export function isCookieName(text: string): boolean {
  return NAMED[text] !== undefined
}

/** Fast Open as the sockets of one run share it: `net.ipv4.tcp_fastopen`, the keys, and the cookies of servers. */
export class FastOpen {
  private flags = CLIENT
  private keys = new FastOpenKeys([0, 0, 0, 0])
  private readonly servers = new Map<string, KnownServer>()
  private readonly counters = new EngineCounters()

  /** Values of `sysctl`. False: not understood. */
  setFlags(text: string): boolean {
    this.flags = Number(text)
    return Number.isInteger(this.flags)
  }

  /** One key, or two with a comma: the second is the previous one. */
  setKeys(text: string): boolean {
    const [key = null, previous = null] = text.split(',').map(parseFastOpenKey)
    if (key === null) return false
    this.keys = new FastOpenKeys(key, previous)
    return true
  }

  get isClient(): boolean {
    return (this.flags & CLIENT) !== 0
  }

  get isServerWithoutCookie(): boolean {
    return (this.flags & SERVER_WITHOUT_COOKIE) !== 0
  }

  /**
   * For a listener, null: it has no Fast Open. @param max its TCP_FASTOPEN, @param backlog that of `listen`
   * @param keys its TCP_FASTOPEN_KEY, null: the one that all share
   */
  gate(max: number, backlog: number, keys: FastOpenKeys | null): FastOpenGate | null {
    if ((this.flags & SERVER) === 0) return null
    const pending = max === 0 && (this.flags & SERVER_WITHOUT_OPTION) !== 0 ? backlog : Math.min(max, backlog)
    return pending === 0 ? null : new FastOpenGate(keys ?? this.keys, pending)
  }

  /** For `FastOpenGate.admit`. */
  get counted(): EngineCounters {
    return this.counters
  }

  known(server: IpAddress): KnownServer | null {
    return this.servers.get(server.toString()) ?? null
  }

  /** A SYN/ACK to a Fast Open. @param cookie the last one that is known; empty: none */
  remember(server: IpAddress, cookie: Uint8Array, mss: number): void {
    if (cookie.length > 0) this.servers.set(server.toString(), { cookie, mss })
  }

  /** `ip tcp_metrics flush`. */
  forget(): void {
    this.servers.clear()
  }
}

/** TCP_FASTOPEN_KEY: the bytes of one key or of two, null: of none. */
export function keysOfBytes(bytes: Uint8Array): FastOpenKeys | null {
  if (bytes.length !== 16 && bytes.length !== 32) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const keyAt = (at: number): FastOpenKey => [0, 4, 8, 12].map((i) => view.getInt32(at + i, true)) as unknown as FastOpenKey
  return new FastOpenKeys(keyAt(0), bytes.length === 32 ? keyAt(16) : null)
}
