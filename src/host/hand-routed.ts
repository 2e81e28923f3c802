import { MptcpError } from '../base/errors.js'
import type { HostFacts } from './facts.js'
import { devicesOf, repeatRoute, ROUTE_PROTOCOL } from './facts.js'
import { ownTable } from './nft.js'
import type { Plan, Step } from './plan.js'

/** Our rules' preferences; between them the user can put nothing by accident, since all other programs use rounder numbers. */
export const PREF_EGRESS = 7696
export const PREF_EGRESS_STOP = 7697
export const PREF_MARK = 7699
export const PREF_STACK = 7700
export const PREF_ADMIT = 7702
export const PREF_NO_ROUTER = 7703
export const PREF_CAPTURED = 7710
export const PREF_CAPTURED_STOP = 7711
const PREF_MAIN = 32766

/** T: the main table without what goes through the TUN. */
export const TABLE_EGRESS_COPY = 7700
/** T2: everything into the TUN. */
export const TABLE_CAPTURE = 7701
/** T3, T4, ...: one more egress each. */
export const TABLE_FIRST_EGRESS = 7702

/** Mark of the daemon's own traffic, which never enters the TUN. */
export const OWN_MARK = 0x77

/** The TUN's own ring towards us: forwarded traffic has no back-pressure, what does not fit is lost. */
const TUN_QUEUE_LEN = 5000

export interface FamilyPlan {
  readonly family: 4 | 6
  /** A, the applications' source, without prefix length. */
  readonly address: string
  readonly prefixLen: number
  /** The stack's prefix (contains A), e.g. `198.18.0.0/29`. */
  readonly prefix: string
}

/** A further way out: packets of `source` leave by `device`, by nothing else. */
export interface EgressPlan {
  readonly family: 4 | 6
  /** The stack address that stands for this egress. */
  readonly source: string
  readonly device: string
  /** Next hop of its default route; null: the one that the main table has through that device, else on link. */
  readonly gateway: string | null
  /** Its routing table is TABLE_FIRST_EGRESS + index. */
  readonly index: number
}

export interface HandRoutedOptions {
  readonly tun: string
  readonly mtu: number
  readonly families: readonly FamilyPlan[]
  readonly egresses: readonly EgressPlan[]
}

/**
 * The plan of the mode in which the user points routes at the TUN by hand. The device exists already and is ours, so
 * its addresses and routes go when it is closed; rules, tables, forwarding and the nft table have their undo.
 *
 *     iif tun lookup T         what the stack sends goes out by the host's own routes, never back into the TUN
 *     from S2 lookup T3        ... or by another egress, and by nothing else
 *     from A lookup T2         captured sockets stay captured; without the TUN they are unreachable, not in clear
 *     iif lo lookup T          replies and sockets bound to other addresses stay out of hand-made routes
 */
export function handRoutedPlan(facts: HostFacts, options: HandRoutedOptions): Plan {
  const { tun } = options
  const steps: Step[] = [
    exec(['ip', 'link', 'set', 'dev', tun, 'mtu', String(options.mtu), 'txqueuelen', String(TUN_QUEUE_LEN), 'up'], null),
    ...options.families.map((f) =>
      exec(
        ['ip', ipFlag(f.family), 'address', 'add', `${f.address}/${f.prefixLen}`, 'dev', tun, ...(f.family === 6 ? ['nodad'] : [])],
        null,
      ),
    ),
    { kind: 'nft', lines: ownTable(tun, options.families) },
  ]
  for (const family of options.families) steps.push(...familySteps(facts, options, family))
  return steps
}

