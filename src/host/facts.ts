import { readSysctl, run } from './runner.js'
import { type Family, isOwnPref, OWN_PROTOCOL } from './numbers.js'
import { isOwn, parseRoutes, type Route } from './route-text.js'

export interface Link {
  readonly index: number
  readonly name: string
  readonly mtu: number
  readonly isUp: boolean
  /** Its other end is there. */
  readonly hasCarrier: boolean
  readonly addresses: readonly string[]
}

/** What one family looks like on the host. */
export interface FamilyFacts {
  /** The main table, without routes of ours. */
  readonly main: readonly Route[]
  /** Routes of ours in all tables. */
  readonly own: readonly Route[]
  /** Rules of ours, in the form of `ruleText`. */
  readonly ownRules: readonly string[]
}

/** What the plan must know about the host before it changes anything. */
export interface HostFacts {
  /** null: IPv6 is off. */
  readonly v4: FamilyFacts
  readonly v6: FamilyFacts | null
  readonly links: ReadonlyMap<string, Link>
  /** Interface by each of its addresses. */
  readonly deviceByAddress: ReadonlyMap<string, string>
  /** Reads a kernel parameter, null when there is none. */
  readonly sysctl: (key: string) => string | null
}

interface LinkJson {
  readonly ifindex: number
  readonly ifname: string
  readonly mtu: number
  readonly flags: readonly string[]
  readonly addr_info?: readonly { readonly local?: string }[]
}

/** Reads the host's state in the network namespace of this process. @throws {MptcpError} ERR_HOST_COMMAND */
export async function readFacts(): Promise<HostFacts> {
  const hasV6 = readSysctl('net/ipv6/conf/all/disable_ipv6') === '0'
  const family = async (flag: string): Promise<FamilyFacts> => {
    const [routes, rules] = await Promise.all([run(['ip', flag, 'route', 'show', 'table', 'all']), run(['ip', flag, 'rule', 'show'])])
    return familyFacts(routes, rules)
  }
  const [v4, v6, addresses] = await Promise.all([family('-4'), hasV6 ? family('-6') : null, run(['ip', '-j', 'address', 'show'])])
  return { v4, v6, ...linkFacts(addresses), sysctl: readSysctl }
}

/** @param routes output of `ip route show table all`; @param rules output of `ip rule show` */
export function familyFacts(routes: string, rules: string): FamilyFacts {
  const all = parseRoutes(routes)
  return {
    main: all.filter((route) => route.table === 'main' && !isOwn(route)),
    own: all.filter(isOwn),
    ownRules: rules.split('\n').flatMap((line) => ownRuleText(line) ?? []),
  }
}

/** @param json output of `ip -j address show` */
export function linkFacts(json: string): Pick<HostFacts, 'links' | 'deviceByAddress'> {
  const links = (JSON.parse(json) as readonly Partial<LinkJson>[]).flatMap((link): Link[] => {
    if (link.ifindex === undefined || link.ifname === undefined) return [] // `ip -j` prints {} for what it filtered out
    const addresses = (link.addr_info ?? []).flatMap((a) => a.local ?? [])
    const flags = link.flags ?? []
    const [isUp, hasCarrier] = [flags.includes('UP'), flags.includes('LOWER_UP')]
    return [{ index: link.ifindex, name: link.ifname, mtu: link.mtu ?? 1500, isUp, hasCarrier, addresses }]
  })
  return {
    links: new Map(links.map((link) => [link.name, link])),
    deviceByAddress: new Map(links.flatMap((link) => link.addresses.map((address) => [address, link.name] as const))),
  }
}

/** The facts of a family; null: it is off. */
export function factsOf(facts: HostFacts, family: Family): FamilyFacts | null {
  return family === 4 ? facts.v4 : facts.v6
}

/** One form for a rule that is wanted and for one that was printed: `7700: from all iif tun0 lookup 7700`. */
export function ruleText(pref: number, body: string): string {
  const full = body.startsWith('from ') ? body : `from all ${body}`
  return `${pref}: ${full.replaceAll(/(?<=\s[\d.]+)\/32\b|(?<=\s[\da-f:]+)\/128\b/g, '')}`
}

/** A printed rule in the form of `ruleText`, null when it is not one of ours. */
function ownRuleText(line: string): string | null {
  const match = /^(\d+):\s+(.*?)\s*$/.exec(line)
  if (match === null) return null
  const pref = Number(match[1])
  // [detached]: its interface is not there; [unresolved]: its target rule is not
  // The name of a protocol is printed where /etc/protocols has it, which a minimal host lacks: numbers then, on both sides
  const body = (match[2] as string).replaceAll(/\s*\[\w+\]/g, '').replace(/\bipproto (?:tcp|ipproto-6)\b/, 'ipproto 6')
  const suffix = ` proto ${OWN_PROTOCOL}`
  return isOwnPref(pref) && body.endsWith(suffix) ? ruleText(pref, body.slice(0, -suffix.length)) : null
}

/** The words behind `ip rule add` or `ip rule del` for a rule in the form of `ruleText`. */
export function ruleWords(text: string): string[] {
  const at = text.indexOf(': ')
  return ['pref', text.slice(0, at), ...text.slice(at + 2).split(' '), 'protocol', String(OWN_PROTOCOL)]
}
