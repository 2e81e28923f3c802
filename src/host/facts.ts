import { readSysctl, run } from './runner.js'

/** What the plan must know about the host before it changes anything. */
export interface HostFacts {
  /** Unicast routes of the main table as `ip route` prints them, one route a line, by family; null: the family is off. */
  readonly routes4: readonly string[] | null
  readonly routes6: readonly string[] | null
  /** MTU by interface name. */
  readonly mtus: ReadonlyMap<string, number>
  /** Interface by each of its addresses. */
  readonly deviceByAddress: ReadonlyMap<string, string>
  /** Reads a kernel parameter, null when there is none. */
  readonly sysctl: (key: string) => string | null
}

interface LinkJson {
  readonly ifname: string
  readonly mtu: number
  readonly addr_info?: readonly { readonly local?: string }[]
}

/** Reads the host's state in the network namespace of this process. @throws {MptcpError} ERR_HOST_COMMAND */
export async function readFacts(): Promise<HostFacts> {
  const hasV6 = readSysctl('net/ipv6/conf/all/disable_ipv6') === '0'
  const [text4, text6, addresses] = await Promise.all([
    run(['ip', '-4', 'route', 'show', 'table', 'main']),
    hasV6 ? run(['ip', '-6', 'route', 'show', 'table', 'main']) : null,
    run(['ip', '-j', 'address', 'show']),
  ])
  const links = JSON.parse(addresses) as readonly LinkJson[]
  return {
    routes4: joinNexthops(text4),
    routes6: text6 === null ? null : joinNexthops(text6),
    mtus: new Map(links.map((link) => [link.ifname, link.mtu])),
    deviceByAddress: new Map(links.flatMap((link) => (link.addr_info ?? []).flatMap((a) => (a.local ? [[a.local, link.ifname]] : [])))),
    sysctl: readSysctl,
  }
}

/** Multipath routes are printed over several lines, the later ones indented. */
export function joinNexthops(text: string): string[] {
  return text
    .replaceAll(/\n[ \t]+/g, ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
}

/** Devices that a printed route goes through. */
export function devicesOf(route: string): string[] {
  return [...route.matchAll(/\bdev (\S+)/g)].map((match) => match[1] as string)
}

/** State and life time, which `ip route` prints and does not take back. */
const NOT_REPEATABLE =
  /\b(linkdown|dead|pervasive|offload|trap|notify|rt_offload|rt_trap|cache|expires \d+\w*|error -?\d+|proto \S+|pref \w+)\b/g

/** A printed unicast route as the words that add it to another table under our protocol number. */
export function repeatRoute(route: string, table: number): string[] {
  const [destination = '', ...rest] = route
    .replaceAll(NOT_REPEATABLE, ' ')
    .split(/\s+/)
    .filter((word) => word !== '')
  // nexthops must stand at the end
  return [destination, 'proto', String(ROUTE_PROTOCOL), 'table', String(table), ...rest]
}

/** Marks every route that we add (`ip route show proto 119`). */
export const ROUTE_PROTOCOL = 119
