import { type Micros, NEVER, US_PER_S } from '../base/time.js'
import type { Asked, Asking } from './nat-asking.js'
import { Epoch, Hold } from './nat-limits.js'
import type { Mapping } from './nat-mapping.js'
import { Refusals } from './nat-memory.js'
import { deniedText, fullText, type NatCounters } from './nat-report.js'
import { destinationOf, type MappingTable } from './nat-table.js'
import type { NatWire } from './nat-wire.js'
import { type MappedOp, RESULT_BAD_REQUEST, RESULT_CONFLICT, RESULT_DENIED, RESULT_NO_PORT, RESULT_OK } from './protocol/ops.js'

const MAX_REFUSALS = 1024
const MAX_CONFLICTS = 3

/** What a detour has said to the mappings that it was asked for, and what follows from it for them and for those to come. */
export class Grants {
  /** How many more mappings the detour's operator lets us have; null: not told. */
  quotaLeft: number | null = null
  /** Why the last mapping was refused, in plain words; null: it was granted. */
  lastError: string | null = null
  /** Targets that are not asked for. */
  readonly refusals = new Refusals(MAX_REFUSALS)
  private readonly wire: NatWire
  private readonly mappings: MappingTable
  private readonly asking: Asking
  private readonly counters: NatCounters
  private readonly jittered: (span: Micros) => Micros
  private readonly hold = new Hold()
  private readonly epoch = new Epoch()

  constructor(wire: NatWire, mappings: MappingTable, asking: Asking, counters: NatCounters, jittered: (span: Micros) => Micros) {
    this.wire = wire
    this.mappings = mappings
    this.asking = asking
    this.counters = counters
    this.jittered = jittered
  }

  /** Whether a target may be asked for that is not yet. */
  mayAsk(key: string, now: Micros): boolean {
    return !this.refusals.has(key, now) && !this.hold.isOn(now)
  }

  /** The answer for one mapping of a request. */
  onMapped(op: MappedOp, asked: Asked, now: Micros): void {
    const entry = asked.mappings.find(({ mapping }) => mapping.mapId === op.mapId)
    if (entry === undefined) return
    const { mapping, isDelete } = entry
    if (isDelete) {
      this.asking.onDeleted(mapping)
      return
    }
    if (this.mappings.get(mapping.key) !== mapping) return // given up meanwhile
    mapping.settle()
    this.quotaLeft = op.quotaLeft
    if (op.result === RESULT_OK && op.leaseS > 0 && op.detourPort > 0) this.onGranted(mapping, op, now)
    else this.onRefused(mapping, op, now)
    this.onEpoch(op.epoch, mapping, now)
  }

  private onGranted(mapping: Mapping, op: MappedOp, now: Micros): void {
    this.counters.granted++
    this.hold.reset()
    this.lastError = null
    mapping.isGranted = true
    mapping.grantedAt = now
    mapping.conflicts = 0
    mapping.detourPort = op.detourPort
    mapping.askAt = this.wire.hasLeases ? now + (op.leaseS * US_PER_S) / 2 : NEVER
    this.mappings.show(mapping, destinationOf(op.detour, this.mappings.peer), false)
  }

  private onRefused(mapping: Mapping, op: MappedOp, now: Micros): void {
    this.counters.refused++
    mapping.isGranted = false
    if (op.result === RESULT_CONFLICT && mapping.conflicts < MAX_CONFLICTS) {
      mapping.conflicts++
      mapping.mapId = this.wire.newMapId(mapping.remote, mapping.port)
      this.asking.ask([mapping], now)
      return
    }
    if (op.result === RESULT_NO_PORT && mapping.detourPort !== 0) {
      mapping.detourPort = 0
      this.asking.ask([mapping], now)
      return
    }
    if (op.result === RESULT_DENIED || op.result === RESULT_BAD_REQUEST || op.result === RESULT_CONFLICT) {
      this.lastError = deniedText(mapping, op.result)
      this.refusals.add(mapping.key, now)
      this.mappings.forget(mapping)
      return
    }
    this.lastError = fullText(mapping, op.result)
    this.mappings.drop(mapping)
    mapping.askAt = now + this.jittered(this.hold.begin(now))
  }

  /** The daemon tells by another epoch that it has lost what it had: it is asked for again. */
  private onEpoch(epoch: number, told: Mapping, now: Micros): void {
    if (!this.epoch.isAnother(epoch)) return
    this.counters.epochs++
    const lost = this.mappings.all().filter((mapping) => mapping !== told && !mapping.isAsking)
    const at = this.epoch.askAt(now)
    if (at <= now) this.asking.ask(lost, now)
    else for (const mapping of lost) mapping.askAt = Math.min(mapping.askAt, at)
  }
}
