import { tableName } from './nft.js'

/** How to take back what was admitted in a foreign firewall; kept in the state file. */
export type FirewallUndo =
  | { readonly kind: 'exec'; readonly argv: readonly string[] }
  /** Rules with this comment; their handles are looked up then. */
  | { readonly kind: 'nft'; readonly family: string; readonly table: string; readonly chain: string; readonly comment: string }

/** Who stopped a packet. */
export interface Dropper {
  readonly family: string
  readonly table: string
  readonly chain: string
  /** The rule's text; null: the chain's policy. */
  readonly rule: string | null
  /** It stands in a table of iptables-legacy, not of nftables. */
  readonly isLegacy?: boolean
}

/** The command that admits our packets, and how it is taken back. */
export interface Remedy {
  /** Who manages those rules, for the message. */
  readonly manager: string
  readonly commands: readonly (readonly string[])[]
  readonly undo: readonly FirewallUndo[]
}

/** The first verdict in the output of `nft monitor trace` that ended a packet, other than in our own table. */
export function dropperOf(trace: string, tun: string): Dropper | null {
  for (const line of trace.split('\n')) {
    const match = /^trace id \w+ (\w+) (\S+) (\S+) (?:rule (.*) \(verdict drop\)|(policy|verdict) drop\b)/.exec(line)
    if (match === null || match[2] === tableName(tun)) continue
    return { family: match[1] as string, table: match[2] as string, chain: match[3] as string, rule: match[4]?.trim() ?? null }
  }
  return null
}

/** A table of `nft -j list ruleset`: its chains with what they hang at. */
interface ChainJson {
  readonly family: string
  readonly table: string
  readonly name: string
  readonly hook?: string
  readonly policy?: string
}

/** The chains of `nft -j list ruleset`. */
export function chainsOf(json: string): ChainJson[] {
  const { nftables = [] } = JSON.parse(json) as { nftables?: readonly { readonly chain?: ChainJson }[] }
  return nftables.flatMap(({ chain }) => chain ?? [])
}

/** Without a trace: the forward chain whose policy drops, if there is one. */
export function policyDropper(chains: readonly ChainJson[], family: 4 | 6, tun: string): Dropper | null {
  const families = ['inet', family === 4 ? 'ip' : 'ip6']
  const chain = chains.find((c) => c.hook === 'forward' && c.policy === 'drop' && c.table !== tableName(tun) && families.includes(c.family))
  return chain === undefined ? null : { family: chain.family, table: chain.table, chain: chain.name, rule: null }
}

/**
 * What admits packets from and to the TUN past `dropper`, in the words of whoever manages those rules.
 * @param has whether a program can be run: without iptables its tables are changed by nft
 */
export function remedyFor(dropper: Dropper, chains: readonly ChainJson[], tun: string, has: (program: string) => boolean): Remedy {
  const { family, table } = dropper
  if (dropper.isLegacy === true) return byLegacy(family === 'ip6' ? 'ip6tables-legacy' : 'iptables-legacy', tun)
  if (table === 'firewalld') {
    const zone = (verb: string) => ['firewall-cmd', '--zone=trusted', `--${verb}-interface=${tun}`]
    return { manager: 'firewalld', commands: [zone('add')], undo: [{ kind: 'exec', argv: zone('remove') }] }
  }
  const names = new Set(chains.filter((c) => c.table === table && c.family === family).map((c) => c.name))
  const isIptables = (family === 'ip' || family === 'ip6') && table === 'filter'
  const iptables = family === 'ip6' ? 'ip6tables' : 'iptables'
  if (isIptables && names.has('DOCKER-USER')) return byIptables('Docker', iptables, 'DOCKER-USER', dropper, tun, has)
  if (isIptables && [...names].some((name) => name.startsWith('ufw')) && has('ufw')) {
    const rule = (...head: string[]) => [
      ['ufw', ...head, 'allow', 'in', 'on', tun],
      ['ufw', ...head, 'allow', 'out', 'on', tun],
    ]
    return { manager: 'ufw', commands: rule('route'), undo: rule('route', 'delete').map((argv) => ({ kind: 'exec', argv })) }
  }
  const base = chains.find((c) => c.family === family && c.table === table && c.hook === 'forward')?.name ?? dropper.chain
  if (isIptables && base === 'FORWARD') {
    const manager = [...names].some((name) => name.startsWith('ufw')) ? 'ufw' : 'iptables'
    return byIptables(manager, iptables, 'FORWARD', dropper, tun, has)
  }
  return byNft('nftables', { ...dropper, chain: base }, tun)
}

function byIptables(
  manager: string,
  program: string,
  chain: string,
  dropper: Dropper,
  tun: string,
  has: (program: string) => boolean,
): Remedy {
  if (!has(program)) return byNft(manager, { ...dropper, chain }, tun)
  const rule = (verb: string, direction: string) => [program, verb, chain, direction, tun, '-j', 'ACCEPT']
  return {
    manager,
    commands: [rule('-I', '-i'), rule('-I', '-o')],
    undo: [
      { kind: 'exec', argv: rule('-D', '-i') },
      { kind: 'exec', argv: rule('-D', '-o') },
    ],
  }
}

/** Before all rules of the chain that everything forwarded meets. */
function byLegacy(program: string, tun: string): Remedy {
  const rule = (verb: string, direction: string) => [program, verb, 'FORWARD', direction, tun, '-j', 'ACCEPT']
  const undo = ['-i', '-o'].map((direction) => ({ kind: 'exec' as const, argv: rule('-D', direction) }))
  return { manager: 'iptables-legacy', commands: [rule('-I', '-i'), rule('-I', '-o')], undo }
}

function byNft(manager: string, where: Dropper, tun: string): Remedy {
  const { family, table, chain } = where
  const comment = `mptcpd-user ${tun}`
  const rule = (match: string) => ['nft', `insert rule ${family} ${table} ${chain} ${match} "${tun}" counter accept comment "${comment}"`]
  return { manager, commands: [rule('iifname'), rule('oifname')], undo: [{ kind: 'nft', family, table, chain, comment }] }
}

/** `inet filter, chain forward (policy drop)`. */
export function dropperText(dropper: Dropper): string {
  const how = dropper.rule === null ? 'policy drop' : `rule \`${dropper.rule}\``
  return `${dropper.isLegacy === true ? 'iptables-legacy, ' : ''}table ${dropper.family} ${dropper.table}, chain ${dropper.chain} (${how})`
}

/** Lines that trace one probe through the host, both ways, in our own table; and those that end it. */
export function traceLines(
  tun: string,
  family: 4 | 6,
  prefix: string,
  port: number,
): { readonly start: string[]; readonly stop: string[] } {
  const table = `inet ${tableName(tun)}`
  const ip = family === 4 ? 'ip' : 'ip6'
  const icmp = family === 4 ? 1 : 58 // numbers: a minimal host has no names of protocols
  return {
    start: [
      `add chain ${table} trace_out { type filter hook prerouting priority -400; }`,
      `add chain ${table} trace_back { type filter hook forward priority -400; }`,
      `add rule ${table} trace_out iifname "${tun}" ${ip} saddr ${prefix} tcp sport ${port} meta nftrace set 1`,
      `add rule ${table} trace_back oifname "${tun}" ${ip} daddr ${prefix} meta l4proto ${icmp} meta nftrace set 1`,
      `add rule ${table} trace_back oifname "${tun}" ${ip} daddr ${prefix} tcp dport ${port} meta nftrace set 1`,
    ],
    stop: [`delete chain ${table} trace_out`, `delete chain ${table} trace_back`],
  }
}
