import type { IpAddress, Tuple } from '../base/address.js'
import { VNET_HDR_LEN } from '../base/rings.js'
import { type Micros, US_PER_MS } from '../base/time.js'
import { JOIN_ACCEPTED } from '../mptcp/connection.js'
import type { SynHolder } from '../mptcp/env.js'
import { besideCookie, giveCookie } from '../mptcp/fast-open.js'
import { capableFlags, refusalOfSyn } from '../mptcp/handshake.js'
import { FB_NONE } from '../mptcp/fallback.js'
import type { TcpConfig } from '../tcp/config.js'
import type { TcpEndpoint } from '../tcp/endpoint.js'
import type { SegmentSink, SegmentSource, TcpExtension } from '../tcp/extension.js'
import { FastOpenKeys } from '../tcp/fast-open.js'
import { HalfOpen } from '../tcp/half-open.js'
import { type Negotiated, writeSynOptions } from '../tcp/handshake.js'
import { CAPABLE_CHECKSUM, HAS_CAPABLE, HAS_JOIN, MPTCP_VERSION, RST_MPTCP_ERROR } from '../wire/mptcp-options.js'
import { writeCapable } from '../wire/mptcp-writers.js'
import { PROTO_TCP, writeIpHeader } from '../wire/ip.js'
import type { Packet } from '../wire/packet.js'
import { ACK, buildRst, finishTcp, RST, SYN, TCP_HEADER_LEN, writeTcpSegment } from '../wire/tcp.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import { isPlainSyn, tupleOf } from './demux.js'
import type { Engine } from './engine.js'
import type { FastOpenGate } from './fast-open-gate.js'
import type { Port } from './owner.js'
import { MptcpStream } from './stream.js'
import { SynCookies } from './syn-cookie.js'

/** First window of a SYN/ACK with a cookie; what an unscaled field can say. */
const COOKIE_WINDOW = 65_535

/** Where connections are taken up. */
export interface ListenTerms {
  /** A stack address; null: all of them. */
  readonly address: IpAddress | null
  readonly port: number
  /** Half-open connections at the same time; more get SYN cookies. */
  readonly backlog: number
  /** Told in a turn about each connection whose handshake is complete. */
  readonly onStream: (stream: MptcpStream) => void
  /** Lets connections open at once whose SYN has a valid cookie (RFC 7413): told then already. Null: Fast Open is off. */
  readonly fastOpen: FastOpenGate | null
}

/** One listening address and port. */
export class Listener {
  readonly terms: ListenTerms
  /** Connections in SYN-RECEIVED. */
  halfOpen = 0
  /** Connections at the same time, half-open ones excepted; SYNs beyond are dropped. */
  maxConnections = Number.POSITIVE_INFINITY
  connections = 0

  constructor(terms: ListenTerms) {
    this.terms = terms
  }
}

/**
 * Takes up connections that come from the network to a stack address: the listeners, and joins, which find their connection by token,
 * whether or not anybody listens where they come to (RFC 8684 §3.2).
 *
 *     SYN -> backlog free -> MptcpStream in SYN-RECEIVED -> third ACK -> listener
 *         |                  \-> Fast Open: valid cookie               -> listener, with the data of the SYN
 *         \-> full        -> SYN/ACK with a cookie       -> third ACK -> MptcpStream, established
 *     SYN with MP_JOIN -> token -> connection.acceptJoin, or RST with MP_TCPRST
 */
export class Acceptor {
  private readonly engine: Engine
  private drawnKeys: FastOpenKeys | null = null
  private readonly cookies: SynCookies
  private readonly listeners = new Map<number, Listener[]>()

  constructor(engine: Engine) {
    this.engine = engine
    this.cookies = new SynCookies(engine.host)
  }

  /** Of Fast Open, for all listeners that bring none of their own. */
  get fastOpenKeys(): FastOpenKeys {
    if (this.drawnKeys === null) this.drawnKeys = FastOpenKeys.drawn(() => this.engine.host.rng())
    return this.drawnKeys
  }

  /** False: somebody listens there already. */
  add(listener: Listener): boolean {
    const { port, address } = listener.terms
    const there = this.listeners.get(port) ?? []
    if (there.some((l) => l.terms.address === null || address === null || l.terms.address.equals(address))) return false
    this.listeners.set(port, [...there, listener])
    return true
  }

