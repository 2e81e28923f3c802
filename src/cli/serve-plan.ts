import type { IpAddress } from '../base/address.js'
import { MptcpError } from '../base/errors.js'
import { parseEndpoint, parseTarget } from '../config/endpoint-text.js'
import type { Announced } from '../engine/config.js'
import type { HostFacts } from '../host/facts.js'
import type { ServedAddress } from '../host/nft.js'
import type { Family } from '../host/numbers.js'
import type { Setup } from './setup.js'

/** What `serve` was asked for, as text. */
export interface ServeRequest {
  /** `ADDR:PORT`; 0.0.0.0 or :: for every address of the host. */
  readonly listen: readonly string[]
  /** `HOST:PORT` of the local service: one for each of `listen`, or one for all. */
  readonly to: readonly string[]
  /** `ADDR[:PORT][=LOCAL]`: what is announced to peers; LOCAL is the host's address that it leads to, when a router translates. */
  readonly announce: readonly string[]
}

/** One listening address of the stack, and where its connections go. */
export interface Service {
  readonly address: IpAddress
  readonly port: number
  readonly host: string
  readonly targetPort: number
  /** As the peers know it. */
  readonly label: string
}

export interface ServePlan {
  readonly services: readonly Service[]
  readonly announced: readonly Announced[]
  readonly served: readonly ServedAddress[]
  /** Further ways out: replies of that stack address leave by that interface. */
  readonly egresses: readonly { readonly family: Family; readonly source: IpAddress; readonly device: string }[]
}

/**
 * Gives every address that peers use a stack address of its own, so that joins say by their address which one they came to:
 *
 *     peer -> ADDR:PORT -- dnat --> stack address:PORT -> TUN -> listener
 *
 * The first of a family gets the default one. Addresses at an interface that is not the default route's get an egress too.
 * @param defaultDevices interfaces of the default routes
 * @throws {MptcpError} ERR_ADDRESS, ERR_CONFIG
 */
export function planServe(
  request: ServeRequest,
  setup: Setup,
  facts: HostFacts,
  defaultDevices: (family: Family) => readonly string[],
): ServePlan {
  const stack = new Map<string, IpAddress>()
  const served: ServedAddress[] = []
  const egresses: { family: Family; source: IpAddress; device: string }[] = []
  const stackFor = (address: IpAddress): IpAddress => {
    const family = familyOf(address)
    const text = address.toString()
    const known = stack.get(text)
    if (known !== undefined) return known
    const first = setup.stackAddresses.find((s) => s.isDefault && s.address.isV4 === address.isV4)?.address
    if (first === undefined) throw new MptcpError('ERR_CONFIG', `${text}: IPv${family} is not carried`)
    const device = facts.deviceByAddress.get(text)
    if (device === undefined && !isAny(address))
      throw new MptcpError(
        'ERR_CONFIG',
        `${text} is no address of this host: behind a router that translates, listen on the address behind it`,
      )
    const isFirst = ![...stack.values()].includes(first)
    const source = isFirst ? first : setup.book.take(family).addresses[0]
    stack.set(text, source)
    if (!isFirst) {
      setup.stackAddresses.push({ address: source, isDefault: false })
      if (device !== undefined && device !== 'lo' && !defaultDevices(family).includes(device)) egresses.push({ family, source, device })
    }
    return source
  }
  const serve = (address: IpAddress, port: number): IpAddress => {
    const source = stackFor(address)
    const entry: ServedAddress = {
      family: familyOf(address),
      address: isAny(address) ? null : address.toString(),
      port,
      to: source.toString(),
    }
    if (!served.some((s) => s.address === entry.address && s.port === port && s.family === entry.family)) served.push(entry)
    return source
  }

  if (request.to.length !== 1 && request.to.length !== request.listen.length)
    throw new MptcpError('ERR_CONFIG', 'give --to once, or once for each --listen')
  const services = request.listen.map((text, i): Service => {
    const { address, port } = parseEndpoint(text)
    if (port === 0) throw new MptcpError('ERR_ADDRESS', `--listen ${text} names no port`)
    const target = parseTarget(request.to[i] ?? (request.to[0] as string))
    return { address: serve(address, port), port, host: target.host, targetPort: target.port, label: text }
  })
  const announced = request.announce.map((text, i): Announced => {
    const [outer = '', inner = outer] = text.split('=')
    const { address, port } = parseEndpoint(outer)
    const local = parseEndpoint(inner)
    const ports = port === 0 ? services.map((s) => s.port) : [local.port === 0 ? port : local.port]
    let source: IpAddress | null = null
    for (const one of new Set(ports)) source = serve(local.address, one)
    return { id: i + 1, address, port, local: source as IpAddress }
  })
  return { services, announced, served, egresses }
}

function familyOf(address: IpAddress): Family {
  return address.isV4 ? 4 : 6
}

function isAny(a: IpAddress): boolean {
  return a.w3 === 0 && (a.isV4 || (a.w0 === 0 && a.w1 === 0 && a.w2 === 0))
}
