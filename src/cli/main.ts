#!/usr/bin/env node
import { Command, CommanderError } from 'commander'
import { addQueryCommands } from './commands/query.js'
import { addRunCommand } from './commands/run.js'
import { EXIT_OK, EXIT_USAGE, exitCodeOf } from './exit-codes.js'
import { packageVersion } from './package-version.js'

const program = new Command('mptcpd-user')
  .description('Multipath TCP in user space: carries the TCP connections of unmodified applications over several paths')
  .version(packageVersion())
  .showHelpAfterError('(mptcpd-user --help shows the usage)')
  .addHelpText('after', '\nExit codes: 0 ok, 1 failure, 2 usage, 3 daemon not running, 4 missing privilege')
  .exitOverride()
addRunCommand(program)
addQueryCommands(program)

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT_OK : EXIT_USAGE
  else {
    process.exitCode = exitCodeOf(error)
    process.stderr.write(`mptcpd-user: ${error instanceof Error ? error.message : String(error)}\n`)
  }
}
