import type { ReloadReply } from './json.js'
import { formatHost } from '../host/report.js'
import { formatDetour } from './format-paths.js'
import { duration, size, table } from './table.js'
import type { ConnectionStatus, Status, SubflowStatus } from '../engine/status.js'

/** Lines of connections shown before the rest is only counted. */
const MAX_CONNECTIONS = 100

/** The status for people. */
export function formatStatus(status: Status): string {
  const lines: string[] = []
  const { daemon } = status
  if (daemon !== undefined) {
    lines.push(
      `${daemon.tun}: mptcpd-user ${daemon.version}, pid ${daemon.pid}, up ${duration(daemon.uptimeMs * 1000)}, ${(status.addresses ?? []).join(' ')}`,
    )
  }
  const mptcp = status.connections.filter((c) => c.isMptcp).length
  const fallen = status.connections.filter((c) => c.fallback !== null).length
  lines.push(
    `connections: ${status.connections.length} (${mptcp} MPTCP, ${fallen} fallen back, ${status.held} connecting), ` +
      `memory ${size(status.memory.inUse)} of ${size(status.memory.total)}`,
  )
  lines.push(`paths: ${status.paths.map((path) => path.label).join(', ')}`)
  lines.push(...(status.detours ?? []).map((detour) => `detour ${formatDetour(detour, status.paths)}`))
  if (status.host !== undefined) lines.push(...formatHost(status.host))
  for (const connection of status.connections.slice(0, MAX_CONNECTIONS)) lines.push('', ...connectionLines(connection))
  if (status.connections.length > MAX_CONNECTIONS)
    lines.push('', `... and ${status.connections.length - MAX_CONNECTIONS} more (--json shows all)`)
  return `${lines.join('\n')}\n`
}

function connectionLines(c: ConnectionStatus): string[] {
  const kind = c.isMptcp ? 'MPTCP' : c.fallback === null ? 'connecting' : `TCP (${c.fallback})`
  const head = `#${c.id} ${c.application ?? 'library'} -> ${c.destination}  ${c.state}  ${kind}  ${duration(c.ageUs)}`
  if (c.subflows.length === 0) return [head]
  const rows = c.subflows.map(subflowCells)
  return [
    head,
    ...table([['path', 'state', 'from', 'to', 'rtt', 'cwnd', 'sent', 'received', 'share', 'retrans'], ...rows], '    '),
    ...c.unused.map(({ path, why }) => `    not by ${path}: ${why}`),
  ]
}

function subflowCells(s: SubflowStatus): string[] {
  return [
    s.path + (s.isBackup ? ' (backup)' : ''),
    s.phase === 'open' || s.phase === 'plain' ? s.state : `${s.state}/${s.phase}`,
    s.local,
    s.remote,
    s.rttUs === 0 ? '-' : `${(s.rttUs / 1000).toFixed(1)} ms`,
    size(s.cwnd),
    size(s.bytesSent),
    size(s.bytesReceived),
    `${Math.round(s.share * 100)} %`,
    String(s.retransSegs),
  ]
}

/** Counters as `nstat` prints them, those that are 0 only with `all`. */
export function formatCounters(counters: Readonly<Record<string, number>>, all: boolean): string {
  const shown = Object.entries(counters).filter(([, value]) => all || value !== 0)
  return shown.map(([name, value]) => `${name.padEnd(36)}${value}\n`).join('')
}

/** What became of a reload. */
export function formatReload(reply: ReloadReply): string {
  if (reply.file === null) return 'no configuration file is in use: nothing to read (start with --config FILE)\n'
  const rows: [string, readonly string[]][] = [
    ['changed', reply.atOnce],
    ['changed for new connections', reply.newConnections],
    ['need a restart, left as they were', reply.restart],
  ]
  const lines = rows.flatMap(([what, keys]) => (keys.length === 0 ? [] : [`${what}: ${keys.join(', ')}`]))
  return `${reply.file}: ${lines.length === 0 ? 'nothing changed' : lines.join('; ')}\n`
}
