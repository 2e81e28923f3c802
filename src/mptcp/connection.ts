import type { IpAddress, Tuple } from '../base/address.js'
import type { TxRing } from '../base/rings.js'
import type { StreamQueue } from '../base/stream-queue.js'
import { type Micros, NEVER } from '../base/time.js'
import { type Path, path as plainPath } from '../pathmgr/path.js'
import {
  REINJECT_SUBFLOW_LOST,
  type Scheduler,
  type SchedulerView,
  SUBFLOW_DOWN,
  SUBFLOW_PRIORITY,
  SUBFLOW_RTO,
  SUBFLOW_UP,
} from '../scheduler/scheduler.js'
import type { TcpConfig } from '../tcp/config.js'
import { TcpEndpoint } from '../tcp/endpoint.js'
import type { SeqOff } from '../tcp/extension.js'
import * as st from '../tcp/state.js'
import {
  CAPABLE_CHECKSUM,
  CAPABLE_DENY_JOIN,
  type MptcpOptions,
  RST_MIDDLEBOX,
  RST_MPTCP_ERROR,
  RST_PROHIBITED,
  RST_UNSPECIFIED,
} from '../wire/mptcp-options.js'
import { Addresses } from './addresses.js'
import { CoupledGroup } from './cc/coupled.js'
import { answerOnAll, bestSubflow, onLinger, onSubflowDown, stepClose } from './close.js'
import { DataRtx } from './data-rtx.js'
import { armDataTimer, giveUp, giveUpAt, onDataTimeout, onSubflowRto } from './data-timeout.js'
import type { Packet } from '../wire/packet.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import type { ConnectionEnv, MptcpConfig, SynHolder } from './env.js'
import {
  FB_BLACK_HOLE,
  FB_DISABLED,
  FB_INFINITE_RECEIVED,
  FB_NO_TOKEN,
  FB_NONE,
  fallBack,
  isSoleAndContiguous,
  mayFallBack,
} from './fallback.js'
import { answerJoin, JoinState, refusalOfCookie, refusalOfSyn } from './handshake.js'
import { type ConnectionInfo, connectionInfo } from './info.js'
import { generateKey, type KeyMaterial } from './keys.js'
import { Coordinates, type DataOff } from './mapping.js'
import { RecvState } from './recv-state.js'
import type { SparseConfig } from './sparse.js'
import { DATA_ACK_ADVANCED, DATA_ACK_BAD, SendState } from './send-state.js'
import { Subflow, WINDOW_SLACK } from './subflow.js'
import { sendNew, sendReinjections, sendReserved, sendRest } from './transmit.js'

// Events of a connection, for its owner (`takeEvents`).

/** The remote leg is up: MPTCP or plain, see `isMptcp`. */
export const C_ESTABLISHED = 1
/** The peer's stream has ended and all of it is in the receive queue. */
export const C_PEER_FIN = 2
/** Over; `cause` says how. Subflows may still exchange FINs. */
export const C_CLOSED = 4
/** The receive queue grew. */
export const C_DATA = 8
/** The send queue shrank. */
export const C_SPACE = 16
/** Nothing is left to do or to wait for: the owner may forget the connection. */
export const C_DONE = 32
export const C_FALLBACK = 64
/** A subflow came up or went down. */
export const C_SUBFLOW = 128
/** The peer has announced or withdrawn addresses, see `addressing`. */
export const C_ADDRESSES = 256

/** What `acceptJoin` says when it took a join; anything else is the reason for MP_TCPRST. */
export const JOIN_ACCEPTED = -1

/** A subflow that needs so much of the send buffer for itself that others may have to wait. */
const PINNED_PART = 8

/** Bytes of IP and TCP header without options. */
const HEADERS4 = 40
const HEADERS6 = 60

/** Repetitions of a FASTCLOSE on an ACK (RFC 8684 §3.5). */
const FASTCLOSE_TRIES = 3

