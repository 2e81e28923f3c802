import type { IpAddress } from '../base/address.js'
import { type Micros, NEVER } from '../base/time.js'
import type { Mapping } from './nat-mapping.js'
import type { NatCounters } from './nat-report.js'
import { MAX_RETRIES, Requests } from './nat-requests.js'
import type { MappingTable, NatWorld } from './nat-table.js'
import { mapOp, type NatWire } from './nat-wire.js'
import type { RequestOp } from './protocol/ops.js'

const LEASE_S = 120
/** Datagrams that a join which is late already is worth: one may be lost as well. */
const HASTY = 2

/** What one datagram asked. */
export interface Asked {
  readonly mappings: readonly { readonly mapping: Mapping; readonly isDelete: boolean }[]
  readonly isPing: boolean
}

/**
 * What is asked of a detour and not answered yet: each mapping, also one that is to be deleted, has its row of requests.
 *
 *     0          1.5 RTT             4.5                            10.5 ...
 *     MAP ------- MAP --------------- MAP -------------------------- MAP    the fifth without answer: the detour is down
 *            ^ a join begins: two more, if an answer to the first could be there
 */
export class Asking {
  readonly requests: Requests<Asked>
  private readonly wire: NatWire
  private readonly world: NatWorld
  private readonly counters: NatCounters
  private readonly mappings: MappingTable
  /** They are forgotten, but the daemon has not confirmed it. */
  private readonly deleting = new Set<Mapping>()

  constructor(wire: NatWire, mappings: MappingTable, counters: NatCounters, world: NatWorld) {
    this.requests = new Requests(wire)
    this.wire = wire
    this.mappings = mappings
    this.counters = counters
    this.world = world
  }

  /** No deletion waits for its answer. */
  get isQuiet(): boolean {
    return this.deleting.size === 0
  }

  /** Begins a row for each. */
  ask(mappings: readonly Mapping[], now: Micros): void {
    for (const mapping of mappings) {
      mapping.askAt = NEVER
      mapping.askedAt = now
    }
    this.transmit(mappings, 0, now)
  }

  /** Begins a row for each that deletes it. They are no part of the table any more. */
  askToDelete(mappings: readonly Mapping[], now: Micros): void {
    for (const mapping of mappings) {
      mapping.isDeleting = true
      this.deleting.add(mapping)
    }
    this.transmit(mappings, 0, now)
  }

  /** The daemon has confirmed a deletion. */
  onDeleted(mapping: Mapping): void {
    mapping.settle()
    this.deleting.delete(mapping)
  }

  /** Nobody will confirm what is to be deleted. */
  giveUpDeleting(): void {
    for (const mapping of this.deleting) mapping.settle()
    this.deleting.clear()
  }

  /**
   * A join is about to leave by a mapping that is not granted. If an answer could be there, something was lost: it is asked again, ahead of
   * the join's SYN. That SYN may be there first, so it is repeated half a round trip later, and once more by the answer. Once a round
   * trip, however many join.
   */
  hasten(mapping: Mapping, now: Micros): void {
    const { leastRttUs } = this.requests
    if (!mapping.isAsking || now - mapping.askedAt < (leastRttUs ?? 1)) return
    mapping.askedAt = now
    const soon = now + this.requests.rto(0)
    const retryAt = mapping.attempt === 0 ? soon : Math.min(mapping.retryAt, soon)
    for (let n = 0; n < HASTY; n++) this.transmit([mapping], Math.max(1, mapping.attempt), now)
    mapping.retryAt = retryAt
    mapping.rejoinAt = leastRttUs === null ? NEVER : now + Math.ceil(leastRttUs / 2)
  }

  /** The same once more, since the clock was wrong: what has been answered meanwhile, or is wanted otherwise, is left out. */
  askAgain({ mappings, isPing }: Asked, now: Micros): void {
    const open = mappings.filter(({ mapping, isDelete }) => mapping.isAsking && mapping.isDeleting === isDelete)
    this.transmit(
      open.map(({ mapping }) => mapping),
      0,
      now,
    )
    if (isPing) this.ping(0, now)
  }

  /** Repeats what has waited long enough. @returns false when all repetitions of something were in vain */
  retransmit(now: Micros): boolean {
    const byAttempt = new Map<number, Mapping[]>()
    for (const mapping of [...this.mappings.values(), ...this.deleting]) {
      if (mapping.retryAt > now) continue
      if (mapping.attempt >= MAX_RETRIES) return false
      const attempt = mapping.attempt + 1
      const row = byAttempt.get(attempt)
      if (row === undefined) byAttempt.set(attempt, [mapping])
      else row.push(mapping)
    }
    for (const [attempt, mappings] of byAttempt) this.transmit(mappings, attempt, now)
    return true
  }

  /** When deletions are repeated; what stands in the table has its own `retryAt`. */
  nextTimeout(): Micros {
    let at = NEVER
    for (const mapping of this.deleting) at = Math.min(at, mapping.retryAt)
    return at
  }

  ping(attempt: number, now: Micros): void {
    const word = () => (this.world.random32() >>> 0).toString(16).padStart(8, '0')
    this.send([{ op: 'ping', echo: word() + word() }], { mappings: [], isPing: true }, attempt, now)
  }

  /** Version 1 has no PING: a target that is wanted anyway is asked for, which is idempotent. */
  pingByMap(remote: IpAddress, port: number, now: Micros): void {
    this.send([mapOp(this.wire.newMapId(remote, port), LEASE_S, remote, port, port)], { mappings: [], isPing: true }, 0, now)
  }

  /** @param attempt of the row that these mappings are in */
  private transmit(mappings: readonly Mapping[], attempt: number, now: Micros): void {
    for (let i = 0; i < mappings.length; i += this.wire.opsPerDatagram) {
      const batch = mappings.slice(i, i + this.wire.opsPerDatagram)
      const ops = batch.map(({ mapId, isDeleting, remote, port, detourPort }) =>
        mapOp(mapId, isDeleting ? 0 : LEASE_S, remote, port, detourPort),
      )
      for (const mapping of batch) {
        mapping.attempt = attempt
        mapping.retryAt = now + this.requests.rto(attempt)
      }
      this.send(ops, { mappings: batch.map((mapping) => ({ mapping, isDelete: mapping.isDeleting })), isPing: false }, attempt, now)
    }
  }

  private send(ops: readonly RequestOp[], asked: Asked, attempt: number, now: Micros): void {
    this.counters.sent++
    if (attempt > 0) this.counters.retransmitted++
    this.world.send(this.requests.seal(ops, asked, attempt, now))
  }
}
