import { OWN_PROTOCOL } from './numbers.js'

/** A route as `ip route` prints it, taken apart as far as anything here decides on it. */
export interface Route {
  /** `unicast`, or a word that stands before the destination (`unreachable`, `blackhole`, `local`, ...). */
  readonly type: string
  /** `default`, or a prefix; host routes without length, as printed. */
  readonly destination: string
  readonly table: string
  /** As printed: a name, a number, or `boot`. */
  readonly protocol: string
  readonly metric: number
  readonly tos: string
  readonly devices: readonly string[]
  readonly gateways: readonly string[]
  /** Preferred source address, null: none. */
  readonly source: string | null
  /** Everything that `ip route add` takes back, without protocol and table. */
  readonly words: readonly string[]
}

const TYPES = new Set(['unicast', 'local', 'broadcast', 'multicast', 'anycast', 'unreachable', 'blackhole', 'prohibit', 'throw', 'nat'])
const REJECTING = new Set(['unreachable', 'blackhole', 'prohibit', 'throw'])
/** State that is printed and not taken back. */
const FLAGS = new Set([
  'linkdown',
  'dead',
  'pervasive',
  'offload',
  'offload_failed',
  'trap',
  'notify',
  'rt_offload',
  'rt_trap',
  'cache',
  'unresolved',
])
/** Pairs that are printed and not taken back, or not kept. `nhid`: what the nexthop object stands for is printed as well. */
const DROPPED_PAIRS = new Set(['expires', 'error', 'pref', 'nhid', 'users', 'age', 'scope'])

/** A route of the output of `ip route show`, null for an empty line. Multipath routes must have been joined to one line. */
export function parseRoute(line: string): Route | null {
  const words = line.split(/\s+/).filter((word) => word !== '')
  const first = words[0]
  if (first === undefined) return null
  const type = TYPES.has(first) ? first : 'unicast'
  const destination = words[first === type ? 1 : 0] ?? 'default'
  const kept: string[] = first === type && type !== 'unicast' ? [type, destination] : [destination]
  const devices: string[] = []
  const gateways: string[] = []
  let table = 'main'
  let protocol = 'boot'
  let metric = 0
  let tos = ''
  let source: string | null = null
  for (let i = first === type ? 2 : 1; i < words.length; i++) {
    const word = words[i] as string
    if (FLAGS.has(word)) continue
    if (word === 'nexthop' || word === 'onlink') {
      kept.push(word)
      continue
    }
    const value = words[++i] ?? ''
    if (DROPPED_PAIRS.has(word)) continue
    if (word === 'table') table = value
    else if (word === 'proto') protocol = value
    else if (word === 'via') {
      // `via inet6 fe80::1`: an IPv4 route over an IPv6 next hop
      const isOther = value === 'inet6' || value === 'inet'
      const gateway = isOther ? (words[++i] ?? '') : value
      gateways.push(gateway)
      kept.push(word, ...(isOther ? [value] : []), gateway)
    } else {
      if (word === 'dev') {
        // Linux prints IPv6 routes that reject as `dev lo`, whatever they were added with.
        if (REJECTING.has(type)) continue
        devices.push(value)
      } else if (word === 'metric') metric = Number(value)
      else if (word === 'tos') tos = value
      else if (word === 'src') source = value
      kept.push(word, value)
    }
  }
  return { type, destination, table, protocol, metric, tos, devices, gateways, source, words: nexthopsLast(kept) }
}

/** `ip route add` wants the nexthops at the end; `show` prints them there already, but for what older versions put behind them. */
function nexthopsLast(words: readonly string[]): readonly string[] {
  const at = words.indexOf('nexthop')
  if (at < 0) return words
  const metric = words.lastIndexOf('metric')
  if (metric < at) return words
  return [...words.slice(0, at), ...words.slice(metric, metric + 2), ...words.slice(at, metric), ...words.slice(metric + 2)]
}

/** Routes of the output of `ip route show`; multipath routes are printed over several lines, the later ones indented. */
export function parseRoutes(text: string): Route[] {
  return text
    .replaceAll(/\n[ \t]+/g, ' ')
    .split('\n')
    .flatMap((line) => parseRoute(line) ?? [])
}

/** The place of a route in its table: for IPv4 one route has it, and a new one there replaces it. */
export function slotOf(route: Route): string {
  return slotText(route.destination, route.tos, route.metric)
}

export function slotText(destination: string, tos: string, metric: number): string {
  return `${destination} ${tos} ${metric}`
}

/** What names a route when it is deleted. */
export function keyOf(route: Route): string {
  return keyText(route.type, slotOf(route), route.devices, route.gateways)
}

export function keyText(type: string, slot: string, devices: readonly string[], gateways: readonly string[]): string {
  return `${type} ${slot} ${[...devices].sort().join(',')} ${[...gateways].sort().join(',')}`
}

export function isRejecting(route: Route): boolean {
  return REJECTING.has(route.type)
}

export function isOwn(route: Route): boolean {
  return route.protocol === String(OWN_PROTOCOL)
}

export function isDefault(route: Route): boolean {
  return route.destination === 'default'
}

/** A route of ours: the words that add it to a table, and what it looks like when it is printed. */
export function ownRoute(words: readonly string[], table: number | 'main'): Route {
  const route = parseRoute(words.join(' '))
  if (route === null) throw new TypeError('an empty route')
  return { ...route, table: String(table), protocol: String(OWN_PROTOCOL) }
}

/** The words behind `ip route add` (or `replace`, `del`). */
export function addWords(route: Route): string[] {
  const table = route.table === 'main' ? [] : ['table', route.table]
  const at = route.words.indexOf('nexthop')
  const head = at < 0 ? route.words : route.words.slice(0, at)
  const tail = at < 0 ? [] : route.words.slice(at)
  return [...head, 'proto', route.protocol, ...table, ...tail]
}

/** On-link routes come before those whose next hop they reach. */
export function onLinkFirst(routes: readonly Route[]): Route[] {
  const rank = (route: Route): number => (route.gateways.length === 0 ? 0 : 1)
  return [...routes].sort((a, b) => rank(a) - rank(b))
}
