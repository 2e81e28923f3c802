import { NEVER, type Micros } from '../base/time.js'
import type { TxRing } from '../base/rings.js'
import type { Path } from '../pathmgr/path.js'
import { GRANT_MAX, type SubflowView } from '../scheduler/scheduler.js'
import type { TcpEndpoint } from '../tcp/endpoint.js'
import {
  ACK_ALONE,
  ACK_NONE,
  ACK_NOW,
  type AckWish,
  KEEPALIVES,
  KEEPALIVES_LAST,
  ON_RESET,
  type OptionsVerdict,
  type Run,
  type SegmentKind,
  type SegmentSink,
  type SegmentSource,
  type SeqOff,
  type TcpExtension,
} from '../tcp/extension.js'
import { segmentPayload } from '../tcp/segment-writer.js'
import { CAUSE_RESET } from '../tcp/state.js'
import { HAS_FAIL, HAS_RST, RST_MIDDLEBOX, RST_MPTCP_ERROR } from '../wire/mptcp-options.js'
import type { Packet } from '../wire/packet.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import type { MptcpConnection } from './connection.js'
import type { JoinState } from './handshake.js'
import type { DataOff } from './mapping.js'
import { isFastclose, readOptions } from './options-in.js'
import { optionLen, writeOptions } from './options-out.js'
import { Retained } from './retained.js'
import type { MapResult, RxMappings } from './rx-mappings.js'
import { SPARSE_UNTRIED, type SparseState, spanOf, suspectSparse } from './sparse.js'
import type { Stale } from './stale.js'
import type { Staging } from './staging.js'
import { acceptPayload, drainPlain, drainStaging } from './subflow-sink.js'
import type { TxMappings } from './tx-mappings.js'

/** SYN sent, or third ACK awaited. */
export const PHASE_SYN = 0
/** Active, initial: the peer has shown its key, but nothing proves yet that it has ours. */
export const PHASE_UNCONFIRMED = 1
/** Active join: the third ACK is out, no data before the fourth (RFC 8684 §3.2 PRE_ESTABLISHED). */
export const PHASE_JOINING = 2
export const PHASE_OPEN = 3
/** Fallen back: no options, the stream is counted in SeqOff. */
export const PHASE_PLAIN = 4
/** The endpoint is closed, or lingers in TIME-WAIT by itself. */
export const PHASE_DEAD = 5
export type Phase = 0 | 1 | 2 | 3 | 4 | 5

/** Names for `status`. */
export const PHASE_NAMES: readonly string[] = ['syn', 'unconfirmed', 'joining', 'open', 'plain', 'dead']

/**
 * One subflow of a connection: source, sink and extension of one endpoint, and what the scheduler sees of it. Path state lives here,
 * also when the subflow is the only one.
 *
 *     PHASE_SYN -> UNCONFIRMED -> OPEN -> DEAD        initial, active
 *         |    \-> JOINING ------^                    join, active
 *         |-----------------------^                   passive
 *         \--------> PLAIN (fallback; also from UNCONFIRMED and OPEN)
 */
export class Subflow implements SegmentSource, SegmentSink, TcpExtension, SubflowView {
  readonly conn: MptcpConnection
  readonly ep: TcpEndpoint
  readonly path: Path
  /** Unique within the connection; never reused. */
  readonly id: number
  readonly isActive: boolean
  readonly isJoin: boolean
  phase: Phase = PHASE_SYN
  localAddrId: number
  remoteAddrId = 0
  /** We asked the peer, the peer asked us, to treat it as backup. */
  isBackupHere: boolean
  isPeerBackup = false
  /** The peer has withdrawn the address that it leads to, and is about to close it (RFC 8684 §3.4.2). */
  isPeerWithdrawn = false
  join: JoinState | null
  /** SYNs go without MP_CAPABLE from now on (RFC 8684 §3.1); SYN/ACKs too, in case the way back is the one that does not take it. */
  isPlainSyn = false
  isCapableAckSent = false

  // ---- sending
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
  /** What the scheduler lets out in this step, in DataOff. */
  grantOff: DataOff = 0
  grantLen = 0
  /** Sum over the run that was written last, for `commit`. */
  declaredSum = -1
  /** Found unable to send in this round. */
  isBlocked = false
  /** Earliest instant of the next probe of this subflow's own window. */
  probeAt: Micros = 0
  /** Start of the infinite mapping that the next data carries; -1: none. */
  infiniteSsn: SeqOff = -1
  infiniteData: DataOff = 0
  /** SeqOff of the segment that carried it, so that its retransmission does too; -1: none yet. */
  infiniteAt: SeqOff = -1

