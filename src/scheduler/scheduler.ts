import type { Micros } from '../base/time.js'

/** What a scheduler may know of one subflow. Live values, read during a call and not kept. */
export interface SubflowView {
  /** Smoothed round-trip time, 0: unknown. */
  readonly srttUs: Micros
  readonly rttvarUs: Micros
  /** Congestion window and bytes in the network. */
  readonly cwnd: number
  readonly inFlight: number
  /** Payload of one full segment. */
  readonly mss: number
  /** Either end asked to use it only when nothing else is left (RFC 8684 §3.3.8). */
  readonly isBackup: boolean
  /** Established at both levels and not closing. */
  readonly isUsable: boolean
  /** Already found unable to send anything more in this round: not to be granted to again, but no reason to use a worse one. */
  readonly isBlocked: boolean
  /** Retransmission timeouts in a row without an answer. */
  readonly rtoCount: number
  /** Price of a byte, see `Path.cost`. */
  readonly cost: number
  /** End of what it has carried of the stream so far: its send pointer, in DataOff. */
  readonly carriedTo: number
  /** Payload that the peer has acknowledged on it. */
  readonly bytesAcked: number
  /** Bytes of new data that congestion and subflow window would let out now. */
  sendSpace(): number
}

/** The subflows of one connection; the position in the list is the bit in a grant's mask. At most 31. */
export interface SchedulerView {
  readonly subflows: readonly SubflowView[]
  /** [dataUna, dataNxt), in DataOff, is on its way on some subflow and not acknowledged at the data level. */
  readonly dataUna: number
  readonly dataNxt: number
}

/** A scheduler's answer: which subflows get the next bytes, each of them the same ones, and how many. A scratch object. */
export class Grant {
  /** Bit i set: subflow i of the view. Several bits: each sends its own copy. */
  mask = 0
  /** Bytes, 1-65 535: one mapping is at most that long (RFC 8684 §3.3.1). */
  len = 0
  /** First byte, in DataOff: for `repeat` only. */
  off = 0

  clear(): void {
    this.mask = 0
    this.len = 0
    this.off = 0
  }
}

/** Longest data-level mapping (16-bit length field). */
export const GRANT_MAX = 65_535

/** Why bytes go out a second time. */
export const REINJECT_RTO = 0
export const REINJECT_SUBFLOW_LOST = 1
/** The data-level timer fired. */
export const REINJECT_DATA_RTO = 2
/** A slow subflow holds up the window, and a faster one has room. */
export const REINJECT_BLOCKED = 3
export type ReinjectCause = 0 | 1 | 2 | 3

export const SUBFLOW_UP = 0
export const SUBFLOW_DOWN = 1
export const SUBFLOW_PRIORITY = 2
export const SUBFLOW_RTO = 3
export type SubflowEvent = 0 | 1 | 2 | 3

/**
 * Decides which subflow carries which bytes. Asked whenever something changed (ACK, timeout, path, priority, new data), again and
 * again until it grants nothing. One instance per connection; it keeps whatever state it wants.
 */
export interface Scheduler {
  readonly name: string
  /**
   * New data. @param pending bytes that wait and that the peer's data window admits. @param peerWindow what is left of that
   * window. Fills `out` and returns true, or returns false: wait.
   */
  select(view: SchedulerView, pending: number, peerWindow: number, now: Micros, out: Grant): boolean
  /** `len` bytes to be sent again. @param exclude mask of subflows that carry them already. */
  reinject(view: SchedulerView, exclude: number, len: number, cause: ReinjectCause, now: Micros, out: Grant): boolean
  /**
   * Only of schedulers that send bytes on purpose more than once: what of [dataUna, dataNxt) goes out on which subflow besides, before
   * anything new does. @param pending as for `select`, 0: the application has no more. Fills `out`, `off` included.
   */
  repeat?(view: SchedulerView, pending: number, now: Micros, out: Grant): boolean
  /** Something happened to subflow `index` of the view. */
  onEvent(event: SubflowEvent, index: number, now: Micros): void
}

export type SchedulerFactory = () => Scheduler
