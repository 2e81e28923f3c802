import { readFileSync } from 'node:fs'
import type { Dropper } from './firewall.js'
import type { Family } from './numbers.js'
import { run } from './runner.js'

/**
 * The tables of iptables before nftables, which a kernel may hold beside those of nftables: no trace shows them, but they count.
 * Both kinds are asked, so a packet must get through both.
 */

/** Packets by each policy and rule of the filter table that drops or rejects. */
export type LegacyDrops = ReadonlyMap<string, number>

/** Whether this host has such a filter table. Linux: it is looked at and changed through a raw socket, which needs CAP_NET_RAW. */
export function hasLegacyFilter(family: Family): boolean {
  try {
    // Asking for a table that is not there would make the kernel load it.
    const names = readFileSync(family === 4 ? '/proc/net/ip_tables_names' : '/proc/net/ip6_tables_names', 'utf8')
    return names.split('\n').includes('filter')
  } catch {
    return false
  }
}

/** What there is to drop packets; empty when this host has no such tables, or does not let us look at them. */
export async function legacyDrops(family: Family): Promise<LegacyDrops> {
  if (!hasLegacyFilter(family)) return new Map()
  try {
    return dropsOf(await run([family === 4 ? 'iptables-legacy-save' : 'ip6tables-legacy-save', '-c', '-t', 'filter']))
  } catch {
    return new Map()
  }
}

/** @param save output of `iptables-save -c` */
export function dropsOf(save: string): Map<string, number> {
  const drops = new Map<string, number>()
  for (const line of save.split('\n')) {
    const policy = /^:(\S+) DROP \[(\d+):/.exec(line)
    if (policy !== null) drops.set(`${policy[1]} policy`, Number(policy[2]))
    const rule = /^\[(\d+):\d+\] (-A .* -j (?:DROP|REJECT).*)$/.exec(line)
    if (rule !== null) drops.set(rule[2] as string, Number(rule[1]))
  }
  return drops
}

/** Who dropped something between two looks, null: nobody. */
export function legacyDropper(before: LegacyDrops, after: LegacyDrops, family: Family): Dropper | null {
  for (const [what, packets] of after) {
    if (packets <= (before.get(what) ?? 0)) continue
    const policy = /^(\S+) policy$/.exec(what)?.[1]
    const chain = policy ?? /^-A (\S+)/.exec(what)?.[1] ?? 'FORWARD'
    return { family: family === 4 ? 'ip' : 'ip6', table: 'filter', chain, rule: policy === undefined ? what : null, isLegacy: true }
  }
  return null
}
