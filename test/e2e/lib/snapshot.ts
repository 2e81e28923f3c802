import type { Namespace } from './lab.js'

const COMMANDS: readonly (readonly string[])[] = [
  ['ip', '-o', 'link', 'show'],
  ['ip', '-4', 'rule', 'show'],
  ['ip', '-6', 'rule', 'show'],
  ['ip', '-4', 'route', 'show', 'table', 'all'],
  ['ip', '-6', 'route', 'show', 'table', 'all'],
  ['nft', 'list', 'ruleset'],
  ['sh', '-c', 'sysctl -a --pattern "forwarding|accept_ra|rp_filter|src_valid_mark|accept_local" 2>/dev/null'],
]

/**
 * The network configuration of a namespace as text, a line per fact: devices, rules, routes of all tables, nftables, the
 * kernel parameters that routing depends on. Two of them compare equal when nothing was left behind.
 */
export async function snapshot(ns: Namespace): Promise<string[]> {
  const lines: string[] = []
  for (const argv of COMMANDS) {
    const { stdout } = await ns.ok(argv)
    const own = stdout.split('\n').map((line) => line.trimEnd().replace(/ expires \d+sec/, ''))
    lines.push(`$ ${argv.join(' ')}`, ...own.filter((line) => line !== ''))
  }
  return lines
}
