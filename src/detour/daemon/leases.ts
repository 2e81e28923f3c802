import type { IpAddress } from '../../base/address.js'
import { RESULT_CONFLICT, RESULT_NO_PORT, RESULT_OK, RESULT_QUOTA, type Result } from '../protocol/ops.js'
import type { RateLimit } from './rate.js'

/** The port of a lease that the kernel ends by itself is not given to the same client again before it surely has. */
const REUSE_MS = 2000

/** Numbers of leases stand in the low 24 bits of ct mark. */
const MAX_NUMBER = 0xffffff

/** Whose a lease is, and what its owner may have. */
export interface LeaseOwner {
  readonly name: string
  /** Live leases. */
  leases: number
  maxLeases: number
  /** New mappings. */
  rate: RateLimit
}

/** One mapping: what `client` sends to `port` of the detour goes to `remote`. */
export interface Lease {
  readonly number: number
  readonly owner: LeaseOwner
  /** The client's idempotency key. */
  readonly mapId: string
  readonly client: IpAddress
  readonly remote: IpAddress
  readonly remotePort: number
  readonly port: number
  /** When the lease ends, on the clock of `now`. */
  endsAt: number
  /** Whether new flows are still admitted; ended ones may have flows that go on. */
  isLive: boolean
  /** Why it ended; null while it is live. */
  reason: LeaseEnd | null
}

export type LeaseEnd = 'expired' | 'deleted' | 'revoked' | 'failed' | 'moved' | 'stopped'

/** A request for a mapping, checked against the rules of destinations. */
export interface MapRequest {
  readonly mapId: string
  readonly leaseMs: number
  readonly client: IpAddress
  readonly remote: IpAddress
  readonly remotePort: number
  /** Wanted port, 0: any. */
  readonly port: number
  /** Any other port is as good as the wanted one (version 1). */
  readonly isPortFlexible: boolean
}

export interface LeaseLimits {
  /** Live leases in all. */
  readonly maxLeases: number
  /** New mappings in all. */
  readonly rate: RateLimit
  readonly firstPort: number
  readonly lastPort: number
}

/**
 * All leases, live or ended with flows that may go on. Pure bookkeeping: what the kernel is to hold follows from what this returns.
 *
 *     map -> live -> (expire, delete, revoke) -> ended -> (no flows any more) close -> gone
 */
export class LeaseTable {
  private readonly byNumber = new Map<number, Lease>()
  private readonly byId = new Map<LeaseOwner, Map<string, Lease>>()
  /** Live leases, and ended ones whose port rests. */
  private readonly byPort = new Map<string, Lease>()
  private readonly limits: LeaseLimits
  private nextNumber: number
  private nextPort: number
  live = 0
  /** New mappings since the start. */
  begun = 0
  /** Refusals by quota since the start. */
  overQuota = 0

  /** @param seed a random number: flows of an earlier run carry numbers that must not be given out again soon */
  constructor(limits: LeaseLimits, seed: number) {
    this.limits = limits
    this.nextNumber = seed & MAX_NUMBER
    this.nextPort = limits.firstPort + (seed % (limits.lastPort - limits.firstPort + 1))
  }

  get size(): number {
    return this.byNumber.size
  }

  all(): IterableIterator<Lease> {
    return this.byNumber.values()
  }

  find(owner: LeaseOwner, mapId: string): Lease | undefined {
    return this.byId.get(owner)?.get(mapId)
  }

