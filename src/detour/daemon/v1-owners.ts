import type { IpAddress } from '../../base/address.js'
import type { Prefix } from '../../config/address-text.js'
import { prefixContains } from './destination.js'
import type { KeyDefaults, Owner } from './keys.js'
import { RateLimit } from './rate.js'

/** Version 1 clients that are known at the same time. Their addresses can be forged: they are few, and the network is listed. */
const MAX_OWNERS = 256

/** Clients of version 1: no keys, so each address in the listed networks has the quotas of a key of its own. */
export class V1Owners {
  private readonly byAddress = new Map<string, Owner>()
  private readonly networks: readonly Prefix[]
  private readonly defaults: KeyDefaults
  private readonly nextSlot: () => number

  constructor(networks: readonly Prefix[], defaults: KeyDefaults, nextSlot: () => number) {
    this.networks = networks
    this.defaults = defaults
    this.nextSlot = nextSlot
  }

  /** null: it may not speak version 1, or too many do. */
  owner(client: IpAddress, nowMs: number): Owner | null {
    if (!this.networks.some((network) => prefixContains(network, client))) return null
    const address = client.toString()
    const known = this.byAddress.get(address)
    if (known !== undefined || this.byAddress.size >= MAX_OWNERS) return known ?? null
    const { leases, rate, flows } = this.defaults
    const owner: Owner = {
      name: `v1:${address}`,
      slot: this.nextSlot(),
      key: null,
      leases: 0,
      maxLeases: leases,
      maxFlows: flows,
      rate: new RateLimit(rate, 3 * rate, nowMs),
    }
    this.byAddress.set(address, owner)
    return owner
  }

  /** Takes out those without mappings, and returns them. */
  idle(): Owner[] {
    const idle = [...this.byAddress].filter(([, owner]) => owner.leases === 0)
    for (const [address] of idle) this.byAddress.delete(address)
    return idle.map(([, owner]) => owner)
  }
}
