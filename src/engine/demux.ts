import { IpAddress, type Tuple } from '../base/address.js'
import type { Micros } from '../base/time.js'
import { ICMP_REFUSED, ICMP_TOO_BIG, ICMP_UNREACHABLE, type IcmpKind } from '../tcp/endpoint.js'
import * as icmp from '../wire/icmp.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP } from '../wire/ip.js'
import { PARSE_BAD_CHECKSUM, PARSE_BAD_HEADER, PARSE_FRAGMENT, PARSE_OK, PARSE_SHORT, Packet, parsePacket } from '../wire/packet.js'
import { ACK, buildRst, RST, SYN } from '../wire/tcp.js'
import { parseOptionsOf, TcpOptions } from '../wire/tcp-options.js'
import { isMartian } from './address-range.js'
import type { Engine } from './engine.js'
import { DSCP_MASK, type Flow, type Port } from './owner.js'

/** ICMP errors that say nothing about a connection (redirect, source quench, time exceeded, parameter problem). */
const ICMP_IGNORED = -1

/**
 * From a received packet to what it belongs to: a flow (whose owner is marked), the interceptor, a RST, or a counted drop.
 * Bytes from outside never throw here; what an endpoint throws is our own fault and costs that connection only.
 */
export class Demux {
  private readonly engine: Engine
  private readonly pkt = new Packet()
  private readonly opts = new TcpOptions()

  constructor(engine: Engine) {
    this.engine = engine
  }

  /** The packet in slot `slot` of the port's rx ring. */
  input(port: Port, slot: number, now: Micros): void {
    const counters = this.engine.counters
    counters.IpInReceives++
    const pkt = this.pkt
    const rx = port.rx
    switch (parsePacket(rx.bytes, rx.slotOff(slot), rx.lens[slot] as number, pkt)) {
      case PARSE_OK:
        if (pkt.proto === PROTO_TCP) this.onTcp(port, now)
        else this.onIcmp(port, now)
        return
      case PARSE_SHORT:
      case PARSE_BAD_HEADER:
        counters.IpInHdrErrors++
        return
      case PARSE_BAD_CHECKSUM:
        counters.TcpInCsumErrors++
        return
      case PARSE_FRAGMENT:
        counters.EngineDropFragment++
        return
      default:
        this.engine.passThrough.input(port, pkt, now)
    }
  }

  private onTcp(port: Port, now: Micros): void {
    const { engine, pkt, opts } = this
    engine.counters.TcpInSegs++
    const ports = (pkt.dstPort << 16) | pkt.srcPort
    const flow = engine.flows.find(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3, pkt.src0, pkt.src1, pkt.src2, pkt.src3, ports)
    parseOptionsOf(pkt, opts)
    if (flow === null) this.onNoFlow(port, ports, now)
    else if (flow.endpoint === null) this.onHeld(flow, port, now)
    else if (isPlainSyn(pkt.flags) && flow.endpoint.mayReuse(pkt, opts)) {
      // RFC 9293 §3.6.1: a new incarnation may begin while the old one is in TIME-WAIT. Its connection may live on, by other subflows.
      engine.counters.TcpExtTCPTimeWaitReused++
      flow.endpoint.abort()
      engine.dismiss(flow.endpoint)
      engine.mark(flow.owner)
      this.onUnknown(port, now)
    } else {
      if (flow.tclass >= 0) flow.tclass = pkt.tclass & DSCP_MASK
      try {
        flow.endpoint.onSegment(pkt, opts, now)
      } catch (error) {
        engine.fail(flow.owner, error, now)
      }
      engine.mark(flow.owner)
    }
  }

  /** Of a connection in TIME-WAIT, or of none. */
  private onNoFlow(port: Port, ports: number, now: Micros): void {
    const { pkt, opts } = this
    const { timeWaits, counters } = this.engine
    const entry = timeWaits.find(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3, pkt.src0, pkt.src1, pkt.src2, pkt.src3, ports, now)
    if (entry === null) {
      this.onUnknown(port, now)
      return
    }
    if (!timeWaits.onSegment(entry, port, pkt, opts, now)) return
    counters.TcpExtTCPTimeWaitReused++
    this.onUnknown(port, now) // still there: the successor's numbers begin beyond those of the entry
    timeWaits.drop(entry)
  }

  /** Another segment for a SYN that is held. */
  private onHeld(flow: Flow, port: Port, now: Micros): void {
    const { pkt, engine } = this
    const held = flow.held
    if (held === null) return
    if ((pkt.flags & RST) !== 0) {
      // In SYN-SENT the application's RST stands at its ISN or right behind it.
      if (((pkt.seq - held.half.irs) & ~1) === 0) held.onGone(now)
    } else if (!isPlainSyn(pkt.flags)) this.reply(port)
    else if (held.half.isSame(pkt)) held.onRepeat(now)
    else {
      held.onGone(now)
      this.onUnknown(port, now)
    }
    engine.mark(flow.owner)
  }

