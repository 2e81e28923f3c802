import * as v from 'valibot'
import { MptcpError } from '../base/errors.js'
import { parsePrefix } from './address-text.js'
import { issueText } from './issues.js'
import { key } from './key.js'
import { parsePathSpec } from './path-spec.js'

/** A check of text by the parser that will read it later; its own message says what is wrong. */
const parsable = (parse: (text: string) => unknown) =>
  v.rawCheck<string>(({ dataset, addIssue }) => {
    if (!dataset.typed) return
    try {
      parse(dataset.value)
    } catch (error) {
      addIssue({ message: error instanceof Error ? error.message : String(error) })
    }
  })

const ownPrefix = (family: 4 | 6) =>
  v.pipe(
    v.nullable(v.string('must be text, like "198.18.0.1/29"')),
    v.transform((text) => (text === 'none' ? null : text)),
    v.check(
      (text) => text === null || isPrefixOf(text, family),
      `must be an IPv${family} address with prefix length, like ${family === 4 ? '198.18.0.1/29' : 'fd00:198:18::1/64'}, or none`,
    ),
  )

/** IFNAMSIZ is 16 with the terminating zero. */
const interfaceName = v.pipe(
  v.string('must be the name of an interface'),
  v.regex(/^[\w.-]{1,15}$/, 'must be an interface name of at most 15 characters'),
)

const flag = v.boolean('must be true or false')

const number = (min: number, max: number) =>
  v.pipe(
    v.number('must be a number'),
    v.integer('must be a whole number'),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  )

const text = (what: string) => v.string(`must be text: ${what}`)
const list = <const S extends v.GenericSchema>(item: S) => v.array(item, 'must be a list, like ["a", "b"]')

