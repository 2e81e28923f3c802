import type { RxRing, TxRing } from '../base/rings.js'
import type { Micros } from '../base/time.js'
import type { TcpEndpoint } from '../tcp/endpoint.js'
import type { HalfOpen } from '../tcp/half-open.js'
import type { PacketDevice } from '../tun/device.js'

/** A device with its rings. An owner sends where its first packet came from (queues of one TUN), or on the first device. */
export interface Port {
  readonly device: PacketDevice
  readonly rx: RxRing
  readonly tx: TxRing
  /** The device did not take all; nothing is pumped into it before it is writable again. */
  isBlocked: boolean
}

/**
 * What the engine schedules: a relay, a library stream, the connections in TIME-WAIT. Objects never call upward inside a turn;
 * who changed something marks the owner, and the engine pumps it once per round.
 *
 * Every owner has one timer, which is re-armed lazily: an earlier deadline moves it, a later one is noticed when it fires.
 */
export interface Owner {
  /** Id in the engine's timer queue; -1: not (or no longer) the engine's. Set by the engine. */
  timer: number
  /** Waits in the dirty ring. Set by the engine. */
  isDirty: boolean
  readonly port: Port
  /** Events, scheduling, transmission into `tx`, bounded. True: there is more to do as soon as others had their turn. */
  pump(tx: TxRing, now: Micros): boolean
  nextTimeout(): Micros
  onTimeout(now: Micros): void
  /** An ICMP unreachable of that code arrived for one of its endpoints, which is told next. */
  onUnreachable?(code: number): void
  /** A bug hit this owner: let go of everything, with resets where that is possible. Must not rely on its own invariants. */
  fail(now: Micros): void
}

/** A SYN of an application that waits for its answer. */
export interface HeldSyn {
  readonly half: HalfOpen
  /** The same SYN came again: the application still waits. */
  onRepeat(now: Micros): void
  /** The application gave up, or its port was used anew. */
  onGone(now: Micros): void
}

/** The TOS or traffic class without its ECN bits (RFC 2474, RFC 3168). */
export const DSCP_MASK = 0xfc

/** Entry of the flow table: exactly one of `endpoint` and `held` is there. */
export class Flow {
  readonly owner: Owner
  endpoint: TcpEndpoint | null
  readonly held: HeldSyn | null
  /** DSCP of the last segment received, where somebody wants to know (applications' flows), else -1. */
  tclass: number

  constructor(owner: Owner, endpoint: TcpEndpoint | null, held: HeldSyn | null, tclass = -1) {
    this.owner = owner
    this.endpoint = endpoint
    this.held = held
    this.tclass = tclass
  }
}
