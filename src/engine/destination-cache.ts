import type { IpAddress, Tuple } from '../base/address.js'
import { type Micros, US_PER_S } from '../base/time.js'
import type { MptcpConnection } from '../mptcp/connection.js'
import { FB_PLAIN_SYN } from '../mptcp/fallback.js'
import { FAST_OPEN_NONE, type FastOpenOutcome, FastOpenCookies } from './fast-open.js'

/** How long MP_CAPABLE is left out after the first black hole; doubled with each further one in a row. */
const FIRST_US: Micros = 30 * US_PER_S
const MAX_US: Micros = 3600 * US_PER_S
const ENTRIES_MAX = 1024

/** What is known of a destination that does not answer MP_CAPABLE. */
interface BlackHole {
  /** Black holes in a row. */
  strikes: number
  /** SYNs go without MP_CAPABLE until then. */
  until: Micros
}

/**
 * Destinations whose way swallows SYNs with MP_CAPABLE, so that not every connection to them waits for its plain SYN:
 *
 *     unknown --- plain SYN was answered, those with MP_CAPABLE were not --> plain for 30 s, 60 s, ... 1 h
 *        ^                                                                       |  over: one SYN with MP_CAPABLE, then a plain one
 *        +------------------------- MP_CAPABLE was answered --------------------+
 *
 * A server that was restarted looks like a black hole once, and costs it 30 s (Linux: MPTCP is off for every destination for an hour).
 * Bounded: the entry that was made first makes room.
 */
export class DestinationCache {
  private readonly holes = new Map<string, BlackHole>()
  private readonly fastOpen = new FastOpenCookies()
  /** Paths, each a source and a destination, on which segments without a DSS went wrong once. */
  private readonly sparseOff = new Set<string>()

  /** Destinations that are remembered. */
  get size(): number {
    return this.holes.size
  }

  /** SYNs that may carry MP_CAPABLE to this destination; 0: plain TCP from the start. @param tries where nothing is known */
  capableTries(remote: IpAddress, port: number, tries: number, now: Micros): number {
    const hole = this.holes.get(keyOf(remote, port))
    if (hole === undefined) return tries
    return now < hole.until ? 0 : Math.min(1, tries)
  }

  /** For `MptcpConnection.connect`: a Fast Open cookie, an empty one to ask for one, null: not now. */
  fastOpenCookie(remote: IpAddress, now: Micros): Uint8Array | null {
    return this.fastOpen.cookieFor(remote, now)
  }

  /** The MSS that the server had then, 0: not known. */
  fastOpenMss(remote: IpAddress): number {
    return this.fastOpen.mssOf(remote)
  }

  /** The handshake of a connection that was opened from here has succeeded. What became of Fast Open on it is returned. */
  onEstablished(conn: MptcpConnection, now: Micros): FastOpenOutcome {
    const tuple = conn.firstTuple
    if (tuple === null) return FAST_OPEN_NONE
    this.noteCapable(conn, tuple, now)
    return this.fastOpen.onEstablished(conn, tuple.remote, now)
  }

  /** For `ConnectionEnv`: whether every segment on that path carries its DSS. */
  isSparseOff(tuple: Tuple): boolean {
    return this.sparseOff.has(`${tuple.local} ${tuple.remote}`)
  }

  /** From now on they do, for good: 20 bytes a segment are less than another connection that is lost. */
  noteSparseOff(tuple: Tuple): void {
    if (this.sparseOff.size === ENTRIES_MAX) {
      for (const oldest of this.sparseOff) {
        this.sparseOff.delete(oldest)
        break
      }
    }
    this.sparseOff.add(`${tuple.local} ${tuple.remote}`)
  }

  private noteCapable(conn: MptcpConnection, tuple: Tuple, now: Micros): void {
    const key = keyOf(tuple.remote, tuple.remotePort)
    if (conn.isMptcp) this.holes.delete(key)
    if (conn.fallbackReason !== FB_PLAIN_SYN) return
    const hole = this.holes.get(key)
    const strikes = (hole?.strikes ?? 0) + 1
    if (hole === undefined && this.holes.size === ENTRIES_MAX) {
      for (const oldest of this.holes.keys()) {
        this.holes.delete(oldest)
        break
      }
    }
    this.holes.set(key, { strikes, until: now + Math.min(MAX_US, FIRST_US * 2 ** (strikes - 1)) })
  }
}

function keyOf(remote: IpAddress, port: number): string {
  return `${remote} ${port}`
}
