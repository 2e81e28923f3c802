import type { Command } from 'commander'
import { MptcpError } from '../../base/errors.js'
import { parsePrefix } from '../../config/address-text.js'
import { addConfigFlags, configSourceOf } from '../flags.js'
import { EXIT_FAILURE, EXIT_OK } from '../exit-codes.js'
import { Log } from '../log.js'

/** `mptcpd-user cleanup`: what a killed daemon left on this host is taken back, nothing else. */
export function addCleanupCommand(program: Command): void {
  const command = program
    .command('cleanup')
    .description('remove what a killed daemon left on this host, and end its orphaned connections')
    .option('--keep-blocked', 'leave what --fail-closed blocks (for a service manager that starts the daemon again)', false)
  addConfigFlags(command).action(async (_options: unknown, given: Command) => {
    const config = configSourceOf(given).load()
    const log = new Log(config.log, config.logFormat)
    const [{ cleanUp }, { HostRunner }, { native }] = await Promise.all([
      import('../../host/leftovers.js'),
      import('../../host/runner.js'),
      import('../../tun/native.js'),
    ])
    if (process.geteuid?.() !== 0) throw new MptcpError('ERR_PRIVILEGE', 'cleanup needs root or CAP_NET_ADMIN')
    const addresses = [config.address4, config.address6].flatMap((text) => (text === null ? [] : [parsePrefix(text).address.toString()]))
    const keepBlocked = given.opts<{ keepBlocked: boolean }>().keepBlocked
    const report = await cleanUp(native(), new HostRunner(), log, keepBlocked, addresses)
    for (const failure of report.failures) log.error('could not be undone', { failure })
    const what =
      report.steps + report.orphans === 0 ? 'nothing was left' : `${report.steps} changes taken back, ${report.orphans} connections ended`
    process.stdout.write(`${what}\n`)
    process.exitCode = report.failures.length === 0 ? EXIT_OK : EXIT_FAILURE
  })
}
