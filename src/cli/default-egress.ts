import { usableAddresses } from '../detour/interface-paths.js'
import type { HostFacts } from '../host/facts.js'
import type { Family } from '../host/numbers.js'

interface Known {
  readonly device: string
  readonly index: number
  /** Behind which the stack's packets are hidden. */
  readonly address: string
}

/**
 * Notices when a family's default egress has become another one: its interface, or the address of it. What subflows had sent by the old
 * one stood in translations that are gone, so they are lost, though nothing says so to them.
 */
export class DefaultEgress {
  private readonly known = new Map<Family, Known>()

  /**
   * @param devices of the default routes of each family, the preferred first; none: there is no way out at the moment
   * @returns families whose egress is another one than at the last look at which it had one
   */
  look(facts: HostFacts, devices: ReadonlyMap<Family, readonly string[]>): Family[] {
    return [...devices].flatMap(([family, [device = '']]) => {
      const link = facts.links.get(device)
      if (link === undefined || !link.isUp) return []
      const addresses = usableAddresses(link, family)
      const before = this.known.get(family)
      const isSame = before !== undefined && before.index === link.index && addresses.includes(before.address)
      const [address] = addresses
      if (isSame || address === undefined) return []
      this.known.set(family, { device, index: link.index, address })
      return before === undefined ? [] : [family]
    })
  }
}
