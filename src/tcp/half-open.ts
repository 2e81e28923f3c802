import type { Tuple } from '../base/address.js'
import type { Micros } from '../base/time.js'
import { CWR, ECE } from '../wire/tcp.js'
import type { TcpConfig } from './config.js'
import { TcpEndpoint } from './endpoint.js'
import type { SegmentSink, SegmentSource, TcpExtension } from './extension.js'
import { negotiate, type Negotiated, type OfferedOptions } from './handshake.js'

/** What a half-open connection takes from a SYN; a packet is one. */
export interface SynHeader {
  readonly seq: number
  readonly window: number
  readonly flags: number
}

/**
 * A SYN that was received and not yet answered. The interceptor holds it until the remote leg is there; a server accepts it
 * at once. No endpoint exists before `accept`.
 */
export class HalfOpen {
  readonly tuple: Tuple
  /** The peer's initial sequence number. */
  readonly irs: number
  readonly window: number
  readonly peer: Negotiated
  readonly hasWscale: boolean
  readonly tsVal: number
  /** An ECN-setup SYN (RFC 3168 §6.1.1) that our configuration answers. */
  readonly isEcn: boolean
  readonly since: Micros

  /** From a valid SYN (no ACK, no RST) that arrived for `tuple`. MPTCP and Fast Open options are not looked at here. */
  constructor(cfg: TcpConfig, tuple: Tuple, syn: SynHeader, opts: OfferedOptions, now: Micros) {
    this.tuple = tuple
    this.irs = syn.seq
    this.window = syn.window
    this.peer = negotiate(cfg, opts, tuple.remote.isV4)
    this.hasWscale = opts.wscale >= 0
    this.tsVal = opts.hasTs ? opts.tsVal : 0
    this.isEcn = cfg.ecn !== 'off' && (syn.flags & (ECE | CWR)) === (ECE | CWR)
    this.since = now
  }

  /** A retransmission of the same SYN is absorbed; a different ISN is another connection attempt. */
  isSame(syn: SynHeader): boolean {
    return syn.seq === this.irs
  }

  /** Becomes an endpoint in SYN-RECEIVED whose SYN/ACK leaves at its next poll. */
  accept(
    cfg: TcpConfig,
    iss: number,
    source: SegmentSource,
    sink: SegmentSink,
    ext: TcpExtension,
    now: Micros,
    tsOffset = iss,
  ): TcpEndpoint {
    const ep = new TcpEndpoint(cfg, this.tuple, iss, source, sink, ext, tsOffset)
    ep.openPassive(this, now)
    return ep
  }
}
