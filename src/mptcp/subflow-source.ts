import type { Micros } from '../base/time.js'
import { GRANT_MAX } from '../scheduler/scheduler.js'
import type { TcpEndpoint } from '../tcp/endpoint.js'
import type { Run, SegmentSource, SeqOff } from '../tcp/extension.js'
import { segmentPayload } from '../tcp/segment-writer.js'
import type { MptcpConnection } from './connection.js'
import type { DataOff } from './mapping.js'
import { PHASE_PLAIN, PHASE_SYN, type Phase } from './phase.js'
import { Retained } from './retained.js'
import { SPARSE_UNTRIED, type SparseState, spanOf } from './sparse.js'
import type { TxMappings } from './tx-mappings.js'

/**
 * What a subflow sends: the mappings that it has declared, what of them has left, and what the scheduler lets out next. The base of
 * `Subflow`, and one object with it, since every segment needs both.
 *
 *     SeqOff   1 ------- ackedSeq ------------ nextSeq ------------ reserveEnd
 *                acked            in flight             reserved (sparse.ts)     not mapped: granted, or the scheduler's to grant
 */
export abstract class SubflowSource implements SegmentSource {
  readonly conn: MptcpConnection
  abstract readonly ep: TcpEndpoint
  abstract readonly isActive: boolean
  phase: Phase = PHASE_SYN

  /** Declared mappings that are not wholly acknowledged; null while there are none. */
  tx: TxMappings | null = null
  /** A copy of the flight, taken because it held up the send buffer. */
  retained: Retained | null = null
  /** Bytes of ours that the SYN brought; subflow sequence numbers of mappings do not count them (RFC 8684 appendix B.2). */
  fastOpenLen = 0
  /** The same of the peer's SYN. */
  peerFastOpenLen = 0
  /** SeqOff of the next new byte, and below which all is acknowledged. */
  nextSeq: SeqOff = 1
  ackedSeq: SeqOff = 1
  /** End of a mapping of which only a part has left; not above `nextSeq`: there is none. See sparse.ts, as for `sparse`. */
  reserveEnd: SeqOff = 0
  sparse: SparseState = SPARSE_UNTRIED
  /** A DATA_ACK was received on this subflow. */
  hasDataAck = false
  /** What the scheduler lets out in this step, in DataOff. */
  grantOff: DataOff = 0
  grantLen = 0
  /** Sum over the run that was written last, for `commit`. */
  declaredSum = -1
  /** Start of the infinite mapping that the next data carries; -1: none. */
  infiniteSsn: SeqOff = -1
  infiniteData: DataOff = 0
  /** SeqOff of the segment that carried it, so that its retransmission does too; -1: none yet. */
  infiniteAt: SeqOff = -1
  /** End of what it has carried of the stream, for the scheduler. */
  carriedTo: DataOff = 0
  /** Data-level timeouts in a row that are this subflow's fault: it acknowledged what never reached the data level. */
  holes = 0

  constructor(conn: MptcpConnection) {
    this.conn = conn
  }

  /** Bytes that are mapped and have not left, see sparse.ts. */
  get reserved(): number {
    return Math.max(0, this.reserveEnd - this.nextSeq)
  }

  /** SeqOff behind the last byte that is mapped. */
  get mappedEnd(): SeqOff {
    return Math.max(this.reserveEnd, this.nextSeq)
  }

  /** The next data carries the infinite mapping from [data, ...) at `seq`. */
  announceInfinite(data: DataOff, seq: SeqOff): void {
    this.infiniteData = data
    this.infiniteSsn = seq
  }

  pending(): number {
    const c = this.conn
    if (this.phase !== PHASE_PLAIN) {
      if (this.reserveEnd <= this.nextSeq) return this.grantLen
      return c.isClosing ? 0 : this.reserveEnd - this.nextSeq // once everything is DATA_ACKed, nobody waits for the rest
    }
    return c.sendQueue.readyEnd - c.tx.streamOfSeq(this.nextSeq)
  }

