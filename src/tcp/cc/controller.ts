import type { Micros } from '../../base/time.js'

/** Largest congestion window; far above any queue, small enough to stay exact in all arithmetic. */
export const CWND_MAX = 1 << 30

/** Slow-start threshold before the first congestion event. A small integer, so that the field needs no box. */
export const SSTHRESH_MAX = CWND_MAX

/** What one ACK means for congestion control; one scratch object, reused. Lengths in bytes, times in microseconds. */
export class AckSample {
  /** Newly delivered, by ACK or SACK. */
  delivered = 0
  mss = 0
  /** Round trip measured by this ACK, -1: none. */
  rttUs: Micros = -1
  srttUs: Micros = 0
  /** Smallest round trip of the connection, 0: not known. */
  minRttUs: Micros = 0
  /** In the network before and after this ACK. */
  priorInFlight = 0
  inFlight = 0
  /** Newly found lost. */
  lost = 0
  /** The congestion window, not the application or the peer's window, held the sender back. */
  isLimited = false
  /** Positions that only grow: delivered and sent since the connection began. */
  deliveredTotal = 0
  sentTotal = 0
  /** Delivery rate in bytes per second over the latest sampling interval, 0: none. */
  rateBps = 0
  isRateAppLimited = false
  /** `deliveredTotal` when the segment behind the rate sample was sent: tells rounds apart. */
  priorDelivered = 0
}

/** Congestion control of one sender. Windows in bytes; segments are at least one MSS. */
export interface CongestionController {
  readonly name: string
  cwnd: number
  /** SSTHRESH_MAX until the first congestion event. */
  ssthresh: number
  /** Bytes per second, 0: not paced. */
  pacingBps: number
  /** The controller sets cwnd during fast recovery too; otherwise proportional rate reduction does. */
  readonly ownsRecovery: boolean
  /** What it knows beyond `ssthresh` is of no use after a pause: the sender may drop it then and make another. */
  readonly isForgetful: boolean
  /** Data was delivered outside of fast recovery. `s` is valid during the call only. */
  onAck(s: AckSample, now: Micros): void
  /** Entering fast recovery: one congestion event per window of data (RFC 5681 §3.2). */
  onCongestion(inFlight: number, mss: number, now: Micros): void
  /** Retransmission timeout (RFC 5681 §3.1); `isFirst`: not a back-off of an earlier one. */
  onRto(inFlight: number, mss: number, isFirst: boolean, now: Micros): void
  /** Recovery ended without further loss. */
  onRecovered(mss: number, now: Micros): void
  /** The last reduction turned out to be spurious: take it back. */
  onSpurious(now: Micros): void
  /** The sender was idle for longer than an RTO (RFC 5681 §4.1). */
  onIdle(initialWindow: number): void
}

export type CongestionFactory = (initialWindow: number) => CongestionController
