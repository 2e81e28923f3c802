import type { Tuple } from '../base/address.js'
import type { Micros } from '../base/time.js'
import type { DetourStatus } from '../detour/provider.js'
import type { HostReport } from '../host/report.js'
import { FALLBACK_NAMES, FB_NONE } from '../mptcp/fallback.js'
import { isPathFor, type PathKind } from '../pathmgr/path.js'
import { PHASE_NAMES, type Subflow } from '../mptcp/subflow.js'
import { STATE_NAMES } from '../tcp/state.js'
import type { Connection, Engine } from './engine.js'
import { PathMeasures } from './path-measures.js'
import type { PathControl, PathDecision } from './path-control.js'
import { addCounters } from './metrics.js'
import { Relay } from './relay.js'

/** One subflow, as `status --json` shows it. Times in microseconds, windows and amounts in bytes. */
export interface SubflowStatus {
  readonly path: string
  readonly kind: PathKind
  /** Part of the connection's payload that it carried, both directions, 0-1. */
  readonly share: number
  readonly id: number
  readonly local: string
  readonly remote: string
  /** TCP state. */
  readonly state: string
  /** MPTCP's view: syn, unconfirmed, joining, open, plain, dead. */
  readonly phase: string
  readonly isBackup: boolean
  readonly rttUs: number
  readonly rttVarUs: number
  readonly minRttUs: number
  readonly rtoUs: number
  readonly mss: number
  readonly cwnd: number
  /** null: no congestion yet. */
  readonly ssthresh: number | null
  readonly inFlight: number
  readonly bytesSent: number
  readonly bytesAcked: number
  readonly bytesReceived: number
  readonly segsOut: number
  readonly segsIn: number
  readonly retransSegs: number
}

export interface ConnectionStatus {
  readonly id: number
  /** The application's address, null for a connection of the embedding program. */
  readonly application: string | null
  readonly destination: string
  /** State of the application's side; `held`: its SYN waits for the server. */
  readonly state: string
  readonly ageUs: number
  readonly isMptcp: boolean
  /** Why it is plain TCP, null when it is not (yet). */
  readonly fallback: string | null
  readonly subflows: readonly SubflowStatus[]
  /** Paths without a subflow of it, and why. */
  readonly unused: readonly { readonly path: string; readonly why: string }[]
  /** What its path manager did last, and why; times since the connection began. */
  readonly decisions: readonly PathDecision[]
}

/** `version` changes when a field changes its meaning or goes; new ones may come at any time. */
export interface Status {
  readonly version: 1
  readonly connections: readonly ConnectionStatus[]
  readonly held: number
  readonly flows: number
  readonly memory: { readonly inUse: number; readonly total: number }
  readonly paths: readonly {
    readonly id: number
    readonly label: string
    readonly kind: PathKind
    readonly source: string | null
    readonly destination: string | null
    readonly isBackup: boolean
    readonly cost: number
    /** A mapping of a NAT detour: the destination that it is for, else null. */
    readonly remote: string | null
    readonly isTentative: boolean
    /** Subflows that use it now. */
    readonly subflows: number
    /** As these subflows measure it, to the servers; null: they have not, or there are none. */
    readonly rttUs: number | null
    /** Part of their segments that were sent again, 0-1. */
    readonly resent: number | null
  }[]
  /** What gives paths beyond the default one. */
  readonly detours?: readonly DetourStatus[]
  readonly counters: Readonly<Record<string, number>>
  readonly daemon?: {
    readonly version: string
    readonly pid: number
    readonly tun: string
    readonly mptcp: boolean
    readonly uptimeMs: number
    /** The configuration file, null: none is in use. */
    readonly config: string | null
    readonly reloads: number
    readonly failedReloads: number
  }
  readonly addresses?: readonly string[]
  /** What of the host's traffic is captured, and whether the egresses work. */
  readonly host?: HostReport
  readonly device?: Readonly<Record<string, number | undefined>>
}

/** A snapshot of everything that can be seen from outside. Allocates freely: not for the turn. */
export function statusOf(engine: Engine, now: Micros): Status {
  const measures = new PathMeasures(engine.connections)
  return {
    version: 1,
    connections: [...engine.connections].map((connection) => connectionStatus(engine, connection, now)),
    held: engine.interceptor.held,
    flows: engine.flowCount,
    memory: { inUse: engine.budget.inUse, total: engine.budget.total },
    paths: engine.config.paths.map((path) => ({
      id: path.id,
      label: path.label,
      kind: path.kind,
      source: path.source?.toString() ?? null,
      destination: path.destination === null ? null : endpointText(path.destination.toString(), path.destinationPort),
      isBackup: path.isBackup,
      cost: path.cost,
      remote: path.remote === null ? null : endpointText(path.remote.address.toString(), path.remote.port),
      isTentative: path.isTentative,
      subflows: engine.paths.usesOf(path.id),
      ...measures.of(path.id),
    })),
    counters: countersOf(engine),
  }
}

