import { GRANT_MAX } from '../scheduler/scheduler.js'
import { segmentPayload } from '../tcp/segment-writer.js'
import { dataAckLen } from './options-out.js'
import type { Subflow } from './subflow.js'
import type { SubflowSource } from './subflow-source.js'

/**
 * Sparse DSS, RFC 8684 §3.3.1: one mapping covers many segments, and only the first of them says so. The others carry as much payload as
 * those of plain TCP. What a mapping declares and has not left yet is *reserved*: it goes out on this subflow and in this order, as soon as
 * windows and pacing let it, before anything new does.
 *
 *     mapping      seq                    nextSeq              reserveEnd
 *     -------------|== DSS ==|-- bare --|-- .. |.. reserved ..|-- next mapping
 */
export interface SparseConfig {
  /** Bytes that both levels must have acknowledged on a subflow before it leaves out a DSS. */
  readonly after: number
  /**
   * Segments of a burst (a millisecond at the subflow's rate) up to which it is worth while. Larger bursts are sent as one super-segment each,
   * whose DSS costs one option a mapping as it is; and the first segment, which goes alone, would be one packet more for the device.
   */
  readonly maxBurst: number
}

/** Not before an exchange is long enough to gain by it; up to some 200 Mbit/s. */
export const SPARSE_AUTO: SparseConfig = { after: 65_536, maxBurst: 16 }

/** For tests: from the first DATA_ACK on, at any rate. */
export const SPARSE_ALWAYS: SparseConfig = { after: 0, maxBurst: Infinity }

/** Not used so far. */
export const SPARSE_UNTRIED = 0
/** In use: the path lets bare segments through, as far as is known. */
export const SPARSE_USED = 1
/** Every segment carries its DSS. */
export const SPARSE_OFF = 2
export type SparseState = 0 | 1 | 2

/**
 * Bytes that a mapping for new data at `grantOff` declares, of which `len` may leave now: `len`, or as many as a whole number of segments
 * takes up behind a first one of its own. Only of data that is queued and that the peer has room for (the grant is bounded by both), and
 * no more than leaves in half a round trip; half of what is left, so that no path is busy for long when the others have nothing to do.
 */
export function spanOf(s: SubflowSource, len: number): number {
  const c = s.conn
  const { sparse } = c
  if (sparse === null || s.sparse === SPARSE_OFF || !s.hasDataAck || c.isChecksummed || s.grantOff !== c.snd.nxt) return len
  const settled = s.tx === null ? s.nextSeq : s.tx.seqAt(0)
  if (settled <= sparse.after) return len
  const { ep } = s
  const { snd, mss } = ep
  if (snd.burst(mss, GRANT_MAX) > sparse.maxBurst * mss) return len
  const first = segmentPayload(ep, false)
  const most = Math.min(s.grantLen < GRANT_MAX ? s.grantLen >> 1 : GRANT_MAX, snd.cwnd >> 1)
  const span = most - ((most - first) % mss)
  if (len < first || span <= Math.max(len, first)) return len
  return s.sparse === SPARSE_UNTRIED && !tryPath(s) ? len : span
}

/** What is known of the path from other connections decides. */
function tryPath(s: SubflowSource): boolean {
  const { env } = s.conn
  s.sparse = env.isSparseOff?.(s.ep.tuple) === true ? SPARSE_OFF : SPARSE_USED
  return s.sparse === SPARSE_USED
}

/**
 * The next new data needs no DSS: its mapping is declared, the segments before it are still in flight (after a pause nobody knows what the
 * path remembers), and no DATA_ACK is due.
 */
export function isBare(s: Subflow): boolean {
  return s.reserveEnd > s.nextSeq && s.sparse === SPARSE_USED && s.ep.snd.flight !== null && dataAckLen(s) === 0
}

/**
 * Something is wrong with a subflow: a reset, a fallback, bytes that were acknowledged and did not arrive. Whether bare segments are to
 * blame is not known; this path gets none any more.
 */
export function suspectSparse(s: SubflowSource): void {
  if (s.sparse !== SPARSE_USED) return
  s.sparse = SPARSE_OFF
  s.conn.env.counters.SparseOff++
  s.conn.env.noteSparseOff?.(s.ep.tuple)
}
