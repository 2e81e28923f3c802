import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Status } from '../../../src/engine/status.js'
import type { Background, ExecResult } from './exec.js'
import type { Lab } from './lab.js'
import type { Counters } from './stats.js'

/** The built program. */
export const PROGRAM = fileURLToPath(new URL('../../../dist/src/cli/main.js', import.meta.url))

export interface DaemonOptions {
  /** Flags beyond the name of the TUN. */
  readonly args?: readonly string[]
  /** Flags of node, before the program. */
  readonly nodeArgs?: readonly string[]
  /** Name of the TUN; by default the lab's own, because the control socket is named after it and /run is no namespace's own. */
  readonly tun?: string
  readonly env?: Readonly<Record<string, string>>
  /** Whether the server's prefixes are routed at the TUN at once. Default true. */
  readonly route?: boolean
}

/** `mptcpd-user`, running in the client's namespace. */
export class Daemon {
  readonly process: Background
  readonly tun: string
  private readonly lab: Lab

  private constructor(lab: Lab, process: Background, tun: string) {
    this.lab = lab
    this.process = process
    this.tun = tun
  }

  /** Starts the program, waits until it is ready and routes the server's prefixes at its TUN as a user would. */
  static async start(lab: Lab, options: DaemonOptions = {}): Promise<Daemon> {
    const { args = [], nodeArgs = [], tun = lab.tun, route = true, env } = options
    if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: npm run build`)
    const process = lab.client.spawn(['node', ...nodeArgs, PROGRAM, '--tun', tun, ...args], env)
    await process.waitLine(/\bready\b/, 10_000)
    if (route) await lab.routeThrough(tun)
    return new Daemon(lab, process, tun)
  }

  /** What `mptcpd-user status --json` prints. */
  async status(): Promise<Status> {
    return JSON.parse(await this.ask('status', '--json')) as Status
  }

  /** What `mptcpd-user status` prints for people. */
  statusText(): Promise<string> {
    return this.ask('status')
  }

  /** The daemon's counters, by the names of nstat. */
  async counters(): Promise<Counters> {
    const { counters } = JSON.parse(await this.ask('counters', '--json')) as { counters: Record<string, number> }
    return new Map(Object.entries(counters))
  }

  /** Runs a command of the program against this daemon. */
  command(...words: string[]): Promise<ExecResult> {
    return this.lab.client.exec(['node', PROGRAM, ...words, '--tun', this.tun], { timeoutMs: 20_000 })
  }

  private async ask(...words: string[]): Promise<string> {
    return (await this.lab.client.ok(['node', PROGRAM, ...words, '--tun', this.tun], { timeoutMs: 10_000 })).stdout
  }

  /** Resident memory in bytes. */
  rss(): number {
    const kib = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${this.process.pid}/status`, 'utf8'))?.[1]
    return Number(kib) * 1024
  }

  /** Ends the program; returns its exit code. */
  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    return this.process.stop(signal, 10_000)
  }
}
