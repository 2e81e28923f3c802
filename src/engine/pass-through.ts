import { IpAddress } from '../base/address.js'
import { PAGE_LEN } from '../base/arena.js'
import { readU16, writeU16 } from '../base/bytes.js'
import { addSums, updateChecksum } from '../base/checksum.js'
import { FlowTable } from '../base/flow-table.js'
import { TX_HEADER_ROOM, TX_MAX_IOV, VNET_HDR_LEN } from '../base/rings.js'
import { NEVER, US_PER_S, type Micros } from '../base/time.js'
import { ICMP_ECHO, ICMP_ECHO_REPLY, ICMPV6_ECHO, ICMPV6_ECHO_REPLY } from '../wire/icmp.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_UDP } from '../wire/ip.js'
import type { Packet } from '../wire/packet.js'
import { isMartian } from './address-range.js'
import type { Engine } from './engine.js'
import type { Owner, Port } from './owner.js'

/** Flows kept at once; beyond that packets of new ones are dropped. */
const MAX_FLOWS = 4096
/** A flow is forgotten when nothing passed for this long: as conntrack does with UDP that answers. */
const IDLE_US = 120 * US_PER_S
const SWEEP_US = 10 * US_PER_S
/** Draws for a port that no other flow to the same destination has. */
const DRAWS = 16

/** One flow that is no TCP: the application's address and port, and what stands for them towards the network. Ids of echoes are ports. */
class PassFlow {
  readonly app: IpAddress
  readonly appPort: number
  readonly stack: IpAddress
  readonly stackPort: number
  readonly remote: IpAddress
  readonly remotePort: number
  usedAt: Micros

  constructor(app: IpAddress, appPort: number, stack: IpAddress, stackPort: number, remote: IpAddress, remotePort: number, now: Micros) {
    this.app = app
    this.appPort = appPort
    this.stack = stack
    this.stackPort = stackPort
    this.remote = remote
    this.remotePort = remotePort
    this.usedAt = now
  }
}

/** Both directions of the flows of one protocol. */
class PassTable {
  readonly out: FlowTable<PassFlow>
  readonly back: FlowTable<PassFlow>

  constructor(rng: () => number) {
    this.out = new FlowTable<PassFlow>(rng(), rng())
    this.back = new FlowTable<PassFlow>(rng(), rng())
  }

  add(f: PassFlow): void {
    const { app: a, stack: s, remote: r } = f
    this.out.set(a.w0, a.w1, a.w2, a.w3, r.w0, r.w1, r.w2, r.w3, (f.appPort << 16) | f.remotePort, f)
    this.back.set(s.w0, s.w1, s.w2, s.w3, r.w0, r.w1, r.w2, r.w3, (f.stackPort << 16) | f.remotePort, f)
  }

  delete(f: PassFlow): void {
    const { app: a, stack: s, remote: r } = f
    this.out.delete(a.w0, a.w1, a.w2, a.w3, r.w0, r.w1, r.w2, r.w3, (f.appPort << 16) | f.remotePort)
    this.back.delete(s.w0, s.w1, s.w2, s.w3, r.w0, r.w1, r.w2, r.w3, (f.stackPort << 16) | f.remotePort)
  }
}

/**
 * What reaches the TUN and is no TCP, best effort: UDP, echo, and the ICMP errors about them. Rules keep such packets of this host
 * away from the TUN, so they come from sockets that are bound to it, and from a LAN in router mode.
 *
 *     app:port -> remote      becomes  stack:port' -> remote      and goes out as the stack's own packets do
 *     remote -> stack:port'   becomes  remote -> app:port
 *     error to stack, about stack:port' -> remote                 likewise, inside too, or path MTU discovery would be blind
 */
export class PassThrough implements Owner {
  timer = -1
  isDirty = false
  port: Port
  private readonly engine: Engine
  private readonly udp: PassTable
  private readonly echo: PassTable
  private sweepAt: Micros = NEVER

