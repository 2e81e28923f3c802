import type { Command } from 'commander'
import { withoutTokens } from '../../config/detour-config.js'
import { ConfigSource, DEFAULT_CONFIG_FILE } from '../../config/source.js'
import { JSON_VERSION, printJson } from '../json.js'

/** `mptcpd-user check-config [FILE]`: reads a configuration as the daemon would, and says what is wrong. Touches nothing. */
export function addCheckConfigCommand(program: Command): void {
  program
    .command('check-config')
    .argument('[file]', 'configuration file', DEFAULT_CONFIG_FILE)
    .description('check a configuration file: ends with 0, or names what is wrong by line and ends with 2')
    .option('--json', 'the whole configuration with defaults, as one JSON object (docs/json.md)', false)
    .action((file: string, options: { readonly json: boolean }) => {
      const config = new ConfigSource(file, {}).load()
      if (options.json) printJson({ version: JSON_VERSION, file, config: { ...config, detour: withoutTokens(config.detour) } })
      else process.stdout.write(`${file}: ok\n`)
    })
}
