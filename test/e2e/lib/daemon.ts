import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Background } from './exec.js'
import type { Lab } from './lab.js'

/** The built program. */
export const PROGRAM = fileURLToPath(new URL('../../../dist/src/cli/main.js', import.meta.url))

export interface DaemonOptions {
  /** Flags beyond the control socket. */
  readonly args?: readonly string[]
  /** Flags of node, before the program. */
  readonly nodeArgs?: readonly string[]
  /** Name of the TUN, as `args` may set it. */
  readonly tun?: string
  /** Whether the server's prefixes are routed at the TUN at once. Default true. */
  readonly route?: boolean
}

/** `mptcpd-user`, running in the client's namespace. */
export class Daemon {
  readonly process: Background
  readonly controlPath: string
  private readonly lab: Lab

  private constructor(lab: Lab, process: Background, controlPath: string) {
    this.lab = lab
    this.process = process
    this.controlPath = controlPath
  }

  /** Starts the program, waits until it is ready and routes the server's prefixes at its TUN as a user would. */
  static async start(lab: Lab, options: DaemonOptions = {}): Promise<Daemon> {
    const { args = [], nodeArgs = [], tun = 'tun0', route = true } = options
    if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: npm run build`)
    const controlPath = `${lab.dir}/control.sock`
    const process = lab.client.spawn(['node', ...nodeArgs, PROGRAM, '--control', controlPath, ...args])
    await process.waitLine(/\bready\b/, 10_000)
    if (route) await lab.routeThrough(tun)
    return new Daemon(lab, process, controlPath)
  }

  /** What `mptcpd-user status --json` prints. */
  async status(): Promise<DaemonStatus> {
    const { stdout } = await this.lab.client.ok(['node', PROGRAM, 'status', '--json', '--control', this.controlPath], { timeoutMs: 10_000 })
    return JSON.parse(stdout) as DaemonStatus
  }

  /** What `mptcpd-user status` prints for people. */
  async statusText(): Promise<string> {
    return (await this.lab.client.ok(['node', PROGRAM, 'status', '--control', this.controlPath], { timeoutMs: 10_000 })).stdout
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

/** The parts of the status that tests read. */
export interface DaemonStatus {
  /** Counters under Linux's names where Linux has them. */
  readonly counters: Readonly<Record<string, number>>
  readonly connections: readonly ConnectionStatus[]
}

export interface ConnectionStatus {
  readonly isMptcp: boolean
  readonly fallbackReason: string | null
  readonly subflows: readonly { readonly bytesSent: number; readonly bytesReceived: number }[]
}
