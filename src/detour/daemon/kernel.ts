import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { MptcpError } from '../../base/errors.js'
import { NftChild } from '../../host/nft.js'
import type { Lease } from './leases.js'
import { flowsOf, listSet, readChains, runNft, type Traffic, trafficOf } from './nft-read.js'
import {
  dropQuotaChain,
  Elements,
  FIXED_CHAINS,
  openedSets,
  putCounters,
  putLease,
  putRevoked,
  quotaChain,
  TABLE,
  type TableOptions,
  tableText,
} from './table.js'

/** Changes in one transaction: some 3 ms. `nft -i` reads a line in more than linear time, so larger ones are slower in all. */
const MAX_BATCH = 16
/** After something of ours was removed, so long until we look: whoever removes one thing removes more. */
const LOOK_MS = 50

/** Where a lease's new flows are counted, and how many there may be. */
export interface FlowQuota {
  readonly slot: number
  readonly maxFlows: number
}

type Change =
  | { readonly kind: 'admit'; readonly lease: Lease; readonly leaseMs: number; readonly quota: FlowQuota; readonly isRenewal: boolean }
  /** No new flows; those that are there go on. */
  | { readonly kind: 'close'; readonly lease: Lease; readonly quota: FlowQuota }
  /** The same, and those that are there are reset. */
  | { readonly kind: 'revoke'; readonly lease: Lease; readonly quota: FlowQuota; readonly wasLive: boolean }
  /** Nothing of it is left. */
  | { readonly kind: 'forget'; readonly lease: Lease }
  | { readonly kind: 'drop quota'; readonly lease: null; readonly slot: number }
  | { readonly kind: 'opened'; readonly lease: null; readonly options: TableOptions }

interface Pending {
  readonly change: Change
  readonly done: (error: Error | null) => void
}

export interface KernelEvents {
  /** The table was changed or removed by somebody; the mappings in it are lost. */
  lost(): void
}

/**
 * The mappings in the kernel. Changes of one turn of the event loop, and all that come while a transaction is under way, go into one
 * transaction of the standing nft child; each is confirmed when the kernel has it.
 */
export class KernelTable {
  private child: NftChild | null = null
  private monitor: ChildProcessByStdio<null, Readable, null> | null = null
  private queue: Pending[] = []
  private isFlushing = false
  private isEnding = false
  private options: TableOptions
  /** What the fixed chains look like when nobody has touched them. */
  private wanted = ''
  private looking: NodeJS.Timeout | null = null
  /** Quotas that have their chain. */
  private readonly chains = new Map<number, number>()
  private readonly events: KernelEvents
  transactions = 0

  constructor(options: TableOptions, events: KernelEvents) {
    this.options = options
    this.events = events
  }

  /** Makes the table anew, without any mapping. @throws {MptcpError} ERR_NFT */
  async build(options: TableOptions = this.options): Promise<void> {
    this.options = options
    this.chains.clear()
    await runNft(tableText(options))
    this.wanted = await readChains()
    if (this.monitor === null) this.watch()
  }

  /**
   * Admits new flows of a lease for so long from now on.
   * @param isRenewal the kernel may have it already. @throws {MptcpError} ERR_NFT: nothing was changed
   */
  admit(lease: Lease, leaseMs: number, quota: FlowQuota, isRenewal: boolean): Promise<void> {
    return this.push({ kind: 'admit', lease, leaseMs, quota, isRenewal })
  }

  close(lease: Lease, quota: FlowQuota): Promise<void> {
    return this.push({ kind: 'close', lease, quota })
  }

  /** @param wasLive false: it had ended, and its port may be another lease's by now */
  revoke(lease: Lease, quota: FlowQuota, wasLive: boolean): Promise<void> {
    return this.push({ kind: 'revoke', lease, quota, wasLive })
  }

  forget(lease: Lease): Promise<void> {
    return this.push({ kind: 'forget', lease })
  }

  /** An owner has gone, with all of its leases. */
  dropQuota(slot: number): Promise<void> {
    return this.push({ kind: 'drop quota', lease: null, slot })
  }

  /** Other interfaces than before forward because of us. */
  setOpened(options: TableOptions): Promise<void> {
    this.options = options
    return this.push({ kind: 'opened', lease: null, options })
  }

  private push(change: Change): Promise<void> {
    return new Promise((resolve, reject) => {
      this.queue.push({ change, done: (error) => (error === null ? resolve() : reject(error)) })
      if (!this.isFlushing) {
        this.isFlushing = true
        setImmediate(() => void this.flush())
      }
    })
  }

  private async flush(): Promise<void> {
    while (this.queue.length > 0) {
      const batch = this.takeBatch()
      const error = await this.apply(batch)
      if (error === null || batch.length === 1) for (const { done } of batch) done(error)
      else for (const one of batch) one.done(await this.apply([one])) // one of them spoils the whole: find it
    }
    this.isFlushing = false
  }

