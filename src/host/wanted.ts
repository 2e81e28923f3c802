import { MptcpError } from '../base/errors.js'
import type { EgressCopy } from './egress-copy.js'
import { type FamilyFacts, factsOf, type HostFacts, ruleText } from './facts.js'
import { forwardingOf, type Switch } from './forwarding.js'
import type { ServedAddress } from './nft.js'
import * as no from './numbers.js'
import { isDefault, keyOf, onLinkFirst, ownRoute, type Route, slotOf } from './route-text.js'

export interface FamilyPlan {
  readonly family: no.Family
  /** A, the applications' source, without prefix length. */
  readonly address: string
  readonly prefixLen: number
  /** The stack's prefix (contains A), e.g. `198.18.0.0/29`. */
  readonly prefix: string
}

/** A further way out: packets of `source` leave by `device`, by nothing else. */
export interface EgressPlan {
  readonly family: no.Family
  /** The stack address that stands for this egress, or the prefix of them. */
  readonly source: string
  readonly device: string
  /** Next hop of its default route; null: the one that the main table has through that device, else on link. */
  readonly gateway: string | null
  /** Its routing table is TABLE_FIRST_EGRESS + index. */
  readonly index: number
}

/** Which TCP is captured beyond routes that the user sets by hand. */
export interface CapturePlan {
  /** Prefixes that are routed at the TUN. */
  readonly routes: readonly string[]
  /** What this host originates on unbound sockets. */
  readonly all: boolean
  /** With `all`: connected networks and specific static routes too. */
  readonly includeLocal: boolean
  /** Interfaces whose forwarded TCP is captured. */
  readonly lan: readonly string[]
}

export interface HostOptions {
  readonly tun: string
  readonly mtu: number
  readonly families: readonly FamilyPlan[]
  readonly egresses: readonly EgressPlan[]
  readonly capture: CapturePlan
  /** What was captured stays blocked when the TUN has gone. */
  readonly failClosed: boolean
  /** Connections to addresses of the host that the stack takes up. */
  readonly served?: readonly ServedAddress[]
}

export const NO_CAPTURE: CapturePlan = { routes: [], all: false, includeLocal: false, lan: [] }

/** What one family should look like, in the order of application. */
export interface WantedFamily {
  readonly routes: readonly Route[]
  /** Rules in the form of `ruleText`, guards first. */
  readonly rules: readonly string[]
  /** Routes and rules that bring traffic to the TUN: applied last, taken back first. */
  readonly captureRoutes: readonly Route[]
  readonly captureRules: readonly string[]
  readonly switches: readonly Switch[]
  /** Interfaces that forward because of us: neighbours behind them are shut out. */
  readonly opened: readonly string[]
}

/**
 * What the host should look like for one family.
 *
 *     iif tun lookup T         what the stack sends goes out by the host's own routes, by nothing else, never back into the TUN
 *     from S2 lookup T3        ... or by another egress, and by nothing else
 *     from A lookup T2         captured sockets stay captured; without the TUN they are unreachable, not in clear
 *     iif lo lookup T          what is not TCP, replies, and sockets bound to other addresses stay out of routes at the TUN
 *
 * @param owned switches that are ours already, with what stood there before
 * @param isCapturing whether the daemon is ready to take what is captured
 * @throws {MptcpError} ERR_HOST_NO_IPV6
 */
export function wantedFamily(
  facts: HostFacts,
  options: HostOptions,
  f: FamilyPlan,
  copy: EgressCopy,
  owned: readonly Switch[],
  isCapturing: boolean,
): WantedFamily {
  const known = factsOf(facts, f.family)
  if (known === null) throw new MptcpError('ERR_HOST_NO_IPV6', 'IPv6 is off on this host: start with --no-ipv6')
  const egresses = options.egresses.filter((egress) => egress.family === f.family)
  const copied = onLinkFirst(copy.routes)
  const devices = [options.tun, ...copied.flatMap((r) => r.devices), ...egresses.map((e) => e.device), ...options.capture.lan]
  const forwarding = forwardingOf(facts, f.family, [...new Set(devices)], owned)
  const opened = forwarding.opened.filter((device) => device !== options.tun)
  const capture = isCapturing ? options.capture : NO_CAPTURE
  return {
    routes: [
      ...copied.map((route) => ours(route, no.TABLE_EGRESS_COPY)),
      // firewalld's reverse path check (fib saddr . iif) drops our packets unless T knows the way to the stack.
      ownRoute([f.prefix, 'dev', options.tun, ...metric(f.family, 1024)], no.TABLE_EGRESS_COPY),
      ownRoute(['default', 'dev', options.tun, 'src', f.address, ...metric(f.family, 1024)], no.TABLE_CAPTURE),
      ...(options.failClosed ? [block('default', f, no.LAST_METRIC - 1, no.TABLE_CAPTURE)] : []),
      ...egresses.flatMap((egress) => egressRoutes(copied, egress, facts)),
    ],
    rules: [
      ...egresses.flatMap(egressRules),
      ...baseRules(options.tun, f),
      ...shutOut(f, opened, options.capture.lan),
      ...stayOut(f.family),
    ],
    captureRules: [...captureRules(f.family, capture), ...capture.lan.flatMap((lan) => lanRules(lan, opened.includes(lan)))],
    captureRoutes: captureRoutes(known, options, f, capture),
    switches: forwarding.switches,
    opened,
  }
}

