import type { IpAddress } from '../base/address.js'
import { type Micros, NEVER } from '../base/time.js'
import type { Path } from '../pathmgr/path.js'
import { targetKey } from './nat-memory.js'

/**
 * One mapping at one detour, shared by all connections to its target.
 *
 *     asked (path tentative) -> granted (path confirmed) -> idle 30 s -> deleted (no path) -> answered, or given up
 *        |   ^                     |  renewed at half its lease
 *     refused: waits               detour lost it: asked again
 */
export class Mapping {
  readonly key: string
  readonly remote: IpAddress
  readonly port: number
  /** The daemon knows it by this; changes after a conflict. */
  mapId: string
  /** What is asked for, or was granted; 0: any. */
  detourPort: number
  path: Path | null = null
  /** The daemon has granted it, and has not said otherwise. */
  isGranted = false
  /** When it said so last. */
  grantedAt: Micros = 0
  /** A request is under way or waits for its repetition: which one of the row, -1: none. */
  attempt = -1
  /** When the row began, or a join hastened it. */
  askedAt: Micros = 0
  /** When the request is repeated. */
  retryAt: Micros = NEVER
  /** When it is asked for (again), after a refusal or at half the lease. */
  askAt: Micros = NEVER
  /** When joins that left too early are repeated, though no answer tells that the mapping is there. */
  rejoinAt: Micros = NEVER
  isDeleting = false
  /** Subflows. */
  uses = 0
  /** With no subflow: since when, or when somebody connected last. */
  idleAt: Micros
  /** Conflicts in a row. */
  conflicts = 0

  constructor(remote: IpAddress, port: number, mapId: string, detourPort: number, now: Micros) {
    this.key = targetKey(remote, port)
    this.remote = remote
    this.port = port
    this.mapId = mapId
    this.detourPort = detourPort
    this.idleAt = now
  }

  get isAsking(): boolean {
    return this.attempt >= 0
  }

  /** The row of requests is over, and no other one is planned. */
  settle(): void {
    this.attempt = -1
    this.retryAt = NEVER
    this.askAt = NEVER
    this.rejoinAt = NEVER
  }
}