  constructor(engine: Engine) {
    this.engine = engine
    this.port = engine.ports[0] as Port
    this.udp = new PassTable(() => engine.host.rng())
    this.echo = new PassTable(() => engine.host.rng())
  }

  /** Flows that are remembered. */
  get size(): number {
    return this.udp.out.size + this.echo.out.size
  }

  /** A packet whose protocol is neither TCP nor an ICMP error. */
  input(port: Port, pkt: Packet, now: Micros): void {
    const { counters } = this.engine
    const table = this.tableOf(pkt)
    if (table === null) {
      counters.EngineDropOtherProtocol++
      return
    }
    if (isMartian(pkt.src0, pkt.src1, pkt.src2, pkt.src3) || isMartian(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3)) {
      counters.EngineDropMartian++
      return
    }
    const { config } = this.engine
    if (config.isOurs(pkt.src0, pkt.src1, pkt.src2, pkt.src3)) counters.EngineDropLoop++
    else if (config.isOurs(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3)) this.comeBack(port, pkt, table, now)
    else this.goOut(port, pkt, table, now)
  }

  /** An ICMP error that quotes a packet which is no TCP. */
  onIcmpError(port: Port, pkt: Packet, now: Micros): void {
    const { counters } = this.engine
    const table = pkt.qProto === PROTO_UDP ? this.udp : pkt.qProto === PROTO_ICMP || pkt.qProto === PROTO_ICMPV6 ? this.echo : null
    const id = table === this.echo ? readU16(pkt.mem, pkt.qL4Off + 4) : pkt.qSrcPort
    const ports = (id << 16) | (table === this.echo ? 0 : pkt.qDstPort)
    const flow =
      pkt.qFamily === 0 || table === null
        ? null
        : table.back.find(pkt.qSrc0, pkt.qSrc1, pkt.qSrc2, pkt.qSrc3, pkt.qDst0, pkt.qDst1, pkt.qDst2, pkt.qDst3, ports)
    if (flow === null) {
      counters.EngineIcmpUnknownFlow++
      return
    }
    flow.usedAt = now
    const ip = this.copy(port, pkt)
    if (ip < 0) return
    const mem = port.tx.bytes
    const isV4 = pkt.family === 4
    const sumAt = ip + (pkt.l4Off - pkt.off) + 2
    const quoted = ip + (pkt.qOff - pkt.off)
    setAddress(mem, ip, isV4, false, flow.app, isV4 ? -1 : sumAt, pkt.needsCsum)
    // Inside an IPv4 header its own checksum takes up the change, so that the sum over both stays.
    setAddress(mem, quoted, isV4, true, flow.app, isV4 ? -1 : sumAt, pkt.needsCsum)
    setU16(mem, ip + (pkt.qL4Off - pkt.off) + (table === this.echo ? 4 : 0), flow.appPort, sumAt, pkt.needsCsum)
    port.tx.end(this.headLen)
    counters.EnginePassErrors++
  }

  private tableOf(pkt: Packet): PassTable | null {
    if (pkt.proto === PROTO_UDP) return pkt.l4Len >= 8 ? this.udp : null
    const { icmpType: type } = pkt
    const isEcho = pkt.family === 4 ? type === ICMP_ECHO || type === ICMP_ECHO_REPLY : type === ICMPV6_ECHO || type === ICMPV6_ECHO_REPLY
    return isEcho && (pkt.proto === PROTO_ICMP || pkt.proto === PROTO_ICMPV6) ? this.echo : null
  }

  private goOut(port: Port, pkt: Packet, table: PassTable, now: Micros): void {
    const isUdp = table === this.udp
    const from = isUdp ? pkt.srcPort : readU16(pkt.mem, pkt.l4Off + 4)
    const to = isUdp ? pkt.dstPort : 0
    const ports = (from << 16) | to
    const known = table.out.find(pkt.src0, pkt.src1, pkt.src2, pkt.src3, pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3, ports)
    const flow = known ?? this.open(pkt, table, from, to, now)
    if (flow === null) return
    flow.usedAt = now
    const ip = this.copy(port, pkt)
    if (ip < 0) return
    const l4 = ip + (pkt.l4Off - pkt.off)
    this.rewrite(port.tx.bytes, pkt, ip, true, flow.stack, l4 + (isUdp ? 0 : 4), flow.stackPort)
    port.tx.end(this.headLen)
    this.engine.counters.EnginePassOut++
  }

