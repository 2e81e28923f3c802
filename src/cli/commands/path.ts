import { readFileSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import { ask, controlPath } from '../../engine/control.js'
import type { Status } from '../../engine/status.js'
import { formatDetour, formatPaths } from '../format-paths.js'
import { JSON_VERSION, type PathReply, type PathsReply, printJson } from '../json.js'
import { JSON_OPTION, TUN_OPTION } from './query.js'

interface PathOptions {
  readonly tun: string
  readonly json: boolean
  readonly backup?: boolean
  readonly cost?: number
}

const ADD_HELP = `
PATH is one of
  eth1, eth1@192.0.2.1                 another interface (and its next hop), by name or address
  default,198.51.100.9:443             another address of the server by the default egress
  /etc/mptcpd-user/office.ovpn         a VPN
  mptcp-detour://KEYID.SECRET@HOST     a NAT detour
  -                                    read from standard input: other users can see a command line`

/** `mptcpd-user path list|add|remove|set`: the paths of a running daemon. What a command changes holds until the daemon ends. */
export function addPathCommand(program: Command): void {
  const path = program.command('path').description('list and change the paths of a running daemon')
  path
    .command('list', { isDefault: true })
    .description('show detours and paths, and why one is not there')
    .option(...TUN_OPTION)
    .option(...JSON_OPTION)
    .action(async (options: PathOptions) => {
      const { detours = [], paths } = (await ask(controlPath(options.tun), 'status')) as Status
      if (options.json) printJson({ version: JSON_VERSION, detours, paths } satisfies PathsReply)
      else process.stdout.write(formatPaths(detours, paths))
    })
  path
    .command('add <path>')
    .description('one more path, for connections that are there too')
    .addHelpText('after', ADD_HELP)
    .option(...TUN_OPTION)
    .option('--backup', 'carry data only while no other path can')
    .option('--cost <n>', 'relative price of a byte', costOf)
    .option(...JSON_OPTION)
    .action((text: string, options: PathOptions) => change('path-add', text === '-' ? readFileSync(0, 'utf8').trim() : text, options))
  path
    .command('remove <name>')
    .description('take a path away; its subflows end, the connections go on')
    .option(...TUN_OPTION)
    .action(async (name: string, options: PathOptions) => {
      await ask(controlPath(options.tun), 'path-remove', { path: name })
    })
  path
    .command('set <name>')
    .description('change priority or price of a path; its subflows stay')
    .option(...TUN_OPTION)
    .option('--backup', 'carry data only while no other path can')
    .option('--no-backup', 'carry data like the others')
    .option('--cost <n>', 'relative price of a byte', costOf)
    .option(...JSON_OPTION)
    .action((name: string, options: PathOptions) => change('path-set', name, options))
}

async function change(command: string, path: string, options: PathOptions): Promise<void> {
  const { tun, json, backup, cost } = options
  const given = { path, ...(backup === undefined ? {} : { backup }), ...(cost === undefined ? {} : { cost }) }
  const reply = (await ask(controlPath(tun), command, given)) as PathReply
  if (json) printJson(reply)
  else if (reply.detour !== null) process.stdout.write(`${formatDetour(reply.detour)}\n`)
}

function costOf(text: string): number {
  if (!/^\d{1,7}$/.test(text) || Number(text) > 1_000_000) throw new InvalidArgumentError('It must be a whole number from 0 to 1000000.')
  return Number(text)
}
