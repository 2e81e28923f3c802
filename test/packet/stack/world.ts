import { Arena } from '../../../src/base/arena.js'
import { IpAddress, type Tuple } from '../../../src/base/address.js'
import type { Host } from '../../../src/base/host.js'
import { TX_HEADER_ROOM, TxRing, VNET_HDR_LEN } from '../../../src/base/rings.js'
import { Rng } from '../../../src/base/rng.js'
import { type Micros, NEVER, US_PER_S } from '../../../src/base/time.js'
import { ICMP_REFUSED, ICMP_TOO_BIG, ICMP_UNREACHABLE, type IcmpKind, type TcpEndpoint } from '../../../src/tcp/endpoint.js'
import * as icmp from '../../../src/wire/icmp.js'
import { HAS_JOIN, RST_MPTCP_ERROR } from '../../../src/wire/mptcp-options.js'
import { PARSE_OK, Packet, parsePacket } from '../../../src/wire/packet.js'
import { ACK, buildRst, RST, SYN } from '../../../src/wire/tcp.js'
import { parseOptionsOf, TcpOptions } from '../../../src/wire/tcp-options.js'
import { segment } from '../../sim/segmentation.js'
import { seededHost } from '../../sim/mptcp-host.js'
import { linear } from '../../unit/tcp/harness.js'

/** Where virtual time starts: not at 0, so that a state that takes 0 for "never" is found out. */
export const START: Micros = 1 * US_PER_S
const SLOTS = 64

/** A packet as it left the stack: one segment of the wire, IP header first. */
export interface Sent {
  readonly at: Micros
  readonly ip: Uint8Array
  /** Which packet of the stack it was cut from; pieces of one super-segment share it. */
  readonly burst: number
}

/** What lives in a world: a socket's connection. */
export interface Actor {
  /** Writes what is due. True: the ring is full. */
  pump(tx: TxRing, now: Micros): boolean
  /** After `pump`: takes events. */
  settle(now: Micros): void
  nextTimeout(): Micros
  onTimeout(now: Micros): void
  /** After a segment: it brought what nobody can take any more, so that the flow is gone. */
  isDeaf(): boolean
}

/** Answers SYNs to a port. False: refuse. */
export interface PortOwner {
  onSyn(syn: Packet, opts: TcpOptions, tuple: Tuple, now: Micros): boolean
}

/** The stack under test in virtual time: endpoints by tuple, and everything that they send. */
export class World {
  now: Micros = START
  readonly arena = new Arena((SLOTS + 1) * TX_HEADER_ROOM + 64, 1024)
  readonly host: Host
  readonly sent: Sent[] = []
  readonly ports = new Map<number, PortOwner>()
  /** SYNs that belong to no listener: joins. */
  onStraySyn: PortOwner | null = null
  private readonly tx = new TxRing(this.arena, SLOTS)
  private readonly flows = new Map<string, { readonly endpoint: TcpEndpoint; readonly actor: Actor }>()
  private readonly actors = new Set<Actor>()
  private readonly pkt = new Packet()
  private readonly opts = new TcpOptions()
  private bursts = 0
  private nextPort = 40_000

  constructor(seed: number) {
    this.host = seededHost(new Rng(seed))
  }

  freePort(): number {
    return this.nextPort++
  }

  add(actor: Actor): void {
    this.actors.add(actor)
  }

  remove(actor: Actor): void {
    this.actors.delete(actor)
  }

  bind(endpoint: TcpEndpoint, actor: Actor): void {
    this.flows.set(keyOf(endpoint.tuple), { endpoint, actor })
  }

  unbind(endpoint: TcpEndpoint): void {
    if (this.flows.get(keyOf(endpoint.tuple))?.endpoint === endpoint) this.flows.delete(keyOf(endpoint.tuple))
  }

  /** A packet from the network, vnet header first. */
  deliver(bytes: Uint8Array): void {
    const { pkt, opts, now } = this
    if (parsePacket(bytes, 0, bytes.length, pkt) === PARSE_OK) {
      if (pkt.icmpType >= 0) this.onIcmp()
      else {
        parseOptionsOf(pkt, opts)
        this.onTcp(now)
      }
    }
    this.turn()
  }

