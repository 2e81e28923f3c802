import type { Micros } from '../base/time.js'
import type { StreamQueue } from '../base/stream-queue.js'
import type { Packet } from '../wire/packet.js'
import type { TcpOptions } from '../wire/tcp-options.js'

/**
 * SeqOff: bytes since the subflow's ISN. The SYN is 0, the first payload byte 1, the FIN follows the last byte.
 * A plain number that never wraps. RFC 8684 §3.3.1 calls it the relative subflow sequence number.
 */
export type SeqOff = number

/** A stretch of payload to be sent as one (super-)segment; scratch object owned by the endpoint, filled by the source. */
export class Run {
  queue: StreamQueue | null = null
  /** Where the bytes stand in `queue`. */
  off = 0
  len = 0
  /** For the source's own use between `prepare`/`runAt` and `write`/`commit` (MPTCP: DSN, mapping). */
  tag = 0
  /** The same (MPTCP: bytes that the mapping declares, `len` or more). */
  span = 0
}

/** Kinds of segment whose options differ. */
export const KIND_SYN = 0
export const KIND_SYNACK = 1
/** The ACK that completes an active open, and its repetitions before anything else was received. */
export const KIND_ACK3 = 2
export const KIND_DATA = 3
export const KIND_PURE_ACK = 4
export const KIND_FIN = 5
export const KIND_RST = 6
export type SegmentKind = 0 | 1 | 2 | 3 | 4 | 5 | 6

export const ON_CONTINUE = 0
/** Ignore the segment altogether: no ACK, no state. */
export const ON_DROP = 1
/** Reset this flow (the extension has noted the MP_TCPRST reason that `write(KIND_RST)` will carry). */
export const ON_RESET = 2
export type OptionsVerdict = 0 | 1 | 2

export const ACK_NONE = 0
export const ACK_NOW = 1
/** A pure ACK with unpadded timestamps, so that a large option fits (ADD_ADDR for IPv6 with port: 30 bytes). */
export const ACK_ALONE = 2
export type AckWish = 0 | 1 | 2

/** Keepalives without an answer after which a peer counts as gone: half a minute. */
export const KEEPALIVES = 5
/** The same where giving up is worse than waiting: a quarter of an hour, as data has it. */
export const KEEPALIVES_LAST = 10

/** Where an endpoint takes the bytes it sends from. */
export interface SegmentSource {
  /** New bytes that `prepare` would grant now; 0: nothing to send. */
  pending(): number
  /**
   * Offers new data for sequence position `seqOff`: fills `run` with 1..maxLen bytes and returns true, or returns false.
   * No state may change before `commit`.
   */
  prepare(seqOff: SeqOff, maxLen: number, now: Micros, run: Run): boolean
  /** The device took the first `n` bytes of the prepared run (n >= 1) at `seqOff`. Only now a mapping counts as declared. */
  commit(seqOff: SeqOff, run: Run, n: number, now: Micros): void
  /** Bytes for a retransmission at `seqOff`: fills `run` with at most `maxLen`, never across a mapping. False: none (never for unACKed data). */
  runAt(seqOff: SeqOff, maxLen: number, run: Run): boolean
  /** Everything below `seqOff` was acknowledged by the peer. */
  acked(seqOff: SeqOff, now: Micros): void
  /** SeqOff right behind the last byte once the stream's end is known and all of it was committed (the FIN's position), else -1. */
  finAt(): SeqOff
  /** The stream's end is known: nothing will join the bytes that are pending. */
  isEnding(): boolean
}

/** Where an endpoint puts the bytes it receives. */
export interface SegmentSink {
  /**
   * In-window bytes mem[off, off+len) at `seqOff`, in or out of order, possibly overlapping earlier ones (the first copy wins).
   * Returns how many of them, from the front, were taken; the rest is not acknowledged.
   */
  accept(seqOff: SeqOff, mem: Uint8Array, off: number, len: number, now: Micros): number
  /** First sequence offset that may not be sent to us: the right edge of the receive window. Must never retreat. */
  edge(): SeqOff
  /** The peer's FIN stands at `seqOff` and everything before it was received. */
  onFin(seqOff: SeqOff, now: Micros): void
}

/**
 * The only place where MPTCP touches TCP. One object per endpoint, never swapped; a plain connection has `PLAIN`.
 * `write` must write no more than `optionLen` said in the same turn, padded with NOPs to a multiple of 4
 * (except for ACK_ALONE, where the endpoint pads).
 */
export interface TcpExtension {
  /**
   * Bytes (a multiple of 4) that the extension wants on the next segment of this kind; `room` is what is left of the 40. Data that was
   * sent before (`isRetransmit`) may need more of them than data that follows other data.
   */
  optionLen(kind: SegmentKind, room: number, isRetransmit: boolean): number
  /**
   * Writes the options for a segment that starts at `seqOff`. `run` is the payload (DATA) or null. Returns the bytes written.
   * `isRetransmit` tells a retransmission, where the original mapping is repeated.
   */
  write(
    kind: SegmentKind,
    mem: Uint8Array,
    off: number,
    room: number,
    seqOff: SeqOff,
    run: Run | null,
    isRetransmit: boolean,
    now: Micros,
  ): number
  /**
   * Every segment that passed the RFC 5961 checks, before its ACK and payload are used. RFC 8684: options act on acceptable segments only.
   * `segOff` is the SeqOff of the segment's first byte (0 for a SYN), `ackOff` what it acknowledges (SeqOff of our stream) or -1.
   */
  onOptions(pkt: Packet, opts: TcpOptions, segOff: SeqOff, ackOff: SeqOff, now: Micros): OptionsVerdict
  /** After ACK and payload of the same segment were processed. */
  afterSegment(now: Micros): void
  /** Right edge (SeqOff) that the peer grants: `ackOff + window` for plain TCP; MPTCP reads the window at the data level and may return the same. */
  peerEdge(ackOff: SeqOff, window: number): SeqOff
  /** Window (bytes, unscaled) to announce beside an ACK of `rcvNxt`; plain: sink.edge() - rcvNxt. */
  ownWindow(rcvNxt: SeqOff): number
  /** False holds back all new data (MP_JOIN: until the fourth ACK came). */
  maySendData(): boolean
  /** True: the extension probes zero windows and times data-level retransmission itself. */
  ownsPersist(): boolean
  /** Keepalives without an answer after which the peer counts as gone; 0: none are sent now (RFC 9293 §3.8.4). */
  keepalives(): number
  wantsAck(): AckWish
  /** [from, to) was found lost and will be retransmitted by the endpoint. */
  onLoss(from: SeqOff, to: SeqOff, now: Micros): void
  /** The n-th retransmission timeout in a row (1, 2, ...). */
  onRto(n: number, now: Micros): void
  /** A RST was accepted; its options (MP_TCPRST, FASTCLOSE, MP_FAIL) are in `opts`. */
  onReset(opts: TcpOptions | null, now: Micros): void
  nextTimeout(): Micros
  onTimeout(now: Micros): void
}