  private comeBack(port: Port, pkt: Packet, table: PassTable, now: Micros): void {
    const isUdp = table === this.udp
    const to = isUdp ? pkt.dstPort : readU16(pkt.mem, pkt.l4Off + 4)
    const ports = (to << 16) | (isUdp ? pkt.srcPort : 0)
    const flow = table.back.find(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3, pkt.src0, pkt.src1, pkt.src2, pkt.src3, ports)
    if (flow === null) {
      this.engine.counters.EngineDropPassUnknown++
      return
    }
    flow.usedAt = now
    const ip = this.copy(port, pkt)
    if (ip < 0) return
    const l4 = ip + (pkt.l4Off - pkt.off)
    this.rewrite(port.tx.bytes, pkt, ip, false, flow.app, l4 + (isUdp ? 2 : 4), flow.appPort)
    port.tx.end(this.headLen)
    this.engine.counters.EnginePassIn++
  }

  /** Replaces one address and one port (or id) in the copy at `ip`, with every checksum that they are part of. */
  private rewrite(
    mem: Uint8Array,
    pkt: Packet,
    ip: number,
    isSource: boolean,
    address: IpAddress,
    portAt: number,
    portValue: number,
  ): void {
    const isV4 = pkt.family === 4
    const l4 = ip + (pkt.l4Off - pkt.off)
    const isUdp = pkt.proto === PROTO_UDP
    // RFC 768: no checksum stays none.
    const hasSum = !isUdp || pkt.needsCsum || readU16(mem, l4 + 6) !== 0
    const sumAt = hasSum ? l4 + (isUdp ? 6 : 2) : -1
    // ICMP for IPv4 has no pseudo-header in its sum.
    const hasPseudo = isUdp || !isV4
    setAddress(mem, ip, isV4, isSource, address, hasPseudo ? sumAt : -1, pkt.needsCsum)
    // A partial checksum is that of the pseudo-header, which has no ports.
    setU16(mem, portAt, portValue, pkt.needsCsum ? -1 : sumAt, false)
    if (isUdp && hasSum && !pkt.needsCsum && readU16(mem, sumAt) === 0) writeU16(mem, sumAt, 0xffff)
  }

  private open(pkt: Packet, table: PassTable, from: number, to: number, now: Micros): PassFlow | null {
    const { engine } = this
    const { counters } = engine
    // Answers to what never came in by us
    if (pkt.icmpType === (pkt.family === 4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY) && table === this.echo) {
      counters.EngineDropPassUnknown++
      return null
    }
    const stack = engine.config.stackAddresses.find((s) => s.isDefault && s.address.isV4 === (pkt.family === 4))?.address
    if (stack === undefined || this.size >= MAX_FLOWS) {
      counters.EngineDropPassOverflow++
      return null
    }
    const remote = new IpAddress(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3)
    const stackPort = this.freePort(table, stack, from, remote, to)
    if (stackPort < 0) {
      counters.EngineDropPassOverflow++
      return null
    }
    const flow = new PassFlow(new IpAddress(pkt.src0, pkt.src1, pkt.src2, pkt.src3), from, stack, stackPort, remote, to, now)
    table.add(flow)
    if (this.sweepAt === NEVER) {
      this.sweepAt = now + SWEEP_US
      engine.addOwner(this)
    }
    return flow
  }