  prepare(seqOff: SeqOff, maxLen: number, _now: Micros, run: Run): boolean {
    const c = this.conn
    if (this.phase === PHASE_PLAIN) {
      const off = c.tx.streamOfSeq(seqOff)
      run.off = off
      run.len = Math.min(maxLen, c.sendQueue.readyEnd - off)
    } else if (this.phase === PHASE_SYN && this.isActive) {
      // Fast Open: the only data that a SYN can carry, outside of the data sequence space (RFC 8684 appendix B.2)
      run.off = 0
      run.len = Math.min(maxLen, c.sendQueue.readyEnd)
      run.span = run.len
    } else if (this.reserveEnd > seqOff) return this.runAt(seqOff, maxLen, run)
    else {
      const len = Math.min(maxLen, this.grantLen, GRANT_MAX)
      run.off = c.tx.streamOfData(this.grantOff)
      run.tag = this.grantOff
      run.span = c.sparse === null ? len : spanOf(this, len)
      // options are the same in all segments of a super-segment: the one with the DSS goes alone
      run.len = run.span > len ? Math.min(len, segmentPayload(this.ep, false)) : len
    }
    run.queue = c.sendQueue
    return run.len > 0
  }

  commit(seqOff: SeqOff, run: Run, n: number, _now: Micros): void {
    this.nextSeq = seqOff + n
    const c = this.conn
    if (this.phase === PHASE_PLAIN) {
      if (this.infiniteSsn >= 0 && this.infiniteAt < 0) this.infiniteAt = seqOff
      return
    }
    if (this.reserveEnd > seqOff) return // declared already
    const { span } = run
    if (this.tx === null) this.tx = c.cfg.txMappings.take(seqOff)
    this.tx.push(seqOff, run.tag, span, this.declaredSum)
    if (span > n) {
      this.reserveEnd = seqOff + span
      c.env.counters.SparseMappings++
    }
    this.grantOff += span
    this.grantLen -= span
    if (this.grantOff > this.carriedTo) this.carriedTo = this.grantOff
    c.onCommitted(run.tag, span)
  }

  runAt(seqOff: SeqOff, maxLen: number, run: Run): boolean {
    const c = this.conn
    run.queue = c.sendQueue
    if (this.phase === PHASE_PLAIN) {
      run.off = c.tx.streamOfSeq(seqOff)
      run.len = Math.min(maxLen, this.nextSeq - seqOff)
      return run.len > 0 && run.off >= c.sendQueue.base
    }
    const tx = this.tx
    const i = tx === null ? -1 : tx.find(seqOff)
    if (tx === null || i < 0) return false
    run.off = c.tx.streamOfData(tx.dataAt(i) + (seqOff - tx.seqAt(i)))
    run.len = Math.min(maxLen, tx.endAt(i) - seqOff)
    run.tag = i
    if (this.retained?.has(seqOff) === true) this.retained.locate(seqOff, run)
    return true
  }

  acked(seqOff: SeqOff, _now: Micros): void {
    this.ackedSeq = Math.min(seqOff, this.nextSeq)
    if (this.infiniteAt >= 0 && seqOff > this.infiniteAt) this.infiniteSsn = -1
    this.conn.isReleaseDue = true
    if (this.retained?.ackTo(seqOff) === true) this.retained = null
    const tx = this.tx
    if (tx === null) return
    tx.ackTo(seqOff)
    if (tx.retire(this.conn.snd.una) > 0) this.holes = 0
    if (tx.count === 0) this.dropTx()
  }

  /** Smallest DataOff that this subflow still needs in the send queue, Infinity: none. */
  minNeeded(): DataOff {
    const { tx, retained } = this
    if (tx === null) return Infinity
    if (retained === null) return tx.minUnacked()
    let min = Infinity
    for (let i = tx.count - 1; i >= 0 && tx.endAt(i) > retained.end; i--)
      min = Math.min(min, tx.dataAt(i) + Math.max(0, retained.end - tx.seqAt(i)))
    return min
  }

  /** Takes a copy of the flight, so that the send queue can let go of it. */
  retain(): void {
    const { tx, conn } = this
    if (tx === null || tx.acked === tx.count) return
    if (this.retained === null) this.retained = new Retained(tx.unackedFrom(tx.acked), conn.env.arena)
    this.retained.extend(tx, conn.sendQueue, conn.tx)
  }

  /** The data level moved: forgets mappings that both levels have acknowledged. */
  retire(dataUna: DataOff): void {
    if (this.tx === null) return
    this.tx.retire(dataUna)
    if (this.tx.count === 0) this.dropTx()
  }

  isEnding(): boolean {
    return this.conn.sendQueue.finAt >= 0
  }

  abstract finAt(): SeqOff

  /** Forgets all of it. */
  protected dropTx(): void {
    if (this.tx !== null) this.conn.cfg.txMappings.give(this.tx)
    this.tx = null
    this.reserveEnd = 0
    this.retained?.clear()
    this.retained = null
  }
}