  /** Connections that it has taken up, half-open ones too, go on. */
  remove(listener: Listener): void {
    const { port } = listener.terms
    const left = (this.listeners.get(port) ?? []).filter((l) => l !== listener)
    if (left.length === 0) this.listeners.delete(port)
    else this.listeners.set(port, left)
  }

  /** A segment to a stack address that the flow table does not know. False: nobody wants it. */
  input(port: Port, pkt: Packet, opts: TcpOptions, now: Micros): boolean {
    const { present } = opts.mptcp
    if (isPlainSyn(pkt.flags)) {
      if ((present & HAS_JOIN) !== 0 && (present & HAS_CAPABLE) === 0) {
        this.onJoin(port, pkt, opts, now)
        return true
      }
      const listener = this.find(pkt)
      if (listener === null) return false
      this.onSyn(listener, port, pkt, opts, now)
      return true
    }
    if ((pkt.flags & (SYN | ACK | RST)) !== ACK || !this.cookies.isExpected(now)) return false
    const listener = this.find(pkt)
    return listener !== null && this.onCookie(listener, port, pkt, opts, now)
  }

  private find(pkt: Packet): Listener | null {
    const there = this.listeners.get(pkt.dstPort)
    if (there === undefined) return null
    for (const l of there) {
      const a = l.terms.address
      if (a === null || (a.w3 === pkt.dst3 && a.w2 === pkt.dst2 && a.w1 === pkt.dst1 && a.w0 === pkt.dst0)) return l
    }
    return null
  }

  private onSyn(listener: Listener, port: Port, pkt: Packet, opts: TcpOptions, now: Micros): void {
    const { engine } = this
    const { counters, config } = engine
    if (listener.connections >= listener.maxConnections) {
      counters.TcpExtListenOverflows++
      counters.TcpExtListenDrops++
      return
    }
    const { tcp } = config.mptcp
    const tuple = tupleOf(pkt)
    if (listener.halfOpen >= listener.terms.backlog) {
      counters.TcpExtTCPReqQFullDoCookies++
      this.sendCookie(port, new HalfOpen(tcp, tuple, pkt, opts, now), opts, now) // and no Fast Open: RFC 7413 §5.1
      return
    }
    const gate = listener.terms.fastOpen
    const isFast = gate?.admit(pkt, opts, counters, now) === true
    const cookie = gate?.cookie ?? null
    const offered = cookie === null ? opts : besideCookie(config.mptcp, opts)
    const stream = new MptcpStream(engine, port, listener)
    stream.accept(new HalfOpen(tcp, tuple, pkt, offered, now), opts.mptcp, null, now)
    if (cookie !== null) giveCookie(stream.conn, cookie)
    if (isFast) stream.openFast(pkt, now)
  }

  /** Answers a SYN from what it says itself; nothing is kept. */
  private sendCookie(port: Port, half: HalfOpen, opts: TcpOptions, now: Micros): void {
    const { engine, cookies } = this
    const { mptcp } = engine.config
    const at = port.tx.begin()
    if (at < 0) {
      engine.counters.EngineDropReplyFull++
      return
    }
    const mem = port.tx.bytes
    const t = half.tuple
    const isV4 = t.local.isV4
    const iss = cookies.issFor(half, now)
    const ip = at + VNET_HDR_LEN
    const tcp = ip + (isV4 ? 20 : 40)
    const opt = tcp + TCP_HEADER_LEN
    // Window scale and SACK come back in the timestamp alone: without one they are not agreed to.
    const hasTs = half.peer.hasTimestamps
    const peer: Negotiated = hasTs ? half.peer : { ...half.peer, isSackOk: false }
    const ts = cookies.timestampFor(half, (Math.floor(now / US_PER_MS) + engine.env.tsOffsetOf(t)) | 0)
    let len = writeSynOptions(mem, opt, mptcp.tcp, isV4, peer, hasTs && half.hasWscale, ts, half.tsVal)
    const m = opts.mptcp
    if (mptcp.isEnabled && refusalOfSyn(m) === FB_NONE) {
      const key = cookies.keyFor(half, now)
      const flags = capableFlags(mptcp, mptcp.checksum || (m.capableFlags & CAPABLE_CHECKSUM) !== 0)
      len += writeCapable(mem, opt + len, 12, MPTCP_VERSION, flags, key.hi, key.lo, 0, 0, 0, 0)
    }
    writeIpHeader(mem, ip, t.local, t.remote, PROTO_TCP, TCP_HEADER_LEN + len, 0, mptcp.tcp.ttl)
    writeTcpSegment(mem, tcp, t.localPort, t.remotePort, iss, (half.irs + 1) | 0, SYN | ACK, this.cookieWindow())
    finishTcp(mem, at, ip, tcp, TCP_HEADER_LEN + len, 0, 0)
    port.tx.end(opt + len - at)
    engine.counters.TcpExtSyncookiesSent++
  }

