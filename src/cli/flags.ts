import { type Command, Option } from 'commander'
import type * as v from 'valibot'
import { type DaemonInput, DaemonSchema } from '../config/daemon-config.js'
import { keyInfo, type KeySchema } from '../config/key.js'
import { ConfigSource, DEFAULT_CONFIG_FILE } from '../config/source.js'

interface KeyFlag {
  readonly name: string
  readonly option: Option
}

const collect = (value: string, list: readonly string[] | undefined): string[] => [...(list ?? []), value]

/** The flags that set a key, made from the key table. */
function keyFlags(schema: KeySchema): KeyFlag[] {
  return Object.keys(schema.entries).flatMap((name) => {
    const { flag, doc, help } = keyInfo(schema, name)
    if (flag === undefined) return []
    const option = new Option(flag, help ?? firstSentence(doc))
    const fallback = defaultOf(schema, name)
    if (Array.isArray(fallback)) option.argParser(collect)
    else if (typeof fallback === 'number') option.argParser(Number)
    return [{ name, option }]
  })
}

/** Adds to a command what chooses the configuration: the file, and a flag per key. */
export function addConfigFlags(command: Command): Command {
  command
    .option('-c, --config <file>', `configuration file (default: ${DEFAULT_CONFIG_FILE} if it exists)`)
    .option('--no-config', 'no configuration file')
    .option('--address <prefix>', 'own address with prefix length; once per family (default: 198.18.0.1/29, fd00:198:18::1/64)', collect)
    .option('--no-ipv4', 'carry IPv6 only')
    .option('--no-ipv6', 'carry IPv4 only')
  return addKeyFlags(command, DaemonSchema)
}

/** Adds a flag per key of any schema. */
export function addKeyFlags(command: Command, schema: KeySchema): Command {
  for (const { option } of keyFlags(schema)) {
    command.addOption(option)
    // What a file switches on or off a flag can switch back; only the useful one of the two is in the help.
    if (option.isBoolean()) command.addOption(new Option(opposite(option.long ?? '')).hideHelp())
  }
  return command
}

/** The keys that flags set: only those that were given. */
export function givenKeys(command: Command, schema: KeySchema): Record<string, unknown> {
  const values = command.opts<Record<string, unknown>>()
  return Object.fromEntries(
    keyFlags(schema).flatMap(({ name, option }) => {
      const attribute = option.attributeName()
      return command.getOptionValueSource(attribute) === 'cli' ? [[name, values[attribute]]] : []
    }),
  )
}

/** What the command line says: only flags that were given override the file. */
export function configSourceOf(command: Command): ConfigSource {
  const isGiven = (attribute: string) => command.getOptionValueSource(attribute) === 'cli'
  const values = command.opts<Record<string, unknown>>()
  const flags = givenKeys(command, DaemonSchema)
  for (const text of (values.address as readonly string[] | undefined) ?? []) flags[text.includes(':') ? 'address6' : 'address4'] = text
  if (values.ipv4 === false) flags.address4 = 'none'
  if (values.ipv6 === false) flags.address6 = 'none'
  const file = isGiven('config') && typeof values.config === 'string' ? values.config : null
  return ConfigSource.of(file, values.config === false, flags as DaemonInput)
}

function opposite(flag: string): string {
  return flag.startsWith('--no-') ? `--${flag.slice('--no-'.length)}` : `--no-${flag.slice('--'.length)}`
}

function defaultOf(schema: KeySchema, name: string): unknown {
  const entry = (schema.entries as Record<string, v.GenericSchema & { readonly default?: unknown }>)[name]
  return entry?.default
}

/** Flags are described in one line; the reference says the rest. */
function firstSentence(doc: string): string {
  return (/^.*?[.](?=\s|$)/.exec(doc)?.[0] ?? doc).replace(/\.$/, '').replaceAll('`', '')
}
