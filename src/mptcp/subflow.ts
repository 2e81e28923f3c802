import { NEVER, type Micros } from '../base/time.js'
import type { TxRing } from '../base/rings.js'
import type { Path } from '../pathmgr/path.js'
import type { SubflowView } from '../scheduler/scheduler.js'
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
  type SeqOff,
  type TcpExtension,
} from '../tcp/extension.js'
import { CAUSE_RESET } from '../tcp/state.js'
import { HAS_FAIL, HAS_RST, RST_MIDDLEBOX, RST_MPTCP_ERROR } from '../wire/mptcp-options.js'
import type { Packet } from '../wire/packet.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import type { MptcpConnection } from './connection.js'
import type { JoinState } from './handshake.js'
import type { DataOff } from './mapping.js'
import { isFastclose, readOptions } from './options-in.js'
import { optionLen, writeOptions } from './options-out.js'
import { PHASE_DEAD, PHASE_OPEN, PHASE_PLAIN, PHASE_SYN, PHASE_UNCONFIRMED } from './phase.js'
import type { MapResult, RxMappings } from './rx-mappings.js'
import { suspectSparse } from './sparse.js'
import type { Stale } from './stale.js'
import type { Staging } from './staging.js'
import { acceptPayload, drainPlain, drainStaging } from './subflow-sink.js'
import { SubflowSource } from './subflow-source.js'

export { PHASE_SYN, PHASE_UNCONFIRMED, PHASE_JOINING, PHASE_OPEN, PHASE_PLAIN, PHASE_DEAD, PHASE_NAMES, type Phase } from './phase.js'

/**
 * One subflow of a connection: source, sink and extension of one endpoint, and what the scheduler sees of it. Path state lives here,
 * also when the subflow is the only one.
 *
 *     PHASE_SYN -> UNCONFIRMED -> OPEN -> DEAD        initial, active
 *         |    \-> JOINING ------^                    join, active
 *         |-----------------------^                   passive
 *         \--------> PLAIN (fallback; also from UNCONFIRMED and OPEN)
 */
export class Subflow extends SubflowSource implements SegmentSink, TcpExtension, SubflowView {
  readonly ep: TcpEndpoint
  readonly path: Path
  /** Unique within the connection; never reused. */
  readonly id: number
  readonly isActive: boolean
  readonly isJoin: boolean
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

  // ---- scheduling
  /** Found unable to send in this round. */
  isBlocked = false
  /** Earliest instant of the next probe of this subflow's own window. */
  probeAt: Micros = 0

  // ---- receiving
  /** Mappings of bytes that are not consumed; null while there are none. */
  rx: RxMappings | null = null
  /** DataOff - SeqOff of the last mapping that was consumed, NaN: none. */
  rxDiff = Number.NaN
  staging: Staging | null = null
  /** Segments without any MPTCP option since the last one with. */
  bareRun = 0
  /** The peer closed its direction of the subflow. */
  isPeerFin = false
  /** The only subflow may send its FIN although the DATA_FIN is not acknowledged: nobody answers it. */
  isFinForced = false
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
  /** MP_TCPRST of the peer's RST, -1: none. */
  peerRstReason = -1
  private joinAckAt: Micros = NEVER
  private joinAckTries = 0

  /** @param make creates the endpoint over this object. */
  constructor(conn: MptcpConnection, id: number, path: Path, isActive: boolean, join: JoinState | null, make: (s: Subflow) => TcpEndpoint) {
    super(conn)
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
    this.leaveSyn()
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

  /** Closes the subflow by RST with MP_TCPRST. */
  reset(reason: number): void {
    this.rstReason = reason
    this.ep.abort()
  }

  /** The connection has fallen back; its coordinates are fixed. What is staged is stream data now. */
  becomePlain(_now: Micros): void {
    this.phase = PHASE_PLAIN
    suspectSparse(this)
    this.dropTx()
    this.dropRx()
    if (this.staging !== null) {
      // it was acknowledged, and is the stream's now: a slow reader gets it also when this endpoint closes first
      const { recvQueue } = this.conn
      recvQueue.promise(recvQueue.readyEnd + this.payloadNxt - this.staging.queue.base)
    }
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
    if (this.staging === null) return
    drainStaging(this, this.staging, now)
    // the peer's FIN came before what was staged could be placed
    if (this.isPeerFin && this.staging === null && this.phase === PHASE_OPEN) this.conn.onSubflowFin(this, now)
  }

  /** Gives back everything; the endpoint is closed. */
  die(): void {
    this.leaveSyn()
    this.phase = PHASE_DEAD
    if (!this.conn.isClosed && this.isEndSuspicious()) suspectSparse(this)
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

  // ---------------------------------------------------------------- SegmentSource, what is not in its base

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
    const diff = rx.dropBelow(this.staging === null ? this.ep.rcvNxt : this.staging.queue.base)
    if (!Number.isNaN(diff)) this.rxDiff = diff
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
    // what was to be said when the connection fell back is void, but for MP_FAIL: without an option to write the wish would never be met
    if (this.phase === PHASE_PLAIN && !this.isFailDue && !this.isDataAckKept) this.ackWish = ACK_NONE
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

  /** The third ACK of a peer's join has come, or will not. */
  private leaveSyn(): void {
    if (this.phase === PHASE_SYN && this.isJoin && !this.isActive) this.conn.env.counters.MPJoinPending--
  }

  /** It was reset for a reason that mappings may be behind, or for none, as boxes do that know nothing of MPTCP. */
  private isEndSuspicious(): boolean {
    const reason = this.peerRstReason
    return this.ep.cause === CAUSE_RESET ? reason < 0 || isAboutMappings(reason) : isAboutMappings(this.rstReason)
  }

  private dropRx(): void {
    if (this.rx !== null) this.conn.cfg.rxMappings.give(this.rx)
    this.rx = null
  }
}

/** A reason for MP_TCPRST that mappings may be behind. */
function isAboutMappings(reason: number): boolean {
  return reason === RST_MIDDLEBOX || reason === RST_MPTCP_ERROR
}
