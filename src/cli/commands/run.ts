import type { Command } from 'commander'
import type { ConfigSource } from '../../config/source.js'
import { addConfigFlags, configSourceOf } from '../flags.js'
import { Log } from '../log.js'
import { hasLegacyFilter } from '../../host/legacy.js'
import { FAMILIES } from '../../host/numbers.js'
import { CAP_NET_RAW, reducePrivileges, requireNetAdmin } from '../privileges.js'

/** How long the program may take to end by itself when its work is done. */
const LINGER_MS = 1000

/** `mptcpd-user up`, also the default command: the daemon in the foreground. */
export function addRunCommand(program: Command): void {
  const command = program
    .command('up', { isDefault: true })
    .alias('run')
    .description('run the daemon in the foreground: create the TUN interface and carry what is routed at it or captured')
  command.option('--dry-run', 'print the commands that would set up this host, and do nothing')
  addConfigFlags(command).action(async (_options: unknown, given: Command) => {
    const source = configSourceOf(given)
    if (given.opts<{ dryRun?: boolean }>().dryRun === true) {
      const { dryRunCommands } = await import('../dry-run.js')
      process.stdout.write(`${(await dryRunCommands(source.load())).join('\n')}\n`)
    } else process.exitCode = await runDaemon(source)
  })
}

async function runDaemon(source: ConfigSource): Promise<number> {
  const config = source.load()
  const log = new Log(config.log, config.logFormat)
  requireNetAdmin()
  const hasLegacy = config.probe && FAMILIES.some(hasLegacyFilter)
  if (!config.keepPrivileges) reducePrivileges(log, hasLegacy ? [CAP_NET_RAW] : [])
  const { serve } = await import('../serve.js') // the other commands start without it
  const code = await serve(source, log)
  // Everything is undone. Whatever still holds the event loop must not hold whoever waits for the end.
  setTimeout(() => {
    log.warn('something kept the program from ending by itself', { resources: process.getActiveResourcesInfo() })
    process.exit()
  }, LINGER_MS).unref()
  return code
}
