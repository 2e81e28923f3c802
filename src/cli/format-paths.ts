import type { DetourStatus } from '../detour/provider.js'
import type { Status } from '../engine/status.js'
import { table } from './table.js'

/** One detour in a line. */
export function formatDetour(d: DetourStatus): string {
  const parts = [
    d.type === 'static' ? 'path by hand' : d.type,
    d.state,
    ...(d.device === null || d.device === d.name ? [] : [`by ${d.device}`]),
    ...(d.peer === null ? [] : [`to ${d.peer}`]),
    ...(d.rttUs === null ? [] : [`rtt ${(d.rttUs / 1000).toFixed(1)} ms`]),
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
    [
      ...(path.remote === null ? [] : [`for ${path.remote}`]),
      ...(path.isTentative ? ['asked for'] : []),
      ...(path.isBackup ? ['backup'] : []),
      ...(path.cost === 0 ? [] : [`cost ${path.cost}`]),
    ].join(', '),
  ])
  const lines = table([['path', 'kind', 'from', 'to', 'subflows', ''], ...rows])
  return `${[...detours.map(formatDetour), ...(detours.length === 0 ? [] : ['']), ...lines].join('\n')}\n`
}
