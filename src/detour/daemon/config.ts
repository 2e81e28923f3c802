import * as v from 'valibot'
import { MptcpError } from '../../base/errors.js'
import { parseAddress } from '../../config/address-text.js'
import { DETOUR_PORT, parseDestination } from '../../config/detour-config.js'
import { issueText } from '../../config/issues.js'
import { key } from '../../config/key.js'
import { list, number, oneOf, parsable, text } from '../../config/value.js'
import { readTomlFile } from '../../config/toml-file.js'
import { ALL_PORTS, DEFAULT_KEY_FILE, parsePorts } from './key-file.js'
import type { DestinationRules } from './destination.js'

/** Read when it exists and no other file was named. */
export const DEFAULT_DETOUR_FILE = '/etc/mptcpd-user/detour.toml'

export const DEFAULT_DETOUR_CONTROL = '/run/mptcpd-user/detour.sock'

const address = v.pipe(text('192.0.2.7'), parsable(parseAddress))
const prefix = v.pipe(text('203.0.113.0/24'), parsable(parseDestination))
const ports = v.pipe(text('443 or 8000-8100'), parsable(parsePorts))

/** Everything that can be set on the detour daemon. */
export const ServeSchema = v.strictObject({
  listen: key(list(address), [], {
    doc: 'Addresses that requests are taken at; none: every address of this host, also those that come later.',
    flag: '--listen <address...>',
    applies: 'restart',
    example: '["192.0.2.7", "2001:db8::7"]',
  }),
  port: key(number(1, 65_535), DETOUR_PORT, { doc: 'UDP port of requests.', flag: '--port <port>', applies: 'restart' }),
  advertise: key(list(address), [], {
    doc: 'Address that clients are told to send to, one per family: for a host behind a one-to-one translation, as in most clouds. Default: the address that the request came to.',
    flag: '--advertise <address...>',
    applies: 'restart',
    example: '["198.51.100.7"]',
  }),
  keys: key(text('/etc/mptcpd-user/detour-keys'), DEFAULT_KEY_FILE, {
    doc: 'The key file, mode 0600, that `mptcpd-user detour keygen` writes. It is watched: changes take effect at once.',
    flag: '--keys <file>',
    applies: 'restart',
  }),
  ports: key(ports, '20000-29999', {
    doc: 'TCP ports of mappings. New connections to these ports that belong to no mapping are dropped, so let nothing listen there.',
    flag: '--ports <from-to>',
    applies: 'restart',
  }),
  allowDestination: key(list(prefix), [], {
    doc: 'Destinations that are admitted although they are private, link-local, reserved or the like.',
    flag: '--allow-destination <prefix...>',
    applies: 'restart',
    example: '["10.20.0.0/16"]',
  }),
  onlyDestination: key(list(prefix), [], {
    doc: 'If any: only these destinations are admitted.',
    flag: '--only-destination <prefix...>',
    applies: 'restart',
    example: '["203.0.113.0/24"]',
  }),
  allowPorts: key(list(ports), ['1-24', '26-65535'], {
    doc: 'Destination ports that are admitted; all but that of mail by default.',
    flag: '--allow-ports <ports...>',
    applies: 'restart',
    example: '["443", "8000-8100"]',
  }),
  allowV1: key(list(prefix), [], {
    doc: 'Clients that may speak version 1 of the protocol, which knows no keys: whoever can send from there, or forge it, can use the detour.',
    flag: '--allow-v1 <network...>',
    applies: 'restart',
    example: '["10.20.30.0/24"]',
  }),
  maxLease: key(number(1, 86_400), 600, {
    doc: 'Seconds that a mapping is granted at most; clients renew them. Flows that are there outlive their mapping.',
    flag: '--max-lease <seconds>',
    applies: 'restart',
  }),
  leases: key(number(1, 60_000), 4096, { doc: 'Mappings in all.', flag: '--leases <n>', applies: 'restart' }),
  leasesPerKey: key(number(1, 60_000), 256, {
    doc: 'Mappings of one key; a key may have a number of its own.',
    flag: '--leases-per-key <n>',
    applies: 'restart',
  }),
  rate: key(number(1, 100_000), 200, {
    doc: 'New mappings a second in all; twice as many at once.',
    flag: '--rate <n>',
    applies: 'restart',
  }),
  ratePerKey: key(number(1, 10_000), 20, {
    doc: 'New mappings a second of one key; three times as many at once.',
    flag: '--rate-per-key <n>',
    applies: 'restart',
  }),
  flows: key(number(1, 1_000_000), 16_384, { doc: 'Concurrent flows in all.', flag: '--flows <n>', applies: 'restart' }),
  flowsPerKey: key(number(1, 1_000_000), 1024, { doc: 'Concurrent flows of one key.', flag: '--flows-per-key <n>', applies: 'restart' }),
  attribution: key(v.optional(text('/var/log/mptcpd-user/detour.jsonl')), undefined, {
    doc: 'File that gets one JSON line for each mapping begun and ended; it is opened again by SIGHUP. Default: standard output.',
    flag: '--attribution <file>',
    applies: 'restart',
    example: '"/var/log/mptcpd-user/detour.jsonl"',
  }),
  control: key(text(DEFAULT_DETOUR_CONTROL), DEFAULT_DETOUR_CONTROL, {
    doc: 'The control socket, which `mptcpd-user detour status` asks.',
    flag: '--control <path>',
    applies: 'restart',
  }),
  log: key(oneOf(['error', 'warn', 'info', 'debug'] as const), 'info', {
    doc: 'How much is logged.',
    flag: '--log <level>',
    applies: 'restart',
  }),
  logFormat: key(oneOf(['auto', 'text', 'json'] as const), 'auto', {
    doc: '`text` for people, `json` for programs, `auto`: text on a terminal, else JSON.',
    flag: '--log-format <format>',
    applies: 'restart',
  }),
})

export type ServeConfig = v.InferOutput<typeof ServeSchema>

/** What file and flags say together; flags win. @throws {MptcpError} ERR_CONFIG, ERR_CONFIG_FILE */
export function loadServeConfig(file: string | null, flags: Readonly<Record<string, unknown>>): ServeConfig {
  const given = file === null ? {} : readTomlFile(ServeSchema, file)
  const result = v.safeParse(ServeSchema, { ...given, ...flags })
  if (!result.success) throw new MptcpError('ERR_CONFIG', result.issues.map((issue) => issueText(ServeSchema, issue)).join('\n'))
  return result.output
}

/** What the operator says about destinations. */
export function operatorRules(config: ServeConfig): DestinationRules {
  return {
    allow: config.allowDestination.map(parseDestination),
    only: config.onlyDestination.map(parseDestination),
    ports: config.allowPorts.length === 0 ? ALL_PORTS : config.allowPorts.map(parsePorts),
  }
}
