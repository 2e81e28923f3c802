import type { IpAddress } from '../base/address.js'
import { MptcpError } from '../base/errors.js'
import { parseAddress } from '../config/address-text.js'
import type { DaemonConfig } from '../config/daemon-config.js'
import { type DetourConfig, detourName, detourOfText, type InterfaceConfig, parseDestination } from '../config/detour-config.js'
import { parsePathSpec, type PathSpec } from '../config/path-spec.js'
import { FixedPath } from '../detour/fixed.js'
import { InterfaceDetour } from '../detour/interface.js'
import { type InterfaceSpec, linkOf } from '../detour/interface-paths.js'
import { NatDetour, natSpecOf } from '../detour/nat-detour.js'
import { OpenVpnDetour } from '../detour/openvpn.js'
import { readVpnFile } from '../detour/openvpn-file.js'
import type { DetourProvider, DetourSettings, DetourStatus, ProviderHost } from '../detour/provider.js'
import { AddressRange } from '../engine/address-range.js'
import type { HostFacts } from '../host/facts.js'
import type { Family } from '../host/numbers.js'
import type { PathDemand } from '../pathmgr/demand.js'
import { path } from '../pathmgr/path.js'

/** How long the start waits for detours that are about to come up; those that take longer join later. */
export const SETTLE_MS = 8000

/** What a detour is made of: a table of the configuration, or a path by hand. */
type Source = DetourConfig | PathSpec

interface Entry {
  readonly source: Source
  readonly provider: DetourProvider
}

/** A server that connections go to at the moment. */
interface Destination {
  readonly remote: IpAddress
  readonly port: number
}

/**
 * All that gives paths beyond the default one: started, changed, listed and ended by name. A reload compares what it finds with what
 * the configuration said before, so that what was added or removed by a command stays so.
 */
export class Detours {
  /** For the engine: passed on to detours that make paths on demand. */
  readonly demand: PathDemand
  private readonly host: ProviderHost
  private readonly destinations: () => readonly Destination[]
  private readonly entries = new Map<string, Entry>()
  /** Those of the providers that are asked for paths. */
  private asked: readonly PathDemand[] = []
  private isStopped = false

  /** @param destinations where connections go that are there: a detour that is added later is asked for them too */
  constructor(host: ProviderHost, destinations: () => readonly Destination[]) {
    this.host = host
    this.destinations = destinations
    this.demand = {
      onConnect: (remote, port) => {
        for (const one of this.asked) one.onConnect(remote, port)
      },
      onPlain: (remote, port) => {
        for (const one of this.asked) one.onPlain(remote, port)
      },
      onUse: (path, delta) => {
        for (const one of this.asked) one.onUse(path, delta)
      },
    }
  }

  /** Starts what the configuration names, VPNs first, and waits for a while until they work. */
  async start(config: DaemonConfig): Promise<void> {
    const sources = sourcesOf(config)
    for (const source of sources.filter(isVpn)) this.begin(source)
    for (const source of sources.filter((one) => !isVpn(one))) this.begin(source)
    await this.within(Promise.all([...this.entries.values()].map((entry) => entry.provider.settled)), SETTLE_MS)
  }

  /** Goes over from one configuration to another; `check` was called before. Never throws. */
  async reload(from: DaemonConfig, to: DaemonConfig): Promise<void> {
    const before = new Map(sourcesOf(from).map((source) => [nameOf(source), source]))
    const after = new Map(sourcesOf(to).map((source) => [nameOf(source), source]))
    for (const [name, source] of before) {
      const next = after.get(name)
      if (next === undefined || contentOf(next) !== contentOf(source)) await this.end(name)
    }
    for (const [name, source] of after) {
      const old = before.get(name)
      if (old === undefined || contentOf(old) !== contentOf(source)) {
        await this.end(name) // a command may have added one of that name
        this.begin(source)
      } else if (JSON.stringify(old) !== JSON.stringify(source)) this.entries.get(name)?.provider.set(settingsOf(source))
    }
  }

  /** One more, from the text of a command. @returns its name @throws {MptcpError} and leaves everything as it was */
  add(text: string): string {
    const source = detourOfText(text) ?? parsePathSpec(text)
    checkSource(source, this.host.families, this.host.facts)
    const name = nameOf(source)
    if (this.entries.has(name)) throw new MptcpError('ERR_PATH_EXISTS', `there is a path '${name}' already: see mptcpd-user path list`)
    this.begin(source)
    return name
  }

  /** Resolves when it is known whether that one works, or after `ms`. */
  async settled(name: string, ms: number): Promise<void> {
    await this.within(this.entries.get(name)?.provider.settled ?? Promise.resolve(), ms)
  }

  /** @throws {MptcpError} ERR_PATH_UNKNOWN */
  async remove(name: string): Promise<void> {
    this.known(name)
    await this.end(name)
  }

  /** @throws {MptcpError} ERR_PATH_UNKNOWN */
  set(name: string, settings: DetourSettings): void {
    this.known(name).provider.set(settings)
  }

  status(): DetourStatus[] {
    return [...this.entries.values()].map((entry) => entry.provider.status())
  }

  onHostChange(facts: HostFacts): void {
    for (const { provider } of this.entries.values()) provider.onHostChange(facts)
  }

  async stop(): Promise<void> {
    this.isStopped = true
    await Promise.all([...this.entries.keys()].map((name) => this.end(name)))
  }

