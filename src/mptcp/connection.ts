import type { IpAddress, Tuple } from '../base/address.js'
import type { TxRing } from '../base/rings.js'
import type { StreamQueue } from '../base/stream-queue.js'
import { type Micros, NEVER } from '../base/time.js'
import type { Path } from '../pathmgr/path.js'
import {
  REINJECT_SUBFLOW_LOST,
  type Scheduler,
  type SchedulerView,
  SUBFLOW_DOWN,
  SUBFLOW_PRIORITY,
  SUBFLOW_RTO,
  SUBFLOW_UP,
} from '../scheduler/scheduler.js'
import * as st from '../tcp/state.js'
import { type MptcpOptions, RST_UNSPECIFIED } from '../wire/mptcp-options.js'
import { Addresses } from './addresses.js'
import { CoupledGroup } from './cc/coupled.js'
import { answerOnAll, onLinger, onSubflowDown, stepClose } from './close.js'
import { DataRtx } from './data-rtx.js'
import { armDataTimer, giveUp, giveUpAt, onDataTimeout, onSubflowRto } from './data-timeout.js'
import type { Packet } from '../wire/packet.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import type { ConnectionEnv, MptcpConfig, SynHolder } from './env.js'
import { C_ESTABLISHED, C_CLOSED, C_SPACE, C_DONE, C_FALLBACK, C_SUBFLOW, C_ADDRESSES } from './events.js'
import { FB_INFINITE_RECEIVED, FB_NONE, fallBack, isSoleAndContiguous } from './fallback.js'
import { Fastclose } from './fastclose.js'
import { type ConnectionInfo, connectionInfo } from './info.js'
import type { KeyMaterial } from './keys.js'
import { Coordinates, type DataOff } from './mapping.js'
import { type JoinObstacle, Opening } from './opening.js'
import { RecvState } from './recv-state.js'
import { releaseSent } from './release.js'
import type { SparseConfig } from './sparse.js'
import { DATA_ACK_ADVANCED, DATA_ACK_BAD, SendState } from './send-state.js'
import type { Subflow } from './subflow.js'
import type { SubflowSource } from './subflow-source.js'
import { sendNew, sendReinjections, sendReserved, sendRest } from './transmit.js'

export { C_ESTABLISHED, C_PEER_FIN, C_CLOSED, C_DATA, C_SPACE, C_DONE, C_FALLBACK, C_SUBFLOW, C_ADDRESSES } from './events.js'
export { JOIN_ACCEPTED, type JoinObstacle, OBSTACLE_DENIED, OBSTACLE_LIMIT, OBSTACLE_NO_FLOW, OBSTACLE_STATE } from './opening.js'

/**
 * One connection: two stream queues, which belong to its creator too (the application side fills one and drains the other), and a list
 * of subflows. It sequences only: subflows keep path state, `snd`, `rcv`, `rtx` the data level, the scheduler decides who sends.
 *
 * Contract with the owner, within a turn: feed segments to the endpoints (`env.register`), call `onTimeout` when due, then `pump`
 * into a tx ring until it returns false, then read `takeEvents` and `nextTimeout`. Nothing calls upward.
 */
export class MptcpConnection implements SchedulerView {
  readonly env: ConnectionEnv
  readonly cfg: MptcpConfig
  /** What we send: filled by the owner, released here. `finAt` ends our direction. */
  readonly sendQueue: StreamQueue
  /** What we receive: filled here, released by the owner. */
  readonly recvQueue: StreamQueue
  readonly scheduler: Scheduler
  /** Null: every segment carries its DSS. Schedulers that send bytes twice on purpose plan by what has left. */
  readonly sparse: SparseConfig | null
  /** The subflows' coupled controllers, null: uncoupled. */
  readonly group: CoupledGroup | null
  readonly opening: Opening
  subflows: Subflow[] = []

  /** Both keys are known and the connection has not fallen back. */
  isMptcp = false
  fallbackReason = FB_NONE
  isChecksummed: boolean
  /** SYNs with MP_CAPABLE before plain ones. */
  capableTries: number
  /** Fast Open cookie that the peer gave, for the next connection to it; null: none. */
  fastOpenCookie: Uint8Array | null = null
  /** What the open was tried with: a cookie, an empty one (a request), or null: no Fast Open. */
  fastOpenUsed: Uint8Array | null = null
  /** Flag C of the peer: no join may end at the initial address and port. */
  peerDeniesJoin = false
  /** Joins are allowed: active, a DATA_ACK was received; passive, a third ACK with our key (RFC 8684 §3.1). */
  isFullyEstablished = false
  localKey: KeyMaterial | null = null
  remoteKey: KeyMaterial | null = null

