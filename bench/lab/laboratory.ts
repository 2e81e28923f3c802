import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { randomInt } from 'node:crypto'
import { basename, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { MptcpError } from '../../src/base/errors.js'
import { ask } from '../../src/engine/control.js'
import { Background, exec, execOk, type ExecOptions, type ExecResult } from '../../test/e2e/lib/exec.js'
import type { DirectionReport, EmulatorReport } from './emulator.js'
import type { ProcessConfig, ProcessMessage } from './emulator-process.js'
import { droppedAtEntrance, namespaceOf } from './namespaces.js'
import {
  checkName,
  controlPathOf,
  findLab,
  isAlive,
  type LabRecord,
  logPathOf,
  makeLabDir,
  remove,
  removeFailed,
  removeLeftovers,
} from './registry.js'
import { loadTopology } from './topology.js'

const PROCESS = fileURLToPath(new URL('emulator-process.ts', import.meta.url))
const START_MS = 30_000
const STOP_MS = 15_000

export interface UpOptions {
  /** Name of the laboratory, which scopes its namespaces; default: that of the file. */
  readonly name?: string
  /** Default: a fresh one, which `stats` shows. */
  readonly seed?: number
  /** Ends together with this process. Default true; the command line says false. */
  readonly attached?: boolean
  /** Asks for SCHED_FIFO, default true; without the privilege it runs as usual. */
  readonly realtime?: boolean
  readonly spinUs?: number
}

/** What `lab stats --json` prints. */
export interface LabReport extends EmulatorReport {
  readonly version: 1
  readonly name: string
  readonly isRealtime: boolean
  /** Packets dropped by the kernel because the emulator did not fetch them in time, by `node/device`; empty in a sound trial. */
  readonly droppedAtEntrance: Readonly<Record<string, number>>
}

/** A laboratory that is up: an emulator process and a namespace for each node. */
export class Laboratory {
  readonly name: string
  readonly nodes: readonly string[]
  private readonly record: LabRecord

  private constructor(record: LabRecord) {
    this.record = record
    this.name = record.name
    this.nodes = record.nodes
  }

  /** Builds what a topology file describes; leftovers of killed laboratories go first. @throws {MptcpError} ERR_LAB_... */
  static async up(file: string, options: UpOptions = {}): Promise<Laboratory> {
    if (process.getuid?.() !== 0) throw new MptcpError('ERR_PRIVILEGE', 'network namespaces need root: run this as root (sudo)')
    const name = options.name ?? basename(file, '.toml')
    checkName(name)
    await removeLeftovers()
    loadTopology(file) // its mistakes are told before a process is started
    await startProcess({
      name,
      file: resolve(file),
      seed: options.seed ?? randomInt(2 ** 31),
      attached: options.attached ?? true,
      realtime: options.realtime ?? true,
      spinUs: options.spinUs ?? null,
    })
    return Laboratory.find(name)
  }

  /** One that is up; without a name the only one. @throws {MptcpError} ERR_LAB_DOWN */
  static find(name: string | null = null): Laboratory {
    return new Laboratory(findLab(name))
  }

  /** The command line that runs `argv` in a node. @throws {MptcpError} ERR_LAB_VALUE when there is no such node */
  argv(node: string, argv: readonly string[]): string[] {
    if (!this.nodes.includes(node)) throw new MptcpError('ERR_LAB_VALUE', `no node '${node}': ${this.nodes.join(', ')}`)
    return ['ip', 'netns', 'exec', namespaceOf(this.name, node), ...argv]
  }

  /** Runs a command in a node to its end, whatever its exit code. */
  exec(node: string, argv: readonly string[], options?: ExecOptions): Promise<ExecResult> {
    return exec(this.argv(node, argv), options)
  }

  /** Runs a command in a node that must succeed. */
  ok(node: string, argv: readonly string[], options?: ExecOptions): Promise<ExecResult> {
    return execOk(this.argv(node, argv), options)
  }

  /** Starts a command in a node that keeps running, until the laboratory goes at the latest. */
  spawn(node: string, argv: readonly string[]): Background {
    return new Background(this.argv(node, argv))
  }

  /** Changes a link, in both directions or in that of packets sent by `from`. @throws {MptcpError} ERR_LAB_VALUE */
  async set(link: string, values: Readonly<Record<string, string>>, from: string | null = null): Promise<void> {
    await ask(controlPathOf(this.name), 'set', { link, from, values })
  }

  /** Counters and timing; `reset` begins a new trial for the timing. */
  async stats(options: { readonly reset?: boolean } = {}): Promise<LabReport> {
    const report = (await ask(controlPathOf(this.name), 'stats', { reset: options.reset ?? false })) as Omit<
      LabReport,
      'version' | 'name' | 'droppedAtEntrance'
    >
    const dropped = await Promise.all(
      this.nodes.map(async (node) =>
        [...(await droppedAtEntrance(namespaceOf(this.name, node)))].map(([device, n]) => [`${node}/${device}`, n] as const),
      ),
    )
    return { version: 1, name: this.name, droppedAtEntrance: Object.fromEntries(dropped.flat().filter(([, n]) => n > 0)), ...report }
  }

  /** One direction of a link. */
  async direction(link: string, from: string): Promise<DirectionReport> {
    const found = (await this.stats()).links[link]?.find((direction) => direction.from === from)
    if (found === undefined) throw new MptcpError('ERR_LAB_VALUE', `no direction from '${from}' on a link '${link}'`)
    return found
  }

  /** Ends everything that runs in it and removes it, whether its emulator lives or was killed. */
  async down(): Promise<void> {
    if (isAlive(this.record)) process.kill(this.record.pid, 'SIGTERM')
    const deadline = performance.now() + STOP_MS
    while (isAlive(this.record)) {
      if (performance.now() > deadline) process.kill(this.record.pid, 'SIGKILL')
      await sleep(20)
    }
    await remove(this.record)
  }
}

async function startProcess(config: ProcessConfig): Promise<void> {
  makeLabDir()
  const log = openSync(logPathOf(config.name), 'a')
  // Without helper threads of the collector: at normal priority they would hold up a thread that runs at real-time priority.
  const flags = ['--single-threaded-gc', '--import', import.meta.resolve('tsx')]
  const child = spawn(process.execPath, [...flags, PROCESS, JSON.stringify(config)], {
    stdio: ['ignore', log, log, 'ipc'],
    detached: true, // a terminal's ^C is for the command in it, not for the emulator
  })
  closeSync(log)
  const timer = setTimeout(() => child.kill('SIGTERM'), START_MS)
  try {
    await new Promise<void>((done, fail) => {
      child.once('message', (message: ProcessMessage) => {
        if ('ready' in message) done()
        else fail(new MptcpError(message.code, message.message))
      })
      child.once('error', fail)
      child.once('exit', () => fail(new MptcpError('ERR_LAB', `the emulator ended: ${tail(logPathOf(config.name))}`)))
    })
  } catch (error) {
    removeFailed(config.name)
    throw error
  } finally {
    clearTimeout(timer)
  }
  child.removeAllListeners()
  if (config.attached) child.channel?.unref()
  else child.disconnect()
  child.unref()
}

function tail(path: string): string {
  try {
    return readFileSync(path, 'utf8').slice(-2000)
  } catch {
    return 'without a message'
  }
}
