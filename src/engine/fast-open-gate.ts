import { type Micros, US_PER_S } from '../base/time.js'
import { COOKIE_INVALID, COOKIE_OLD, type FastOpenKeys } from '../tcp/fast-open.js'
import type { Packet } from '../wire/packet.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import type { EngineCounters } from './metrics.js'
import { tupleOf } from './demux.js'

/** How long a connection that was reset before its third ACK counts as one that waits for it (RFC 7413 §5.1; as Linux). */
const RESET_US: Micros = 60 * US_PER_S

/**
 * Which SYNs of a listener open a connection at once (RFC 7413 §4.2.2): those with a valid cookie, as long as not too many wait for their
 * third ACK. What is over the limit, or has no valid cookie, gets a plain handshake. A spoofed flood with stolen cookies ends in resets
 * from those whose addresses were used; without counting these for a while it would have no limit.
 */
export class FastOpenGate {
  /** Makes and checks cookies; may be shared with other listeners. */
  keys: FastOpenKeys
  /** Connections in SYN-RECEIVED that were opened at once. */
  pending = 0
  /** For the SYN/ACK of the SYN that was judged last, null: none. */
  cookie: Uint8Array | null = null
  private readonly max: number
  /** Resets that still count: until when, ascending. */
  private readonly resets: Micros[] = []

  /** @param max connections that may wait for their third ACK at the same time */
  constructor(keys: FastOpenKeys, max: number) {
    this.keys = keys
    this.max = max
  }

  /** Whether the SYN opens a connection at once; `cookie` is what its SYN/ACK has to carry. */
  admit(syn: Packet, opts: TcpOptions, counters: EngineCounters, now: Micros): boolean {
    this.cookie = null
    const len = opts.fastOpenLen
    if (len < 0) return false
    if (len === 0) counters.TcpExtTCPFastOpenCookieReqd++
    if (!this.hasRoom(now)) {
      counters.TcpExtTCPFastOpenListenOverflow++
      return false
    }
    this.keys.renew(now)
    const { local, remote } = tupleOf(syn)
    const verdict = len === 0 ? COOKIE_INVALID : this.keys.check(remote, local, syn.mem, opts.fastOpenOff, len)
    if (verdict === COOKIE_INVALID) {
      if (len > 0) counters.TcpExtTCPFastOpenPassiveFail++
      this.cookie = this.keys.give(remote, local)
      return false
    }
    if (verdict === COOKIE_OLD) {
      counters.TcpExtTCPFastOpenPassiveAltKey++
      this.cookie = this.keys.give(remote, local)
    }
    counters.TcpExtTCPFastOpenPassive++
    this.pending++
    return true
  }

  /** Its third ACK has come, or it is gone. */
  onSettled(): void {
    this.pending--
  }

  /** The peer's address has reset it before the third ACK. */
  onReset(now: Micros): void {
    this.pending--
    this.resets.push(now + RESET_US)
  }

  /** As Linux: the oldest reset gives way when its time is over, one for each that comes. */
  private hasRoom(now: Micros): boolean {
    if (this.pending + this.resets.length < this.max) return true
    const [oldest] = this.resets
    if (oldest === undefined || oldest > now) return false
    this.resets.shift()
    return true
  }
}