  /** Coordinates of our and of the peer's stream. */
  readonly tx = new Coordinates()
  readonly rx = new Coordinates()
  readonly snd = new SendState()
  readonly rcv: RecvState
  readonly rtx = new DataRtx()

  private events = 0
  cause: st.CloseCause = st.CAUSE_NONE
  isClosed = false
  /** Subflows send their FINs. */
  isClosing = false
  /** We end it abruptly. */
  fastclose: Fastclose | null = null
  /** Address signalling, null while there was none. */
  addresses: Addresses | null = null
  /** DATA_FINs sent; a pure ACK with the first one was asked for. */
  dataFins = 0
  isDataFinAsked = false
  isReleaseDue = false
  /** End of break-before-make, or of the FIN exchanges. */
  lingerAt: Micros = NEVER
  /** How the last subflow ended. */
  downCause: st.CloseCause = st.CAUSE_NONE

  /** @param sendQueue, recvQueue empty queues over `env.arena`. */
  constructor(env: ConnectionEnv, cfg: MptcpConfig, sendQueue: StreamQueue, recvQueue: StreamQueue) {
    this.env = env
    this.cfg = cfg
    this.sendQueue = sendQueue
    this.recvQueue = recvQueue
    this.scheduler = cfg.scheduler()
    this.sparse = this.scheduler.repeat === undefined ? cfg.sparse : null
    this.group = cfg.coupled === null ? null : new CoupledGroup(cfg.coupled)
    this.opening = new Opening(this, this.group === null ? cfg.tcp : { ...cfg.tcp, congestion: this.group.factory })
    this.rcv = new RecvState(recvQueue, this.rx, env.counters)
    this.isChecksummed = cfg.checksum
    this.capableTries = cfg.capableTries
  }

  // ---------------------------------------------------------------- opening

  /**
   * Active open of the initial subflow by `path` from `tuple`, which the owner has allocated.
   * @param capableTries SYNs with MP_CAPABLE before plain ones; 0: none, it is known that they are not answered there
   * @param cookie, mss for Fast Open, as `TcpEndpoint.connect` takes them: with a cookie, what stands in the send queue travels in the SYN
   */
  connect(path: Path, tuple: Tuple, now: Micros, capableTries = this.cfg.capableTries, cookie: Uint8Array | null = null, mss = 0): void {
    this.capableTries = capableTries
    this.fastOpenUsed = cookie
    this.opening.connect(path, tuple, cookie, mss, now)
  }

  /** Bytes of our SYN that the SYN/ACK acknowledged; to be asked in the turn in which the connection is established. */
  get fastOpenTaken(): number {
    return this.fastOpenUsed === null || this.fastOpenUsed.length === 0 ? 0 : (this.subflows[0]?.ep.bytesAcked ?? 0)
  }

  /** The SYN/ACK brings a Fast Open cookie. */
  takeCookie(pkt: Packet, opts: TcpOptions): void {
    this.fastOpenCookie = pkt.mem.slice(opts.fastOpenOff, opts.fastOpenOff + opts.fastOpenLen)
  }

  /** Passive open from a SYN with the MPTCP options `m`; plain TCP when they are not acceptable. */
  static accept(
    env: ConnectionEnv,
    cfg: MptcpConfig,
    sendQueue: StreamQueue,
    recvQueue: StreamQueue,
    half: SynHolder,
    m: MptcpOptions,
    now: Micros,
  ): MptcpConnection {
    const c = new MptcpConnection(env, cfg, sendQueue, recvQueue)
    c.open(half, m, null, now)
    return c
  }

  /**
   * Passive open of the initial subflow, as `accept` does for a fresh connection.
   * @param key our key when a SYN cookie stands for the SYN: it was sent already, and `m` is that of the third ACK; null: drawn here.
   */
  open(half: SynHolder, m: MptcpOptions, key: KeyMaterial | null, now: Micros): void {
    this.opening.accept(half, m, key, now)
  }

  /**
   * Opens another subflow by `path`, as soon as joins are allowed. False: not on this connection (fallen back, closed, the peer forbids
   * it, too many, no flow).
   */
  addPath(path: Path, now: Micros): boolean {
    return this.opening.addPath(path, now)
  }

