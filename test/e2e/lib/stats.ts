import type { Namespace } from './lab.js'

/** Counters of a namespace by their names in nstat, e.g. `MPTcpExtMPCapableACKRX`. Absent ones read as 0 by `counter()`. */
export type Counters = ReadonlyMap<string, number>

/** Absolute values of all SNMP and extension counters of a namespace, since it was made. */
export async function nstat(ns: Pick<Namespace, 'ok'>): Promise<Counters> {
  // -s: no history file, which all namespaces would share.
  const { stdout } = await ns.ok(['nstat', '-azs'])
  const counters = new Map<string, number>()
  for (const line of stdout.split('\n')) {
    const [name, value] = line.split(/\s+/)
    if (name && value !== undefined && !name.startsWith('#')) counters.set(name, Number(value))
  }
  if (!counters.has('MPTcpExtMPCapableSYNRX')) throw new Error('nstat shows no MPTCP counters: is MPTCP built into this kernel?')
  return counters
}

export function counter(counters: Counters, name: string): number {
  return counters.get(name) ?? 0
}

/** Counters of the kernel's MPTCP that say that a peer broke the protocol; 0 in every sound run. */
export const ERROR_COUNTERS: readonly string[] = [
  'MPTcpExtMPJoinAckHMacFailure',
  'MPTcpExtMPJoinSynAckHMacFailure',
  'MPTcpExtDSSNotMatching',
  'MPTcpExtDSSNoMatchTCP',
  'MPTcpExtDSSCorruptionFallback',
  'MPTcpExtDSSCorruptionReset',
  'MPTcpExtDataCsumErr',
  'MPTcpExtInfiniteMapRx',
  'MPTcpExtInfiniteMapTx',
  'MPTcpExtMPFailRx',
  'MPTcpExtMPFailTx',
]

/** Counters of the kernel's MPTCP that say that a connection went on as TCP. */
export const FALLBACK_COUNTERS: readonly string[] = [
  'MPTcpExtMPCapableFallbackACK',
  'MPTcpExtMPCapableFallbackSYNACK',
  'MPTcpExtMPFallbackTokenInit',
  'MPTcpExtDssFallback',
  'MPTcpExtMPCapableDataFallback',
]

/** The error counters that are not 0, as `{name: value}`; empty when all is well. */
export function errorsIn(counters: Counters, names: readonly string[] = ERROR_COUNTERS): Record<string, number> {
  const found: Record<string, number> = {}
  for (const name of names) if (counter(counters, name) !== 0) found[name] = counter(counters, name)
  return found
}

/** Bytes and packets of a device, as its namespace counts them. */
export interface LinkStats {
  readonly rxBytes: number
  readonly txBytes: number
  readonly rxPackets: number
  readonly txPackets: number
}

export async function linkStats(ns: Namespace, device: string): Promise<LinkStats> {
  const { stdout } = await ns.ok(['ip', '-j', '-s', 'link', 'show', 'dev', device])
  const [link] = JSON.parse(stdout) as { stats64: { rx: { bytes: number; packets: number }; tx: { bytes: number; packets: number } } }[]
  if (!link) throw new Error(`no device ${device} in ${ns.name}`)
  const { rx, tx } = link.stats64
  return { rxBytes: rx.bytes, txBytes: tx.bytes, rxPackets: rx.packets, txPackets: tx.packets }
}

/** `ss -Mai`: MPTCP sockets of a namespace with their state. */
export async function ssMptcp(ns: Namespace): Promise<string> {
  return (await ns.ok(['ss', '-Mnai'])).stdout
}

/** `ss -tni`: TCP sockets, subflows among them, with congestion control and rates. */
export async function ssTcp(ns: Namespace, filter: readonly string[] = []): Promise<string> {
  return (await ns.ok(['ss', '-tni', ...filter])).stdout
}
