import type { IpAddress } from '../base/address.js'
import type { HostFacts, Link } from '../host/facts.js'
import { factsOf } from '../host/facts.js'
import type { Family } from '../host/numbers.js'
import { type AddressSet, path, type Path, type PathKind } from '../pathmgr/path.js'
import type { DetourSettings, Egress, ProviderHost } from './provider.js'

/** Which interface, and what goes by it. */
export interface InterfaceSpec {
  readonly label: string
  readonly kind: PathKind
  /** Name of an interface, or one of its addresses. */
  readonly source: string
  /** Next hop of its family (then no path of the other one), null: as the main table says, else on link. */
  readonly gateway: IpAddress | null
  /** Where subflows go instead of the connection's destination; then only its family is served. */
  readonly destination: IpAddress | null
  readonly destinationPort: number
  /** Only connections to these use it; none: all. */
  readonly destinations: readonly AddressSet[]
  /** Bytes of the largest packet, 0: the interface's MTU. */
  readonly mtu: number
  readonly isBackup: boolean
  readonly cost: number
}

/** One family's path, from what is wanted to what is there. */
interface Side {
  readonly family: Family
  egress: Egress | null
  path: Path | null
  /** Which interface of that name it is, and its next hop: when it becomes another one, what its subflows sent is lost. */
  identity: string
  gateway: string | null
  /** The interface's address behind which the path's packets are hidden. */
  address: string
}

/** What the host offers at the moment. */
interface Offer {
  readonly device: string
  readonly identity: string
  readonly addresses: readonly string[]
  readonly gateway: string | null
  readonly mtu: number
}

/**
 * The paths by one interface, one per family, kept true to what the interface is at the moment:
 *
 *     up, with an address (and, given a gateway, a network that it is in)    -> egress opened, path upserted
 *     down, without address, gone                                            -> path removed; the egress stays and stops what is its
 *     another address, another interface of that name, another gateway       -> path removed and upserted: a translation that the
 *                                                                               old address stood in leads nowhere
 *     another MTU                                                            -> path upserted
 */
export class InterfacePaths {
  private readonly host: ProviderHost
  private readonly sides: readonly Side[]
  private spec: InterfaceSpec
  private isAllowed = true
  private isStopped = false
  private isDirty = false
  private isWorking: Promise<void> | null = null
  /** Why there is no path, null: there is one. */
  lastError: string | null = null
  /** Called after every pass. */
  onSettled: () => void = () => {}

  constructor(spec: InterfaceSpec, host: ProviderHost) {
    this.spec = spec
    this.host = host
    const only = spec.gateway ?? spec.destination
    const families = host.families.filter((family) => only === null || only.isV4 === (family === 4))
    this.sides = families.map((family) => ({ family, egress: null, path: null, identity: '', gateway: null, address: '' }))
  }

  /** Families that could have a path at all. */
  get families(): readonly Family[] {
    return this.sides.map((side) => side.family)
  }

  get isUp(): boolean {
    return this.sides.some((side) => side.path !== null)
  }

  /** Takes note of the host as it is now. @param isAllowed false: no path for the time being, whatever the interface is */
  follow(isAllowed: boolean): void {
    this.isAllowed = isAllowed
    // What is gone is gone at once, before anything that takes time.
    for (const side of this.sides) {
      const offer = this.offer(side.family, this.host.facts)
      if (side.path !== null && (offer === null || isOther(side, offer))) this.remove(side)
    }
    this.work()
  }

  /** Priority and price of the paths; live subflows stay. */
  set(settings: DetourSettings): void {
    this.spec = { ...this.spec, ...settings }
    for (const side of this.sides) {
      if (side.path === null) continue
      side.path = { ...side.path, isBackup: this.spec.isBackup, cost: this.spec.cost }
      this.host.upsert(side.path)
    }
  }

  async stop(): Promise<void> {
    this.isStopped = true
    for (const side of this.sides) this.remove(side)
    await this.isWorking
    for (const side of this.sides) await this.close(side)
  }

  private work(): void {
    this.isDirty = true
    this.isWorking ??= this.pass().finally(() => {
      this.isWorking = null
    })
  }