function familySteps(facts: HostFacts, options: HandRoutedOptions, f: FamilyPlan): Step[] {
  const usable = usableRoutes(facts, f.family, options.tun)
  const egresses = options.egresses.filter((egress) => egress.family === f.family)
  const devices = [...usable.flatMap(devicesOf), ...egresses.map((egress) => egress.device)]
  const { tun } = options
  const rule = ruleOf(f.family)
  return [
    ...tableSteps(f.family, TABLE_EGRESS_COPY, [
      ...usable.map((route) => repeatRoute(route, TABLE_EGRESS_COPY)),
      // firewalld's reverse path check (fib saddr . iif) drops our packets unless T knows the way to the stack.
      [f.prefix, 'dev', tun, 'proto', String(ROUTE_PROTOCOL), 'table', String(TABLE_EGRESS_COPY)],
      ['unreachable', 'default', 'metric', '4294967295', 'proto', String(ROUTE_PROTOCOL), 'table', String(TABLE_EGRESS_COPY)],
    ]),
    ...tableSteps(f.family, TABLE_CAPTURE, [
      ['default', 'dev', tun, 'src', f.address, 'proto', String(ROUTE_PROTOCOL), 'table', String(TABLE_CAPTURE)],
    ]),
    // Every unreachable rule comes before the one that it guards, and goes after it: at no moment does ours leave by the wrong way.
    ...egresses.flatMap((egress) => egressSteps(usable, egress)),
    rule(PREF_CAPTURED_STOP, 'from', f.address, 'unreachable'),
    rule(PREF_MARK, 'fwmark', `0x${OWN_MARK.toString(16)}`, 'lookup', String(TABLE_EGRESS_COPY)),
    rule(PREF_STACK, 'iif', tun, 'lookup', String(TABLE_EGRESS_COPY)),
    rule(PREF_CAPTURED, 'from', f.address, 'lookup', String(TABLE_CAPTURE)),
    ...stayOut(f.family, rule),
    ...forwardingSteps(facts, tun, f, [tun, ...devices]),
  ]
}

/** The plan of one more egress while the rest stands already. @param facts read anew. */
export function egressPlan(facts: HostFacts, tun: string, family: FamilyPlan, egress: EgressPlan): Plan {
  return [...egressSteps(usableRoutes(facts, family.family, tun), egress), ...forwardingSteps(facts, tun, family, [egress.device])]
}

function egressSteps(usable: readonly string[], egress: EgressPlan): Step[] {
  const table = TABLE_FIRST_EGRESS + egress.index
  const rule = ruleOf(egress.family)
  return [
    ...tableSteps(egress.family, table, egressRoutes(usable, egress, table)),
    rule(PREF_EGRESS_STOP, 'from', egress.source, 'unreachable'),
    rule(PREF_EGRESS, 'from', egress.source, 'lookup', String(table)),
  ]
}

/** Forwarding on `devices`; neighbours are shut out before it is on, but only where WE switch it on. */
function forwardingSteps(facts: HostFacts, tun: string, f: FamilyPlan, devices: readonly string[]): Step[] {
  const wanted = [...new Set(devices)].filter((device) => device !== 'lo')
  const forwarding = f.family === 4 ? forwarding4(facts, wanted) : forwarding6(facts, wanted)
  const rule = ruleOf(f.family)
  return [
    ...forwarding.opened
      .filter((device) => device !== tun)
      .flatMap((device) => [
        rule(PREF_ADMIT, 'iif', device, 'to', f.prefix, 'lookup', 'main'),
        rule(PREF_NO_ROUTER, 'iif', device, 'blackhole'),
      ]),
    ...forwarding.steps,
  ]
}

function usableRoutes(facts: HostFacts, family: 4 | 6, tun: string): string[] {
  const routes = family === 4 ? facts.routes4 : facts.routes6
  if (routes === null) throw new MptcpError('ERR_HOST_NO_IPV6', 'IPv6 is off on this host: start with --no-ipv6')
  return routes.filter((route) => isCopied(route, tun))
}

type RuleMaker = (pref: number, ...words: string[]) => Step

function ruleOf(family: 4 | 6): RuleMaker {
  return (pref, ...words) => {
    const tail = ['pref', String(pref), ...words]
    const head = ['ip', ipFlag(family), 'rule']
    return { kind: 'exec', apply: [...head, 'add', ...tail], undo: [...head, 'del', ...tail], mayExist: true }
  }
}

/** Just before main, so that the user's own rules win. `from ::/128` never matches an unbound IPv6 socket. */
function stayOut(family: 4 | 6, rule: RuleMaker): Step[] {
  const table = String(TABLE_EGRESS_COPY)
  return family === 4
    ? [rule(32764, 'from', '0.0.0.0/32', 'iif', 'lo', 'goto', String(PREF_MAIN)), rule(32765, 'iif', 'lo', 'lookup', table)]
    : [rule(32764, 'from', '::/1', 'iif', 'lo', 'lookup', table), rule(32765, 'from', '8000::/1', 'iif', 'lo', 'lookup', table)]
}