  /** The next changes, of each lease one: their order matters. */
  private takeBatch(): Pending[] {
    const seen = new Set<Lease | null>()
    let n = 0
    for (; n < this.queue.length && n < MAX_BATCH; n++) {
      const { lease } = (this.queue[n] as Pending).change
      if (seen.has(lease)) break
      seen.add(lease)
    }
    return this.queue.splice(0, n)
  }

  private async apply(batch: readonly Pending[]): Promise<Error | null> {
    const { line, chains } = this.compile(batch.map(({ change }) => change))
    try {
      if (this.isEnding) throw new MptcpError('ERR_NFT', 'the daemon ends')
      this.child = this.child === null || this.child.isEnded ? new NftChild() : this.child
      this.transactions++
      await this.child.send([line])
      for (const [slot, maxFlows] of chains) this.chains.set(slot, maxFlows)
      return null
    } catch (error) {
      this.look() // the usual reason is that the table has gone
      return error as Error
    }
  }

  private compile(changes: readonly Change[]): { line: string; chains: Map<number, number> } {
    const [first, gone, then] = [new Elements(), new Elements(), new Elements()]
    const commands: string[] = []
    const after: string[] = []
    const chains = new Map<number, number>()
    const needQuota = ({ slot, maxFlows }: FlowQuota) => {
      if ((chains.get(slot) ?? this.chains.get(slot)) === maxFlows) return
      commands.push(...quotaChain(slot, maxFlows))
      chains.set(slot, maxFlows)
    }
    for (const change of changes) {
      const { kind, lease } = change
      if (kind === 'drop quota') {
        if (this.chains.delete(change.slot)) after.push(...dropQuotaChain(change.slot))
      } else if (kind === 'opened') after.push(...openedSets(change.options))
      else if (kind === 'admit') {
        // Adding refreshes the timeout only since Linux 6.12 or so: put, take and put again is a renewal on all. A `delete` of what
        // has just ended would fail, so it is put first.
        needQuota(change.quota)
        for (const out of change.isRenewal ? [first, gone, then] : [first]) putLease(out, lease, change.quota.slot, change.leaseMs)
        if (!change.isRenewal) putCounters(first, lease)
      } else if (kind === 'forget') {
        putCounters(first, lease)
        putCounters(gone, lease)
      } else {
        if (kind === 'close' || change.wasLive) {
          needQuota(change.quota)
          for (const out of [first, gone]) putLease(out, lease, change.quota.slot, 1000)
        }
        if (kind === 'revoke') putRevoked(then, lease)
      }
    }
    const line = [...commands, ...first.commands('add'), ...gone.commands('delete'), ...then.commands('add'), ...after].join('; ')
    return { line, chains }
  }

  /** Traffic by number of lease, up and down. @throws {MptcpError} ERR_HOST_COMMAND */
  async readTraffic(): Promise<{ up: Map<number, Traffic>; down: Map<number, Traffic> }> {
    return { up: trafficOf(await listSet('up')), down: trafficOf(await listSet('down')) }
  }

  /** Flows that are open, by number of lease. @throws {MptcpError} ERR_HOST_COMMAND */
  async readFlows(): Promise<Map<number, number>> {
    return flowsOf(await listSet('flows'))
  }

  /** Whether everything is as we made it. */
  async isIntact(): Promise<boolean> {
    return (await readChains()) === this.wanted
  }

  private watch(): void {
    // Every rule that somebody removes is announced, whatever way it goes: `flush ruleset`, the table, the chain.
    const monitor = spawn('nft', ['monitor', 'destroy', 'rules'], { stdio: ['ignore', 'pipe', 'ignore'] })
    this.monitor = monitor
    const isOurs = new RegExp(`delete rule ${TABLE} (${FIXED_CHAINS.join('|')}) `)
    monitor.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (isOurs.test(text)) this.look()
    })
    const again = () => {
      if (this.monitor !== monitor || this.isEnding) return
      this.monitor = null
      setTimeout(() => {
        if (!this.isEnding && this.monitor === null) this.watch()
      }, 1000).unref()
    }
    monitor.on('error', again)
    monitor.on('close', again)
  }

  /** Looks soon whether the table is still ours. */
  look(): void {
    if (this.looking !== null || this.isEnding) return
    this.looking = setTimeout(() => {
      this.isIntact()
        .catch(() => false)
        .then((isIntact) => {
          this.looking = null
          if (!isIntact && !this.isEnding) this.events.lost()
        })
    }, LOOK_MS)
    this.looking.unref()
  }

  /** Takes the table away, with every mapping in it. @throws {MptcpError} ERR_NFT */
  async end(): Promise<void> {
    this.isEnding = true
    if (this.looking !== null) clearTimeout(this.looking)
    const { monitor, child } = this
    this.monitor = null
    if (monitor !== null && monitor.exitCode === null && monitor.signalCode === null) {
      const gone = new Promise((resolve) => monitor.once('close', resolve))
      monitor.kill()
      await gone
    }
    await child?.end()
    await runNft(`table ${TABLE}\ndelete table ${TABLE}\n`)
  }
}