/** The same route in a table of ours. */
function ours(route: Route, table: number): Route {
  return { ...route, table: String(table), protocol: String(no.OWN_PROTOCOL) }
}

/**
 * A route that rejects. Linux: when the first look-up of an unbound IPv6 socket ends at an `unreachable` route, a source address is
 * chosen and the look-up is done again as if the socket were bound, which leads past the capture. A route through lo that names A as
 * its source rejects as well, and the second look-up has A for its source: it ends where A ends. For that A must be on lo
 * (`loopbackAddress`).
 */
function block(destination: string, f: FamilyPlan, metricValue: number, table: number | 'main'): Route {
  const value = String(metricValue)
  if (f.family === 4) return ownRoute(['unreachable', destination, 'metric', value], table)
  return ownRoute([destination, 'dev', 'lo', 'src', f.address, 'metric', value], table)
}

/** The address that blocking of `f` needs on lo, null: none. */
export function loopbackAddress(options: HostOptions, f: FamilyPlan): string | null {
  return options.failClosed && f.family === 6 ? f.address : null
}

/** Linux gives an IPv6 route without metric 1024. */
function metric(family: no.Family, value: number): string[] {
  return family === 6 ? ['metric', String(value)] : []
}

/** Every unreachable rule comes before the one that it guards, and goes after it: at no moment does ours leave by the wrong way. */
function baseRules(tun: string, f: FamilyPlan): string[] {
  return [
    ruleText(no.PREF_CAPTURED_STOP, `from ${f.address} unreachable`),
    // Not a last route of T: after a crash the host's own traffic still looks into T, and must find main behind it when the host
    // has moved to another network meanwhile.
    ruleText(no.PREF_STACK_STOP, `iif ${tun} unreachable`),
    ruleText(no.PREF_STACK_STOP, `fwmark 0x${no.OWN_MARK.toString(16)} unreachable`),
    ruleText(no.PREF_MARK, `fwmark 0x${no.OWN_MARK.toString(16)} lookup ${no.TABLE_EGRESS_COPY}`),
    ruleText(no.PREF_STACK, `iif ${tun} lookup ${no.TABLE_EGRESS_COPY}`),
    ruleText(no.PREF_CAPTURED, `from ${f.address} lookup ${no.TABLE_CAPTURE}`),
  ]
}

function egressRules(egress: EgressPlan): string[] {
  return [
    ruleText(no.PREF_EGRESS_STOP, `from ${egress.source} unreachable`),
    ruleText(no.PREF_EGRESS, `from ${egress.source} lookup ${no.TABLE_FIRST_EGRESS + egress.index}`),
  ]
}

/** The egress's own part of T, and a default route in any case. Nothing while its device is away: the rules then stop what is its. */
function egressRoutes(copied: readonly Route[], egress: EgressPlan, facts: HostFacts): Route[] {
  const table = no.TABLE_FIRST_EGRESS + egress.index
  if (facts.links.get(egress.device)?.isUp !== true) return []
  const own = copied.filter((route) => route.devices.length > 0 && route.devices.every((device) => device === egress.device))
  const kept = egress.gateway === null ? own : own.filter((route) => !isDefault(route))
  const routes = kept.map((route) => ours(route, table))
  if (kept.some(isDefault)) return routes
  const via = egress.gateway === null ? [] : ['via', egress.gateway]
  return [...routes, ownRoute(['default', ...via, 'dev', egress.device, ...metric(egress.family, 1024)], table)]
}

/**
 * An interface that forwards because of us makes the host a router for everybody behind it. It stays none: only what is addressed to
 * the stack goes on. A LAN that we serve goes to the TUN and nowhere else.
 */
function shutOut(f: FamilyPlan, opened: readonly string[], lan: readonly string[]): string[] {
  return opened
    .filter((device) => !lan.includes(device))
    .flatMap((device) => [
      // Without the TUN the prefix matches nothing but a default route: suppressed, so that the next rule decides.
      ruleText(no.PREF_ADMIT, `from all to ${f.prefix} iif ${device} lookup main suppress_prefixlength 1`),
      ruleText(no.PREF_NO_ROUTER, `iif ${device} blackhole`),
    ])
}

