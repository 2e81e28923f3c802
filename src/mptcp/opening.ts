import type { IpAddress, Tuple } from '../base/address.js'
import { type Micros, US_PER_S } from '../base/time.js'
import { type Path, path as plainPath } from '../pathmgr/path.js'
import type { TcpConfig } from '../tcp/config.js'
import { TcpEndpoint } from '../tcp/endpoint.js'
import {
  CAPABLE_CHECKSUM,
  CAPABLE_DENY_JOIN,
  type MptcpOptions,
  RST_BAD_PERFORMANCE,
  RST_MPTCP_ERROR,
  RST_NO_RESOURCES,
  RST_PROHIBITED,
} from '../wire/mptcp-options.js'
import type { MptcpConnection } from './connection.js'
import type { SynHolder } from './env.js'
import { FB_BLACK_HOLE, FB_DISABLED, FB_NO_TOKEN, FB_NONE, fallBack } from './fallback.js'
import { answerJoin, JoinState, refusalOfCookie, refusalOfSyn } from './handshake.js'
import { generateKey, type KeyMaterial } from './keys.js'
import { PHASE_OPEN } from './phase.js'
import { Subflow } from './subflow.js'

/** What `acceptJoin` says when it took a join; anything else is the reason for MP_TCPRST. */
export const JOIN_ACCEPTED = -1

/** Why a subflow cannot be opened. */
export const OBSTACLE_STATE = 'joins are not allowed now'
export const OBSTACLE_LIMIT = 'the connection has all the subflows that it may have'
export const OBSTACLE_DENIED = 'the server forbids joins to its address'
export const OBSTACLE_NO_FLOW = 'there is no egress or no port for it'
export type JoinObstacle = typeof OBSTACLE_STATE | typeof OBSTACLE_LIMIT | typeof OBSTACLE_DENIED | typeof OBSTACLE_NO_FLOW

/** Seconds without a segment after which a subflow may have to make room for another one from the same address. */
const MUTE_S = 10

/** Bytes of IP and TCP header without options. */
const HEADERS4 = 40
const HEADERS6 = 60

/**
 * How the subflows of one connection come to be: the initial one, joins of ours and of the peer's. Owns what they are numbered by, the
 * initial tuple, which joins are measured against, and the paths that wait until joins are allowed.
 */
export class Opening {
  private readonly conn: MptcpConnection
  /** What the endpoints share: that of the configuration, with the coupled controllers when there are such. */
  private readonly tcp: TcpConfig
  /** Of the initial subflow, null before the open. */
  firstTuple: Tuple | null = null
  private nextId = 0
  private waiting: Path[] | null = null
  /** Joins that the peer may hold for established. */
  private joins = 0

  constructor(conn: MptcpConnection, tcp: TcpConfig) {
    this.conn = conn
    this.tcp = tcp
  }

  /** Active open of the initial subflow. */
  connect(path: Path, tuple: Tuple, cookie: Uint8Array | null, mss: number, now: Micros): void {
    const c = this.conn
    const s = this.add(path, true, null, this.opener(this.tcp, tuple, now))
    if (!c.cfg.isEnabled) fallBack(c, s, FB_DISABLED, now)
    else if (c.capableTries === 0) fallBack(c, s, FB_BLACK_HOLE, now)
    else if (!this.makeKey()) fallBack(c, s, FB_NO_TOKEN, now)
    s.ep.connect(now, cookie, mss)
  }

  /** Passive open of the initial subflow. @param key ours if a SYN cookie stood for the SYN, null: drawn here */
  accept(half: SynHolder, m: MptcpOptions, key: KeyMaterial | null, now: Micros): void {
    const c = this.conn
    const s = this.add(plainPath({ label: 'accepted' }), false, null, this.answerer(half, now))
    const refusal = c.cfg.isEnabled ? (key === null ? refusalOfSyn(m) : refusalOfCookie(m)) : FB_DISABLED
    if (refusal !== FB_NONE) {
      fallBack(c, s, refusal, now)
      return
    }
    c.env.counters.MPCapableSYNRX++
    c.isChecksummed ||= (m.capableFlags & CAPABLE_CHECKSUM) !== 0
    c.peerDeniesJoin = (m.capableFlags & CAPABLE_DENY_JOIN) !== 0
    if (key === null ? !this.makeKey() : !this.takeKey(key)) fallBack(c, s, FB_NO_TOKEN, now)
  }

