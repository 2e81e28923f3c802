import type { IpAddress, Tuple } from '../base/address.js'
import type { Arena } from '../base/arena.js'
import type { Host } from '../base/host.js'
import { US_PER_S, type Micros } from '../base/time.js'
import type { Path } from '../pathmgr/path.js'
import { minRtt } from '../scheduler/min-rtt.js'
import type { SchedulerFactory } from '../scheduler/scheduler.js'
import { type TcpConfig, tcpConfig } from '../tcp/config.js'
import type { TcpEndpoint } from '../tcp/endpoint.js'
import type { SegmentSink, SegmentSource, TcpExtension } from '../tcp/extension.js'
import type { CoupledFactory } from './cc/coupled.js'
import type { MptcpConnection } from './connection.js'
import type { MptcpCounters } from './counters.js'
import { RxMappingsPool } from './rx-mappings.js'
import { SPARSE_AUTO, type SparseConfig } from './sparse.js'
import { TxMappingsPool } from './tx-mappings.js'

/** What a connection needs from the stack around it; the engine, the simulator and the tests each bring theirs. */
export interface ConnectionEnv {
  readonly host: Host
  readonly counters: MptcpCounters
  /** Memory of the streams, also for bytes that wait for their mapping. */
  readonly arena: Arena
  /** A free tuple for a new subflow towards `remote` by `path`; null: none (no egress, no port, other address family). */
  openFlow(path: Path, remote: IpAddress, remotePort: number, now: Micros): Tuple | null
  /** Initial sequence number for a new connection of that tuple, and the offset of its timestamps; int32. */
  issOf(tuple: Tuple, now: Micros): number
  tsOffsetOf(tuple: Tuple): number
  /** The id by which joins from `local` name that address (1-255, RFC 8684 §3.2). Left out: that of the path. */
  addressId?(local: IpAddress): number
  /** Whether something went wrong on the path of that tuple while DSSs were left out, also on earlier connections. Left out: never. */
  isSparseOff?(tuple: Tuple): boolean
  /** It has just gone wrong: RFC 8684 leaves it to the sender how often it repeats a mapping. */
  noteSparseOff?(tuple: Tuple): void
  /** From now on segments of this endpoint's tuple are for it; its connection has to be pumped after them. */
  register(endpoint: TcpEndpoint, connection: MptcpConnection): void
  /** The endpoint has nothing more to say; its tuple is free. */
  unregister(endpoint: TcpEndpoint): void
  /** Binds a token to the connection so that joins find it. False: somebody has it. */
  claimToken(token: number, connection: MptcpConnection): boolean
  releaseToken(token: number): void
}

/** A held SYN that can become an endpoint; `HalfOpen` is one. */
export interface SynHolder {
  readonly tuple: Tuple
  accept(
    cfg: TcpConfig,
    iss: number,
    source: SegmentSource,
    sink: SegmentSink,
    ext: TcpExtension,
    now: Micros,
    tsOffset: number,
  ): TcpEndpoint
}

/** What connections of one kind share: one object per stack. */
export interface MptcpConfig {
  readonly tcp: TcpConfig
  /** False: plain TCP from the start. */
  readonly isEnabled: boolean
  /** Demand checksums (A flag). Deviation: RFC 8684 §3.1 recommends them on; off as in Linux. */
  readonly checksum: boolean
  /** Forbid joins to the address and port of the initial subflow (C flag). */
  readonly denyJoinInitial: boolean
  /** SYNs with MP_CAPABLE before plain ones (Linux: 3). */
  readonly capableTries: number
  /** Repetitions of an unanswered third ACK of a join, and of FASTCLOSE (RFC 8684 §3.5: 3). */
  readonly joinAckTries: number
  /** Live subflows of a connection. */
  readonly maxSubflows: number
  /** Joins of peers whose third ACK is awaited, in the whole stack; those beyond are refused with MP_TCPRST reason 2. */
  readonly maxPendingJoins: number
  /** `abort` sends FASTCLOSE on an ACK and repeats it until a RST comes (RFC 8684 §3.5 option A), instead of on RSTs (option R, as Linux). */
  readonly isFastcloseAcked: boolean
  /**
   * A server by Fast Open sends data before the third ACK (RFC 8684 appendix B.3, figure 19). Off as in Linux: as a client that one takes a
   * mapping without DATA_ACK for the sign of a fallback, and a round trip is less than all further subflows.
   */
  readonly isAnswerEarly: boolean
  /** How long a connection without any subflow is kept (RFC 8684 §3.3.3; Linux close_timeout: 60 s). */
  readonly breakBeforeMakeUs: Micros
  readonly scheduler: SchedulerFactory
  /** Congestion control that couples the subflows of a connection (LIA, OLIA), null: each by itself, as `tcp` says. */
  readonly coupled: CoupledFactory | null
  /** When mappings are declared for more than one burst, and only once; null: never (every segment carries its DSS). */
  readonly sparse: SparseConfig | null
  readonly txMappings: TxMappingsPool
  readonly rxMappings: RxMappingsPool
}

/** Defaults as Linux has them. `over` replaces single values. */
export function mptcpConfig(over: Partial<MptcpConfig> = {}): MptcpConfig {
  return {
    tcp: over.tcp ?? tcpConfig(),
    isEnabled: true,
    checksum: false,
    denyJoinInitial: false,
    capableTries: 3,
    joinAckTries: 5,
    maxSubflows: 8,
    maxPendingJoins: 1024,
    isFastcloseAcked: false,
    isAnswerEarly: false,
    breakBeforeMakeUs: 60 * US_PER_S,
    scheduler: minRtt,
    coupled: null,
    sparse: SPARSE_AUTO,
    txMappings: new TxMappingsPool(),
    rxMappings: new RxMappingsPool(),
    ...over,
  }
}
