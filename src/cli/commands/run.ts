import type { Command } from 'commander'
import { daemonConfig, type LogLevel } from '../../config/daemon-config.js'
import { EXIT_FAILURE, EXIT_OK } from '../exit-codes.js'
import { Log } from '../log.js'

interface RunOptions {
  readonly tun: string
  readonly address: string[]
  readonly ipv6: boolean
  readonly path: string[]
  readonly mptcp: boolean
  readonly checksum: boolean
  readonly log: LogLevel
}

const collect = (value: string, list: string[]) => [...list, value]

/** `mptcpd-user run`, also the default command: the daemon in the foreground. */
export function addRunCommand(program: Command): void {
  program
    .command('run', { isDefault: true })
    .description('run the daemon in the foreground: create the TUN interface and carry what is routed at it')
    .option('--tun <name>', 'name of the interface', 'tun0')
    .option(
      '--address <prefix>',
      'own address with prefix length; once per family (default: 198.18.0.1/29, fd00:198:18::1/64)',
      collect,
      [],
    )
    .option('--no-ipv6', 'carry IPv4 only')
    .option(
      '--path <path>',
      'one more path: SOURCE[@GATEWAY][,DST[:PORT]]; SOURCE is an interface, an address of it, or default',
      collect,
      [],
    )
    .option('--no-mptcp', 'speak plain TCP towards servers')
    .option('--checksum', 'use DSS checksums', false)
    .option('--log <level>', 'error, warn, info or debug', 'info')
    .action(async (options: RunOptions) => {
      process.exitCode = await runDaemon(options)
    })
}

async function runDaemon(options: RunOptions): Promise<number> {
  const v4 = options.address.filter((text) => !text.includes(':'))
  const v6 = options.address.filter((text) => text.includes(':'))
  const config = daemonConfig({
    tun: options.tun,
    ...(v4.length > 0 ? { address4: v4.at(-1) as string } : {}),
    ...(options.ipv6 ? (v6.length > 0 ? { address6: v6.at(-1) as string } : {}) : { address6: null }),
    paths: options.path,
    mptcp: options.mptcp,
    checksum: options.checksum,
    log: options.log,
  })
  const log = new Log(config.log)
  const signalled = firstSignal()
  const { Daemon } = await import('../daemon.js') // the other commands start without it
  const daemon = await Daemon.start(config, log)
  process.stdout.write(`${daemon.readyLine()}\n`)
  await Promise.race([signalled, daemon.stopAsked])
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => daemon.hurry())
  const failures = await daemon.stop()
  return failures.length === 0 ? EXIT_OK : EXIT_FAILURE
}

/** Listens from the start: a signal during set-up ends the daemon cleanly as soon as it stands. */
function firstSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => resolve())
  })
}
