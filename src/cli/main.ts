#!/usr/bin/env node
import { Command, CommanderError } from 'commander'
import { MptcpError } from '../base/errors.js'
import { addCheckConfigCommand } from './commands/check-config.js'
import { addCleanupCommand } from './commands/cleanup.js'
import { addDetourCommand } from './commands/detour.js'
import { addDoctorCommand } from './commands/doctor.js'
import { addPathCommand } from './commands/path.js'
import { addQueryCommands } from './commands/query.js'
import { addRunCommand } from './commands/run.js'
import { addServeCommand } from './commands/serve.js'
import { EXIT_OK, EXIT_USAGE, exitCodeOf } from './exit-codes.js'
import { type ErrorReply, JSON_VERSION, printJson } from './json.js'
import { packageVersion } from './package-version.js'

const program = new Command('mptcpd-user')
  .description('Multipath TCP in user space: carries the TCP connections of unmodified applications over several paths')
  .version(packageVersion())
  .showHelpAfterError('(mptcpd-user --help shows the usage)')
  .addHelpText('after', '\nExit codes: 0 ok, 1 failure, 2 usage, 3 daemon not running, 4 missing privilege')
  .exitOverride()
addRunCommand(program)
addServeCommand(program)
addQueryCommands(program)
addPathCommand(program)
addDetourCommand(program)
addCheckConfigCommand(program)
addDoctorCommand(program)
addCleanupCommand(program)

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT_OK : EXIT_USAGE
  else {
    const message = error instanceof Error ? error.message : String(error)
    process.exitCode = exitCodeOf(error)
    process.stderr.write(`mptcpd-user: ${message}\n`)
    const code = error instanceof MptcpError ? error.code : 'ERR_INTERNAL'
    if (process.argv.includes('--json')) printJson({ version: JSON_VERSION, error: { code, message } } satisfies ErrorReply)
  }
}
