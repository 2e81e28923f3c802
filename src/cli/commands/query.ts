import type { Command } from 'commander'
import { ask, controlPath } from '../../engine/control.js'
import type { Status } from '../../engine/status.js'
import { formatCounters, formatStatus } from '../format.js'

interface QueryOptions {
  readonly tun: string
  readonly json: boolean
  readonly all: boolean
}

const TUN_OPTION = ['--tun <name>', 'interface of the daemon', 'tun0'] as const

/** The commands that ask or tell a running daemon something. */
export function addQueryCommands(program: Command): void {
  program
    .command('status')
    .description('show connections, their paths, and why a connection fell back to TCP')
    .option(...TUN_OPTION)
    .option('--json', 'one JSON object, "version": 1', false)
    .action(async (options: QueryOptions) => {
      const status = (await ask(controlPath(options.tun), 'status')) as Status
      process.stdout.write(options.json ? `${JSON.stringify(status)}\n` : formatStatus(status))
    })
  program
    .command('counters')
    .description('show counters, named as nstat names them')
    .option(...TUN_OPTION)
    .option('--json', 'one JSON object', false)
    .option('-a, --all', 'also those that are 0', false)
    .action(async (options: QueryOptions) => {
      const counters = (await ask(controlPath(options.tun), 'counters')) as Record<string, number>
      process.stdout.write(options.json ? `${JSON.stringify(counters)}\n` : formatCounters(counters, options.all))
    })
  program
    .command('stop')
    .description('end the daemon: connections may finish for 5 s')
    .option(...TUN_OPTION)
    .action(async (options: QueryOptions) => {
      await ask(controlPath(options.tun), 'stop')
    })
  const path = program.command('path').description('paths of the connections')
  path
    .command('add <path>')
    .description('one more path for all connections, like run --path')
    .option(...TUN_OPTION)
    .action(async (text: string, options: QueryOptions) => {
      await ask(controlPath(options.tun), 'path-add', { path: text })
    })
  path
    .command('remove <path>')
    .description('new connections leave this path out')
    .option(...TUN_OPTION)
    .action(async (text: string, options: QueryOptions) => {
      await ask(controlPath(options.tun), 'path-remove', { path: text })
    })
}