  /** The application's own port where that is free, else a random one; -1: none was found. */
  private freePort(table: PassTable, s: IpAddress, wanted: number, r: IpAddress, remotePort: number): number {
    let port = wanted
    for (let i = 0; i < DRAWS; i++) {
      if (table.back.find(s.w0, s.w1, s.w2, s.w3, r.w0, r.w1, r.w2, r.w3, (port << 16) | remotePort) === null) return port
      port = 1024 + ((this.engine.host.rng() >>> 0) % 64_512)
    }
    return -1
  }

  /** Bytes of the head of the entry under construction. */
  private headLen = 0

  /** Starts a tx entry that is a copy of the packet, vnet header included; offset of its IP header, -1: no room. The caller ends it. */
  private copy(port: Port, pkt: Packet): number {
    const { tx } = port
    const { arena, counters } = this.engine
    const total = VNET_HDR_LEN + pkt.len
    const head = Math.min(total, TX_HEADER_ROOM)
    const pages = Math.ceil((total - head) / PAGE_LEN)
    const isTooDeep = pkt.l4Off - pkt.off + VNET_HDR_LEN + 8 > head || (pkt.qFamily !== 0 && pkt.qL4Off - pkt.off + VNET_HDR_LEN + 8 > head)
    const at = isTooDeep || pages > TX_MAX_IOV || arena.pagesFree < pages ? -1 : tx.begin()
    if (at < 0) {
      counters.EngineDropReplyFull++
      return -1
    }
    const from = pkt.off - VNET_HDR_LEN
    tx.bytes.set(pkt.mem.subarray(from, from + head), at)
    for (let done = head; done < total; ) {
      const len = Math.min(PAGE_LEN, total - done)
      const page = arena.allocPage()
      arena.bytes.set(pkt.mem.subarray(from + done, from + done + len), page)
      tx.iov(page, len)
      arena.freePage(page) // not handed out again before the rings are empty
      done += len
    }
    this.headLen = head
    return at + VNET_HDR_LEN
  }

  pump(): boolean {
    return false
  }

  nextTimeout(): Micros {
    return this.sweepAt
  }

  onTimeout(now: Micros): void {
    for (const table of [this.udp, this.echo]) {
      const idle: PassFlow[] = []
      table.out.forEach((flow) => {
        if (now - flow.usedAt >= IDLE_US) idle.push(flow)
      })
      for (const flow of idle) table.delete(flow)
    }
    this.sweepAt = this.size === 0 ? NEVER : now + SWEEP_US
    if (this.size === 0) this.engine.removeOwner(this)
  }

  fail(): void {
    this.sweepAt = NEVER
    this.engine.removeOwner(this)
  }
}

/** Replaces an address of the IP header at `ip`, in its own checksum and in the one at `sumAt` (-1: none). */
function setAddress(
  mem: Uint8Array,
  ip: number,
  isV4: boolean,
  isSource: boolean,
  address: IpAddress,
  sumAt: number,
  isPartial: boolean,
): void {
  const at = ip + (isV4 ? (isSource ? 12 : 16) : isSource ? 8 : 24)
  const len = isV4 ? 4 : 16
  for (let i = 0; i < len; i += 2) {
    const word = isV4 ? address.w3 : i < 4 ? address.w0 : i < 8 ? address.w1 : i < 12 ? address.w2 : address.w3
    const after = (i & 2) === 0 ? word >>> 16 : word & 0xffff
    const before = readU16(mem, at + i)
    if (isV4) writeU16(mem, ip + 10, updateChecksum(readU16(mem, ip + 10), before, after))
    setU16(mem, at + i, after, sumAt, isPartial)
  }
}

/** Replaces a 16-bit word, and brings the checksum at `sumAt` (-1: none) up to it. */
function setU16(mem: Uint8Array, at: number, after: number, sumAt: number, isPartial: boolean): void {
  const before = readU16(mem, at)
  writeU16(mem, at, after)
  if (sumAt < 0) return
  const field = readU16(mem, sumAt)
  writeU16(mem, sumAt, isPartial ? addSums(addSums(field, ~before & 0xffff), after) : updateChecksum(field, before, after))
}