  private async within(work: Promise<unknown>, ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms)
    })
    await Promise.race([work, late])
    clearTimeout(timer)
  }

  private begin(source: Source): void {
    if (this.isStopped) return
    const provider = providerOf(source)
    this.entries.set(provider.name, { source, provider })
    this.learnAsked()
    provider.start(this.host)
    if (isPathDemand(provider)) for (const { remote, port } of this.destinations()) provider.onConnect(remote, port)
  }

  private async end(name: string): Promise<void> {
    const entry = this.entries.get(name)
    this.entries.delete(name)
    await entry?.provider.stop()
    this.learnAsked()
  }

  private learnAsked(): void {
    this.asked = [...this.entries.values()].map((entry) => entry.provider).filter(isPathDemand)
  }

  private known(name: string): Entry {
    const entry = this.entries.get(name)
    if (entry !== undefined) return entry
    const names = [...this.entries.keys()]
    const hint = names.length === 0 ? 'there is only the default one' : `there are ${names.join(', ')}`
    throw new MptcpError('ERR_PATH_UNKNOWN', `there is no path '${name}': ${hint}`)
  }
}

/**
 * What can be seen to be wrong with paths and detours before anything is begun.
 * @throws {MptcpError} ERR_PATH_SOURCE, ERR_DETOUR_FILE
 */
export function checkDetours(config: DaemonConfig, families: readonly Family[], facts: HostFacts): void {
  for (const source of sourcesOf(config)) checkSource(source, families, facts)
}

function checkSource(source: Source, families: readonly Family[], facts: HostFacts): void {
  if ('type' in source) {
    if (source.type === 'openvpn') readVpnFile(source.file, source.scripts)
    return
  }
  if (source.source !== null && linkOf(source.source, facts) === null)
    throw new MptcpError('ERR_PATH_SOURCE', `path source '${source.source}' is neither an interface nor an address of this host`)
  const only = source.destination ?? source.gateway
  if (only !== null && !families.includes(only.isV4 ? 4 : 6))
    throw new MptcpError('ERR_PATH_SOURCE', `path '${source.label}': its address family is not carried`)
}

/** The interfaces that a configuration names and that are there, with the families that they would serve. */
export function interfacesOf(
  config: DaemonConfig,
  families: readonly Family[],
  facts: HostFacts,
): { readonly family: Family; readonly device: string; readonly gateway: string | null }[] {
  return sourcesOf(config).flatMap((source) => {
    const spec = 'type' in source ? (source.type === 'interface' ? interfaceSpecOf(source) : null) : source
    const link = spec === null || spec.source === null ? null : linkOf(spec.source, facts)
    if (spec === null || link === null) return []
    const only = spec.gateway ?? spec.destination
    const served = families.filter((family) => only === null || only.isV4 === (family === 4))
    return served.map((family) => ({ family, device: link.name, gateway: spec.gateway?.toString() ?? null }))
  })
}

/** Everything that a configuration gives paths by. */
function sourcesOf(config: DaemonConfig): Source[] {
  return [...config.paths.map(parsePathSpec), ...config.detour]
}

function isPathDemand(provider: DetourProvider | (DetourProvider & PathDemand)): provider is DetourProvider & PathDemand {
  return 'onConnect' in provider
}

function isVpn(source: Source): boolean {
  return 'type' in source && source.type === 'openvpn'
}

function nameOf(source: Source): string {
  return 'type' in source ? detourName(source) : source.label
}

function settingsOf(source: Source): Required<DetourSettings> {
  return 'type' in source ? { isBackup: source.backup, cost: source.cost } : { isBackup: false, cost: 0 }
}

/** Everything about it that cannot be changed while it runs. */
function contentOf(source: Source): string {
  return JSON.stringify('type' in source ? { ...source, backup: false, cost: 0 } : source.label)
}

function destinationsOf(source: DetourConfig): AddressRange[] {
  return source.destinations.map(parseDestination).map((prefix) => new AddressRange(prefix.address, prefix.len))
}

function providerOf(source: Source): DetourProvider {
  if (!('type' in source)) return handMade(source)
  if (source.type === 'nat') return new NatDetour(natSpecOf(source))
  if (source.type === 'interface') return new InterfaceDetour(interfaceSpecOf(source))
  const { file, scripts, mtu } = source
  const destinations = destinationsOf(source)
  return new OpenVpnDetour({ name: detourName(source), file, allowScripts: scripts, destinations, mtu, ...settingsOf(source) })
}

function handMade(spec: PathSpec): DetourProvider {
  const { label, source, gateway, destination, destinationPort } = spec
  if (source === null) return new FixedPath(path({ kind: 'static', label, destination, destinationPort }))
  const to = { destination, destinationPort, destinations: [] }
  return new InterfaceDetour({ label, kind: 'static', source, gateway, ...to, mtu: 0, ...settingsOf(spec) })
}

function interfaceSpecOf(detour: InterfaceConfig): InterfaceSpec {
  const gateway = detour.gateway === undefined ? null : parseAddress(detour.gateway)
  const to = { destination: null, destinationPort: 0, destinations: destinationsOf(detour) }
  return { label: detourName(detour), kind: 'interface', source: detour.device, gateway, ...to, mtu: detour.mtu, ...settingsOf(detour) }
}