  private onTcp(now: Micros): void {
    const { pkt, opts } = this
    const tuple = tupleOf(pkt)
    const flow = this.flows.get(keyOf(tuple))
    const isSyn = (pkt.flags & (SYN | ACK | RST)) === SYN
    if (flow !== undefined) {
      if (isSyn && flow.endpoint.mayReuse(pkt, opts)) {
        this.unbind(flow.endpoint)
        this.remove(flow.actor)
      } else {
        if (!flow.endpoint.onSegment(pkt, opts, now) || flow.actor.isDeaf()) this.refuse()
        return
      }
    }
    const listener = this.ports.get(tuple.localPort)
    const owner = listener ?? this.onStraySyn
    // RFC 8684 §3.2: a join that we refuse
    const reason = isSyn && (opts.mptcp.present & HAS_JOIN) !== 0 ? RST_MPTCP_ERROR : -1
    // RFC 9293 §3.10.7.2: what has neither RST nor ACK nor SYN cannot be for a listener
    if (listener !== undefined && (pkt.flags & (SYN | ACK | RST)) === 0) return
    if (!isSyn || owner === null || !owner.onSyn(pkt, opts, tuple, now)) this.refuse(reason)
  }

  private refuse(reason = -1): void {
    const len = buildRst(this.tx.bytes, this.tx.begin(), this.pkt, reason)
    if (len > 0) this.tx.end(len)
  }

  private onIcmp(): void {
    const { pkt } = this
    const kind = kindOf(pkt)
    const flow = this.flows.get(
      keyOf({
        local: new IpAddress(pkt.qSrc0, pkt.qSrc1, pkt.qSrc2, pkt.qSrc3),
        localPort: pkt.qSrcPort,
        remote: new IpAddress(pkt.qDst0, pkt.qDst1, pkt.qDst2, pkt.qDst3),
        remotePort: pkt.qDstPort,
      }),
    )
    if (kind >= 0 && flow !== undefined) flow.endpoint.onIcmp(kind as IcmpKind, pkt.icmpMtu, pkt.qSeq)
  }

  /** Lets everybody act at this instant until nothing more happens. */
  turn(): void {
    this.flush()
    let isBusy = true
    for (let rounds = 0; isBusy; rounds++) {
      if (rounds > 1000) throw new Error('the stack never comes to rest')
      isBusy = false
      for (const actor of this.actors) {
        while (actor.pump(this.tx, this.now)) isBusy = this.flush() || isBusy
        isBusy = this.flush() || isBusy
        actor.settle(this.now)
      }
    }
    this.arena.recycle()
  }

  private flush(): boolean {
    const isSome = this.tx.count > 0
    while (this.tx.count > 0) {
      const burst = this.bursts++
      for (const ip of segment(linear(this.tx))) this.sent.push({ at: this.now, ip, burst })
    }
    return isSome
  }

  nextTimeout(): Micros {
    let at = NEVER
    for (const actor of this.actors) at = Math.min(at, actor.nextTimeout())
    return at
  }

  /** Goes to the next deadline or to `until`, whichever is earlier. False: `until` was reached without a deadline. */
  step(until: Micros): boolean {
    const next = this.nextTimeout()
    if (next > until) {
      this.now = Math.max(this.now, until)
      return false
    }
    this.now = Math.max(this.now, next)
    for (const actor of this.actors) if (actor.nextTimeout() <= this.now) actor.onTimeout(this.now)
    this.turn()
    return true
  }
}

function keyOf(t: Tuple): string {
  return `${t.local} ${t.localPort} ${t.remote} ${t.remotePort}`
}

function tupleOf(pkt: Packet): Tuple {
  return {
    local: new IpAddress(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3),
    localPort: pkt.dstPort,
    remote: new IpAddress(pkt.src0, pkt.src1, pkt.src2, pkt.src3),
    remotePort: pkt.srcPort,
  }
}

/** What an ICMP error means to an endpoint, as Linux maps it; -1: nothing. */
function kindOf(pkt: Packet): IcmpKind | -1 {
  if (pkt.family === 4) {
    if (pkt.icmpType !== icmp.ICMP_UNREACHABLE) return -1
    if (pkt.icmpCode === icmp.ICMP_FRAG_NEEDED) return ICMP_TOO_BIG
    return pkt.icmpCode === 2 || pkt.icmpCode === 3 ? ICMP_REFUSED : ICMP_UNREACHABLE
  }
  if (pkt.icmpType === icmp.ICMPV6_TOO_BIG) return ICMP_TOO_BIG
  if (pkt.icmpType !== icmp.ICMPV6_UNREACHABLE) return -1
  return pkt.icmpCode === 4 ? ICMP_REFUSED : ICMP_UNREACHABLE
}

/** Prepends an empty vnet header: no offload, checksums are complete. */
export function withVnet(ip: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(VNET_HDR_LEN + ip.length)
  bytes.set(ip, VNET_HDR_LEN)
  return bytes
}