  /** Opens another subflow by `path` now, or says why it cannot be. */
  openSubflow(path: Path, now: Micros): Subflow | JoinObstacle {
    return this.opening.join(path, now)
  }

  /**
   * A SYN with MP_JOIN for our token.
   * @param localId id under which the address that it came to was announced, -1: it was not
   * @returns JOIN_ACCEPTED, or the reason for the MP_TCPRST of the RST that refuses it (RFC 8684 §3.2, §3.6)
   */
  acceptJoin(half: SynHolder, m: MptcpOptions, now: Micros, localId = -1): number {
    return this.opening.acceptJoin(half, m, now, localId)
  }

  /** Of the initial subflow, null before the open. */
  get firstTuple(): Tuple | null {
    return this.opening.firstTuple
  }

  /** Address signalling; made on first use. Commands before both keys are known are refused by `announce` and `withdraw` below. */
  get addressing(): Addresses {
    if (this.addresses === null) this.addresses = new Addresses(this)
    return this.addresses
  }

  /** Announces `address` under `id` (1-255) to the peer. @param port 0: the port of the subflow. False: not now, or the id is taken. */
  announce(id: number, address: IpAddress, port: number): boolean {
    if (!this.isMptcp || this.isClosed || !this.isFullyEstablished) return false
    return this.addressing.announce(id, address, port)
  }

  /** Tells the peer that our address `id` is gone. Subflows by it are the caller's to close. */
  withdraw(id: number): boolean {
    if (!this.isMptcp || this.isClosed || !this.isFullyEstablished) return false
    this.addressing.withdraw(id)
    return true
  }

  /** Asks the peer to use subflow `s` only when nothing else is left, or again as any other (RFC 8684 §3.3.8). */
  setBackup(s: Subflow, isBackup: boolean, now: Micros): void {
    if (!this.isMptcp || s.isBackupHere === isBackup) return
    s.isBackupHere = isBackup
    if (!s.isUsable) return
    s.isPrioDue = true
    s.isPrioRepeated = false
    s.answer()
    this.onPriority(s, now)
  }

  /** Closes a working subflow by FIN (not by REMOVE_ADDR, RFC 8684 §3.4.2). False: it is the last one. */
  closeSubflow(s: Subflow): boolean {
    if (!this.hasOther(s)) return false
    s.isFinForced = true
    return true
  }

  /** The peer's addresses have changed. */
  onAddresses(): void {
    this.events |= C_ADDRESSES
  }

  // ---------------------------------------------------------------- the turn

  /** Does everything that is due and writes segments. True: the ring is full, call again when it has room. */
  pump(tx: TxRing, now: Micros): boolean {
    const subflows = this.subflows
    for (let i = 0; i < subflows.length; i++) {
      const s = subflows[i] as Subflow
      s.isBlocked = false
      const e = s.ep.takeEvents()
      if (e !== 0) this.onSubflowEvents(s, e, now)
      if (s.staging !== null) s.drain(now)
    }
    this.opening.step(now)
    if (this.isReleaseDue && releaseSent(this)) this.events |= C_SPACE
    if (tx.count === tx.slots) return true
    if (this.mayMap && this.fastclose === null) {
      stepClose(this, now)
      if (this.sparse !== null) sendReserved(this, tx, now)
      if (this.rtx.count > 0) sendReinjections(this, tx, now)
      sendNew(this, tx, now)
      if (this.isDataFinDue) stepClose(this, now)
    }
    sendRest(this, tx, now)
    this.reap(now)
    armDataTimer(this, now)
    return tx.count === tx.slots
  }

  /** Deadline for `onTimeout`. Changes inside the other methods only. */
  nextTimeout(): Micros {
    let at = Math.min(this.rtx.deadline, this.lingerAt, giveUpAt(this))
    if (this.fastclose !== null) at = Math.min(at, this.fastclose.at)
    if (this.addresses !== null) at = Math.min(at, this.addresses.nextTimeout())
    for (let i = 0; i < this.subflows.length; i++) {
      const t = (this.subflows[i] as Subflow).ep.nextTimeout()
      if (t < at) at = t
    }
    return at
  }