/** All counters as one flat object. Names with the prefix TcpExt or MPTcpExt are Linux's; segment totals include live flows. */
export function countersOf(engine: Engine): Record<string, number> {
  const all: Record<string, number> = {}
  addCounters(all, engine.counters)
  for (const [name, value] of Object.entries(engine.mptcpCounters)) {
    if (typeof value === 'number') all[`MPTcpExt${name}`] = value
  }
  engine.flows.forEach((flow) => {
    if (flow.endpoint === null) return
    all.TcpOutSegs = (all.TcpOutSegs ?? 0) + flow.endpoint.segsOut
    all.TcpRetransSegs = (all.TcpRetransSegs ?? 0) + flow.endpoint.retransSegs
  })
  all.EngineConnections = engine.connections.size
  all.EngineFlows = engine.flowCount
  return all
}

function connectionStatus(engine: Engine, connection: Connection, now: Micros): ConnectionStatus {
  const { conn, control } = connection
  const total = conn.subflows.reduce((sum, s) => sum + carried(s), 0)
  const relay = connection instanceof Relay ? connection : null
  const tuple = relay?.half.tuple ?? null
  const first = conn.subflows[0]?.ep.tuple
  const state = relay === null ? 'stream' : relay.app === null ? (relay.isHeld ? 'held' : 'closed') : (STATE_NAMES[relay.app.state] ?? '')
  return {
    id: connection.id,
    application: tuple === null ? null : endpointText(tuple.remote.toString(), tuple.remotePort),
    destination: tuple !== null ? endpointText(tuple.local.toString(), tuple.localPort) : first === undefined ? '' : remoteText(first),
    state,
    ageUs: now - connection.since,
    isMptcp: conn.isMptcp,
    fallback: conn.fallbackReason === FB_NONE ? null : (FALLBACK_NAMES[conn.fallbackReason] ?? ''),
    subflows: conn.subflows.map((s) => subflowStatus(s, total)),
    unused: control === null ? [] : unusedPaths(engine, control, now),
    decisions: control?.decisions ?? [],
  }
}

/** Payload of a subflow, both directions. */
function carried(s: Subflow): number {
  return s.ep.bytesAcked + s.ep.bytesReceived
}

function unusedPaths(engine: Engine, control: PathControl, now: Micros): { path: string; why: string }[] {
  // mappings of NAT detours to other destinations may be many, and are nobody's loss
  const candidates = engine.paths.list().filter((path) => path.remote === null || isPathFor(path, control.remote, control.port))
  return candidates.flatMap((path) => {
    const why = control.reason(path, now)
    return why === null ? [] : [{ path: path.label, why }]
  })
}

function subflowStatus(s: Subflow, total: number): SubflowStatus {
  const ep = s.ep
  return {
    path: s.path.label,
    kind: s.path.kind,
    share: total === 0 ? 0 : carried(s) / total,
    id: s.id,
    local: endpointText(ep.tuple.local.toString(), ep.tuple.localPort),
    remote: remoteText(ep.tuple),
    state: STATE_NAMES[ep.state] ?? '',
    phase: PHASE_NAMES[s.phase] ?? '',
    isBackup: s.isBackupHere || s.isPeerBackup,
    rttUs: ep.srttUs,
    rttVarUs: ep.rttvarUs,
    minRttUs: Number.isFinite(ep.minRttUs) ? ep.minRttUs : 0,
    rtoUs: ep.rtoUs(),
    mss: ep.mss,
    cwnd: ep.cwnd,
    ssthresh: Number.isFinite(ep.ssthresh) ? ep.ssthresh : null,
    inFlight: ep.inFlight,
    bytesSent: Math.max(0, ep.sndNxt - 1),
    bytesAcked: ep.bytesAcked,
    bytesReceived: ep.bytesReceived,
    segsOut: ep.segsOut,
    segsIn: ep.segsIn,
    retransSegs: ep.retransSegs,
  }
}

function remoteText(t: Tuple): string {
  return endpointText(t.remote.toString(), t.remotePort)
}

/** Address and port as in a URL; port 0 is left out. */
export function endpointText(address: string, port: number): string {
  const host = address.includes(':') ? `[${address}]` : address
  return port === 0 ? host : `${host}:${port}`
}
