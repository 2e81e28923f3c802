import type { Command } from 'commander'
import { MptcpError } from '../../base/errors.js'
import { type DaemonConfig, type DaemonInput, daemonConfig } from '../../config/daemon-config.js'
import { parseFastOpenKey } from '../../tcp/fast-open.js'
import { EXIT_FAILURE, EXIT_OK } from '../exit-codes.js'
import { Log } from '../log.js'
import { Notifier } from '../notify.js'
import { reducePrivileges, requireNetAdmin } from '../privileges.js'
import type { ServerOptions } from '../server-daemon.js'
import { Signals } from '../signals.js'

const BACKLOG = 511
/** How long connections may take at the end, for whoever supervises. */
const STOP_MS = 10_000
/** How long the program may take to end by itself when its work is done. */
const LINGER_MS = 1000

interface ServeFlags {
  readonly listen: readonly string[]
  readonly to: readonly string[]
  readonly announce?: readonly string[]
  readonly tun: string
  readonly address?: readonly string[]
  readonly checksum: boolean
  readonly denyJoinInitial: boolean
  readonly backlog: number
  readonly fastOpen?: number | boolean
  readonly fastOpenKey?: readonly string[]
  readonly memory?: number
  readonly log?: DaemonConfig['log']
  readonly logFormat?: DaemonConfig['logFormat']
}

const collect = (value: string, list: readonly string[] | undefined): string[] => [...(list ?? []), value]

/** `mptcpd-user serve`: a server for peers that speak MPTCP, in front of a local service that does not. */
export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .description('take up MPTCP and TCP connections from the network and hand them to a local TCP service')
    .requiredOption('--listen <address:port>', 'where peers connect to, once per address; 0.0.0.0 or [::] for all of this host', collect)
    .requiredOption('--to <host:port>', 'the local service: once, or once for each --listen', collect)
    .option('--announce <address[:port][=local]>', 'announce this address to peers; `=local` when a router leads it to that one', collect)
    .option('--tun <name>', 'name of the TUN interface that is created', 'tun0')
    .option('--address <prefix>', 'own addresses of the stack; once per family (default: 198.18.0.1/29, fd00:198:18::1/64)', collect)
    .option('--checksum', 'DSS checksums even when the peer does not ask for them', false)
    .option('--deny-join-initial', 'peers may open further subflows to announced addresses only (flag C)', false)
    .option('--backlog <n>', 'half-open connections before SYN cookies are used', Number, BACKLOG)
    .option(
      '--fast-open [n]',
      'take data of SYNs (TCP Fast Open) while n connections at most wait for their third ACK (default: 256)',
      Number,
    )
    .option(
      '--fast-open-key <key>',
      'of its cookies, as net.ipv4.tcp_fastopen_key; a second one: the previous key (default: random)',
      collect,
    )
    .option('--memory <bytes>', 'payload in all connections together', Number)
    .option('--log <level>', 'error, warn, info or debug')
    .option('--log-format <format>', 'text, json or auto')
    .action(async (flags: ServeFlags) => {
      process.exitCode = await serve(flags)
    })
}

function configOf(flags: ServeFlags): DaemonConfig {
  const input: DaemonInput = { tun: flags.tun, checksum: flags.checksum, probe: false }
  for (const text of flags.address ?? []) input[text.includes(':') ? 'address6' : 'address4'] = text
  if (flags.memory !== undefined) input.memory = flags.memory
  if (flags.log !== undefined) input.log = flags.log
  if (flags.logFormat !== undefined) input.logFormat = flags.logFormat
  return daemonConfig(input)
}

/** @throws {MptcpError} ERR_CONFIG */
function fastOpenOf({ fastOpen = false, fastOpenKey = [] }: ServeFlags): Pick<ServerOptions, 'fastOpen' | 'fastOpenKeys'> {
  if (typeof fastOpen === 'number' && (!Number.isInteger(fastOpen) || fastOpen < 0))
    throw new MptcpError('ERR_CONFIG', '--fast-open must be a whole number from 0 on')
  if (fastOpenKey.length > 2)
    throw new MptcpError('ERR_CONFIG', '--fast-open-key is given twice at most: the present key and the previous one')
  for (const key of fastOpenKey) {
    if (parseFastOpenKey(key) === null)
      throw new MptcpError(
        'ERR_CONFIG',
        `--fast-open-key ${key} must be four words of hexadecimal digits: xxxxxxxx-xxxxxxxx-xxxxxxxx-xxxxxxxx`,
      )
  }
  return { fastOpen, fastOpenKeys: fastOpenKey }
}

async function serve(flags: ServeFlags): Promise<number> {
  const config = configOf(flags)
  if (!Number.isInteger(flags.backlog) || flags.backlog < 0)
    throw new MptcpError('ERR_CONFIG', '--backlog must be a whole number from 0 on')
  const fastOpen = fastOpenOf(flags)
  const log = new Log(config.log, config.logFormat)
  requireNetAdmin()
  reducePrivileges(log)
  const options: ServerOptions = {
    listen: flags.listen,
    to: flags.to,
    announce: flags.announce ?? [],
    denyJoinInitial: flags.denyJoinInitial,
    backlog: flags.backlog,
    ...fastOpen,
  }
  const signals = new Signals()
  try {
    return await run(config, options, log, signals)
  } finally {
    signals.close()
    // Everything is undone. Whatever still holds the event loop must not hold whoever waits for the end.
    setTimeout(() => process.exit(), LINGER_MS).unref()
  }
}

async function run(config: DaemonConfig, options: ServerOptions, log: Log, signals: Signals): Promise<number> {
  const { ServerDaemon } = await import('../server-daemon.js') // the other commands start without it
  const notifier = new Notifier()
  let isFailed = false
  let askEnd = (): void => {}
  const endAsked = new Promise<void>((resolve) => {
    askEnd = resolve
  })
  const fail = (what: string): void => {
    log.error('ending with failure', { reason: what })
    isFailed = true
    askEnd()
  }
  let hurry = (): void => {}
  const daemon = await ServerDaemon.start(config, options, log, {
    stop: (isNow) => {
      askEnd()
      if (isNow) hurry()
    },
    fail,
  })
  hurry = () => daemon.hurry()
  const onBug = (error: unknown): void => fail(`internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  process.on('uncaughtException', onBug)
  process.on('unhandledRejection', onBug)
  process.stdout.write(`${daemon.readyLine()}\n`)
  notifier.ready('serving')
  signals.handle({ end: askEnd, hurry, reload: () => log.warn('there is no configuration file to read again') })
  await endAsked
  notifier.stopping('draining connections', STOP_MS)
  const failures = await daemon.stop((failed) => (failed.length === 0 && !isFailed ? EXIT_OK : EXIT_FAILURE))
  process.off('uncaughtException', onBug)
  process.off('unhandledRejection', onBug)
  return failures.length === 0 && !isFailed ? EXIT_OK : EXIT_FAILURE
}
