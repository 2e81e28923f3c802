import type { Command } from 'commander'
import { MptcpError } from '../../base/errors.js'
import { daemonConfig } from '../../config/daemon-config.js'
import { examine } from '../doctor/checks.js'
import { fail, type Finding, formatFindings, ok } from '../doctor/finding.js'
import { realWorld } from '../doctor/world.js'
import { EXIT_FAILURE, EXIT_OK } from '../exit-codes.js'
import { addConfigFlags, configSourceOf } from '../flags.js'
import { JSON_VERSION, printJson } from '../json.js'

/** `mptcpd-user doctor`: whether this host can carry what the configuration says, and what to do where it cannot. Changes nothing. */
export function addDoctorCommand(program: Command): void {
  const command = program
    .command('doctor')
    .description('check this host: ends with 0 when nothing is in the way, else with 1, and says what to do')
    .option('--json', 'one JSON object (docs/json.md)', false)
  addConfigFlags(command).action(async (_options: unknown, given: Command) => {
    const [configFinding, config] = readConfig(given)
    const findings = [configFinding, ...(await examine(await realWorld(), config))]
    const isWell = findings.every((finding) => finding.level !== 'fail')
    if (given.opts<{ json: boolean }>().json) printJson({ version: JSON_VERSION, ok: isWell, findings })
    else process.stdout.write(formatFindings(findings))
    process.exitCode = isWell ? EXIT_OK : EXIT_FAILURE
  })
}

/** A bad configuration is a finding like others; the rest is then checked against the defaults. */
function readConfig(given: Command): [Finding, ReturnType<typeof daemonConfig>] {
  const source = configSourceOf(given)
  try {
    const config = source.load()
    return [ok('configuration', source.file ?? 'no file, the defaults hold'), config]
  } catch (error) {
    if (!(error instanceof MptcpError)) throw error
    return [
      fail('configuration', error.message, 'mend the file; mptcpd-user check-config FILE shows whether it is right'),
      daemonConfig({}),
    ]
  }
}