/** Everything that can be set on the daemon. One table: type, bounds, default, meaning, and what a reload does with it. */
export const DaemonSchema = v.strictObject({
  tun: key(interfaceName, 'tun0', {
    doc: 'Name of the TUN interface that is created. It names the control socket too.',
    flag: '--tun <name>',
    applies: 'restart',
  }),
  // RFC 2544 benchmark and RFC 4193 local space: they collide with nobody's network.
  address4: key(ownPrefix(4), '198.18.0.1/29', {
    doc: "The applications' source address, and by its prefix the stack's own addresses, the ones behind it: one per egress. `none`: IPv4 is not carried.",
    applies: 'restart',
  }),
  address6: key(ownPrefix(6), 'fd00:198:18::1/64', { doc: 'The same for IPv6. `none`: IPv6 is not carried.', applies: 'restart' }),
  mptcp: key(flag, true, { doc: 'Speak MPTCP towards servers; false: plain TCP only.', flag: '--no-mptcp', applies: 'new connections' }),
  checksum: key(flag, false, {
    doc: 'DSS checksums even when the server does not ask for them (RFC 8684 §3.1).',
    flag: '--checksum',
    applies: 'new connections',
  }),
  paths: key(list(v.pipe(text('eth1, or default,198.51.100.9:443'), parsable(parsePathSpec))), [], {
    doc: 'Additional paths, each `SOURCE[@GATEWAY][,DST[:PORT]]`. SOURCE is an interface, one of its addresses, or `default`. A path that is taken away by a reload keeps the subflows that it has.',
    flag: '--path <path>',
    applies: 'at once',
    example: '["eth1", "default,198.51.100.9:443"]',
  }),
  routes: key(list(v.pipe(text('203.0.113.0/24'), parsable(parsePrefix))), [], {
    doc: 'TCP to these prefixes is captured, beyond what is routed at the interface by hand.',
    flag: '--route <prefix>',
    applies: 'restart',
    example: '["203.0.113.0/24", "2001:db8:113::/48"]',
  }),
  all: key(flag, false, {
    doc: 'Capture all TCP that this host originates on unbound sockets. Connected networks and more specific routes win.',
    flag: '--all',
    applies: 'restart',
  }),
  includeLocal: key(flag, false, {
    doc: 'With `all`: connected networks and specific static routes too.',
    flag: '--include-local',
    applies: 'restart',
  }),
  lan: key(list(interfaceName), [], {
    doc: 'Router mode: TCP that comes in by these interfaces to be forwarded is captured.',
    flag: '--lan <interface>',
    applies: 'restart',
    example: '["lan0"]',
  }),
  failClosed: key(flag, false, {
    doc: 'While the daemon is away, what it would capture is blocked; false: it leaves as without the daemon.',
    flag: '--fail-closed',
    applies: 'restart',
  }),
  fixFirewall: key(flag, false, {
    doc: 'Admit our packets in a foreign firewall that drops them.',
    flag: '--fix-firewall',
    applies: 'restart',
  }),
  probe: key(flag, true, { doc: 'Send one probe per egress after set-up, and say what drops it.', flag: '--no-probe', applies: 'restart' }),
  sendBuffer: key(number(64 << 10, 64 << 20), 4 << 20, {
    doc: 'Bytes towards the server that one connection may hold.',
    flag: '--send-buffer <bytes>',
    applies: 'new connections',
  }),
  receiveBuffer: key(number(64 << 10, 64 << 20), 4 << 20, {
    doc: 'Bytes towards the application that one connection may hold.',
    flag: '--receive-buffer <bytes>',
    applies: 'new connections',
  }),
  memory: key(number(4 << 20, 1 << 30), 64 << 20, {
    doc: 'Bytes of payload in all connections together.',
    flag: '--memory <bytes>',
    applies: 'restart',
  }),
  heldConnects: key(number(1, 1 << 20), 4096, {
    doc: "Applications' connects that may wait for their servers at the same time.",
    flag: '--held-connects <n>',
    applies: 'at once',
  }),
  heldPerDestination: key(number(1, 1 << 20), 512, {
    doc: 'The same for one destination, so that one that does not answer cannot take all places.',
    flag: '--held-per-destination <n>',
    applies: 'at once',
  }),
  keepPrivileges: key(flag, false, {
    doc: 'Keep all capabilities that the program was started with, instead of CAP_NET_ADMIN alone.',
    flag: '--keep-privileges',
    applies: 'restart',
  }),
  log: key(v.picklist(['error', 'warn', 'info', 'debug'], 'must be error, warn, info or debug'), 'info', {
    doc: 'How much is logged: `error`, `warn`, `info` or `debug`.',
    flag: '--log <level>',
    applies: 'at once',
  }),
  logFormat: key(v.picklist(['auto', 'text', 'json'], 'must be auto, text or json'), 'auto', {
    doc: '`text` for people, `json` for programs (one object a line), `auto`: text on a terminal, else JSON.',
    flag: '--log-format <format>',
    applies: 'at once',
  }),
})

export type DaemonConfig = v.InferOutput<typeof DaemonSchema>
/** What may be given: every key is optional. */
export type DaemonInput = v.InferInput<typeof DaemonSchema>
export type LogLevel = DaemonConfig['log']
export type LogFormat = DaemonConfig['logFormat']

/** Checks values and fills in defaults. @throws {MptcpError} ERR_CONFIG naming every bad key. */
export function daemonConfig(input: DaemonInput): DaemonConfig {
  const result = v.safeParse(DaemonSchema, input)
  if (!result.success) {
    throw new MptcpError('ERR_CONFIG', result.issues.map((issue) => issueText(DaemonSchema, issue)).join('\n'))
  }
  checkTogether(result.output)
  return result.output
}

/** What no key can know alone. @throws {MptcpError} ERR_CONFIG */
export function checkTogether(config: DaemonConfig): void {
  if (config.address4 === null && config.address6 === null)
    throw new MptcpError('ERR_CONFIG', 'address4 and address6 are both none: one of IPv4 and IPv6 must be carried')
  if (config.includeLocal && !config.all) throw new MptcpError('ERR_CONFIG', 'include-local widens all: set all too, or leave it out')
}

function isPrefixOf(given: string, family: 4 | 6): boolean {
  try {
    return parsePrefix(given).family === family
  } catch {
    return false
  }
}