  /** A join by `path` as soon as joins are allowed. False: not on this connection. */
  addPath(path: Path, now: Micros): boolean {
    const c = this.conn
    if (c.isClosed || c.isClosing || c.fallbackReason !== FB_NONE) return false
    if (!c.isFullyEstablished) {
      if (this.waiting === null) this.waiting = []
      this.waiting.push(path)
      return true
    }
    return typeof this.join(path, now) === 'object'
  }

  /** Some join succeeded, or the peer may think so: no fallback any more (RFC 8684 §3.7). */
  get everJoined(): boolean {
    return this.joins > 0
  }

  /** The third ACK of a join leaves: the peer counts the join from there on. */
  onJoinSent(): void {
    this.joins++
  }

  /**
   * The peer has reset a join of ours instead of sending the fourth ACK. Whoever refuses says why; a RST without a reason may be about
   * what a NAT has made of our third ACK, and the join be established.
   * @param reason of MP_TCPRST, -1: none came
   */
  onJoinReset(reason: number): void {
    if (reason >= RST_MPTCP_ERROR && reason <= RST_PROHIBITED) this.joins--
  }

  /**
   * The third ACK of a peer's join has proved who it is from. What the peer has given up, and we cannot know of (a NAT has forgotten it),
   * makes room for it. False: there is none.
   */
  admit(s: Subflow): boolean {
    if (this.liveCount() > this.conn.cfg.maxSubflows) {
      const mute = this.mute(s.remoteAddrId, s.ep.heardAtS)
      if (mute === null) return false
      this.conn.env.counters.SilentReset++
      mute.reset(RST_BAD_PERFORMANCE)
    }
    this.joins++
    return true
  }

  /** Joins by the paths that have waited for that, once it is allowed. */
  step(now: Micros): void {
    const { waiting } = this
    if (waiting === null || !this.conn.isFullyEstablished) return
    this.waiting = null
    for (const p of waiting) this.join(p, now)
  }

  /** Nothing will be joined any more. */
  end(): void {
    this.waiting = null
  }

  /** A join by `path` now, or why there can be none. */
  join(path: Path, now: Micros): Subflow | JoinObstacle {
    const c = this.conn
    const first = this.firstTuple
    if (!this.isJoinable() || first === null) return OBSTACLE_STATE
    if (this.liveCount() >= c.cfg.maxSubflows) return OBSTACLE_LIMIT
    const remote = path.destination ?? first.remote
    const port = path.destination !== null && path.destinationPort !== 0 ? path.destinationPort : first.remotePort
    // C forbids every join that ends at the initial address and port, through a detour too (RFC 8684 §3.1)
    if (c.peerDeniesJoin && !this.endsElsewhere(path, remote, port, first)) return OBSTACLE_DENIED
    const tuple = c.env.openFlow(path, remote, port, now)
    if (tuple === null) return OBSTACLE_NO_FLOW
    const s = this.add(path, true, new JoinState(c.env.host.rng()), this.opener(tcpBy(this.tcp, path), tuple, now))
    // §3.2: the id names the address; 0 is the initial subflow's
    if (tuple.local.equals(first.local)) s.localAddrId = 0
    else if (c.env.addressId !== undefined) s.localAddrId = c.env.addressId(tuple.local)
    s.ep.connect(now)
    return s
  }

  /** A join of the peer's. @returns JOIN_ACCEPTED, or the reason for the MP_TCPRST */
  acceptJoin(half: SynHolder, m: MptcpOptions, now: Micros, localId: number): number {
    const c = this.conn
    const n = c.env.counters
    n.MPJoinSynRx++
    if (m.joinBackup) n.MPJoinSynBackupRx++
    const { tuple } = half
    const isHere = this.firstTuple?.local.equals(tuple.local) === true
    const isInitial = isHere && this.firstTuple?.localPort === tuple.localPort
    const reason = this.refusalOfJoin(isInitial, m.joinAddrId, Math.floor(now / US_PER_S))
    if (reason !== JOIN_ACCEPTED) {
      n.MPJoinRejected++
      return reason
    }
    const path = plainPath({ id: this.nextId, label: 'joined' })
    const s = this.add(path, false, new JoinState(c.env.host.rng()), this.answerer(half, now))
    n.MPJoinPending++
    // §3.2: an address id names an address; 0 is the initial subflow's
    if (localId >= 0) s.localAddrId = localId
    else if (isHere) s.localAddrId = 0
    answerJoin(s, m)
    return JOIN_ACCEPTED
  }

