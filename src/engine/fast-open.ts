import type { IpAddress } from '../base/address.js'
import { type Micros, US_PER_S } from '../base/time.js'
import type { MptcpConnection } from '../mptcp/connection.js'

/** How long a server that gave no cookie, or did not take data, is left alone; doubled with each further time in a row. */
const FIRST_US: Micros = 30 * US_PER_S
const MAX_US: Micros = 3600 * US_PER_S
const ENTRIES_MAX = 1024

/** Asks for a cookie (RFC 7413 §4.1.1). */
const REQUEST = new Uint8Array(0)

interface Entry {
  /** null: none, or it proved useless. */
  cookie: Uint8Array | null
  /** The server's MSS as last seen. */
  mss: number
  failures: number
  /** No Fast Open before. */
  until: Micros
}

/** What became of Fast Open on one connection. */
export const FAST_OPEN_NONE = 0
export const FAST_OPEN_TAKEN = 1
export const FAST_OPEN_REFUSED = 2
export type FastOpenOutcome = 0 | 1 | 2

/**
 * Fast Open cookies of servers by address (RFC 7413 §4.1.3), and those who do not go along: a middlebox that swallows SYNs with the option
 * or with data costs a timeout each time, so after a failure it is left out, for 30 s at first. Bounded: the oldest makes room.
 */
export class FastOpenCookies {
  private readonly byServer = new Map<string, Entry>()

  /** For `MptcpConnection.connect`: a cookie, an empty one to ask for one, null: not now. */
  cookieFor(remote: IpAddress, now: Micros): Uint8Array | null {
    const entry = this.byServer.get(remote.toString())
    if (entry === undefined) return REQUEST
    return now < entry.until ? null : (entry.cookie ?? REQUEST)
  }

  /** The MSS of a server with a cookie, 0: not known. */
  mssOf(remote: IpAddress): number {
    return this.byServer.get(remote.toString())?.mss ?? 0
  }

  /** The handshake of a connection that was opened from here has succeeded. */
  onEstablished(conn: MptcpConnection, remote: IpAddress, now: Micros): FastOpenOutcome {
    const used = conn.fastOpenUsed
    if (used === null) return FAST_OPEN_NONE
    const key = remote.toString()
    const given = conn.fastOpenCookie
    const isTaken = conn.fastOpenTaken > 0
    const isRefused = used.length > 0 && conn.sendQueue.readyEnd > 0 && !isTaken
    const entry = this.byServer.get(key) ?? { cookie: null, mss: 0, failures: 0, until: 0 }
    entry.mss = conn.subflows[0]?.ep.peerMss ?? 0
    if (given !== null) entry.cookie = given
    else if (isRefused) entry.cookie = null
    if (isTaken || given !== null) entry.failures = 0
    else if (isRefused || used.length === 0) {
      entry.until = now + Math.min(MAX_US, FIRST_US * 2 ** entry.failures)
      entry.failures++
    }
    this.byServer.delete(key)
    this.byServer.set(key, entry)
    if (this.byServer.size > ENTRIES_MAX) {
      const [oldest] = this.byServer.keys()
      if (oldest !== undefined) this.byServer.delete(oldest)
    }
    if (isTaken) return FAST_OPEN_TAKEN
    return isRefused ? FAST_OPEN_REFUSED : FAST_OPEN_NONE
  }
}
