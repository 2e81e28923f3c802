import type { DaemonConfig } from '../config/daemon-config.js'
import { readFacts } from '../host/facts.js'
import { dryRun } from '../host/dry-run.js'
import { native } from '../tun/native.js'
import { hostOptions } from './host-options.js'
import { computeSetup } from './setup.js'

/** The commands by which the host would be set up, one a line. Changes nothing. @throws {MptcpError} */
export async function dryRunCommands(config: DaemonConfig): Promise<string[]> {
  return dryRun(hostOptions(config, computeSetup(config, await readFacts())), native())
}
