/** The process behind a laboratory: builds it, runs its links, answers `lab`, and takes everything away when it ends. */
import { spawnSync } from 'node:child_process'
import { ControlServer } from '../../src/engine/control.js'
import { Emulator } from './emulator.js'
import { addNamespaces, configureNodes, namespaceOf, netnsPath } from './namespaces.js'
import { controlPathOf, findLab, register, remove } from './registry.js'
import { loadTopology } from './topology.js'

/** First argument, as JSON. */
export interface ProcessConfig {
  readonly name: string
  readonly file: string
  readonly seed: number
  /** Ends together with the process that started it; otherwise by a signal only. */
  readonly attached: boolean
  readonly realtime: boolean
  /** Busy-wait for events that are nearer than this; null: the default. */
  readonly spinUs: number | null
}

/** The one message to the process that started it. */
export type ProcessMessage = { readonly ready: true } | { readonly code: string; readonly message: string }

const REALTIME_PRIORITY = '10'

/** Linux: SCHED_FIFO for this thread, not for its children. @returns whether it was granted */
function becomeRealtime(): boolean {
  const { status } = spawnSync('chrt', ['--fifo', '--reset-on-fork', '--pid', REALTIME_PRIORITY, String(process.pid)], { stdio: 'ignore' })
  return status === 0
}

async function main(config: ProcessConfig): Promise<void> {
  const stopAsked = new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => resolve())
    if (config.attached) process.on('disconnect', () => resolve())
  })
  const topology = loadTopology(config.file)
  const nodes = topology.nodes.map(({ name }) => name)
  register({ name: config.name, file: config.file, nodes, namespaces: nodes.map((node) => namespaceOf(config.name, node)) })
  const record = findLab(config.name)
  let emulator: Emulator | null = null
  let control: ControlServer | null = null
  try {
    await addNamespaces(config.name, topology)
    const running = new Emulator(
      topology,
      (node) => netnsPath(namespaceOf(config.name, node)),
      config.seed,
      ...(config.spinUs === null ? [] : [config.spinUs]),
    )
    emulator = running
    await configureNodes(config.name, topology)
    const isRealtime = config.realtime && becomeRealtime()
    control = await ControlServer.open(controlPathOf(config.name), {
      stats: ({ reset }) => {
        const report = { isRealtime, ...running.report() }
        if (reset === true) running.reset()
        return report
      },
      set: ({ link, from, values }) => running.set(String(link), from === null ? null : String(from), values as Record<string, string>),
    })
    running.start()
    tell({ ready: true })
    await stopAsked
  } finally {
    await control?.close()
    emulator?.close()
    await remove(record)
  }
}

function tell(message: ProcessMessage): void {
  if (process.connected) process.send?.(message)
}

try {
  await main(JSON.parse(process.argv[2] ?? '') as ProcessConfig)
} catch (error) {
  const code = (error as { code?: unknown }).code
  tell({ code: typeof code === 'string' ? code : 'ERR_LAB', message: (error as Error).message })
  process.exitCode = 1
}
if (process.connected) process.disconnect()
