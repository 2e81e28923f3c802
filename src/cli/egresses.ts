import type { IpAddress } from '../base/address.js'
import { MptcpError } from '../base/errors.js'
import { addressAfter, networkText, type Prefix } from '../config/address-text.js'
import type { Egress } from '../detour/provider.js'
import type { StackAddress } from '../engine/config.js'
import { type Family, MAX_EGRESSES } from '../host/numbers.js'
import type { EgressPlan } from '../host/wanted.js'

/** The addresses of one egress: as many as are configured, a prefix of their own. */
export interface AddressBlock {
  readonly addresses: readonly [IpAddress, ...IpAddress[]]
  /** As `ip rule` takes it; a host's address without length. */
  readonly prefix: string
}

/** What the engine knows of a block. */
export function stackAddressOf(block: AddressBlock, isDefault: boolean): StackAddress {
  const [address, ...more] = block.addresses
  return { address, isDefault, more }
}

/** Hands out the stack's addresses: the first block of each prefix to the default egress, one more to every other egress. */
export class AddressBook {
  private readonly prefixes: readonly Prefix[]
  private readonly blockLen: number
  private readonly used = new Set<string>()
  /** The last one that was handed out of each prefix: one that was given back rests until all others had their turn. */
  private readonly last = new Map<Prefix, number>()

  /** @param blockLen addresses of one egress, a power of two */
  constructor(prefixes: readonly Prefix[], blockLen = 1) {
    this.prefixes = prefixes
    this.blockLen = blockLen
  }

  /** @throws {MptcpError} ERR_CONFIG when all are in use */
  take(family: Family): AddressBlock {
    const prefix = this.prefixes.find((one) => one.family === family)
    if (prefix === undefined) throw new MptcpError('ERR_CONFIG', `IPv${family} is not carried`)
    const last = this.last.get(prefix) ?? 0
    for (const [from, to] of [
      [last + 1, Number.POSITIVE_INFINITY],
      [1, last],
    ] as const) {
      for (let n = from; n <= to; n++) {
        if (addressAfter(prefix, n) === null) break
        const block = this.blockAt(prefix, n)
        if (block === null || this.used.has(block.prefix)) continue
        this.used.add(block.prefix)
        this.last.set(prefix, n)
        return block
      }
    }
    const n = [...this.used].filter((text) => text.includes(':') === (family === 6)).length
    throw new MptcpError('ERR_CONFIG', `${networkText(prefix)} has no address left behind ${n} egresses: give a wider prefix by --address`)
  }

  giveBack(block: AddressBlock): void {
    this.used.delete(block.prefix)
  }

  /** The block that begins at the n-th address behind the prefix's own one, null: none does. */
  private blockAt(prefix: Prefix, n: number): AddressBlock | null {
    const { blockLen } = this
    const addresses = Array.from({ length: blockLen }, (_, i) => addressAfter(prefix, n + i))
    const [first] = addresses
    // Aligned, or it were no prefix.
    if (first === null || first === undefined || (first.w3 & (blockLen - 1)) !== 0 || addresses.includes(null)) return null
    const length = (prefix.family === 4 ? 32 : 128) - Math.log2(blockLen)
    const text = blockLen === 1 ? first.toString() : `${first}/${length}`
    return { addresses: addresses as [IpAddress, ...IpAddress[]], prefix: text }
  }
}

/** Who makes and removes the rules of egresses; `HostKeeper` is one. */
export interface EgressKeeper {
  addEgress(plan: EgressPlan): Promise<void>
  removeEgress(plan: EgressPlan): Promise<void>
}

interface Entry {
  readonly plan: EgressPlan
  readonly block: AddressBlock
  readonly egress: Egress
  /** Its rules stand when this is resolved. */
  readonly ready: Promise<void>
  users: number
}

/** The egresses beyond the default one: who names the same device and next hop gets the same, and with the last user it goes. */
export class Egresses {
  private readonly book: AddressBook
  private readonly keeper: EgressKeeper
  private readonly stackAddresses: StackAddress[]
  private readonly entries = new Map<string, Entry>()
  private isLeft = false
  /** Called when the rules of a new one stand. */
  onOpened: (plan: EgressPlan) => void = () => {}

  /** @param stackAddresses the engine's list, which is kept true */
  constructor(book: AddressBook, keeper: EgressKeeper, stackAddresses: StackAddress[]) {
    this.book = book
    this.keeper = keeper
    this.stackAddresses = stackAddresses
  }

  /** @throws {MptcpError} ERR_HOST_SETUP, ERR_CONFIG; then nothing is left of it */
  async open(family: Family, device: string, gateway: string | null): Promise<Egress> {
    const key = keyOf(family, device, gateway)
    const known = this.entries.get(key)
    const entry = known ?? this.newEntry(family, device, gateway)
    entry.users++
    try {
      await entry.ready
      if (known === undefined) this.onOpened(entry.plan)
      return entry.egress
    } catch (error) {
      await this.close(entry.egress)
      throw error
    }
  }

  /** The daemon ends: what is closed from now on is left to whoever undoes everything. */
  leave(): void {
    this.isLeft = true
  }

  async close(egress: Egress): Promise<void> {
    const key = keyOf(egress.family, egress.device, egress.gateway)
    const entry = this.entries.get(key)
    if (entry === undefined || entry.egress !== egress || --entry.users > 0) return
    this.entries.delete(key)
    if (!this.isLeft) await this.keeper.removeEgress(entry.plan)
    const at = this.stackAddresses.findIndex((one) => one.address === egress.source)
    if (at >= 0) this.stackAddresses.splice(at, 1)
    this.book.giveBack(entry.block)
  }

  private newEntry(family: Family, device: string, gateway: string | null): Entry {
    const block = this.book.take(family)
    const [source] = block.addresses
    const plan = { family, source: block.prefix, device, gateway, index: this.freeIndex() }
    this.stackAddresses.push(stackAddressOf(block, false))
    const ready = this.keeper.addEgress(plan)
    const entry = { plan, block, egress: { family, source, device, gateway }, ready, users: 0 }
    this.entries.set(keyOf(family, device, gateway), entry)
    return entry
  }

  private freeIndex(): number {
    const used = new Set([...this.entries.values()].map((entry) => entry.plan.index))
    for (let i = 0; i < MAX_EGRESSES; i++) if (!used.has(i)) return i
    throw new MptcpError('ERR_CONFIG', `more than ${MAX_EGRESSES} egresses`)
  }
}

function keyOf(family: Family, device: string, gateway: string | null): string {
  return `${family} ${device} ${gateway ?? ''}`
}