  private async pass(): Promise<void> {
    while (this.isDirty && !this.isStopped) {
      this.isDirty = false
      this.lastError = null
      for (const side of this.sides) {
        try {
          await this.bring(side)
        } catch (error) {
          this.lastError = error instanceof Error ? error.message : String(error)
          this.host.log.warn('a path could not be set up', { path: this.spec.label, family: side.family, error: this.lastError })
        }
      }
      if (!this.isUp) this.lastError ??= this.reason()
    }
    this.onSettled()
  }

  private async bring(side: Side): Promise<void> {
    const offer = this.offer(side.family, this.host.facts)
    if (offer === null) return
    const gateway = this.spec.gateway?.toString() ?? null
    if (side.egress !== null && side.egress.device !== offer.device) await this.close(side)
    side.egress ??= await this.host.openEgress(side.family, offer.device, gateway)
    // It may have changed while the rules were made: then there is another pass.
    const now = this.offer(side.family, this.host.facts)
    if (this.isStopped || now === null || now.identity !== offer.identity || now.gateway !== offer.gateway) return
    if (side.path !== null && side.path.mtu === now.mtu) return
    side.identity = now.identity
    if (side.path === null) {
      side.address = now.addresses[0] ?? ''
      side.gateway = now.gateway
    }
    side.path = path({
      id: side.path?.id ?? this.host.newPathId(),
      kind: this.spec.kind,
      label: this.spec.label,
      source: side.egress.source,
      destination: this.spec.destination,
      destinationPort: this.spec.destinationPort,
      destinations: this.spec.destinations,
      mtu: now.mtu,
      cost: this.spec.cost,
      isBackup: this.spec.isBackup,
    })
    this.host.upsert(side.path)
  }

  private remove(side: Side): void {
    if (side.path === null) return
    this.host.remove(side.path.id)
    side.path = null
  }

  private async close(side: Side): Promise<void> {
    const { egress } = side
    side.egress = null
    if (egress !== null) await this.host.closeEgress(egress)
  }

  private offer(family: Family, facts: HostFacts): Offer | null {
    const link = linkOf(this.spec.source, facts)
    if (!this.isAllowed || link === null || !isLinkUsable(link)) return null
    const addresses = usableAddresses(link, family)
    if (addresses.length === 0) return null
    const gateway = this.spec.gateway?.toString() ?? mainGateway(facts, family, link.name)
    const mtu = this.spec.mtu === 0 ? link.mtu : Math.min(this.spec.mtu, link.mtu)
    return { device: link.name, identity: `${link.name} ${link.index}`, addresses, gateway, mtu }
  }

  private reason(): string {
    const { source } = this.spec
    const link = linkOf(source, this.host.facts)
    if (link === null) return `${source} is not there`
    if (!isLinkUsable(link)) return `${link.name} is down`
    const families = this.sides.map((side) => `IPv${side.family}`).join(' or ')
    return `${link.name} has no ${families} address`
  }
}

/** The interface of that name, or with that address; null: there is none. */
export function linkOf(source: string, facts: HostFacts): Link | null {
  return facts.links.get(source) ?? facts.links.get(facts.deviceByAddress.get(source) ?? '') ?? null
}

function isLinkUsable(link: Link): boolean {
  return link.isUp && link.hasCarrier
}

/** Addresses of one family that reach beyond the link. */
export function usableAddresses(link: Link, family: Family): string[] {
  return link.addresses.filter((address) => address.includes(':') === (family === 6) && !/^(fe[89ab]|ff)/i.test(address))
}

/** The next hop of the default route through `device` in main. */
function mainGateway(facts: HostFacts, family: Family, device: string): string | null {
  const route = factsOf(facts, family)?.main.find((r) => r.destination === 'default' && r.devices.length === 1 && r.devices[0] === device)
  return route?.gateways[0] ?? null
}

/** A next hop that is gone from main only because a route at the TUN displaced it is still the egress's. */
function isOther(side: Side, offer: Offer): boolean {
  const hasMoved = offer.gateway !== null && offer.gateway !== side.gateway
  return hasMoved || side.identity !== offer.identity || !offer.addresses.includes(side.address)
}
