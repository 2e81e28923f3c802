import type { IpAddress } from '../base/address.js'
import { MptcpError } from '../base/errors.js'
import { addressAfter, networkText, parsePrefix, type Prefix } from '../config/address-text.js'
import type { DaemonConfig } from '../config/daemon-config.js'
import { parsePathSpec, type PathSpec } from '../config/path-spec.js'
import { AddressRange } from '../engine/address-range.js'
import type { StackAddress } from '../engine/config.js'
import type { FamilyFacts, HostFacts } from '../host/facts.js'
import type { EgressPlan, FamilyPlan } from '../host/wanted.js'
import { path, type Path } from '../pathmgr/path.js'

/** Bytes of IP and TCP header without options. */
const HEADERS4 = 40
const HEADERS6 = 60
const DEFAULT_MTU = 1500

/** What configuration and host together determine: addresses, egresses and paths, for the host's plan and for the engine. */
export interface Setup {
  readonly families: readonly FamilyPlan[]
  readonly egresses: readonly EgressPlan[]
  readonly ownRanges: AddressRange[]
  readonly hostAddresses: IpAddress[]
  readonly stackAddresses: StackAddress[]
  readonly paths: Path[]
  /** Hands out addresses for paths that are added later. */
  readonly book: AddressBook
  readonly mss4: number
  readonly mss6: number
}

/** @throws {MptcpError} ERR_PATH_SOURCE, ERR_CONFIG */
export function computeSetup(config: DaemonConfig, facts: HostFacts): Setup {
  const prefixes = [config.address4, config.address6].flatMap((text) => (text === null ? [] : [parsePrefix(text)]))
  const usable = prefixes.filter((prefix) => prefix.family === 4 || facts.v6 !== null)
  const book = new AddressBook(usable)
  const paths = [path()]
  for (const text of config.paths) paths.push(...book.addPath(parsePathSpec(text), facts, paths.length))
  return {
    families: usable.map((prefix) => ({
      family: prefix.family,
      address: prefix.address.toString(),
      prefixLen: prefix.len,
      prefix: networkText(prefix),
    })),
    egresses: book.egresses,
    ownRanges: usable.map((prefix) => new AddressRange(prefix.address, prefix.len)),
    hostAddresses: usable.map((prefix) => prefix.address),
    stackAddresses: book.stackAddresses,
    paths,
    book,
    mss4: defaultMtu(facts.v4, facts, config.tun) - HEADERS4,
    mss6: defaultMtu(facts.v6, facts, config.tun) - HEADERS6,
  }
}

/** Hands out the stack's addresses: the first of each prefix to the default egress, one more to every other egress. */
export class AddressBook {
  readonly egresses: EgressPlan[] = []
  readonly stackAddresses: StackAddress[] = []
  private readonly prefixes: readonly Prefix[]
  private readonly used = new Map<Prefix, number>()
  private readonly sources = new Map<string, IpAddress>()

  constructor(prefixes: readonly Prefix[]) {
    this.prefixes = prefixes
    for (const prefix of prefixes) this.stackAddresses.push({ address: this.next(prefix), isDefault: true })
  }

  /** One path per family that the specification can serve; new egresses are appended to `egresses`. @throws {MptcpError} ERR_PATH_SOURCE */
  addPath(spec: PathSpec, facts: HostFacts, firstId: number): Path[] {
    const added: Path[] = []
    const device = spec.source === null ? null : deviceOf(spec.source, facts)
    for (const prefix of this.prefixes) {
      const isV4 = prefix.family === 4
      if (spec.destination !== null && spec.destination.isV4 !== isV4) continue
      if (spec.gateway !== null && spec.gateway.isV4 !== isV4) continue
      added.push(
        path({
          id: firstId + added.length,
          label: spec.label,
          source: device === null ? null : this.sourceFor(prefix, device, spec.gateway),
          destination: spec.destination,
          destinationPort: spec.destinationPort,
          mtu: device === null ? 0 : (facts.links.get(device)?.mtu ?? 0),
        }),
      )
      if (device === null && spec.destination === null) break // the default path once more serves both families
    }
    if (added.length === 0) throw new MptcpError('ERR_PATH_SOURCE', `path '${spec.label}': its address family is not carried`)
    return added
  }

  /** The same egress keeps its address. */
  private sourceFor(prefix: Prefix, device: string, gateway: IpAddress | null): IpAddress {
    const key = `${prefix.family} ${device} ${gateway}`
    const known = this.sources.get(key)
    if (known !== undefined) return known
    const address = this.next(prefix)
    this.sources.set(key, address)
    this.stackAddresses.push({ address, isDefault: false })
    this.egresses.push({
      family: prefix.family,
      source: address.toString(),
      device,
      gateway: gateway?.toString() ?? null,
      index: this.egresses.length,
    })
    return address
  }

  private next(prefix: Prefix): IpAddress {
    const n = (this.used.get(prefix) ?? 0) + 1
    this.used.set(prefix, n)
    const address = addressAfter(prefix, n)
    if (address === null) {
      throw new MptcpError('ERR_CONFIG', `${networkText(prefix)} has no address left for ${n} egresses: give a wider prefix by --address`)
    }
    return address
  }
}

function deviceOf(source: string, facts: HostFacts): string {
  if (facts.links.has(source)) return source
  const device = facts.deviceByAddress.get(source)
  if (device === undefined)
    throw new MptcpError('ERR_PATH_SOURCE', `path source '${source}' is neither an interface nor an address of this host`)
  return device
}

/** MTU of the device that the default route uses; without one, the smallest of all that have a route. */
function defaultMtu(family: FamilyFacts | null, facts: HostFacts, tun: string): number {
  const routes = (family?.main ?? []).filter((route) => !route.devices.includes(tun))
  const mtuOf = (devices: readonly string[]) => devices.map((device) => facts.links.get(device)?.mtu ?? DEFAULT_MTU)
  const all = routes.flatMap((route) => mtuOf(route.devices))
  const first = routes.filter((route) => route.destination === 'default').flatMap((route) => mtuOf(route.devices))[0]
  return first ?? (all.length > 0 ? Math.min(...all) : DEFAULT_MTU)
}