  // ---- receiving
  /** Mappings of bytes that are not consumed; null while there are none. */
  rx: RxMappings | null = null
  staging: Staging | null = null
  /** A DATA_ACK was received on this subflow. */
  hasDataAck = false
  /** Segments without any MPTCP option since the last one with. */
  bareRun = 0
  /** The peer closed its direction of the subflow. */
  isPeerFin = false
  /** The only subflow may send its FIN although the DATA_FIN is not acknowledged: nobody answers it. */
  isFinForced = false
  /** Data-level timeouts in a row that are this subflow's fault: it acknowledged what never reached the data level. */
  holes = 0
  /** Window probes in a row without an answer. */
  silentProbes = 0
  /** Timeouts in a row, null: it answers. */
  stale: Stale | null = null

  // ---- signals
  sentDataAck: DataOff = -1
  isAckWritten = false
  ackWish: AckWish = ACK_NONE
  /** A DATA_ACK is owed, also if it has not moved: fourth ACK, DATA_FIN. */
  isAnswerDue = false
  /** MP_FAIL (RFC 8684 §3.7): DataOff of the peer's mapping, -1: none. */
  failAt: DataOff = -1
  isFailDue = false
  /**
   * We fell back over a wrong checksum of the peer's, whose infinite mapping has not come: until then it is told what has arrived.
   * Linux 6.18 declares it with the next new data only, and its buffer is full of what was not DATA_ACKed.
   */
  isDataAckKept = false
  /** MP_PRIO is due: `isBackupHere` has changed. */
  isPrioDue = false
  /** It is for the second time. */
  isPrioRepeated = false
  /** Pure ACKs in a row that only carried an address signal. */
  signalRun = 0
  /** MP_TCPRST for our RST, -1: none. */
  rstReason = -1
  isRstTransient = false
  /** MP_TCPRST of the peer's RST, -1: none. */
  peerRstReason = -1
  private joinAckAt: Micros = NEVER
  private joinAckTries = 0

  /** @param make creates the endpoint over this object. */
  constructor(conn: MptcpConnection, id: number, path: Path, isActive: boolean, join: JoinState | null, make: (s: Subflow) => TcpEndpoint) {
    this.conn = conn
    this.id = id
    this.path = path
    this.isActive = isActive
    this.isJoin = join !== null
    this.join = join
    // 0 is the initial subflow's on both sides (RFC 8684 §3.2)
    this.localAddrId = join === null ? 0 : path.id & 0xff || id & 0xff
    this.isBackupHere = path.isBackup
    this.ep = make(this)
  }

  // ---------------------------------------------------------------- scheduler's view

  get srttUs(): Micros {
    return this.ep.srttUs
  }
  get rttvarUs(): Micros {
    return this.ep.rttvarUs
  }
  get cwnd(): number {
    return this.ep.cwnd
  }
  get inFlight(): number {
    return this.ep.inFlight
  }
  get mss(): number {
    return this.ep.mss
  }
  get cost(): number {
    return this.path.cost
  }
  get bytesAcked(): number {
    return this.ep.bytesAcked
  }
  carriedTo: DataOff = 0
  get rtoCount(): number {
    return this.ep.rtoCount
  }
  get isBackup(): boolean {
    return this.isBackupHere || this.isPeerBackup || this.isPeerWithdrawn
  }
  sendSpace(): number {
    return this.ep.sendSpace()
  }

  /** Established at both levels and able to send; as a server by Fast Open before that. */
  get isUsable(): boolean {
    return (this.phase === PHASE_OPEN || this.phase === PHASE_UNCONFIRMED || this.isFastPhase) && this.ep.canSend
  }

  /** Passive, initial: the third ACK is awaited. What leaves before it by Fast Open is mapped (RFC 8684 appendix B.3). */
  private get isFastPhase(): boolean {
    return this.phase === PHASE_SYN && !this.isActive && !this.isJoin
  }

  get isLive(): boolean {
    return this.phase !== PHASE_DEAD
  }

  // ---------------------------------------------------------------- what the connection calls

  /**
   * Lets the endpoint send at most one segment. The receive window belongs to the connection and is relative to the DATA_ACK (RFC 8684
   * §3.3.4): what this subflow announces follows from what was promised at the data level, on whichever subflow; its own right
   * edge may thereby move left on the wire, while what it accepts does not.
   */
  poll(tx: TxRing, now: Micros): boolean {
    const ep = this.ep
    const rcv = ep.rcv
    const shared = this.conn.rcv
    if (this.phase === PHASE_PLAIN || this.phase === PHASE_DEAD || !ep.isSynchronized) {
      const isSyn = ep.hs?.isSynDue === true
      const sent = ep.pollTransmit(tx, now)
      if (sent && isSyn && this.phase === PHASE_SYN && !this.isJoin)
        shared.announced = Math.max(shared.announced, rcv.edge - 1 - this.peerFastOpenLen)
      return sent
    }
    const accepted = rcv.edge
    // ACKs without a DATA_ACK promise nothing at the data level: measured by that, a window update would be due for ever
    if (this.phase === PHASE_OPEN) rcv.edge = rcv.rcvNxt + shared.promised
    this.isAckWritten = false
    const sent = ep.pollTransmit(tx, now)
    if (this.isAckWritten) shared.announced = Math.max(shared.announced, shared.dataAck + (rcv.edge - rcv.rcvNxt))
    if (accepted > rcv.edge) rcv.edge = accepted
    return sent
  }