  onTimeout(now: Micros): void {
    for (let i = 0; i < this.subflows.length; i++) {
      const ep = (this.subflows[i] as Subflow).ep
      if (ep.nextTimeout() <= now) ep.onTimeout(now)
    }
    if (giveUpAt(this) <= now) giveUp(this, now)
    if (this.rtx.deadline <= now) onDataTimeout(this, now)
    if (this.lingerAt <= now) onLinger(this, now)
    if (this.fastclose !== null && this.fastclose.at <= now) this.fastclose.onTimeout(now)
    if (this.addresses !== null && this.addresses.nextTimeout() <= now) this.addresses.onTimeout(now)
  }

  takeEvents(): number {
    const e = this.events | this.rcv.events
    this.events = 0
    this.rcv.events = 0
    return e
  }

  info(): ConnectionInfo {
    return connectionInfo(this)
  }

  /** Resets everything: MP_FASTCLOSE in RST form on each subflow (RFC 8684 §3.5 option R), in ACK form if so configured, or a plain RST. */
  abort(now: Micros): void {
    if (this.isClosed && this.subflows.length === 0) return
    if (this.isMptcp && !this.isClosed) this.fastclose = new Fastclose(this, now)
    for (const s of this.subflows) {
      if (!s.isLive || s === this.fastclose?.on) continue
      if (this.fastclose !== null) s.rstReason = RST_UNSPECIFIED
      s.ep.abort()
    }
    this.finish(st.CAUSE_ABORTED, now)
  }

  private onSubflowEvents(s: Subflow, e: number, now: Micros): void {
    if ((e & st.EV_ESTABLISHED) !== 0 && !s.isJoin) this.events |= C_ESTABLISHED
    if ((e & st.EV_CLOSED) === 0 || !s.isLive) return
    this.scheduler.onEvent(SUBFLOW_DOWN, this.subflows.indexOf(s), now)
    this.events |= C_SUBFLOW
    if (this.addresses !== null) this.addresses.onSubflowDown(s)
    this.fastclose?.onSubflowDown(s)
    onSubflowDown(this, s, now)
  }

  private reap(now: Micros): void {
    for (let i = this.subflows.length - 1; i >= 0; i--) {
      const s = this.subflows[i] as Subflow
      if (!s.ep.isDone) continue
      const e = s.ep.takeEvents()
      if (e !== 0) this.onSubflowEvents(s, e, now)
      this.env.unregister(s.ep)
      this.subflows.splice(i, 1)
      if (this.subflows.length === 0 && this.isClosed) {
        this.events |= C_DONE
        this.lingerAt = NEVER
      }
    }
  }

  // ---------------------------------------------------------------- data level: sending

  /** Our stream's end is known, all before it was scheduled, and the DATA_FIN is not acknowledged. */
  get isDataFinDue(): boolean {
    return this.isMptcp && !this.snd.isFinAcked && this.isAtEnd
  }

  /** Our stream's end is known and all before it was sent. */
  get isAtEnd(): boolean {
    return this.sendQueue.finAt >= 0 && this.tx.dataOfStream(this.sendQueue.finAt) === this.snd.nxt
  }

  /** Both keys are known; or, by Fast Open, our own, and the peer's SYN has said how much it takes (RFC 8684 appendix B.3). */
  get mayMap(): boolean {
    return this.isMptcp || (this.snd.edge > 0 && this.fallbackReason === FB_NONE)
  }

  onDataFinSent(): void {
    this.snd.isFinSent = true
    this.dataFins++
    this.env.counters.DataFinTx++
  }

  get dataUna(): DataOff {
    return this.snd.una
  }
  get dataNxt(): DataOff {
    return this.snd.nxt
  }

  /** [data, data + n) left on some subflow. */
  onCommitted(data: DataOff, n: number): void {
    const end = data + n
    if (end > this.snd.nxt) this.snd.nxt = end
    else {
      this.env.counters.ReinjectedBytes += n
      this.env.counters.MPTCPRetrans++
    }
  }

  onDataAck(off: DataOff, window: number): void {
    const edge = this.snd.edge
    const result = this.snd.onDataAck(off, window)
    if (result === DATA_ACK_BAD) {
      this.env.counters.BadOption++
      return
    }
    this.isFullyEstablished = true
    if (result === DATA_ACK_ADVANCED) {
      this.isReleaseDue = true
      this.rtx.progress()
    } else if (this.snd.edge > edge) this.rtx.progress()
  }

