import type { DirectionReport } from './emulator.js'
import type { LabReport } from './laboratory.js'

/** The report of a laboratory for people. */
export function formatReport(report: LabReport): string {
  const { timing } = report
  const lines = [
    `${report.name}: seed ${report.seed}, ${(timing.sinceUs / 1e6).toFixed(1)} s, ${(timing.cpuShare * 100).toFixed(1)} % of a CPU, ` +
      `${report.isRealtime ? 'real-time' : 'normal'} priority, ${report.packetsOnTheWay} packets on the way`,
    `late departures: p50 ${timing.lateP50Us} µs, p99 ${timing.lateP99Us} µs, max ${timing.lateMaxUs} µs of ${timing.departures}; ` +
      `worst stall ${timing.worstStallUs} µs`,
    `${'link'.padEnd(16)}${'from'.padEnd(16)}${['in', 'out', 'MB out', 'lost', 'overflow', 'cut', 'reordered', 'waiting'].map((name) => name.padStart(10)).join('')}  settings`,
  ]
  for (const [name, directions] of Object.entries(report.links)) {
    for (const direction of directions) lines.push(`${name.padEnd(16)}${directionLine(direction)}`)
  }
  for (const [device, n] of Object.entries(report.droppedAtEntrance)) lines.push(`DROPPED in front of the emulator: ${n} at ${device}`)
  return `${lines.join('\n')}\n`
}

function directionLine(d: DirectionReport): string {
  const columns = [
    d.packetsIn,
    d.packetsOut,
    (d.bytesOut / 1e6).toFixed(2),
    d.droppedLoss,
    d.droppedQueue,
    d.droppedCut,
    d.reordered,
    d.waiting,
  ]
  const faults = d.faults === 0 ? '' : `  FAULTS ${d.faults}`
  return `${d.from.padEnd(16)}${columns.map((value) => String(value).padStart(10)).join('')}  ${settingsText(d.settings)}${faults}`
}

/** Those that do something, in the spelling of `lab set`. */
function settingsText(s: DirectionReport['settings']): string {
  const parts: string[] = []
  if (s.up === false) parts.push('up=false')
  if (s.rate !== null) parts.push(`rate=${Number(s.rate) / 1e6}mbit`)
  if (s.overhead !== 0) parts.push(`overhead=${s.overhead}`)
  if (s.queue !== null) parts.push(`queue=${s.queue}`)
  if (s.queueBytes !== null) parts.push(`queue_bytes=${s.queueBytes}`)
  if (s.delay !== 0) parts.push(`delay=${Number(s.delay) / 1e3}ms`)
  if (s.jitter !== 0) parts.push(`jitter=${Number(s.jitter) / 1e3}ms`)
  if (s.loss !== 0) parts.push(`loss=${Number(s.loss) * 100}%`)
  if (s.reorder !== 0) parts.push(`reorder=${Number(s.reorder) * 100}% reorder_hold=${Number(s.reorderHold) / 1e3}ms`)
  if (s.reorderPort !== 0) parts.push(`reorder_port=${s.reorderPort}`)
  return parts.join(' ')
}