  /** The handshake is complete: data may flow. */
  open(): void {
    this.phase = PHASE_OPEN
    this.join = null
    this.joinAckAt = NEVER
    this.conn.onJoined(this)
  }

  /** An ACK with a DATA_ACK, now. */
  answer(): void {
    this.ackWish = ACK_NOW
    this.isAnswerDue = true
    this.isBlocked = false
  }

  /** An ACK with an address signal and nothing else. A due answer goes first. */
  signal(): void {
    if (this.ackWish === ACK_NONE) this.ackWish = ACK_ALONE
    this.isBlocked = false
  }

  /** Notes why, for the RST that the endpoint is about to send. */
  refuse(reason: number): OptionsVerdict {
    this.rstReason = reason
    return ON_RESET
  }

  /** Bytes that are mapped and have not left, see sparse.ts. */
  get reserved(): number {
    return Math.max(0, this.reserveEnd - this.nextSeq)
  }

  /** SeqOff behind the last byte that is mapped. */
  get mappedEnd(): SeqOff {
    return Math.max(this.reserveEnd, this.nextSeq)
  }

  /** Closes the subflow by RST with MP_TCPRST. */
  reset(reason: number): void {
    this.rstReason = reason
    this.ep.abort()
  }

  /** The next data carries the infinite mapping from [data, ...) at `seq`. */
  announceInfinite(data: DataOff, seq: SeqOff): void {
    this.infiniteData = data
    this.infiniteSsn = seq
  }

  /** The connection has fallen back; its coordinates are fixed. What is staged is stream data now. */
  becomePlain(_now: Micros): void {
    this.phase = PHASE_PLAIN
    suspectSparse(this)
    this.dropTx()
    this.dropRx()
    drainPlain(this)
    if (this.isPeerFin) this.conn.rcv.onPlainFin(this.payloadNxt) // it came before the fallback, and only now it means the end
  }

  /** SeqOff of the next payload byte: the peer's FIN counts in the sequence, but is none. */
  get payloadNxt(): SeqOff {
    const { rcvNxt, finAt } = this.ep.rcv
    return finAt >= 0 && rcvNxt > finAt ? finAt : rcvNxt
  }

  /** Retries deliveries that failed for lack of memory. */
  drain(now: Micros): void {
    if (this.staging !== null) drainStaging(this, this.staging, now)
  }

  /** Gives back everything; the endpoint is closed. */
  die(): void {
    this.phase = PHASE_DEAD
    if (this.ep.cause === CAUSE_RESET || this.rstReason === RST_MIDDLEBOX || this.rstReason === RST_MPTCP_ERROR) suspectSparse(this)
    this.conn.group?.leave(this.ep.snd.cc)
    this.join = null
    this.stale = null
    this.joinAckAt = NEVER
    this.dropTx()
    this.dropRx()
    if (this.staging !== null) this.staging.dispose()
    this.staging = null
  }

  addRxMapping(seq: SeqOff, data: DataOff, len: number, sum: number): MapResult {
    if (this.rx === null) this.rx = this.conn.cfg.rxMappings.take()
    const staging = this.staging
    const result = this.rx.add(seq, data, len, sum, staging === null ? this.ep.rcvNxt : staging.queue.base)
    if (staging !== null) staging.rescan(seq)
    return result
  }

  /** A third ACK of the join went out; it is repeated until the fourth comes (RFC 8684 §3.2). */
  onJoinAckSent(now: Micros): void {
    this.conn.env.counters.MPJoinAckTx++
    this.joinAckAt = now + this.ep.baseRtoUs() * 2 ** this.joinAckTries
  }

  // ---------------------------------------------------------------- SegmentSource

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

  finAt(): SeqOff {
    const c = this.conn
    if (this.phase === PHASE_PLAIN) {
      const at = c.sendQueue.finAt
      return at >= 0 && c.tx.streamOfSeq(this.nextSeq) === at ? this.nextSeq : -1
    }
    if ((this.phase !== PHASE_OPEN && this.phase !== PHASE_UNCONFIRMED) || (this.reserved > 0 && !c.isClosing)) return -1
    // the DATA_ACK that is owed goes first, by itself, as Linux has it
    if (this.isAnswerDue && this.ep.canSend) return -1
    return c.isClosing || this.isFinForced || (this.isPeerFin && c.hasOther(this)) ? this.nextSeq : -1
  }