  /** `n` timeouts in a row on `s`. */
  onSubflowRto(s: Subflow, n: number, now: Micros): void {
    this.scheduler.onEvent(SUBFLOW_RTO, this.subflows.indexOf(s), now)
    onSubflowRto(this, s, n, now)
  }

  /** The bytes of a subflow that is gone have to go elsewhere. */
  reclaim(s: Subflow): void {
    this.rtx.addAll(s.tx, this.snd.una, -1, REINJECT_SUBFLOW_LOST)
    this.isReleaseDue = true
  }

  /** Somebody else can carry what `s` could. */
  hasOther(s: SubflowSource): boolean {
    for (let i = 0; i < this.subflows.length; i++) {
      const o = this.subflows[i] as Subflow
      if (o !== s && o.isUsable) return true
    }
    return false
  }

  // ---------------------------------------------------------------- data level: receiving

  /** The peer's DATA_FIN stands at `off`. False: that cannot be. */
  onDataFin(s: Subflow, off: DataOff): boolean {
    const isNews = this.rcv.finAt < 0
    if (!this.rcv.onFin(off)) return false
    // Our answer carries our own DATA_FIN, if that is due. While data is missing both would answer each other for ever, on all subflows
    if (isNews) answerOnAll(this, s)
    else if (this.rcv.isComplete) s.answer()
    return true
  }

  /**
   * The peer's FIN on a subflow. On the only one, with nothing missing, it is the end of the stream although no DATA_FIN came: the peer may
   * send it only when nothing but the DATA_FIN is outstanding (RFC 8684 §3.3.3), so that one was lost with its option.
   */
  onSubflowFin(s: Subflow, now: Micros): void {
    if (s.failAt >= 0 && isSoleAndContiguous(this, s)) {
      // it has answered our MP_FAIL and had no more data to carry the infinite mapping: what is here is the rest (§3.7)
      fallBack(this, s, FB_INFINITE_RECEIVED, now)
      return
    }
    if (this.opening.everJoined || this.rcv.finAt >= 0 || this.recvQueue.sparse !== null || s.staging !== null) return
    this.onDataFin(s, this.rcv.dataAck)
  }

  // ---------------------------------------------------------------- state changes

  /** The handshake succeeded. @param window first data-level window, bytes. */
  becomeMptcp(remoteKey: KeyMaterial, window: number): void {
    this.remoteKey = remoteKey
    this.isMptcp = true
    this.snd.edge = Math.max(this.snd.edge, window)
    this.env.counters.MPCurrEstab++
  }

  /** Part of `fallBack`. */
  becomePlain(reason: number): void {
    this.fallbackReason = reason
    this.opening.end()
    this.rtx.clear()
    this.leaveMptcp()
    this.isReleaseDue = true
    this.events |= C_FALLBACK
  }

  /** A join is up. */
  onJoined(s: Subflow): void {
    if (!this.isClosed) this.lingerAt = NEVER
    this.events |= C_SUBFLOW
    this.scheduler.onEvent(SUBFLOW_UP, this.subflows.indexOf(s), 0)
  }

  onPriority(s: Subflow, now: Micros): void {
    this.scheduler.onEvent(SUBFLOW_PRIORITY, this.subflows.indexOf(s), now)
    this.events |= C_SUBFLOW
  }

  /** The peer ended the connection (RFC 8684 §3.5): every other subflow is reset here, the one that brought the news by its endpoint. */
  onFastclose(from: Subflow, now: Micros): void {
    if (this.isClosed) return
    this.env.counters.MPFastcloseRx++
    for (const s of this.subflows) if (s !== from && s.isLive) s.reset(RST_UNSPECIFIED)
    this.finish(st.CAUSE_RESET, now)
  }

  /** The connection is over for its owner. */
  finish(cause: st.CloseCause, _now: Micros): void {
    if (this.isClosed) return
    this.isClosed = true
    this.cause = cause
    this.events |= C_CLOSED
    this.opening.end()
    this.rtx.clear()
    if (this.isMptcp) this.env.counters.MPCurrEstab--
    if (this.localKey !== null && this.fallbackReason === FB_NONE) this.env.releaseToken(this.localKey.token)
    if (this.subflows.length === 0) this.events |= C_DONE
  }

  private leaveMptcp(): void {
    if (this.localKey !== null) this.env.releaseToken(this.localKey.token)
    if (!this.isMptcp) return
    this.isMptcp = false
    this.env.counters.MPCurrEstab--
  }
}