/** Why a subflow cannot be opened. */
export const OBSTACLE_STATE = 'joins are not allowed now'
export const OBSTACLE_LIMIT = 'the connection has all the subflows that it may have'
export const OBSTACLE_DENIED = 'the server forbids joins to its address'
export const OBSTACLE_NO_FLOW = 'there is no egress or no port for it'
export type JoinObstacle = typeof OBSTACLE_STATE | typeof OBSTACLE_LIMIT | typeof OBSTACLE_DENIED | typeof OBSTACLE_NO_FLOW

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
  /** What its endpoints share: `cfg.tcp`, with the coupled controllers when there are such. */
  private readonly tcp: TcpConfig
  readonly subflows: Subflow[] = []

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
  /** A join succeeded once: no fallback any more (§3.7). */
  everJoined = false
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
  isFastclosing = false
  /** The subflow whose ACKs carry FASTCLOSE (§3.5 option A), null: RSTs do. */
  fastcloseOn: Subflow | null = null
  private fastcloseAt: Micros = NEVER
  private fastcloseTries = 0
  /** Address signalling, null while there was none. */
  addresses: Addresses | null = null
  /** DATA_FINs sent; a pure ACK with the first one was asked for. */
  dataFins = 0
  isDataFinAsked = false
  private isPeerFinNoted = false
  isReleaseDue = false
  /** End of break-before-make, or of the FIN exchanges. */
  lingerAt: Micros = NEVER
  /** How the last subflow ended. */
  downCause: st.CloseCause = st.CAUSE_NONE
  private nextId = 0
  /** Paths asked for before joins are allowed. */
  private waiting: Path[] | null = null

  /** @param sendQueue, recvQueue empty queues over `env.arena`. */
  constructor(env: ConnectionEnv, cfg: MptcpConfig, sendQueue: StreamQueue, recvQueue: StreamQueue) {
    this.env = env
    this.cfg = cfg
    this.sendQueue = sendQueue
    this.recvQueue = recvQueue
    this.scheduler = cfg.scheduler()
    this.sparse = this.scheduler.repeat === undefined ? cfg.sparse : null
    this.group = cfg.coupled === null ? null : new CoupledGroup(cfg.coupled)
    this.tcp = this.group === null ? cfg.tcp : { ...cfg.tcp, congestion: this.group.factory }
    this.rcv = new RecvState(recvQueue, this.rx)
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
    const s = this.addSubflow(path, true, null, this.opener(this.tcp, tuple, now))
    if (!this.cfg.isEnabled) fallBack(this, s, FB_DISABLED, now)
    else if (capableTries === 0) fallBack(this, s, FB_BLACK_HOLE, now)
    else if (!this.makeKey()) fallBack(this, s, FB_NO_TOKEN, now)
    this.fastOpenUsed = cookie
    s.ep.connect(now, cookie, mss)
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
    const { cfg, env } = this
    const path = plainPath({ label: 'accepted' })
    const s = this.addSubflow(path, false, null, this.answerer(half, now))
    const refusal = cfg.isEnabled ? (key === null ? refusalOfSyn(m) : refusalOfCookie(m)) : FB_DISABLED
    if (refusal !== FB_NONE) {
      fallBack(this, s, refusal, now)
      return
    }
    env.counters.MPCapableSYNRX++
    this.isChecksummed ||= (m.capableFlags & CAPABLE_CHECKSUM) !== 0
    this.peerDeniesJoin = (m.capableFlags & CAPABLE_DENY_JOIN) !== 0
    if (key === null ? !this.makeKey() : !this.takeKey(key)) fallBack(this, s, FB_NO_TOKEN, now)
  }

  /**
   * Opens another subflow by `path`, as soon as joins are allowed. False: not on this connection (fallen back, closed, the peer forbids
   * it, too many, no flow).
   */
  addPath(path: Path, now: Micros): boolean {
    if (this.isClosed || this.isClosing || this.fallbackReason !== FB_NONE) return false
    if (!this.isFullyEstablished) {
      if (this.waiting === null) this.waiting = []
      this.waiting.push(path)
      return true
    }
    return typeof this.openSubflow(path, now) === 'object'
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

  /**
   * A SYN with MP_JOIN for our token.
   * @param localId id under which the address that it came to was announced, -1: it was not
   * @returns JOIN_ACCEPTED, or the reason for the MP_TCPRST of the RST that refuses it (RFC 8684 §3.2, §3.6)
   */
  acceptJoin(half: SynHolder, m: MptcpOptions, now: Micros, localId = -1): number {
    const n = this.env.counters
    n.MPJoinSynRx++
    if (m.joinBackup) n.MPJoinSynBackupRx++
    const first = this.initialTuple
    const isInitial = first !== null && first.localPort === half.tuple.localPort && first.local.equals(half.tuple.local)
    const reason = this.refusalOfJoin(isInitial)
    if (reason !== JOIN_ACCEPTED) {
      n.MPJoinRejected++
      return reason
    }
    const join = new JoinState(this.env.host.rng())
    const path = plainPath({ id: this.nextId, label: 'joined' })
    const s = this.addSubflow(path, false, join, this.answerer(half, now))
    // §3.2: an address id names an address; 0 is the initial subflow's
    if (localId >= 0) s.localAddrId = localId
    else if (this.initialTuple?.local.equals(half.tuple.local) === true) s.localAddrId = 0
    answerJoin(s, m)
    return JOIN_ACCEPTED
  }

  private refusalOfJoin(isInitial: boolean): number {
    if (!this.isMptcp || !this.isFullyEstablished || this.isClosed || this.isClosing) return RST_MPTCP_ERROR
    // the limit is policy, as for Linux
    if (this.subflows.length >= this.cfg.maxSubflows || (isInitial && this.cfg.denyJoinInitial)) return RST_PROHIBITED
    return JOIN_ACCEPTED
  }

  /** Opens another subflow by `path` now, or says why it cannot be. */
  openSubflow(path: Path, now: Micros): Subflow | JoinObstacle {
    const first = this.initialTuple
    if (!this.isMptcp || !this.isFullyEstablished || this.isClosed || this.isClosing || first === null) return OBSTACLE_STATE
    if (this.subflows.length >= this.cfg.maxSubflows) return OBSTACLE_LIMIT
    const remote = path.destination ?? first.remote
    const port = path.destination !== null && path.destinationPort !== 0 ? path.destinationPort : first.remotePort
    // C forbids every join that ends at the initial address and port, through a detour too (RFC 8684 §3.1)
    if (this.peerDeniesJoin && !this.endsElsewhere(path, remote, port, first)) return OBSTACLE_DENIED
    const tuple = this.env.openFlow(path, remote, port, now)
    if (tuple === null) return OBSTACLE_NO_FLOW
    const join = new JoinState(this.env.host.rng())
    const tcp = tcpBy(this.tcp, path)
    const s = this.addSubflow(path, true, join, this.opener(tcp, tuple, now))
    // §3.2: the id names the address; 0 is the initial subflow's
    if (tuple.local.equals(first.local)) s.localAddrId = 0
    else if (this.env.addressId !== undefined) s.localAddrId = this.env.addressId(tuple.local)
    s.ep.connect(now)
    return s
  }

  /** Makes the endpoint of an active open. */
  private opener(tcp: TcpConfig, tuple: Tuple, now: Micros): (s: Subflow) => TcpEndpoint {
    const { env } = this
    return (s) => new TcpEndpoint(tcp, tuple, env.issOf(tuple, now), s, s, s, env.tsOffsetOf(tuple))
  }

  /** Makes the endpoint of a passive open. */
  private answerer(half: SynHolder, now: Micros): (s: Subflow) => TcpEndpoint {
    const { env, tcp } = this
    return (s) => half.accept(tcp, env.issOf(half.tuple, now), s, s, s, now, env.tsOffsetOf(half.tuple))
  }

  /** Known to end elsewhere than the initial subflow: at an address that the peer itself has announced. A detour leads who knows where. */
  private endsElsewhere(path: Path, remote: IpAddress, port: number, first: Tuple): boolean {
    if (path.destination === null || (remote.equals(first.remote) && port === first.remotePort)) return false
    return this.addresses?.isAnnounced(remote, port) ?? false
  }

  /** Of the initial subflow, null before the open. */
  get firstTuple(): Tuple | null {
    return this.initialTuple
  }

  private initialTuple: Tuple | null = null

  private addSubflow(path: Path, isActive: boolean, join: JoinState | null, make: (s: Subflow) => TcpEndpoint): Subflow {
    const s = new Subflow(this, this.nextId++, path, isActive, join, make)
    if (this.initialTuple === null) this.initialTuple = s.ep.tuple
    this.subflows.push(s)
    this.env.register(s.ep, this)
    return s
  }

  private takeKey(key: KeyMaterial): boolean {
    if (this.env.claimToken(key.token, this)) this.localKey = key
    else this.env.counters.MPFallbackTokenInit++
    return this.localKey !== null
  }

  private makeKey(): boolean {
    this.localKey = generateKey(this.env.host, (token) => this.env.claimToken(token, this))
    if (this.localKey === null) this.env.counters.MPFallbackTokenInit++
    return this.localKey !== null
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
    if (this.waiting !== null && this.isFullyEstablished) this.openWaiting(now)
    if (this.isReleaseDue) this.release()
    if (tx.count === tx.slots) return true
    if (this.mayMap && !this.isFastclosing) {
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
    let at = Math.min(this.rtx.deadline, this.lingerAt, this.fastcloseAt, giveUpAt(this))
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
    if (this.fastcloseAt <= now) this.repeatFastclose(now)
    if (this.addresses !== null && this.addresses.nextTimeout() <= now) this.addresses.onTimeout(now)
  }

  takeEvents(): number {
    const e = this.events
    this.events = 0
    return e
  }

  info(): ConnectionInfo {
    return connectionInfo(this)
  }

  /** Resets everything: MP_FASTCLOSE in RST form on each subflow (RFC 8684 §3.5 option R), in ACK form if so configured, or a plain RST. */
  abort(now: Micros): void {
    if (this.isClosed && this.subflows.length === 0) return
    if (this.isMptcp && !this.isClosed) {
      this.isFastclosing = true
      this.env.counters.MPFastcloseTx++
      const s = this.cfg.isFastcloseAcked ? bestSubflow(this) : null
      if (s?.isUsable) {
        this.fastcloseOn = s
        this.fastcloseAt = now + s.ep.baseRtoUs()
        s.answer()
      }
    }
    for (const s of this.subflows) {
      if (!s.isLive || s === this.fastcloseOn) continue
      if (this.isFastclosing) s.rstReason = RST_UNSPECIFIED
      s.ep.abort()
    }
    this.finish(st.CAUSE_ABORTED, now)
  }

  /** No RST came: again, three times, and then it goes out on a RST (RFC 8684 §3.5). */
  private repeatFastclose(now: Micros): void {
    const s = this.fastcloseOn
    this.fastcloseAt = NEVER
    if (s === null || !s.isLive) return
    if (++this.fastcloseTries > FASTCLOSE_TRIES) {
      s.rstReason = RST_UNSPECIFIED
      s.ep.abort()
      return
    }
    this.env.counters.MPFastcloseTx++
    this.fastcloseAt = now + s.ep.baseRtoUs() * 2 ** this.fastcloseTries
    s.answer()
  }

  private onSubflowEvents(s: Subflow, e: number, now: Micros): void {
    if ((e & st.EV_ESTABLISHED) !== 0 && !s.isJoin) this.events |= C_ESTABLISHED
    if ((e & st.EV_CLOSED) === 0 || !s.isLive) return
    this.scheduler.onEvent(SUBFLOW_DOWN, this.subflows.indexOf(s), now)
    this.events |= C_SUBFLOW
    if (this.addresses !== null) this.addresses.onSubflowDown(s)
    if (s === this.fastcloseOn) this.fastcloseAt = NEVER
    onSubflowDown(this, s, now)
  }

  private openWaiting(now: Micros): void {
    const paths = this.waiting as Path[]
    this.waiting = null
    for (const p of paths) this.openSubflow(p, now)
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

  /** RFC 8684 §3.3.2: free only what is DATA_ACKed and acknowledged on every live subflow that carried it. */
  private release(): void {
    this.isReleaseDue = false
    const before = this.sendQueue.base
    let upTo: number
    if (this.isMptcp) {
      let off = this.snd.una
      for (let i = 0; i < this.subflows.length; i++) {
        const s = this.subflows[i] as Subflow
        s.retire(this.snd.una)
        off = Math.min(off, this.neededBy(s))
      }
      upTo = this.tx.streamOfData(off)
    } else {
      const s = this.subflows[0]
      if (s === undefined || this.fallbackReason === FB_NONE) return
      upTo = this.tx.streamOfSeq(s.ackedSeq)
    }
    if (upTo <= before) return
    this.sendQueue.release(upTo)
    this.events |= C_SPACE
  }

  /**
   * Smallest DataOff that `s` still needs in the send queue. What it needs although the data level has it, and what fills the buffer
   * so that the others stand still, it takes a copy of.
   */
  private neededBy(s: Subflow): DataOff {
    const at = s.minNeeded()
    const { capacity, readyEnd, base } = this.sendQueue
    if (this.snd.una - at < capacity / PINNED_PART || readyEnd - base < capacity / 2 || !this.hasOther(s)) return at
    s.retain()
    return s.minNeeded()
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
  hasOther(s: Subflow): boolean {
    for (let i = 0; i < this.subflows.length; i++) {
      const o = this.subflows[i] as Subflow
      if (o !== s && o.isUsable) return true
    }
    return false
  }

  // ---------------------------------------------------------------- data level: receiving

  /** Mapped (and verified) bytes of the peer's stream; returns how many from the front were taken. */
  receive(off: DataOff, mem: Uint8Array, memOff: number, len: number): number {
    const queue = this.recvQueue
    const at = this.rx.streamOfData(off)
    if (at >= queue.edge() + WINDOW_SLACK) {
      this.env.counters.NoDSSInWindow++ // §3.8: dropped, acknowledged on the subflow only
      return len
    }
    const before = queue.readyEnd
    if (queue.finAt >= 0 && at + len > queue.finAt) {
      this.env.counters.BadOption++ // behind the DATA_FIN
      const valid = Math.max(0, queue.finAt - at)
      const taken = valid === 0 ? 0 : queue.insert(at, mem, memOff, valid)
      if (queue.readyEnd > before) this.onReadable()
      return taken < valid ? taken : len
    }
    if (at + len <= before) this.env.counters.DuplicateData++
    const taken = queue.insert(at, mem, memOff, len)
    if (queue.readyEnd > before) this.onReadable()
    return taken
  }

  onReadable(): void {
    this.events |= C_DATA
    if (this.recvQueue.isFinReady()) this.notePeerFin()
  }

  /** The peer's DATA_FIN stands at `off`. False: that cannot be. */
  onDataFin(s: Subflow, off: DataOff): boolean {
    if (!this.rcv.onFin(off)) return false
    answerOnAll(this, s)
    if (this.rcv.isComplete) this.notePeerFin()
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
    if (this.everJoined || this.rcv.finAt >= 0 || this.recvQueue.sparse !== null || s.staging !== null) return
    this.onDataFin(s, this.rcv.dataAck)
  }

  /** FIN of a connection that has fallen back. */
  onPlainFin(seqOff: SeqOff): void {
    this.recvQueue.setFin(this.rx.streamOfSeq(seqOff))
    if (this.recvQueue.isFinReady()) this.notePeerFin()
  }

  private notePeerFin(): void {
    if (this.isPeerFinNoted) return
    this.isPeerFinNoted = true
    this.events |= C_PEER_FIN
  }

  /** RFC 8684 §3.7: MP_FAIL on the only subflow, and wait for the infinite mapping; else the subflow is lost. */
  onBadChecksum(s: Subflow, seqOff: SeqOff, now: Micros): void {
    const n = this.env.counters
    n.DataCsumErr++
    const i = s.rx === null ? -1 : s.rx.find(seqOff)
    s.failAt = s.rx === null || i < 0 ? this.rcv.dataAck : seqOff + s.rx.diffAt(i)
    if (mayFallBack(this, s)) {
      n.DSSCorruptionFallback++
      s.isFailDue = true
      s.answer()
      return
    }
    n.DSSCorruptionReset++
    s.reset(RST_MIDDLEBOX)
    this.scheduler.onEvent(SUBFLOW_DOWN, this.subflows.indexOf(s), now)
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
    this.waiting = null
    this.rtx.clear()
    this.leaveMptcp()
    this.isReleaseDue = true
    this.events |= C_FALLBACK
  }

  /** A join is up. */
  onJoined(s: Subflow): void {
    this.everJoined = true
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
    this.waiting = null
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

/** TCP by that path: its packets are no larger than the path takes. */
function tcpBy(tcp: TcpConfig, path: Path): TcpConfig {
  if (path.mtu === 0) return tcp
  return { ...tcp, mss4: Math.min(tcp.mss4, path.mtu - HEADERS4), mss6: Math.min(tcp.mss6, path.mtu - HEADERS6) }
}
