/** `npm run lab -- COMMAND`: networks of namespaces whose links are emulated. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Command, CommanderError } from 'commander'
import { MptcpError } from '../../src/base/errors.js'
import { formatReport } from './format.js'
import { Laboratory } from './laboratory.js'
import { removeLeftovers } from './registry.js'

const EXIT_USAGE = 2

interface NameOption {
  readonly name?: string
}

const program = new Command('lab')
  .description('networks of namespaces whose links are emulated in real time')
  .enablePositionalOptions()
  .showHelpAfterError()
  .exitOverride()

program
  .command('up')
  .description('build what a topology file describes (bench/lab/topologies/*.toml) and keep it up in the background')
  .argument('<file>')
  .option('--name <name>', 'name of the laboratory (default: that of the file)')
  .option('--seed <n>', 'seed of losses, jitter and reordering (default: a fresh one)')
  .option('--no-realtime', 'do not ask for SCHED_FIFO')
  .action(async (file: string, options: NameOption & { seed?: string; realtime: boolean }) => {
    const lab = await Laboratory.up(file, {
      ...(options.name === undefined ? {} : { name: options.name }),
      ...(options.seed === undefined ? {} : { seed: wholeNumber(options.seed) }),
      realtime: options.realtime,
      attached: false,
    })
    process.stdout.write(`${lab.name} is up: ${lab.nodes.join(', ')}\n`)
  })

program
  .command('exec')
  .description('run a command in a node; exit code and terminal are those of the command')
  .argument('<node>')
  .argument('<command...>')
  .option('--name <name>')
  .passThroughOptions()
  .action(async (node: string, command: string[], options: NameOption) => {
    const [file = '', ...args] = Laboratory.find(options.name ?? null).argv(node, command)
    const child = spawn(file, args, { stdio: 'inherit' })
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
    const [code] = (await once(child, 'exit')) as [number | null]
    process.exitCode = code ?? 1
  })

program
  .command('set')
  .description('change a link: KEY=VALUE for both directions, NODE:KEY=VALUE for what NODE sends')
  .argument('<link>')
  .argument('<changes...>')
  .option('--name <name>')
  .addHelpText('after', '\nlab set r1-r2 loss=1% delay=50ms     lab set r1-r2 r1:rate=2mbit     lab set r1-r2 up=false')
  .action(async (link: string, changes: string[], options: NameOption) => {
    const lab = Laboratory.find(options.name ?? null)
    for (const [from, values] of changesByNode(changes)) await lab.set(link, values, from)
  })

program
  .command('stats')
  .description('counters of the links and timing of the emulator')
  .option('--name <name>')
  .option('--json', 'for programs')
  .option('--reset', 'begin a new trial: timing counts from here')
  .action(async (options: NameOption & { json?: boolean; reset?: boolean }) => {
    const report = await Laboratory.find(options.name ?? null).stats({ reset: options.reset ?? false })
    process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : formatReport(report))
  })

program
  .command('down')
  .description('end what runs in it and remove it; leftovers of killed ones too')
  .option('--name <name>')
  .action(async (options: NameOption) => {
    const removed = await removeLeftovers()
    for (const name of removed) process.stdout.write(`${name}: leftovers removed\n`)
    if (removed.length > 0 && (options.name === undefined || removed.includes(options.name))) return
    const lab = Laboratory.find(options.name ?? null)
    await lab.down()
    process.stdout.write(`${lab.name} is down\n`)
  })

/** `r1:loss=1%` by the node in front, null for both directions. */
function changesByNode(changes: readonly string[]): Map<string | null, Record<string, string>> {
  const byNode = new Map<string | null, Record<string, string>>()
  for (const change of changes) {
    const match = /^(?:([\w-]+):)?(\w+)=(\S+)$/.exec(change)
    if (match === null) throw new MptcpError('ERR_LAB_VALUE', `'${change}' is not KEY=VALUE or NODE:KEY=VALUE`)
    const [, node = null, key = '', value = ''] = match
    byNode.set(node, { ...byNode.get(node), [key]: value })
  }
  return byNode
}

function wholeNumber(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new MptcpError('ERR_LAB_VALUE', `'${text}' is no whole number`)
  return Number(text)
}

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE
  else {
    process.stderr.write(`lab: ${error instanceof Error ? error.message : String(error)}\n`)
    const code = error instanceof MptcpError ? error.code : ''
    process.exitCode = ['ERR_LAB_VALUE', 'ERR_LAB_NAME', 'ERR_LAB_TOPOLOGY'].includes(code) ? EXIT_USAGE : 1
  }
}
