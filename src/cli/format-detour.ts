import type { DetourStatus } from '../detour/daemon/status.js'
import { duration, size } from './table.js'

/** Mappings shown before the rest is only counted. */
const MAX_LEASES = 100

/** `mptcpd-user detour status` for people. */
export function formatDetourStatus(status: DetourStatus): string {
  const { daemon, leases, clients, flows, counters } = status
  const live = leases.filter((lease) => lease.state === 'live').length
  const lines = [
    `detour: mptcpd-user ${daemon.version}, pid ${daemon.pid}, up ${duration(daemon.uptimeMs * 1000)}, at ${daemon.listen.join(' ')}`,
    `keys: ${daemon.keys}, mappings: ${live} (and ${leases.length - live} ended with flows), clients: ${clients.length}, flows: ${flows}`,
  ]
  if (daemon.opened.length > 0) lines.push(`forwarding switched on for mappings: ${daemon.opened.join(', ')}`)
  for (const client of clients)
    lines.push(
      `client ${client.key} ${client.address}: ${client.leases} mappings, ${client.flows} flows, up ${size(client.bytesUp)}, down ${size(client.bytesDown)}`,
    )
  for (const lease of leases.slice(0, MAX_LEASES)) {
    const until = lease.state === 'live' ? `for ${duration(lease.expiresInMs * 1000)}` : 'ended'
    const bytes = lease.usage === null ? '' : `, up ${size(lease.usage.up.bytes)}, down ${size(lease.usage.down.bytes)}`
    lines.push(
      `  ${lease.key} ${lease.client} :${lease.port} -> ${lease.destination} ${lease.destinationPort}  ${until}, ${lease.flows} flows${bytes}`,
    )
  }
  if (leases.length > MAX_LEASES) lines.push(`  ... and ${leases.length - MAX_LEASES} more (--json shows all)`)
  const shown = Object.entries(counters).filter(([, value]) => value !== 0)
  lines.push(...shown.map(([name, value]) => `${name.padEnd(24)}${value}`))
  return `${lines.join('\n')}\n`
}
