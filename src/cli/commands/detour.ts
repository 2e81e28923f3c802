import { existsSync } from 'node:fs'
import { hostname, networkInterfaces } from 'node:os'
import type { Command } from 'commander'
import { MptcpError } from '../../base/errors.js'
import { parseAddress } from '../../config/address-text.js'
import { parseHostPort } from '../../config/detour-config.js'
import { DEFAULT_DETOUR_CONTROL, DEFAULT_DETOUR_FILE, loadServeConfig, type ServeConfig, ServeSchema } from '../../detour/daemon/config.js'
import { mayReach } from '../../detour/daemon/destination.js'
import { appendKey, DEFAULT_KEY_FILE, type KeyLine, newKeyLine, readKeys, removeKeys } from '../../detour/daemon/key-file.js'
import type { DetourStatus } from '../../detour/daemon/status.js'
import { DetourToken } from '../../detour/protocol/token.js'
import { ask } from '../../engine/control.js'
import { addKeyFlags, givenKeys } from '../flags.js'
import { formatDetourStatus } from '../format-detour.js'
import { JSON_VERSION, printJson } from '../json.js'
import { Log } from '../log.js'

const JSON_OPTION = ['--json', 'one JSON object (docs/json.md)', false] as const
const KEYS_OPTION = ['--keys <file>', 'the key file', DEFAULT_KEY_FILE] as const
const collect = (value: string, list: readonly string[] | undefined): string[] => [...(list ?? []), value]

interface KeygenOptions {
  readonly name: string
  readonly keys: string
  readonly host?: string
  readonly expires?: string
  readonly allowDestination?: string[]
  readonly onlyDestination?: string[]
  readonly ports?: string[]
  readonly quotaLeases?: number
  readonly quotaRate?: number
  readonly quotaFlows?: number
  readonly json: boolean
}

/** `mptcpd-user detour`: the daemon on a host that relays for others, its keys, and its status. Needs neither the addon nor a TUN. */
export function addDetourCommand(program: Command): void {
  const detour = program.command('detour').description('relay connections of clients that hold a key: the daemon, its keys, its status')
  const serve = detour
    .command('serve')
    .description('run the detour daemon in the foreground')
    .option('-c, --config <file>', `configuration file (default: ${DEFAULT_DETOUR_FILE} if it exists)`)
    .option('--no-config', 'no configuration file')
    .option('--check', 'check the configuration and the key file, touch nothing', false)
  addKeyFlags(serve, ServeSchema).action(async (_options: unknown, given: Command) => {
    const config = configOf(given)
    if (given.opts<{ check: boolean }>().check) {
      const keys = readKeys(config.keys)
      process.stdout.write(`ok, ${keys.length} keys\n`)
      return
    }
    const { serveDetour } = await import('../detour-serve.js')
    process.exitCode = await serveDetour(config, new Log(config.log, config.logFormat))
  })
  addKeyCommands(detour)
  detour
    .command('status')
    .description('show mappings, clients, flows and counters of the detour daemon')
    .option('--control <path>', 'its control socket', DEFAULT_DETOUR_CONTROL)
    .option(...JSON_OPTION)
    .action(async (options: { readonly control: string; readonly json: boolean }) => {
      const status = (await ask(options.control, 'status')) as DetourStatus
      if (options.json) printJson({ version: JSON_VERSION, ...status })
      else process.stdout.write(formatDetourStatus(status))
    })
}

function configOf(command: Command): ServeConfig {
  const { config } = command.opts<{ config?: string | boolean }>()
  const file = typeof config === 'string' ? config : config !== false && existsSync(DEFAULT_DETOUR_FILE) ? DEFAULT_DETOUR_FILE : null
  return loadServeConfig(file, givenKeys(command, ServeSchema))
}

