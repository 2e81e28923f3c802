import type { EgressCopy } from './egress-copy.js'
import { factsOf, type HostFacts, ruleWords } from './facts.js'
import type { Switch } from './forwarding.js'
import { FAMILIES, type Family, PREF_CAPTURE, PREF_LAN_STOP, TABLE_CAPTURE } from './numbers.js'
import type { Step } from './plan.js'
import { addWords, keyOf, type Route } from './route-text.js'
import type { WantedFamily } from './wanted.js'

/**
 * The steps from what is there to what is wanted. One function serves the start (with whatever a killed run left), following the
 * host's own changes, repair after foreign ones, and the end (nothing is wanted): they differ in nothing but the two sides.
 *
 *     routes and rules that stay in the way of nobody:  added first, guards before what they guard
 *     switches (forwarding)
 *     what brings traffic to the TUN:                   added last, and taken away first
 */
export function reconcile(facts: HostFacts, wanted: ReadonlyMap<Family, WantedFamily>, copies: ReadonlyMap<Family, EgressCopy>): Step[] {
  const first: Step[] = []
  const middle: Step[] = []
  const last: Step[] = []
  const goFirst: Step[] = []
  const goLast: Step[] = []
  for (const family of FAMILIES) {
    const known = factsOf(facts, family)
    if (known === null) continue
    const want = wanted.get(family)
    const changed = copies.get(family)?.changed ?? new Set<string>()
    // Linux takes the source address out of an IPv6 route when the address goes, and leaves the route.
    const there = new Map(known.own.map((route) => [placeOf(route), route.source]))
    const routes = want?.routes ?? []
    const captureRoutes = want?.captureRoutes ?? []
    for (const route of routes) {
      if (!there.has(placeOf(route))) first.push(routeStep(family, 'add', route))
      else if (changed.has(keyOf(route)) || there.get(placeOf(route)) !== route.source) first.push(routeStep(family, 'replace', route))
    }
    for (const route of captureRoutes) if (!there.has(placeOf(route))) last.push(routeStep(family, 'add', route))
    const rulesThere = new Set(known.ownRules)
    for (const rule of want?.rules ?? []) if (!rulesThere.has(rule)) first.push(ruleStep(family, 'add', rule))
    for (const rule of want?.captureRules ?? []) if (!rulesThere.has(rule)) last.push(ruleStep(family, 'add', rule))
    for (const s of want?.switches ?? []) if (facts.sysctl(s.key) !== s.value) middle.push({ kind: 'sysctl', ...s })
    const wantedPlaces = new Set([...routes, ...captureRoutes].map(placeOf))
    for (const route of known.own) {
      if (!wantedPlaces.has(placeOf(route))) (route.table === 'main' ? goFirst : goLast).push(routeStep(family, 'del', route))
    }
    const wantedRules = new Set([...(want?.rules ?? []), ...(want?.captureRules ?? [])])
    const [captures, others] = splitRules(known.ownRules.filter((rule) => !wantedRules.has(rule)))
    goFirst.push(...captures.map((rule) => ruleStep(family, 'del', rule)))
    goLast.unshift(...others.map((rule) => ruleStep(family, 'del', rule)))
  }
  return [...goFirst, ...first, ...middle, ...last, ...goLast]
}

/** The steps that put every switch back, the last first. What somebody else has set meanwhile stays. */
export function restoreSwitches(sysctl: (key: string) => string | null, switches: readonly Switch[]): Step[] {
  // `all` drags the single ones along, so those are written whatever they are now.
  const hasAll = switches.some((s) => s.key.includes('/conf/all/'))
  return [...switches].reverse().flatMap((s): Step[] => {
    const now = sysctl(s.key)
    if (now === null || (s.unless !== undefined && sysctl(s.unless.key) === s.unless.value)) return []
    const isDue = hasAll || (now === s.value && now !== s.old)
    return isDue ? [{ kind: 'sysctl', key: s.key, value: s.old, old: s.value }] : []
  })
}

function placeOf(route: Route): string {
  return `${route.table} ${keyOf(route)}`
}

/** A copy of what another program set and the kernel refuses to take twice costs that destination, not the daemon. */
function routeStep(family: Family, command: 'add' | 'replace' | 'del', route: Route): Step {
  const isCopy = route.table !== 'main' && route.table !== String(TABLE_CAPTURE)
  return { kind: 'route', family, words: [command, ...addWords(route)], mayFail: command !== 'add' || isCopy }
}

function ruleStep(family: Family, command: 'add' | 'del', rule: string): Step {
  return { kind: 'rule', family, words: [command, ...ruleWords(rule)], mayFail: command === 'del' }
}

/** Rules that bring traffic to the TUN, and the others: looking up before guards, so that a guard is the last to go. */
function splitRules(rules: readonly string[]): [string[], string[]] {
  const pref = (rule: string): number => Number.parseInt(rule, 10)
  const isCapture = (rule: string): boolean => pref(rule) >= PREF_CAPTURE && pref(rule) <= PREF_LAN_STOP
  const captures = rules.filter(isCapture)
  const isGuard = (rule: string): boolean => / (unreachable|blackhole)$/.test(rule)
  const order = (list: string[]): string[] => [...list.filter((r) => !isGuard(r)), ...list.filter(isGuard)]
  return [order(captures), order(rules.filter((rule) => !isCapture(rule)))]
}
