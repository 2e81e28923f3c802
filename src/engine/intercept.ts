import type { Tuple } from '../base/address.js'
import { FlowTable } from '../base/flow-table.js'
import { VNET_HDR_LEN } from '../base/rings.js'
import type { Micros } from '../base/time.js'
import { HalfOpen } from '../tcp/half-open.js'
import * as st from '../tcp/state.js'
import { buildIcmpUnreachable, UNREACH_ADMIN, UNREACH_HOST, UNREACH_NET, type UnreachReason } from '../wire/icmp.js'
import { PROTO_TCP, writeIpHeader } from '../wire/ip.js'
import type { Packet } from '../wire/packet.js'
import { ACK, finishTcp, RST, SYN, TCP_HEADER_LEN, writeTcpSegment } from '../wire/tcp.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import type { Engine } from './engine.js'
import type { Port } from './owner.js'
import { Relay } from './relay.js'

/** Held SYNs of one destination. */
class DestinationCount {
  held = 0
}

/**
 * Takes up applications' SYNs: each is held as a HalfOpen while the remote leg connects, and answered by what became of it.
 * So the application sees the errors that it would see without us:
 *
 *     established           SYN/ACK
 *     refused               RST                         ECONNREFUSED
 *     ICMP unreachable      ICMP, same meaning          EHOSTUNREACH, ENETUNREACH
 *     no answer             silence                     ETIMEDOUT, when its own SYN timer is at its end
 */
export class Interceptor {
  /** SYNs held now. */
  held = 0
  private readonly engine: Engine
  /** By destination address and port, so that one black hole cannot take all places. */
  private readonly destinations: FlowTable<DestinationCount>

  constructor(engine: Engine) {
    this.engine = engine
    this.destinations = new FlowTable<DestinationCount>(engine.host.rng(), engine.host.rng())
  }

  /** A SYN for a tuple that the flow table does not know. Beyond the limits it is dropped: the application will repeat it. */
  onSyn(port: Port, tuple: Tuple, syn: Packet, opts: TcpOptions, now: Micros): void {
    const { engine } = this
    const { config, counters } = engine
    if (this.held >= config.heldMax) {
      counters.EngineHeldOverflow++
      return
    }
    const d = tuple.local
    let count = this.destinations.find(d.w0, d.w1, d.w2, d.w3, 0, 0, 0, 0, tuple.localPort)
    if (count !== null && count.held >= config.heldPerDestination) {
      counters.EngineHeldDestinationOverflow++
      return
    }
    if (count === null) {
      count = new DestinationCount()
      this.destinations.set(d.w0, d.w1, d.w2, d.w3, 0, 0, 0, 0, tuple.localPort, count)
    }
    count.held++
    this.held++
    counters.EngineHeldSyns++
    const relay = new Relay(engine, port, new HalfOpen(config.app, tuple, syn, opts, now), syn.tclass, now)
    relay.start(now)
  }

  /** A SYN is not held any more, whatever became of it. */
  onSettled(tuple: Tuple): void {
    const d = tuple.local
    const count = this.destinations.find(d.w0, d.w1, d.w2, d.w3, 0, 0, 0, 0, tuple.localPort)
    this.held--
    if (count !== null && --count.held === 0) this.destinations.delete(d.w0, d.w1, d.w2, d.w3, 0, 0, 0, 0, tuple.localPort)
  }

  /**
   * Tells the application why its connect failed. @param icmpCode code of the ICMP error that ended it, -1: none.
   */
  refuse(port: Port, half: HalfOpen, cause: st.CloseCause, icmpCode: number): void {
    const counters = this.engine.counters
    counters.TcpAttemptFails++
    switch (cause) {
      case st.CAUSE_TIMEOUT:
      case st.CAUSE_ABORTED:
        if (cause === st.CAUSE_TIMEOUT) counters.EngineHeldTimedOut++
        return
      case st.CAUSE_UNREACHABLE:
        counters.EngineHeldUnreachable++
        this.sendUnreachable(port, half, reasonOf(half.tuple.local.isV4, icmpCode))
        return
      default:
        counters.EngineHeldRefused++
        this.sendReset(port, half)
    }
  }

  private sendReset(port: Port, half: HalfOpen): void {
    const at = port.tx.begin()
    if (at < 0) {
      this.engine.counters.EngineDropReplyFull++
      return
    }
    const mem = port.tx.bytes
    const t = half.tuple
    const ip = at + VNET_HDR_LEN
    const tcp = ip + writeIpHeader(mem, ip, t.local, t.remote, PROTO_TCP, TCP_HEADER_LEN, 0, this.engine.config.app.ttl)
    writeTcpSegment(mem, tcp, t.localPort, t.remotePort, 0, (half.irs + 1) | 0, RST | ACK, 0)
    finishTcp(mem, at, ip, tcp, TCP_HEADER_LEN, 0, 0)
    port.tx.end(tcp + TCP_HEADER_LEN - at)
    this.engine.counters.TcpOutRsts++
  }

  /** The error quotes the SYN, as far as the application's kernel looks at it: addresses, ports, sequence number. */
  private sendUnreachable(port: Port, half: HalfOpen, reason: UnreachReason): void {
    const at = port.tx.begin()
    if (at < 0) {
      this.engine.counters.EngineDropReplyFull++
      return
    }
    const t = half.tuple
    const quote = new Uint8Array(60)
    const tcp = writeIpHeader(quote, 0, t.remote, t.local, PROTO_TCP, TCP_HEADER_LEN, 0, this.engine.config.app.ttl)
    writeTcpSegment(quote, tcp, t.remotePort, t.localPort, half.irs, 0, SYN, half.window)
    port.tx.end(buildIcmpUnreachable(port.tx.bytes, at, reason, null, quote, 0, tcp + TCP_HEADER_LEN))
    this.engine.counters.IcmpOutDestUnreachs++
  }
}

/** The meaning of an unreachable code, as Linux maps it to an error (icmp_err_convert, tab_unreach); -1: host. */
function reasonOf(isV4: boolean, code: number): UnreachReason {
  if (isV4) {
    if (code === 0 || code === 6 || code === 9 || code === 11) return UNREACH_NET
    return code === 10 || code === 13 ? UNREACH_ADMIN : UNREACH_HOST
  }
  if (code === 0) return UNREACH_NET
  return code === 1 || code === 5 || code === 6 ? UNREACH_ADMIN : UNREACH_HOST
}
