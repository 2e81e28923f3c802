import type { CapturePlan } from './wanted.js'

/** What became of the probe of one egress. */
export interface ProbeResult {
  /** Interface of the egress; `default`: by the host's own routes. */
  readonly egress: string
  readonly family: 4 | 6
  /** `silent`: it left the host as far as can be seen, and nothing came back. */
  readonly state: 'answered' | 'dropped' | 'silent' | 'no route'
  /** Who dropped it. */
  readonly by?: string
  /** The commands that admit us. */
  readonly remedy?: readonly string[]
}

/** What of the host's traffic goes through the daemon, as `status` says it. */
export interface HostReport {
  readonly capture: CapturePlan & {
    readonly families: readonly (4 | 6)[]
    readonly failClosed: boolean
  }
  /** null: not probed (yet). */
  readonly probes: readonly ProbeResult[] | null
}

/** The report for people, a line each. */
export function formatHost(report: HostReport): string[] {
  const { capture, probes } = report
  const families = capture.families.map((family) => `IPv${family}`).join(' and ')
  const what = [
    ...(capture.all ? [`all TCP of this host on unbound sockets${capture.includeLocal ? ', to connected networks too' : ''}`] : []),
    ...(capture.routes.length > 0 ? [`TCP to ${capture.routes.join(', ')}`] : []),
    ...(capture.lan.length > 0 ? [`TCP that comes in by ${capture.lan.join(', ')}`] : []),
  ]
  const lines = [`captured, ${families}: ${[...what, 'what is routed at the interface by hand'].join('; ')}`]
  const out = ['replies of inbound connections', 'sockets bound to a physical address or device', 'what is not TCP']
  if (capture.all && !capture.includeLocal) out.push('connected networks and static routes more specific than /1')
  lines.push(`stays out: ${out.join(', ')}`)
  if (capture.families.length === 1)
    lines.push(`stays out: IPv${capture.families[0] === 4 ? 6 : 4} as a whole; it leaves as without the daemon`)
  if (capture.failClosed) lines.push('after a crash what was captured stays blocked until the next start, or `mptcpd-user cleanup`')
  for (const probe of probes ?? []) {
    if (probe.state === 'answered') continue
    const why = {
      dropped: `a firewall of this host drops it: ${probe.by ?? ''}`,
      silent: 'nothing came back',
      'no route': 'no default route',
    }
    lines.push(`egress ${probe.egress}, IPv${probe.family}: ${why[probe.state]}`)
    if (probe.remedy !== undefined) lines.push(...probe.remedy.map((command) => `    ${command}`))
  }
  return lines
}