  /** Not any more once an MP_FAIL is said on the only subflow: the peer's answer is the fallback (RFC 8684 §3.7). */
  private isJoinable(): boolean {
    const c = this.conn
    return c.isMptcp && c.isFullyEstablished && !c.isClosed && !c.isClosing && !c.subflows.some((s) => s.isLive && s.failAt >= 0)
  }

  private refusalOfJoin(isInitial: boolean, addressId: number, nowS: number): number {
    const { cfg, env } = this.conn
    if (!this.isJoinable()) return RST_MPTCP_ERROR
    if (env.counters.MPJoinPending >= cfg.maxPendingJoins) return RST_NO_RESOURCES
    // the limit is policy, as for Linux
    if (isInitial && cfg.denyJoinInitial) return RST_PROHIBITED
    const beyond = this.liveCount() - cfg.maxSubflows
    return beyond < 0 || (beyond === 0 && this.mute(addressId, nowS) !== null) ? JOIN_ACCEPTED : RST_PROHIBITED
  }

  private liveCount(): number {
    let n = 0
    for (const s of this.conn.subflows) if (s.isLive) n++
    return n
  }

  /** Of the subflows from the peer's address `id`, the one that has been mute for longest, and long enough; null: none. */
  private mute(id: number, nowS: number): Subflow | null {
    let mute: Subflow | null = null
    for (const s of this.conn.subflows) {
      if (s.phase !== PHASE_OPEN || s.remoteAddrId !== id || s.ep.heardAtS > nowS - MUTE_S) continue
      if (mute === null || s.ep.heardAtS < mute.ep.heardAtS) mute = s
    }
    return mute
  }

  /** Known to end elsewhere than the initial subflow: at an address that the peer itself has announced. A detour leads who knows where. */
  private endsElsewhere(path: Path, remote: IpAddress, port: number, first: Tuple): boolean {
    if (path.destination === null || (remote.equals(first.remote) && port === first.remotePort)) return false
    return this.conn.addresses?.isAnnounced(remote, port) ?? false
  }

  /** Makes the endpoint of an active open. */
  private opener(tcp: TcpConfig, tuple: Tuple, now: Micros): (s: Subflow) => TcpEndpoint {
    const { env } = this.conn
    return (s) => new TcpEndpoint(tcp, tuple, env.issOf(tuple, now), s, s, s, env.tsOffsetOf(tuple))
  }

  /** Makes the endpoint of a passive open. */
  private answerer(half: SynHolder, now: Micros): (s: Subflow) => TcpEndpoint {
    const { env } = this.conn
    return (s) => half.accept(this.tcp, env.issOf(half.tuple, now), s, s, s, now, env.tsOffsetOf(half.tuple))
  }

  private add(path: Path, isActive: boolean, join: JoinState | null, make: (s: Subflow) => TcpEndpoint): Subflow {
    const c = this.conn
    const s = new Subflow(c, this.nextId++, path, isActive, join, make)
    if (this.firstTuple === null) this.firstTuple = s.ep.tuple
    c.subflows = c.subflows.concat(s) // no larger than it must be
    c.env.register(s.ep, c)
    return s
  }

  private takeKey(key: KeyMaterial): boolean {
    const c = this.conn
    if (c.env.claimToken(key.token, c)) c.localKey = key
    else c.env.counters.MPFallbackTokenInit++
    return c.localKey !== null
  }

  private makeKey(): boolean {
    const c = this.conn
    c.localKey = generateKey(c.env.host, (token) => c.env.claimToken(token, c))
    if (c.localKey === null) c.env.counters.MPFallbackTokenInit++
    return c.localKey !== null
  }
}

/** TCP by that path: its packets are no larger than the path takes. */
function tcpBy(tcp: TcpConfig, path: Path): TcpConfig {
  if (path.mtu === 0) return tcp
  return { ...tcp, mss4: Math.min(tcp.mss4, path.mtu - HEADERS4), mss6: Math.min(tcp.mss6, path.mtu - HEADERS6) }
}
