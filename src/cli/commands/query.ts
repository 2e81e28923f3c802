import { type Command, InvalidArgumentError } from 'commander'
import { MptcpError } from '../../base/errors.js'
import { ask, controlPath } from '../../engine/control.js'
import type { Status } from '../../engine/status.js'
import { formatCounters, formatReload, formatStatus } from '../format.js'
import { PathWatch } from '../watch.js'
import { type CountersReply, type Outcome, printJson, type ReloadReply } from '../json.js'

interface QueryOptions {
  readonly tun: string
  readonly json: boolean
  readonly all: boolean
  readonly now: boolean
  /** Seconds; true: not said. */
  readonly watch?: number | true
}

export const TUN_OPTION = ['--tun <name>', 'interface of the daemon', 'tun0'] as const
export const JSON_OPTION = ['--json', 'one JSON object (docs/json.md)', false] as const

/** How long the process of a daemon that has answered its last question may take to be gone. */
const EXIT_MS = 2000
const POLL_MS = 20

/** The commands that ask or tell a running daemon something. */
export function addQueryCommands(program: Command): void {
  program
    .command('status')
    .description('show connections, their paths, and why a connection fell back to TCP')
    .option(...TUN_OPTION)
    .option(...JSON_OPTION)
    .option('-w, --watch [seconds]', 'what each path carries, again and again (every second unless told)', intervalOf)
    .action(async (options: QueryOptions) => {
      if (options.watch !== undefined) return watch(options, options.watch === true ? 1 : options.watch)
      const status = (await ask(controlPath(options.tun), 'status')) as Status
      if (options.json) printJson(status)
      else process.stdout.write(formatStatus(status))
    })
  program
    .command('counters')
    .description('show counters, named as nstat names them')
    .option(...TUN_OPTION)
    .option(...JSON_OPTION)
    .option('-a, --all', 'also those that are 0', false)
    .action(async (options: QueryOptions) => {
      const reply = (await ask(controlPath(options.tun), 'counters')) as CountersReply
      if (options.json) printJson(reply)
      else process.stdout.write(formatCounters(reply.counters, options.all))
    })
  program
    .command('reload')
    .description('read the configuration file again; on any error the old configuration stays')
    .option(...TUN_OPTION)
    .option(...JSON_OPTION)
    .action(async (options: QueryOptions) => {
      const reply = (await ask(controlPath(options.tun), 'reload')) as ReloadReply
      if (options.json) printJson(reply)
      else process.stdout.write(formatReload(reply))
    })
  program
    .command('down')
    .alias('stop')
    .description('end the daemon: connections may finish for 5 s; waits, and ends with the exit code of the daemon')
    .option(...TUN_OPTION)
    .option('--now', 'reset connections at once', false)
    .option(...JSON_OPTION)
    .action(async (options: QueryOptions) => {
      process.exitCode = await bringDown(options)
    })
}

/** Until it is interrupted, or the daemon ends. On a terminal the lines are written over. */
async function watch(options: QueryOptions, seconds: number): Promise<void> {
  const paths = new PathWatch()
  let shown = 0
  for (;;) {
    const status = (await ask(controlPath(options.tun), 'status')) as Status
    if (options.json) printJson(status)
    const lines = paths.look(status, performance.now())
    if (!options.json && lines !== null) {
      if (process.stdout.isTTY && shown > 0) process.stdout.write(`\u001b[${shown}A\u001b[J`)
      process.stdout.write(`${lines.join('\n')}\n${process.stdout.isTTY ? '' : '\n'}`)
      shown = lines.length
    }
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  }
}

function intervalOf(text: string): number {
  const seconds = Number(text)
  if (!(seconds >= 0.1 && seconds <= 3600)) throw new InvalidArgumentError('It must be a number of seconds from 0.1 to 3600.')
  return seconds
}

async function bringDown(options: QueryOptions): Promise<number> {
  const outcome = (await ask(controlPath(options.tun), 'stop', { now: options.now })) as Outcome
  const isGone = await endOf(outcome.pid)
  if (options.json) printJson(outcome)
  for (const failure of outcome.failures) process.stderr.write(`mptcpd-user: could not be undone: ${failure}\n`)
  if (!isGone)
    throw new MptcpError('ERR_DAEMON_STUCK', `the daemon has undone everything, but process ${outcome.pid} is still there: kill it`)
  return outcome.exitCode
}

async function endOf(pid: number): Promise<boolean> {
  for (let waited = 0; waited < EXIT_MS; waited += POLL_MS) {
    try {
      process.kill(pid, 0)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ESRCH') return true
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  return false
}
