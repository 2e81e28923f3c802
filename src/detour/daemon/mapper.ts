import type { IpAddress } from '../../base/address.js'
import { RESULT_BAD_REQUEST, RESULT_OK, RESULT_TRY_LATER, type Result } from '../protocol/ops.js'
import type { Attribution, Usage } from './attribution.js'
import { KernelTable } from './kernel.js'
import type { Owner } from './keys.js'
import { type Lease, type LeaseEnd, type LeaseLimits, LeaseTable, type MapRequest } from './leases.js'
import type { Traffic } from './nft-read.js'
import type { TableOptions } from './table.js'

/** Ended leases are looked at so often for flows that go on. */
const SWEEP_MS = 2000
/** The packet that ends a flow may still be under way; a reset flow is gone after that. */
const SETTLE_MS = 3000
/** A sweep that takes long comes less often: it may use this share of the time. */
const SWEEP_SHARE = 20

/** What the owner of this part is told. */
export interface MapperLog {
  warn(message: string, details?: object): void
  error(message: string, details?: object): void
}

/** The answer to a MAP. */
export interface Mapped {
  readonly result: Result
  readonly lease: Lease | null
}

/**
 * Mappings from the first request to the last packet: keeps the table of leases, the kernel and the attribution log the same.
 *
 *     live, admitted by the kernel -> ended: no new flows -> no flow left: bytes are read, told and forgotten
 */
export class Mapper {
  readonly leases: LeaseTable
  readonly kernel: KernelTable
  /** Changes when mappings were lost; of two runs it differs too. */
  epoch: number
  /** How often the table was lost. */
  lost = 0
  kernelFailures = 0
  private readonly attribution: Attribution
  private readonly log: MapperLog
  private readonly now: () => number
  private sweptAt = 0
  private sweepTook = 0
  private isSweeping = false
  private mending: Promise<void> | null = null
  private isEnding = false

  /** @param now monotonic milliseconds @param wallMs since 1970 @param seed a random number */
  constructor(
    limits: LeaseLimits,
    table: TableOptions,
    attribution: Attribution,
    log: MapperLog,
    now: () => number,
    wallMs: number,
    seed: number,
  ) {
    this.leases = new LeaseTable(limits, seed)
    this.kernel = new KernelTable(table, { lost: () => void this.mend() })
    this.attribution = attribution
    this.log = log
    this.now = now
    this.epoch = Math.floor(wallMs / 1000) >>> 0
  }

  /** A mapping, or one for longer; answered when the kernel has it. */
  async map(owner: Owner, request: MapRequest): Promise<Mapped> {
    // Addresses of the two families cannot be translated into each other here.
    if (request.client.isV4 !== request.remote.isV4) return { result: RESULT_BAD_REQUEST, lease: null }
    if (this.isEnding) return { result: RESULT_TRY_LATER, lease: null }
    const known = this.leases.find(owner, request.mapId)
    const { result, lease, moved } = this.leases.map(owner, request, this.now())
    if (lease === null) return { result, lease }
    if (moved !== null) this.tell(this.kernel.close(moved, owner))
    try {
      await this.kernel.admit(lease, request.leaseMs, owner, lease === known)
    } catch (error) {
      this.kernelFailures++
      this.log.warn('the kernel refused a mapping', { error: (error as Error).message })
      // What it refuses to renew it may still hold; when the table has gone all are put into the new one.
      if (lease !== known && lease.isLive) {
        this.leases.end(lease, 'failed', this.now())
        this.leases.close(lease)
      }
      return { result: RESULT_TRY_LATER, lease: null }
    }
    if (lease !== known) this.attribution.begun(lease)
    return { result: RESULT_OK, lease }
  }

  /** Ends a mapping at its owner's wish; unknown ones have ended already. Flows that are there go on. */
  async unmap(owner: Owner, mapId: string, client: IpAddress): Promise<void> {
    const lease = this.leases.find(owner, mapId)
    if (lease === undefined || !lease.client.equals(client)) return
    this.leases.end(lease, 'deleted', this.now())
    await this.kernel.close(lease, owner).catch((error) => this.failed(error))
  }

  /** An owner has lost its right: its mappings end, flows of ended ones too are reset. */
  revoke(owner: Owner): void {
    for (const lease of this.leases.all()) if (lease.owner === owner) this.revokeLease(lease, owner)
    this.dropOwner(owner)
  }

  revokeLease(lease: Lease, owner: Owner): void {
    const { isLive } = lease
    this.leases.end(lease, 'revoked', this.now())
    lease.reason = 'revoked'
    this.tell(this.kernel.revoke(lease, owner, isLive))
  }

