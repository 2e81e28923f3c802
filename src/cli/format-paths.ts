import type { DetourStatus } from '../detour/provider.js'
import type { Status } from '../engine/status.js'
import { table } from './table.js'

/** One detour in a line. @param paths all; those of a detour that is not measured by itself tell how its subflows see it */
export function formatDetour(d: DetourStatus, paths: Status['paths'] = []): string {
  const parts = [
    d.type === 'static' ? 'path by hand' : d.type,
    d.state,
    ...(d.device === null || d.device === d.name ? [] : [`by ${d.device}`]),
    ...(d.peer === null ? [] : [`to ${d.peer}`]),
    ...(d.rttUs === null ? bySubflows(paths.filter((path) => path.label === d.name)) : [`rtt ${rtt(d.rttUs)}`]),
    ...(d.loss === null ? [] : [`loss ${(d.loss * 100).toFixed(0)} %`]),
    ...(d.leases === null ? [] : [`${d.leases} ${d.leases === 1 ? 'lease' : 'leases'}`]),
    ...(d.isBackup ? ['backup'] : []),
    ...(d.cost === 0 ? [] : [`cost ${d.cost}`]),
    ...(d.lastError === null ? [] : [d.lastError]),
  ]
  return `${d.name}: ${parts.join(', ')}`
}

/** `path list` for people. */
export function formatPaths(detours: readonly DetourStatus[], paths: Status['paths']): string {
  const rows = paths.map((path) => [
    path.label,
    path.kind,
    path.source ?? 'default',
    path.destination ?? 'the server',
    String(path.subflows),
    path.rttUs === null ? '-' : rtt(path.rttUs),
    path.resent === null ? '-' : `${(path.resent * 100).toFixed(1)} %`,
    [
      ...(path.remote === null ? [] : [`for ${path.remote}`]),
      ...(path.isTentative ? ['asked for'] : []),
      ...(path.isBackup ? ['backup'] : []),
      ...(path.cost === 0 ? [] : [`cost ${path.cost}`]),
    ].join(', '),
  ])
  const lines = table([['path', 'kind', 'from', 'to', 'subflows', 'rtt', 'resent', ''], ...rows])
  return `${[...detours.map((detour) => formatDetour(detour, paths)), ...(detours.length === 0 ? [] : ['']), ...lines].join('\n')}\n`
}

function rtt(us: number): string {
  return `${(us / 1000).toFixed(1)} ms`
}

/** What is known of a detour that nobody asks for it: the way through it, up to the servers. */
function bySubflows(paths: Status['paths']): string[] {
  const [measured] = paths.filter((path) => path.rttUs !== null)
  if (measured === undefined || measured.rttUs === null) return []
  return [`rtt ${rtt(measured.rttUs)} to the servers`, `${((measured.resent ?? 0) * 100).toFixed(1)} % resent`]
}
