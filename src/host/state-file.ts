import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { FirewallUndo } from './firewall.js'
import type { Switch } from './forwarding.js'

/** Where state files and control sockets are. */
export const STATE_DIR = '/run/mptcpd-user'

/**
 * What cannot be read back from the host, written before it is changed. Rules and routes of ours are known by their numbers
 * (numbers.ts), so that a file which says more than was done, or which is lost, does no harm.
 */
export interface HostState {
  readonly version: 1
  readonly tun: string
  readonly pid: number
  /** The process's start in clock ticks since boot: a pid alone is used again. */
  readonly startTime: string
  /** The network namespace that was changed. */
  readonly netns: string
  /** Kernel parameters with what stood there before. Undone last to first. */
  readonly switches: readonly Switch[]
  /** Routes of main, as `ip route add` takes them, that a route at the TUN displaced. */
  readonly displaced: Readonly<Record<'4' | '6', readonly string[]>>
  /** How to take back what was admitted in foreign firewalls. */
  readonly firewall: readonly FirewallUndo[]
  /** Applications' source addresses: sockets bound to them are orphans when the daemon has gone. */
  readonly addresses: readonly string[]
  /** What was captured is to stay blocked after a crash. */
  readonly failClosed: boolean
}

/** Path of the state file of the daemon on interface `tun`. */
export function statePath(tun: string, dir = STATE_DIR): string {
  return join(dir, `${tun}.state.json`)
}

/** Writes the file in one piece: a reader sees the old or the new one. */
export function writeState(state: HostState, dir = STATE_DIR): void {
  const path = statePath(state.tun, dir)
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  writeFileSync(`${path}.new`, `${JSON.stringify(state, null, 1)}\n`, { mode: 0o600 })
  renameSync(`${path}.new`, path)
}

export function removeState(tun: string, dir = STATE_DIR): void {
  rmSync(statePath(tun, dir), { force: true })
  rmSync(`${statePath(tun, dir)}.new`, { force: true })
}

/** The states of daemons, running or killed, that changed network namespace `netns`. Files that are none are passed over. */
export function readStates(netns: string, dir = STATE_DIR): HostState[] {
  let names: string[]
  try {
    names = readdirSync(dir)
  } catch {
    return []
  }
  return names
    .filter((name) => name.endsWith('.state.json'))
    .flatMap((name) => {
      try {
        const state = JSON.parse(readFileSync(join(dir, name), 'utf8')) as HostState
        return state.version === 1 && state.netns === netns ? [state] : []
      } catch {
        return []
      }
    })
}

/** Whether the daemon that wrote it still runs. */
export function isRunning(state: HostState): boolean {
  return startTimeOf(state.pid) === state.startTime
}

/** Start of a process in clock ticks since boot (proc(5), stat, field 22); '' when there is none of that pid. */
export function startTimeOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // A zombie has ended; its parent has only not asked yet. The name may contain spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? '' : (fields[19] ?? '')
  } catch {
    return ''
  }
}