  // ---------------------------------------------------------------- SegmentSink

  accept(seqOff: SeqOff, mem: Uint8Array, off: number, len: number, now: Micros): number {
    return acceptPayload(this, seqOff, mem, off, len, now)
  }

  edge(): SeqOff {
    return this.ep.rcv.edge
  }

  onFin(seqOff: SeqOff, now: Micros): void {
    if (this.phase === PHASE_PLAIN) this.conn.rcv.onPlainFin(seqOff)
    else {
      this.isPeerFin = true
      this.conn.onSubflowFin(this, now)
    }
  }

  // ---------------------------------------------------------------- TcpExtension

  optionLen(kind: SegmentKind, room: number, isRetransmit: boolean): number {
    return optionLen(this, kind, room, isRetransmit)
  }

  write(
    kind: SegmentKind,
    mem: Uint8Array,
    off: number,
    room: number,
    seqOff: SeqOff,
    run: Run | null,
    isRetransmit: boolean,
    now: Micros,
  ): number {
    return writeOptions(this, kind, mem, off, room, seqOff, run, isRetransmit, now)
  }

  onOptions(pkt: Packet, opts: TcpOptions, segOff: SeqOff, ackOff: SeqOff, now: Micros): OptionsVerdict {
    this.silentProbes = 0
    this.signalRun = 0
    return readOptions(this, pkt, opts, segOff, ackOff, now)
  }

  afterSegment(now: Micros): void {
    this.conn.addresses?.prompt()
    if (this.stale?.onSegment(now) === true) {
      this.stale = null
      this.conn.env.counters.SubflowRecover++
    }
    if (this.staging !== null) this.drain(now)
    const rx = this.rx
    if (rx === null) return
    rx.dropBelow(this.staging === null ? this.ep.rcvNxt : this.staging.queue.base)
    if (rx.count === 0) this.dropRx()
  }

  peerEdge(ackOff: SeqOff, window: number): SeqOff {
    return ackOff + window // §3.3.5: the subflow's own; the data-level edge was read with the DATA_ACK
  }

  ownWindow(rcvNxt: SeqOff): number {
    const c = this.conn
    if (this.phase === PHASE_PLAIN) return Math.max(0, c.recvQueue.edge() - c.rx.streamOfSeq(rcvNxt))
    return c.rcv.window
  }

  maySendData(): boolean {
    return this.phase === PHASE_OPEN || this.phase === PHASE_UNCONFIRMED || this.phase === PHASE_PLAIN || this.isFastPhase
  }

  ownsPersist(): boolean {
    return this.phase !== PHASE_PLAIN
  }

  /** A backup's path may forget it. The last subflow is the connection, and gets as long as data would. */
  keepalives(): number {
    if (this.isBackup) return 0
    return this.conn.hasOther(this) ? KEEPALIVES : KEEPALIVES_LAST
  }

  wantsAck(): AckWish {
    return this.ackWish
  }

  onLoss(): void {}

  onRto(n: number, now: Micros): void {
    if (this.phase === PHASE_SYN) this.isPlainSyn = !this.isJoin && n >= this.conn.capableTries
    else if (this.phase !== PHASE_PLAIN) this.conn.onSubflowRto(this, n, now)
  }

  onReset(opts: TcpOptions | null, now: Micros): void {
    if (opts === null || this.phase === PHASE_DEAD) return
    const m = opts.mptcp
    if ((m.present & HAS_FAIL) !== 0) this.conn.env.counters.MPFailRx++
    if ((m.present & HAS_RST) !== 0) {
      this.conn.env.counters.MPRstRx++
      this.peerRstReason = m.rstReason
    }
    if (isFastclose(this, m)) this.conn.onFastclose(this, now)
  }

  nextTimeout(): Micros {
    return this.stale === null ? this.joinAckAt : Math.min(this.joinAckAt, this.stale.at)
  }

  onTimeout(now: Micros): void {
    if (this.stale !== null && this.stale.at <= now) this.stale.onTimeout(now)
    if (now < this.joinAckAt) return
    this.joinAckAt = NEVER
    if (this.joinAckTries >= this.conn.cfg.joinAckTries) {
      this.reset(RST_MIDDLEBOX)
      return
    }
    this.joinAckTries++
    this.ackWish = ACK_NOW
  }

  // ---------------------------------------------------------------- inner

  private dropTx(): void {
    if (this.tx !== null) this.conn.cfg.txMappings.give(this.tx)
    this.tx = null
    this.reserveEnd = 0
    this.retained?.clear()
    this.retained = null
  }

  private dropRx(): void {
    if (this.rx !== null) this.conn.cfg.rxMappings.give(this.rx)
    this.rx = null
  }
}
