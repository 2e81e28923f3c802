import type { IpAddress } from '../base/address.js'
import { MptcpError } from '../base/errors.js'
import { parseAddress } from './address-text.js'

/**
 * A path that the user gives by hand: SOURCE[@GATEWAY][,DST[:PORT]]
 *
 *     eth1                     the second uplink, to the server's own address
 *     192.0.2.7@192.0.2.1      the uplink with that address, over that next hop
 *     default,198.51.100.9     the default uplink, but to another address of the server (or to a detour)
 *     vpn0,[2001:db8::9]:443   both
 */
export interface PathSpec {
  /** As given: names the path in `status`. */
  readonly label: string
  /** Interface name or one of its addresses; null: the default egress. */
  readonly source: string | null
  readonly gateway: IpAddress | null
  /** Where the subflow goes instead of the connection's destination. */
  readonly destination: IpAddress | null
  /** Port instead of the connection's, 0: the same. */
  readonly destinationPort: number
}

const FORM = /^(?<source>[^,@\s]+)(?:@(?<gateway>[^,@\s]+))?(?:,(?<dst>\[[^\]]+\]|[^,\s[\]]+?)(?::(?<port>\d{1,5}))?)?$/

/** @throws {MptcpError} ERR_PATH_SPEC */
export function parsePathSpec(text: string): PathSpec {
  const groups = FORM.exec(text)?.groups
  const fail = (why: string): never => {
    throw new MptcpError(
      'ERR_PATH_SPEC',
      `path '${text}': ${why}; expected SOURCE[@GATEWAY][,DST[:PORT]], like eth1 or default,198.51.100.9:443`,
    )
  }
  if (groups === undefined) return fail('not understood')
  const address = (part: string | undefined): IpAddress | null => {
    if (part === undefined) return null
    try {
      return parseAddress(part.replace(/^\[(.*)\]$/, '$1'))
    } catch {
      return fail(`'${part}' is not an address (IPv6 goes in brackets)`)
    }
  }
  const port = groups.port === undefined ? 0 : Number(groups.port)
  if (groups.port !== undefined && (port < 1 || port > 65_535)) fail('the port must be 1-65535')
  const source = groups.source as string
  const gateway = address(groups.gateway)
  if (source === 'default' && gateway !== null) fail('the default egress keeps its own gateway')
  return { label: text, source: source === 'default' ? null : source, gateway, destination: address(groups.dst), destinationPort: port }
}