  private onUnknown(port: Port, now: Micros): void {
    const { pkt, engine } = this
    const config = engine.config
    if (
      isMartian(pkt.src0, pkt.src1, pkt.src2, pkt.src3) ||
      isMartian(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3) ||
      pkt.srcPort === 0 ||
      pkt.dstPort === 0 ||
      isSelf(pkt)
    ) {
      engine.counters.EngineDropMartian++
      return
    }
    if (config.isOurs(pkt.src0, pkt.src1, pkt.src2, pkt.src3)) {
      engine.counters.EngineDropLoop++
      return
    }
    const isForUs = config.isOurs(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3)
    if (isForUs) {
      engine.probe?.onSegment(pkt)
      if (engine.acceptor.input(port, pkt, this.opts, now)) return
    }
    if (!isForUs && config.intercept && isPlainSyn(pkt.flags)) engine.interceptor.onSyn(port, tupleOf(pkt), pkt, this.opts, now)
    else this.reply(port)
  }

  /** RFC 9293 §3.10.7.1: a segment of no connection is answered by RST, except a RST. */
  private reply(port: Port): void {
    const counters = this.engine.counters
    const at = port.tx.begin()
    if (at < 0) {
      counters.EngineDropReplyFull++
      return
    }
    const len = buildRst(port.tx.bytes, at, this.pkt)
    if (len === 0) return
    port.tx.end(len)
    counters.TcpOutRsts++
  }

  /** An ICMP error goes to the flow whose packet it quotes; the endpoint checks the sequence number (RFC 5927 §4). */
  private onIcmp(port: Port, now: Micros): void {
    const { pkt, engine } = this
    const counters = engine.counters
    counters.IcmpInMsgs++
    const kind = kindOf(pkt)
    if (!isIcmpError(pkt)) {
      engine.passThrough.input(port, pkt, now)
      return
    }
    if (pkt.qFamily !== 0 && pkt.qProto !== PROTO_TCP) {
      engine.passThrough.onIcmpError(port, pkt, now)
      return
    }
    engine.probe?.onIcmp(pkt)
    if (kind === ICMP_IGNORED || pkt.qFamily === 0) return
    if (kind !== ICMP_TOO_BIG) counters.IcmpInDestUnreachs++
    const ports = (pkt.qSrcPort << 16) | pkt.qDstPort
    const flow = engine.flows.find(pkt.qSrc0, pkt.qSrc1, pkt.qSrc2, pkt.qSrc3, pkt.qDst0, pkt.qDst1, pkt.qDst2, pkt.qDst3, ports)
    if (flow === null || flow.endpoint === null) {
      counters.EngineIcmpUnknownFlow++
      return
    }
    try {
      if (kind === ICMP_UNREACHABLE) flow.owner.onUnreachable?.(pkt.icmpCode)
      flow.endpoint.onIcmp(kind as IcmpKind, pkt.icmpMtu, pkt.qSeq)
    } catch (error) {
      engine.fail(flow.owner, error, now)
    }
    engine.mark(flow.owner)
  }
}

/** A SYN that opens something: without ACK and RST. */
export function isPlainSyn(flags: number): boolean {
  return (flags & (SYN | ACK | RST)) === SYN
}

/** LAND: a segment from the address and port that it goes to. */
function isSelf(pkt: Packet): boolean {
  return pkt.srcPort === pkt.dstPort && pkt.src3 === pkt.dst3 && pkt.src2 === pkt.dst2 && pkt.src1 === pkt.dst1 && pkt.src0 === pkt.dst0
}

function isIcmpError(pkt: Packet): boolean {
  if (pkt.family === 6) return pkt.icmpType < 128
  return pkt.icmpType === icmp.ICMP_UNREACHABLE || (pkt.icmpType >= icmp.ICMP_TIME_EXCEEDED && pkt.icmpType <= icmp.ICMP_PARAMETER_PROBLEM)
}

/** What an ICMP error means for a connection that is being opened, as Linux maps it to errors (icmp_err_convert). */
function kindOf(pkt: Packet): IcmpKind | -1 {
  if (pkt.proto === PROTO_ICMP) {
    if (pkt.icmpType !== icmp.ICMP_UNREACHABLE) return ICMP_IGNORED
    if (pkt.icmpCode === icmp.ICMP_FRAG_NEEDED) return ICMP_TOO_BIG
    return pkt.icmpCode === 2 || pkt.icmpCode === 3 ? ICMP_REFUSED : ICMP_UNREACHABLE
  }
  if (pkt.proto !== PROTO_ICMPV6) return ICMP_IGNORED
  if (pkt.icmpType === icmp.ICMPV6_TOO_BIG) return ICMP_TOO_BIG
  if (pkt.icmpType !== icmp.ICMPV6_UNREACHABLE) return ICMP_IGNORED
  return pkt.icmpCode === 4 ? ICMP_REFUSED : ICMP_UNREACHABLE
}

/** The tuple of a received packet, as we see it. */
export function tupleOf(pkt: Packet): Tuple {
  return {
    local: new IpAddress(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3),
    localPort: pkt.dstPort,
    remote: new IpAddress(pkt.src0, pkt.src1, pkt.src2, pkt.src3),
    remotePort: pkt.srcPort,
    tclass: 0,
  }
}
