import type { Link } from './facts.js'
import { isDefault, isRejecting, keyOf, onLinkFirst, type Route, slotOf } from './route-text.js'

/** What was announced since the last reading of the main table. */
export interface RouteNews {
  /** Keys (`keyOf`) of deleted routes. */
  readonly deleted: ReadonlySet<string>
  /** Slots (`slotOf`) that a route through the TUN took. */
  readonly takenByTun: ReadonlySet<string>
}

export const NO_NEWS: RouteNews = { deleted: new Set(), takenByTun: new Set() }

/**
 * T of one family: the main table as it would be without the TUN. What the stack sends follows it, so a route that is put on the
 * TUN must not take away the one that it replaces in main:
 *
 *     main   default via 10.0.0.1 dev eth0   --replace-->   default dev tun0
 *     T      default via 10.0.0.1 dev eth0                  default via 10.0.0.1 dev eth0   (displaced)
 *
 * A route leaves T only when its deletion names it, when its device, gateway or source address goes, or when a route through a
 * device other than ours takes its place. The kernel announces no deletion for a replaced route, nor for IPv4 routes whose device
 * went down: they are missing from main, and the rule decides.
 */
export class EgressCopy {
  private readonly tun: string
  private kept = new Map<string, Route>()
  private displacedKeys = new Set<string>()
  /** Keys of routes whose attributes changed at the last update. */
  changed: ReadonlySet<string> = new Set()

  constructor(tun: string) {
    this.tun = tun
  }

  /** The routes that T holds. */
  get routes(): Route[] {
    return [...this.kept.values()]
  }

  /** Those that a route through the TUN displaced in main: they go back there at the end. */
  get displaced(): Route[] {
    return this.routes.filter((route) => this.displacedKeys.has(keyOf(route)))
  }

  /** @param main the table as read now, after everything in `news` was announced. */
  update(main: readonly Route[], news: RouteNews, links: ReadonlyMap<string, Link>): void {
    const now = new Map<string, Route>()
    for (const route of main) if (isCopied(route, this.tun)) now.set(keyOf(route), route)
    const taken = new Set([...now.values()].map(slotOf))
    const throughTun = new Set([...main.filter((route) => route.devices.includes(this.tun)).map(slotOf), ...news.takenByTun])
    const isMissing = ([key, route]: [string, Route]): boolean => !now.has(key) && !taken.has(slotOf(route))
    const isDisplaced = ([key, route]: [string, Route]): boolean =>
      this.displacedKeys.has(key) || (throughTun.has(slotOf(route)) && !news.deleted.has(key))
    const candidates = [...this.kept].filter(isMissing).filter(isDisplaced)
    const displaced = new Set<string>()
    const known = [...now.values()]
    for (const route of onLinkFirst(candidates.map(([, candidate]) => candidate))) {
      if (!isUsable(route, known, links)) continue
      displaced.add(keyOf(route))
      known.push(route)
    }
    const changed = new Set<string>()
    for (const [key, route] of now) {
      const before = this.kept.get(key)
      if (before !== undefined && before.words.join(' ') !== route.words.join(' ')) changed.add(key)
    }
    for (const key of displaced) now.set(key, this.kept.get(key) as Route)
    this.kept = now
    this.displacedKeys = displaced
    this.changed = changed
  }
}

/** Unicast routes not through the TUN, and those that reject; IPv6 link-local and multicast ones are the kernel's own affair. */
function isCopied(route: Route, tun: string): boolean {
  if (isRejecting(route)) return true
  if (route.protocol === 'kernel' && route.devices.includes('lo')) return false // an address on lo
  if (route.type !== 'unicast' || route.devices.length === 0 || route.devices.includes(tun)) return false
  return !/^(fe80::|ff00::)/.test(route.destination)
}

/** Device, source address and gateway are still there. @param known routes that may lead to the gateway */
function isUsable(route: Route, known: readonly Route[], links: ReadonlyMap<string, Link>): boolean {
  if (!route.devices.every((device) => links.get(device)?.isUp === true)) return false
  const addresses = route.devices.flatMap((device) => links.get(device)?.addresses ?? [])
  if (addresses.length === 0) return false
  const { source } = route
  if (source !== null && ![...links.values()].some((link) => link.addresses.includes(source))) return false
  if (route.words.includes('onlink')) return true
  const onLink = known.filter((r) => r.gateways.length === 0 && !isDefault(r) && r.devices.some((device) => route.devices.includes(device)))
  return route.gateways.every((gateway) => gateway.startsWith('fe80:') || onLink.some((r) => containsText(r.destination, gateway)))
}

/** Whether `prefix` (as printed, a host address without length) contains `address`, both of the same family. */
export function containsText(prefix: string, address: string): boolean {
  const [network = '', lengthText] = prefix.split('/')
  const a = bitsOf(network)
  const b = bitsOf(address)
  if (a === null || b === null || a.length !== b.length) return false
  const length = lengthText === undefined ? a.length : Number(lengthText)
  return a.slice(0, length) === b.slice(0, length)
}

/** An address as a text of 32 or 128 zeros and ones; null when it is none. */
function bitsOf(text: string): string | null {
  if (/^\d+(\.\d+){0,3}$/.test(text)) {
    // `ip` prints IPv4 prefixes in full
    const bytes = text.split('.').map(Number)
    return bytes.length === 4 ? bytes.map((byte) => byte.toString(2).padStart(8, '0')).join('') : null
  }
  if (!/^[\da-f:]*:[\da-f:.]*$/i.test(text)) return null
  const [head = '', tail] = text.split('::') as [string, string | undefined]
  const groups = (part: string): string[] => part.split(':').filter((group) => group !== '')
  const left = groups(head)
  const right = tail === undefined ? [] : groups(tail)
  const missing = tail === undefined ? 0 : 8 - left.length - right.length
  const all = [...left, ...Array<string>(Math.max(0, missing)).fill('0'), ...right]
  return all.length === 8 ? all.map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0')).join('') : null
}