/**
 * Just before main, so that the user's own rules win. To main, where routes at the TUN may be, goes TCP of unbound sockets only.
 * IPv6 link-local destinations are in main alone. `from ::/128` never matches an unbound IPv6 socket.
 */
function stayOut(family: no.Family): string[] {
  const t = no.TABLE_EGRESS_COPY
  if (family === 4) {
    return [ruleText(32_764, `from 0.0.0.0/32 iif lo ipproto 6 goto ${no.PREF_MAIN}`), ruleText(32_765, `iif lo lookup ${t}`)]
  }
  return [
    ruleText(32_761, `from all to fe80::/10 iif lo goto ${no.PREF_MAIN}`),
    ruleText(32_762, `from ::/1 iif lo lookup ${t}`),
    ruleText(32_763, `from 8000::/1 iif lo lookup ${t}`),
    ruleText(32_764, `iif lo ipproto 6 goto ${no.PREF_MAIN}`),
    ruleText(32_765, `iif lo lookup ${t}`),
  ]
}

/**
 * TCP of unbound sockets. `suppress_prefixlength 1`: connected and specific routes win, but not the two halves of everything by
 * which VPNs cover a default route.
 */
function captureRules(family: no.Family, capture: CapturePlan): string[] {
  if (!capture.all) return []
  const t2 = no.TABLE_CAPTURE
  if (family === 4) {
    const unbound = 'from 0.0.0.0/32 iif lo ipproto 6'
    return [
      ...(capture.includeLocal ? [] : [ruleText(7712, `${unbound} lookup main suppress_prefixlength 1`)]),
      ruleText(7713, `${unbound} lookup ${t2}`),
    ]
  }
  return [
    ruleText(7716, 'nop'),
    ruleText(7712, 'from ::/1 iif lo ipproto 6 goto 7716'),
    ruleText(7713, 'from 8000::/1 iif lo ipproto 6 goto 7716'),
    ...(capture.includeLocal ? [] : [ruleText(7714, 'iif lo ipproto 6 lookup main suppress_prefixlength 1')]),
    ruleText(7715, `iif lo ipproto 6 lookup ${t2}`),
  ]
}

/**
 * Forwarded TCP of a LAN. Its segments carry the LAN's addresses, so nothing tells those of a captured connection from new ones: when
 * the TUN has gone they are stopped until the next start or `cleanup`.
 * @param isOpened the host was no router before: then everything of the LAN goes through the TUN, what is not TCP as well.
 */
function lanRules(lan: string, isOpened: boolean): string[] {
  const scope = isOpened ? `iif ${lan}` : `iif ${lan} ipproto 6`
  return [
    ruleText(no.PREF_LAN_STOP, `${scope} unreachable`),
    ...(isOpened ? [] : [ruleText(no.PREF_LAN_MAIN, `${scope} lookup main suppress_prefixlength 1`)]),
    ruleText(no.PREF_LAN, `${scope} lookup ${no.TABLE_CAPTURE}`),
  ]
}

/** Prefixes at the TUN in main; with `failClosed` a route that rejects stands behind each, whoever put it there. */
function captureRoutes(known: FamilyFacts, options: HostOptions, f: FamilyPlan, capture: CapturePlan): Route[] {
  const prefixes = capture.routes.filter((prefix) => prefix.includes(':') === (f.family === 6))
  const first = f.family === 6 ? 1024 : 0
  const wanted = prefixes.map((prefix) =>
    ownRoute([printedPrefix(prefix), 'dev', options.tun, ...(first === 0 ? [] : ['metric', String(first)])], 'main'),
  )
  if (!options.failClosed) return wanted
  const byHand = known.main.filter((route) => route.devices.includes(options.tun) && route.protocol !== 'kernel')
  const taken = new Set(known.main.map(slotOf))
  const stops = [...byHand, ...wanted].flatMap((route) => {
    const stop = block(route.destination, f, route.metric + 1, 'main')
    return taken.has(slotOf(stop)) ? [] : [stop]
  })
  const unique = new Map(stops.map((route) => [keyOf(route), route]))
  return [...unique.values(), ...wanted]
}

/** A prefix as `ip` prints it: /0 is `default`, host routes have no length. */
function printedPrefix(prefix: string): string {
  if (/\/0$/.test(prefix)) return 'default'
  return prefix.replace(/(?<=\.\d+)\/32$|(?<=:[\da-f:]*)\/128$/, '')
}
