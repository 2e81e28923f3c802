import { US_PER_MS, US_PER_S, type Micros } from '../base/time.js'
import type { CongestionFactory } from './cc/controller.js'
import { cubic } from './cc/cubic.js'
import { FlightPool } from './scoreboard.js'

/** What endpoints of one kind share: one object per stack and leg, never copied per connection. */
export interface TcpConfig {
  /** Largest segment (payload and options beyond 20 bytes excluded, RFC 9293 §3.7.1) that we announce and send: interface MTU less IP and TCP header. */
  readonly mss4: number
  readonly mss6: number
  /** Super-segments: payload of many MSS in one packet with GSO metadata. */
  readonly gso: boolean
  /** Window scale shift that we announce, 0-14 (RFC 7323 §2.3). */
  readonly windowScale: number
  readonly timestamps: boolean
  readonly sack: boolean
  /** Initial window in segments (RFC 6928: 10). */
  readonly initialWindow: number
  readonly rtoInitUs: Micros
  readonly rtoMinUs: Micros
  readonly rtoMaxUs: Micros
  /** Retransmissions of a SYN before the connect fails (Linux tcp_syn_retries: 6). */
  readonly synRetries: number
  /** Retransmissions of data, or unanswered probes, before the connection is given up (Linux tcp_retries2: 15). */
  readonly dataRetries: number
  /**
   * Silence after which the peer is asked whether it is there (RFC 9293 §3.8.4), which also keeps address translators on the way from
   * forgetting the connection; 0: never, which that RFC wants as default.
   */
  readonly keepaliveUs: Micros
  /** Distance of further ones while no answer comes; 0: it doubles from the round trip. */
  readonly keepaliveIntervalUs: Micros
  /** The same in CLOSE-WAIT, where a peer may be gone for good instead of waiting for our data; 0: as `keepaliveUs`. */
  readonly closeWaitAskUs: Micros
  /** How long data may stay unacknowledged before the connection is given up (RFC 5482); 0: what `dataRetries` says. The peer's wish is not heeded. */
  readonly userTimeoutUs: Micros
  readonly delayedAckUs: Micros
  /** Segments acknowledged at once at the beginning (Linux: 16), to speed up the peer's slow start. */
  readonly quickAcks: number
  readonly timeWaitUs: Micros
  /** Nagle's algorithm (RFC 9293 §3.7.4). Off in the daemon: the application's own kernel has applied it already. */
  readonly nagle: boolean
  readonly ttl: number
  /** Explicit congestion notification (RFC 3168): 'accept' answers a peer that asks for it (Linux tcp_ecn 2), 'request' asks as well. */
  readonly ecn: 'off' | 'accept' | 'request'
  /**
   * Spreads what the window lets out over the round trip (timers of about 1 ms), for paths of at least PACING_RTT_US. Bursts are
   * bounded by the rate in any case.
   */
  readonly pacing: boolean
  /**
   * Full segments that time out twice in a row are cut, and the largest size that passes is searched (RFC 4821, RFC 8899; Linux
   * tcp_mtu_probing). What ICMP says counts in any case.
   */
  readonly mtuProbing: boolean
  /** A pause of an RTO restarts slow start (RFC 5681 §4.1; Linux tcp_slow_start_after_idle). */
  readonly idleRestart: boolean
  /** Tail loss probes (RFC 8985 §7; Linux tcp_early_retrans). */
  readonly tailProbes: boolean
  readonly congestion: CongestionFactory
  readonly flights: FlightPool
}

/** Defaults as Linux has them. `over` replaces single values. */
export function tcpConfig(over: Partial<TcpConfig> = {}): TcpConfig {
  return {
    mss4: 1460,
    mss6: 1440,
    gso: true,
    windowScale: 10,
    timestamps: true,
    sack: true,
    initialWindow: 10,
    rtoInitUs: 1 * US_PER_S, // RFC 6298 §2.1
    rtoMinUs: 200 * US_PER_MS, // Deviation: RFC 6298 §2.4 says 1 s; Linux uses 200 ms
    rtoMaxUs: 120 * US_PER_S,
    synRetries: 6,
    dataRetries: 15,
    keepaliveUs: 0,
    keepaliveIntervalUs: 0,
    closeWaitAskUs: 0,
    userTimeoutUs: 0,
    delayedAckUs: 40 * US_PER_MS,
    quickAcks: 16,
    timeWaitUs: 60 * US_PER_S,
    nagle: false,
    ttl: 64,
    ecn: 'accept',
    pacing: true,
    mtuProbing: true,
    idleRestart: true,
    tailProbes: true,
    congestion: cubic,
    flights: new FlightPool(),
    ...over,
  }
}
