import type { Micros } from '../../base/time.js'

/** Largest congestion window; far above any queue, small enough to stay exact in all arithmetic. */
export const CWND_MAX = 1 << 30

/** Slow-start threshold before the first congestion event. A small integer, so that the field needs no box. */
export const SSTHRESH_MAX = CWND_MAX

/** Congestion control of one sender. Windows in bytes; segments are at least one MSS. */
export interface CongestionController {
  readonly name: string
  cwnd: number
  /** SSTHRESH_MAX until the first congestion event. */
  ssthresh: number
  /** Bytes per second, 0: not paced. */
  pacingBps: number
  /** New data was cumulatively acknowledged or SACKed outside of recovery. `isLimited`: the window, not the application, held the sender back. */
  onAck(delivered: number, mss: number, rttUs: Micros, isLimited: boolean, now: Micros): void
  /** Entering fast recovery: one congestion event per window of data (RFC 5681 §3.2). */
  onCongestion(inFlight: number, mss: number, now: Micros): void
  /** Retransmission timeout (RFC 5681 §3.1); `isFirst`: not a back-off of an earlier one. */
  onRto(inFlight: number, mss: number, isFirst: boolean, now: Micros): void
  /** Recovery ended without further loss. */
  onRecovered(mss: number, now: Micros): void
  /** The sender was idle for longer than an RTO (RFC 5681 §4.1). */
  onIdle(initialWindow: number): void
}

export type CongestionFactory = (initialWindow: number) => CongestionController
