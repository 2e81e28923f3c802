import { type Micros, US_PER_S } from '../base/time.js'
import type { TcpEndpoint } from './endpoint.js'
import type { SeqOff } from './extension.js'
import { segmentPayload, TS_LEN } from './segment-writer.js'

/** RFC 8899 §5.1.2: a size that nearly every path carries; where it does not, what IPv4 (RFC 1122 §3.3.3) and IPv6 guarantee. */
const BASE_MTU4 = 1200
const MIN_MTU4 = 576
const MIN_MTU6 = 1280
/** Linux min_pmtu: less than this is never believed of an ICMP error. */
const MIN_ICMP_MTU4 = 552
/** RFC 1191 §7: sizes that links have, for routers that do not tell theirs. */
const PLATEAUS = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, MIN_ICMP_MTU4]
/** Timeouts in a row after which segments that may be too large are cut: no black hole lasts longer than three times the timeout. */
const BLACK_HOLE_RTOS = 2
/** From one probe to the next while the size is searched. */
const SEARCH_INTERVAL_US = 1 * US_PER_S
/** RFC 8899 §5.1.1 PMTU_RAISE_TIMER: the path may have become better. */
const RAISE_INTERVAL_US = 600 * US_PER_S
/** The search is exact enough. */
const SEARCH_STEP = 16

/**
 * Packetization layer path MTU discovery (RFC 4821, RFC 8899). It exists only while the segment size is below what the SYNs settled.
 * All sizes are payload with the fixed options counted, as `TcpEndpoint.mss`.
 *
 *     ICMP, black hole --> good = mss <---- probe acknowledged: good = probe ----+
 *                               |                                                |
 *                               +--- due ---> probe of (good + bad) / 2 ---------+ lost: bad = probe
 *
 * A probe is one larger segment of new data. Its loss is no congestion (RFC 4821 §7.5).
 */
export class PathMtu {
  /** What the SYNs settled. */
  readonly ceiling: number
  /** Smallest size that is known not to pass; ceiling + 1: none. */
  bad: number
  /** Earliest instant of the next probe, -1: to be counted from the next transmission on. */
  dueAt: Micros = -1
  /** The probe in flight, -1: none. */
  probeAt: SeqOff = -1
  probeEnd: SeqOff = -1
  private probeMss = 0
  /** The scoreboard found it lost. */
  isProbeLost = false

  constructor(ceiling: number) {
    this.ceiling = ceiling
    this.bad = ceiling + 1
  }

  /** Size of the probe to send now, 0: none. @param mss the current size. */
  wanted(mss: number, now: Micros): number {
    if (this.probeAt >= 0) return 0
    if (this.dueAt < 0) this.dueAt = now + RAISE_INTERVAL_US
    if (now < this.dueAt) return 0
    if (this.bad - mss <= SEARCH_STEP) this.bad = this.ceiling + 1 // a new search
    return this.bad > this.ceiling ? this.ceiling : (mss + this.bad) >> 1
  }

  onProbeSent(at: SeqOff, end: SeqOff, mss: number): void {
    this.probeAt = at
    this.probeEnd = end
    this.probeMss = mss
    this.isProbeLost = false
  }

  /** Everything below `una` is acknowledged. @returns the new size, `mss` when it stays. */
  onAck(una: SeqOff, mss: number, now: Micros): number {
    if (this.probeAt < 0 || una < this.probeEnd) return mss
    this.probeAt = -1
    if (this.isProbeLost) this.bad = Math.max(mss + 1, this.probeMss)
    else mss = Math.max(mss, this.probeMss)
    this.dueAt = now + (this.bad - mss <= SEARCH_STEP ? RAISE_INTERVAL_US : SEARCH_INTERVAL_US)
    return mss
  }
}

/** IP header, TCP header and timestamps. */
function overhead(ep: TcpEndpoint): number {
  return (ep.tuple.local.isV4 ? 40 : 60) + (ep.hasTimestamps ? TS_LEN : 0)
}

/** Lowers the segment size to what fits into `mtu`, and cuts what is in flight again. Never raises it. */
export function lowerMtu(ep: TcpEndpoint, mtu: number): void {
  const mss = mtu - overhead(ep)
  if (mss >= ep.mss || mss < 64) return
  const snd = ep.snd
  if (snd.pmtu === null) snd.pmtu = new PathMtu(ep.mss)
  snd.pmtu.probeAt = -1
  snd.pmtu.dueAt = -1
  ep.mss = mss
  snd.onMssChange(segmentPayload(ep, true))
}

/** An ICMP error that passed the check of RFC 5927 §4; `mtu` 0: the router did not say (RFC 1191 §5). */
export function onTooBig(ep: TcpEndpoint, mtu: number): void {
  if (!ep.tuple.local.isV4) {
    if (mtu >= MIN_MTU6) lowerMtu(ep, mtu) // RFC 8201 §4: what says less than 1280 is discarded
    return
  }
  const size = ep.mss + overhead(ep)
  const next = mtu > 0 ? mtu : (PLATEAUS.find((plateau) => plateau < size) ?? MIN_ICMP_MTU4)
  lowerMtu(ep, Math.max(next, MIN_ICMP_MTU4))
}

/**
 * After a retransmission timeout: when full segments time out again and again, they may be too large for the path, and nobody says so
 * (RFC 4821 §7.7, RFC 8899 §4.4). A path that is just dead costs nothing: the search for the size begins once it answers.
 */
export function suspectBlackHole(ep: TcpEndpoint, now: Micros): void {
  const { snd } = ep
  const { flight } = snd
  if (!ep.cfg.mtuProbing || flight === null || ep.retries < BLACK_HOLE_RTOS) return
  const sizes = ep.tuple.local.isV4 ? [BASE_MTU4, MIN_MTU4] : [MIN_MTU6]
  const mtu = sizes.find((size) => size - overhead(ep) < ep.mss)
  if (mtu === undefined || flight.headLen <= mtu - overhead(ep)) return
  lowerMtu(ep, mtu)
  if (snd.pmtu !== null) snd.pmtu.dueAt = now + SEARCH_INTERVAL_US
  // the smaller segment is not the one that was in vain: it does not wait for what that one earned
  snd.rtt.backoff = 1
  snd.rexmitAt = now + ep.rtoUs()
}

/** After an ACK: what became of the probe. */
export function onMtuAck(ep: TcpEndpoint, pmtu: PathMtu, now: Micros): void {
  ep.mss = pmtu.onAck(ep.snd.sndUna, ep.mss, now)
  if (ep.mss >= pmtu.ceiling) ep.snd.pmtu = null
}
