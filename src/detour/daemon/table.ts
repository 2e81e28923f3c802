import type { IpAddress } from '../../base/address.js'
import type { Lease } from './leases.js'

/** Our table, of family inet. No owner table: leases must outlive the daemon. */
export const TABLE = 'inet mptcpd_detour'

/** The upper byte of the ct mark of what is ours; the lower three are the lease's number. */
const MARK_BASE = 0x4d000000
const IS_OURS = `ct mark & 0xff000000 == 0x${MARK_BASE.toString(16)}`

/** The chains with rules that never change; others are of single keys. */
export const FIXED_CHAINS = ['pre', 'inp', 'forw', 'ours', 'post'] as const

/** How long a flow may be silent before the kernel forgets it: conntrack's own default for established ones. */
const FLOW_TIMEOUT = '5d'
/** A revoked flow's packets are reset for that long; conntrack of a flow that was reset ends in seconds. */
const REVOKED_TIMEOUT = '1d'

export interface TableOptions {
  readonly firstPort: number
  readonly lastPort: number
  /** Concurrent flows in all. */
  readonly maxFlows: number
  /** Interfaces that forward because of us, by family. */
  readonly opened4: readonly string[]
  readonly opened6: readonly string[]
}

/**
 * The whole table for `nft -f -`, one transaction; whatever stood there is replaced.
 *
 *     SYN -> pre: lease? mark = its number, DNAT -> forw -> ours: counted, within quotas -> post: masquerade
 *                 none: inp drops it, silently: it may be early, and its retransmission finds the lease
 */
export function tableText(options: TableOptions): string {
  const ports = `${options.firstPort}-${options.lastPort}`
  const opened = (names: readonly string[]) => (names.length === 0 ? '' : ` elements = { ${names.map((name) => `"${name}"`).join(', ')} }`)
  const size = 'size 65536;'
  return `table ${TABLE}
delete table ${TABLE}
table ${TABLE} {
  comment "mptcpd-user detour"
  map m4 { typeof ip saddr . tcp dport : ip daddr . tcp dport; flags timeout; ${size} }
  map m6 { typeof ip6 saddr . tcp dport : ip6 daddr . tcp dport; flags timeout; ${size} }
  map k4 { typeof ip saddr . tcp dport : ct mark; flags timeout; ${size} }
  map k6 { typeof ip6 saddr . tcp dport : ct mark; flags timeout; ${size} }
  map owner { typeof ct mark : verdict; flags timeout; ${size} }
  set up { typeof ct mark; flags timeout; ${size} counter; }
  set down { typeof ct mark; flags timeout; ${size} counter; }
  set revoked { typeof ct mark; flags timeout; ${size} }
  set flows { type mark . inet_service; flags dynamic,timeout; ${size} timeout 2m; }
  set opened4 { type ifname;${opened(options.opened4)} }
  set opened6 { type ifname;${opened(options.opened6)} }
  chain pre {
    type nat hook prerouting priority dstnat; policy accept;
    tcp dport ${ports} ct mark set ip saddr . tcp dport map @k4
    tcp dport ${ports} ct mark set ip6 saddr . tcp dport map @k6
    tcp dport ${ports} dnat ip to ip saddr . tcp dport map @m4
    tcp dport ${ports} dnat ip6 to ip6 saddr . tcp dport map @m6
  }
  chain inp {
    type filter hook input priority filter; policy accept;
    iifname != "lo" tcp dport ${ports} ct state new counter drop
    ${IS_OURS} counter drop
  }
  chain forw {
    type filter hook forward priority filter; policy accept;
    ${IS_OURS} jump ours
    meta nfproto ipv4 iifname @opened4 counter drop
    meta nfproto ipv6 iifname @opened6 counter drop
  }
  chain ours {
    meta l4proto tcp ct mark @revoked counter reject with tcp reset
    ct mark @revoked counter drop
    ct state invalid counter drop
    ct state new ct count over ${options.maxFlows} counter drop
    ct state new ct mark vmap @owner
    tcp flags & (syn | ack) == syn add @flows { ct mark . ct original proto-src timeout 2m }
    tcp flags & (syn | ack) == (syn | ack) update @flows { ct mark . ct original proto-src timeout ${FLOW_TIMEOUT} }
    tcp flags & (fin | rst) != 0 delete @flows { ct mark . ct original proto-src }
    ct direction original ct mark @up accept
    ct direction reply ct mark @down accept
    accept
  }
  chain post {
    type nat hook postrouting priority srcnat; policy accept;
    ${IS_OURS} masquerade
  }
}
`
}