function addKeyCommands(detour: Command): void {
  detour
    .command('keygen')
    .description('admit a client: append it to the key file, and print the token for its configuration')
    .requiredOption('--name <name>', 'who it is, for the attribution log')
    .option('--host <host[:port]>', 'how clients reach this detour; it is part of the token (default: an address of this host)')
    .option(...KEYS_OPTION)
    .option('--expires <date>', 'the key ends then, like 2030-01-31')
    .option('--allow-destination <prefix...>', 'destinations that are admitted for this key although they are private or the like', collect)
    .option('--only-destination <prefix...>', 'only these destinations are admitted', collect)
    .option('--ports <ports...>', 'only these destination ports, like 443 or 8000-8100', collect)
    .option('--quota-leases <n>', 'mappings at the same time', Number)
    .option('--quota-rate <n>', 'new mappings a second', Number)
    .option('--quota-flows <n>', 'concurrent flows', Number)
    .option(...JSON_OPTION)
    .action(keygen)
  detour
    .command('list')
    .description('show the keys, without their secrets')
    .option(...KEYS_OPTION)
    .option(...JSON_OPTION)
    .action(({ keys: file, json }: { readonly keys: string; readonly json: boolean }) => {
      const keys = readKeys(file).map(({ id, name, expiresAt, leases, rate, flows }) => ({
        id,
        name,
        expires: expiresAt === null ? null : new Date(expiresAt).toISOString(),
        quota: { leases: leases ?? null, rate: rate ?? null, flows: flows ?? null },
      }))
      if (json) printJson({ version: JSON_VERSION, keys })
      else for (const { id, name, expires } of keys) process.stdout.write(`${id}  ${name}${expires === null ? '' : `  until ${expires}`}\n`)
    })
  detour
    .command('revoke')
    .description('take a client out of the key file: a running daemon ends its mappings and resets its flows')
    .argument('<name-or-id>', 'a name, with all of its keys, or one key id')
    .option(...KEYS_OPTION)
    .option(...JSON_OPTION)
    .action((which: string, { keys: file, json }: { readonly keys: string; readonly json: boolean }) => {
      const removed = removeKeys(file, which)
      if (removed.length === 0)
        throw new MptcpError('ERR_NO_SUCH_KEY', `${file} has no key of the name or id '${which}': see mptcpd-user detour list`)
      if (json) printJson({ version: JSON_VERSION, revoked: removed.map(({ id, name }) => ({ id, name })) })
      else for (const { id, name } of removed) process.stdout.write(`revoked ${id}  ${name}\n`)
    })
}

function keygen(options: KeygenOptions): void {
  const { name, expires, allowDestination: allow, onlyDestination: only, ports } = options
  const line: KeyLine = newKeyLine({
    name,
    ...(expires === undefined ? {} : { expires }),
    ...(allow === undefined ? {} : { allow }),
    ...(only === undefined ? {} : { only }),
    ...(ports === undefined ? {} : { ports }),
    ...(options.quotaLeases === undefined ? {} : { leases: options.quotaLeases }),
    ...(options.quotaRate === undefined ? {} : { rate: options.quotaRate }),
    ...(options.quotaFlows === undefined ? {} : { flows: options.quotaFlows }),
  })
  const { host, port } = parseHostPort(options.host ?? ownHost())
  const token = new DetourToken(host, port, Buffer.from(line.id, 'base64url'), Buffer.from(line.secret, 'base64url')).text()
  appendKey(options.keys, line)
  if (options.json) printJson({ version: JSON_VERSION, id: line.id, name, token })
  else process.stdout.write(`${token}\n`)
  if (options.host === undefined)
    process.stderr.write(`mptcpd-user: the token sends its client to ${host}: --host names another address or a name\n`)
}

/** How clients may reach this host: by its first address that is no private one, as far as it has any. */
function ownHost(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).filter((a) => !a.internal && !a.address.startsWith('fe80')),
  )
  const isGlobal = (text: string) => mayReach(parseAddress(text), 443, () => false, [])
  const found = (addresses.find((a) => isGlobal(a.address)) ?? addresses[0])?.address ?? hostname()
  return found.includes(':') ? `[${found}]` : found
}