  private cookieWindow(): number {
    return Math.min(COOKIE_WINDOW, this.engine.config.receiveBuffer)
  }

  /** An ACK of no connection, while cookies are out. False: it has none, or a wrong one. */
  private onCookie(listener: Listener, port: Port, pkt: Packet, opts: TcpOptions, now: Micros): boolean {
    const { engine } = this
    const { counters, config } = engine
    const tuple = tupleOf(pkt)
    const back = this.cookies.read(tuple, pkt.seq, pkt.ack, opts.hasTs, opts.tsVal, opts.tsEcr, now)
    if (back === null) {
      counters.TcpExtSyncookiesFailed++
      return false
    }
    counters.TcpExtSyncookiesRecv++
    if (listener.connections >= listener.maxConnections) {
      counters.TcpExtListenOverflows++
      return true
    }
    const syn = { seq: back.irs, window: pkt.window, flags: SYN }
    const half = new HalfOpen(config.mptcp.tcp, tuple, syn, back.offered, now)
    const stream = new MptcpStream(engine, port, listener)
    stream.accept(new AnsweredSyn(half, back.iss, this.cookieWindow()), opts.mptcp, back.key, now)
    const flow = engine.find(tuple)
    flow?.endpoint?.onSegment(pkt, opts, now)
    return true
  }

  private onJoin(port: Port, pkt: Packet, opts: TcpOptions, now: Micros): void {
    const { engine } = this
    const { env, config } = engine
    const conn = env.connectionOf(opts.mptcp.joinToken)
    const owner = conn === null ? null : env.ownerOf(conn)
    let reason: number = RST_MPTCP_ERROR
    if (conn === null || owner === null) {
      engine.mptcpCounters.MPJoinSynRx++
      engine.mptcpCounters.MPJoinNoTokenFound++
    } else {
      const tuple = tupleOf(pkt)
      const half = new HalfOpen(conn.cfg.tcp, tuple, pkt, opts, now)
      const localId = config.announced.find((a) => a.local.equals(tuple.local) && (a.port === 0 || a.port === tuple.localPort))?.id
      reason = conn.acceptJoin(half, opts.mptcp, now, localId ?? -1)
      engine.mark(owner)
    }
    if (reason !== JOIN_ACCEPTED) this.refuse(port, pkt, reason)
  }

  private refuse(port: Port, pkt: Packet, reason: number): void {
    const { engine } = this
    const at = port.tx.begin()
    if (at < 0) {
      engine.counters.EngineDropReplyFull++
      return
    }
    port.tx.end(buildRst(port.tx.bytes, at, pkt, reason))
    engine.counters.TcpOutRsts++
    engine.mptcpCounters.MPRstTx++
  }
}

/** A SYN whose SYN/ACK has left already, with a cookie for its ISN. */
class AnsweredSyn implements SynHolder {
  readonly tuple: Tuple
  private readonly half: HalfOpen
  private readonly iss: number
  private readonly window: number

  constructor(half: HalfOpen, iss: number, window: number) {
    this.tuple = half.tuple
    this.half = half
    this.iss = iss
    this.window = window
  }

  accept(
    cfg: TcpConfig,
    _iss: number,
    source: SegmentSource,
    sink: SegmentSink,
    ext: TcpExtension,
    now: Micros,
    tsOffset: number,
  ): TcpEndpoint {
    const ep = this.half.accept(cfg, this.iss, source, sink, ext, now, tsOffset)
    ep.openAnswered(this.window)
    return ep
  }
}