/** The commands that say which interfaces forward because of us. */
export function openedSets({ opened4, opened6 }: Pick<TableOptions, 'opened4' | 'opened6'>): string[] {
  const commands = (set: string, names: readonly string[]) => [
    `flush set ${TABLE} ${set}`,
    ...(names.length === 0 ? [] : [`add element ${TABLE} ${set} { ${names.map((name) => `"${name}"`).join(', ')} }`]),
  ]
  return [...commands('opened4', opened4), ...commands('opened6', opened6)]
}

/** The commands that limit the concurrent flows of one owner; its new flows pass this chain. */
export function quotaChain(slot: number, maxFlows: number): string[] {
  const chain = `${TABLE} ${chainName(slot)}`
  return [`add chain ${chain}`, `flush chain ${chain}`, `add rule ${chain} ct count over ${maxFlows} counter drop`]
}

export function dropQuotaChain(slot: number): string[] {
  return [`flush chain ${TABLE} ${chainName(slot)}`, `delete chain ${TABLE} ${chainName(slot)}`]
}

function chainName(slot: number): string {
  return `key_${slot}`
}

function markOf(lease: Lease): string {
  return `0x${(MARK_BASE + lease.number).toString(16)}`
}

/** The number of the lease behind a mark; -1: it is none of ours. */
export function leaseNumber(mark: number): number {
  return (mark & 0xff000000) >>> 0 === MARK_BASE ? mark & 0xffffff : -1
}

/** Elements of several leases by set, for one `add` or `delete` each. */
export class Elements {
  private readonly bySet = new Map<string, string[]>()

  put(set: string, element: string): void {
    const list = this.bySet.get(set)
    if (list === undefined) this.bySet.set(set, [element])
    else list.push(element)
  }

  commands(verb: 'add' | 'delete'): string[] {
    return [...this.bySet].map(([set, list]) => `${verb} element ${TABLE} ${set} { ${list.join(', ')} }`)
  }
}

/** What admits new flows of a lease: it goes with the lease's time, also when the daemon is dead. */
export function putLease(out: Elements, lease: Lease, slot: number, leaseMs: number): void {
  const { key, family } = keyOf(lease)
  const timeout = `timeout ${Math.max(1, Math.ceil(leaseMs))}ms`
  out.put(`m${family}`, `${key} ${timeout} : ${text(lease.remote)} . ${lease.remotePort}`)
  out.put(`k${family}`, `${key} ${timeout} : ${markOf(lease)}`)
  out.put('owner', `${markOf(lease)} ${timeout} : jump ${chainName(slot)}`)
}

/** What counts a lease's bytes: as long as it has flows, which may outlive it. */
export function putCounters(out: Elements, lease: Lease): void {
  for (const set of ['up', 'down']) out.put(set, markOf(lease))
}

export function putRevoked(out: Elements, lease: Lease): void {
  out.put('revoked', `${markOf(lease)} timeout ${REVOKED_TIMEOUT}`)
}

function keyOf(lease: Lease): { key: string; family: 4 | 6 } {
  return { key: `${text(lease.client)} . ${lease.port}`, family: lease.client.isV4 ? 4 : 6 }
}

function text(address: IpAddress): string {
  return address.toString()
}