/** Fills a table of ours: emptied first (a killed run may have left it), emptied again when undone. */
function tableSteps(family: 4 | 6, table: number, routes: readonly (readonly string[])[]): Step[] {
  const head = ['ip', ipFlag(family), 'route']
  const flush = [...head, 'flush', 'table', String(table)]
  return [
    { kind: 'exec', apply: flush, undo: flush, mayFail: true },
    ...routes.map((words): Step => {
      // Linux: `flush` leaves out IPv6 unreachable routes.
      const isFlushed = words[0] !== 'unreachable'
      return { kind: 'exec', apply: [...head, 'add', ...words], undo: isFlushed ? null : [...head, 'del', ...words], mayExist: !isFlushed }
    }),
  ]
}

function egressRoutes(usable: readonly string[], egress: EgressPlan, table: number): string[][] {
  const own = usable.filter((route) => devicesOf(route).every((device) => device === egress.device))
  const copied = egress.gateway === null ? own : own.filter((route) => !isDefault(route))
  const routes = copied.map((route) => repeatRoute(route, table))
  if (copied.some(isDefault)) return routes
  const via = egress.gateway === null ? [] : ['via', egress.gateway]
  return [...routes, ['default', ...via, 'dev', egress.device, 'proto', String(ROUTE_PROTOCOL), 'table', String(table)]]
}

function forwarding4(facts: HostFacts, devices: readonly string[]): { steps: Step[]; opened: string[] } {
  const keys = devices.map((device) => ({
    device,
    key: `net/ipv4/conf/${device}/forwarding`,
    old: facts.sysctl(`net/ipv4/conf/${device}/forwarding`),
  }))
  const closed = keys.filter(({ old }) => old === '0')
  return { steps: closed.map(({ key }) => ({ kind: 'sysctl', key, value: '1', old: '0' })), opened: closed.map(({ device }) => device) }
}

function forwarding6(facts: HostFacts, devices: readonly string[]): { steps: Step[]; opened: string[] } {
  const isRouter = facts.sysctl('net/ipv6/conf/all/forwarding') !== '0'
  if (isRouter) return { steps: [], opened: [] }
  const keys = devices.map((device) => `net/ipv6/conf/${device}/force_forwarding`)
  if (keys.some((key) => facts.sysctl(key) !== null)) {
    const closed = keys.flatMap((key, i) => (facts.sysctl(key) === '0' ? [{ key, device: devices[i] as string }] : []))
    return { steps: closed.map(({ key }) => ({ kind: 'sysctl', key, value: '1', old: '0' })), opened: closed.map(({ device }) => device) }
  }
  // Linux before 6.17: forwarding is global, and deletes a router-advertised default route at once unless accept_ra is 2 first.
  const accept = [...facts.mtus.keys()].flatMap((device): Step[] => {
    const key = `net/ipv6/conf/${device}/accept_ra`
    return facts.sysctl(key) === '1' ? [{ kind: 'sysctl', key, value: '2', old: '1' }] : []
  })
  return { steps: [...accept, { kind: 'sysctl', key: 'net/ipv6/conf/all/forwarding', value: '1', old: '0' }], opened: [...devices] }
}

/** Unicast routes not through the TUN; IPv6 link-local and multicast ones are the kernel's own affair. */
function isCopied(route: string, tun: string): boolean {
  if (devicesOf(route).includes(tun) || devicesOf(route).length === 0) return false
  return !/^(broadcast|multicast|local|anycast|unreachable|blackhole|prohibit|throw|nat|fe80::\/64|ff00::\/8)\b/.test(route)
}

function isDefault(route: string): boolean {
  return route.startsWith('default')
}

function ipFlag(family: 4 | 6): string {
  return family === 4 ? '-4' : '-6'
}

function exec(apply: readonly string[], undo: readonly string[] | null): Step {
  return { kind: 'exec', apply, undo }
}