  /** An owner without live leases is not needed in the kernel. */
  dropOwner(owner: Owner): void {
    this.kernel.dropQuota(owner.slot).catch(() => {}) // an element that has just ended may still name it: then it stays, unused
  }

  /** Once a second: ends what is due, and closes what has no flows any more. */
  tick(): void {
    const now = this.now()
    this.leases.expire(now) // the kernel has let go of them by itself
    const isDue = now - this.sweptAt >= Math.max(SWEEP_MS, this.sweepTook * SWEEP_SHARE)
    if (isDue && !this.isSweeping && this.leases.size > this.leases.live) void this.sweep(now)
  }

  private async sweep(now: number): Promise<void> {
    this.isSweeping = true
    this.sweptAt = now
    try {
      const flows = await this.kernel.readFlows()
      const done = [...this.leases.all()].filter((l) => !l.isLive && now - l.endsAt >= SETTLE_MS && (flows.get(l.number) ?? 0) === 0)
      if (done.length > 0) await this.closeAll(done)
    } catch (error) {
      this.failed(error as Error)
    }
    this.isSweeping = false
    this.sweepTook = this.now() - now
  }

  private async closeAll(leases: readonly Lease[]): Promise<void> {
    const traffic = await this.kernel.readTraffic()
    for (const lease of leases) {
      this.attribution.ended(lease, this.usageOf(lease.number, traffic))
      this.leases.close(lease)
      this.tell(this.kernel.forget(lease))
    }
  }

  /** What each mapping carried, and how many flows it has now; while the table is being mended nothing is known. */
  async usage(): Promise<(lease: Lease) => { usage: Usage | null; flows: number }> {
    const none = { up: new Map<number, Traffic>(), down: new Map<number, Traffic>() }
    const [traffic, flows] = await Promise.all([
      this.kernel.readTraffic().catch(() => none),
      this.kernel.readFlows().catch(() => new Map<number, number>()),
    ])
    return (lease) => ({ usage: this.usageOf(lease.number, traffic), flows: flows.get(lease.number) ?? 0 })
  }

  private usageOf(number: number, traffic: { up: Map<number, Traffic>; down: Map<number, Traffic> }): Usage | null {
    const [up, down] = [traffic.up.get(number), traffic.down.get(number)]
    return up === undefined || down === undefined ? null : { up, down }
  }

  /** Somebody has taken our table away, or changed it: it is made anew with all that lives, and clients are told by the epoch. */
  mend(): Promise<void> {
    this.mending ??= this.mendNow().finally(() => {
      this.mending = null
    })
    return this.mending
  }

  private async mendNow(): Promise<void> {
    if (this.isEnding) return
    this.lost++
    this.epoch = (this.epoch + 1) >>> 0
    this.log.warn('the nftables table was changed by somebody else: it is made anew', { leases: this.leases.live, epoch: this.epoch })
    try {
      await this.kernel.build()
      await this.admitAll()
    } catch (error) {
      this.log.error('the nftables table cannot be made anew', { error: (error as Error).message })
    }
  }

  private async admitAll(): Promise<void> {
    const now = this.now()
    const ended: Lease[] = []
    const work: Promise<void>[] = []
    for (const lease of this.leases.all()) {
      const owner = lease.owner as Owner
      if (lease.isLive) work.push(this.kernel.admit(lease, lease.endsAt - now, owner, false))
      else if (lease.reason === 'revoked') work.push(this.kernel.revoke(lease, owner, false))
      else ended.push(lease)
    }
    await Promise.all(work)
    // What counted them has gone; the flows themselves go on.
    for (const lease of ended) {
      this.attribution.ended(lease, null)
      this.leases.close(lease)
    }
  }

  /** The end: every mapping ends, the table goes. @throws {MptcpError} ERR_NFT when it stays */
  async end(reason: LeaseEnd): Promise<void> {
    this.isEnding = true
    await this.mending
    const traffic = await this.kernel.readTraffic().catch(() => null)
    for (const lease of this.leases.all()) {
      this.leases.end(lease, reason, this.now())
      this.attribution.ended(lease, traffic === null ? null : this.usageOf(lease.number, traffic))
    }
    await this.kernel.end()
  }

  private tell(work: Promise<void>): void {
    work.catch((error) => this.failed(error))
  }

  private failed(error: unknown): void {
    this.kernelFailures++
    if (!this.isEnding) this.log.warn('a change in the kernel failed', { error: (error as Error).message })
  }
}