  /** A new lease or a renewal. `moved` is the one that it replaces, because the client has another address now. */
  map(owner: LeaseOwner, request: MapRequest, now: number): { result: Result; lease: Lease | null; moved: Lease | null } {
    const known = this.find(owner, request.mapId)
    const failed = (result: Result) => ({ result, lease: null, moved: null })
    if (known !== undefined) {
      const isSame =
        known.remotePort === request.remotePort &&
        known.remote.equals(request.remote) &&
        (request.port === 0 || request.isPortFlexible || request.port === known.port)
      if (!isSame) return failed(RESULT_CONFLICT)
      if (known.client.equals(request.client)) {
        known.endsAt = now + request.leaseMs
        return { result: RESULT_OK, lease: known, moved: null }
      }
    }
    const spare = known === undefined ? 0 : 1 // a lease that moves takes the place of its old self
    const { limits } = this
    const mayHave = owner.leases - spare < owner.maxLeases && this.live - spare < limits.maxLeases
    if (!mayHave || !owner.rate.may(now) || !limits.rate.may(now) || this.size >= MAX_NUMBER) {
      this.overQuota++
      return failed(RESULT_QUOTA)
    }
    const port = this.freePort(request, now)
    if (port === 0) return failed(RESULT_NO_PORT)
    owner.rate.take(now)
    limits.rate.take(now)
    if (known !== undefined) this.end(known, 'moved', now)
    const lease = this.add(owner, request, port, now)
    return { result: RESULT_OK, lease, moved: known ?? null }
  }

  private add(owner: LeaseOwner, request: MapRequest, port: number, now: number): Lease {
    const { mapId, client, remote, remotePort, leaseMs } = request
    const number = this.freeNumber()
    const lease: Lease = { number, owner, mapId, client, remote, remotePort, port, endsAt: now + leaseMs, isLive: true, reason: null }
    this.byNumber.set(number, lease)
    this.byPort.set(portKey(client, port), lease)
    const own = this.byId.get(owner)
    if (own === undefined) this.byId.set(owner, new Map([[mapId, lease]]))
    else own.set(mapId, lease)
    owner.leases++
    this.live++
    this.begun++
    return lease
  }

  /** Ends a lease: no new flows. Its number stays taken until `close`. */
  end(lease: Lease, reason: LeaseEnd, now: number): void {
    if (!lease.isLive) return
    lease.isLive = false
    lease.reason = reason
    lease.endsAt = now
    lease.owner.leases--
    this.live--
    const own = this.byId.get(lease.owner)
    if (own?.get(lease.mapId) === lease) own.delete(lease.mapId)
    if (own?.size === 0) this.byId.delete(lease.owner)
  }

  /** Forgets an ended lease. */
  close(lease: Lease): void {
    this.byNumber.delete(lease.number)
    const key = portKey(lease.client, lease.port)
    if (this.byPort.get(key) === lease) this.byPort.delete(key)
  }

  /** Ends what is due and returns it. */
  expire(now: number): Lease[] {
    const due: Lease[] = []
    for (const lease of this.byNumber.values()) if (lease.isLive && lease.endsAt <= now) due.push(lease)
    for (const lease of due) this.end(lease, 'expired', now)
    return due
  }

  /** Live leases of an owner. */
  leasesOf(owner: LeaseOwner): Lease[] {
    return [...(this.byId.get(owner)?.values() ?? [])]
  }

  private freePort(request: MapRequest, now: number): number {
    const { firstPort, lastPort } = this.limits
    const isFree = (port: number) => {
      const lease = this.byPort.get(portKey(request.client, port))
      if (lease === undefined) return true
      return !lease.isLive && (lease.reason !== 'expired' || now - lease.endsAt >= REUSE_MS)
    }
    const { port: wanted } = request
    if (wanted >= firstPort && wanted <= lastPort && isFree(wanted)) return wanted
    if (wanted !== 0 && !request.isPortFlexible) return 0
    for (let n = firstPort; n <= lastPort; n++) {
      const port = this.nextPort
      this.nextPort = port === lastPort ? firstPort : port + 1
      if (isFree(port)) return port
    }
    return 0
  }

  private freeNumber(): number {
    do this.nextNumber = this.nextNumber === MAX_NUMBER ? 1 : this.nextNumber + 1
    while (this.byNumber.has(this.nextNumber))
    return this.nextNumber
  }
}

function portKey(client: IpAddress, port: number): string {
  return `${client.w0},${client.w1},${client.w2},${client.w3},${port}`
}
