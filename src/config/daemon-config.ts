import * as v from 'valibot'
import { MptcpError } from '../base/errors.js'
import { parsePrefix } from './address-text.js'
import { type DetourConfig, detourName, DetourSchema, InterfaceSchema, NatSchema, OpenVpnSchema } from './detour-config.js'
import { issueText } from './issues.js'
import { key } from './key.js'
import { parsePathSpec } from './path-spec.js'
import { flag, interfaceName, list, number, oneOf, parsable, text } from './value.js'

const ownPrefix = (family: 4 | 6) =>
  v.pipe(
    v.nullable(v.string('must be text, like "198.18.0.1/29"')),
    v.transform((text) => (text === 'none' ? null : text)),
    v.check(
      (text) => text === null || isPrefixOf(text, family),
      `must be an IPv${family} address with prefix length, like ${family === 4 ? '198.18.0.1/29' : 'fd00:198:18::1/64'}, or none`,
    ),
  )

/** Congestion control of one subflow, and what couples the subflows of a connection. */
const CONGESTION = ['cubic', 'newreno', 'bbr'] as const
const COUPLED = ['none', 'lia', 'olia'] as const
const SPARSE_DSS = ['auto', 'off'] as const
const SCHEDULERS = ['min-rtt', 'round-robin', 'redundant', 'adaptive', 'blest', 'ecf', 'cheapest'] as const
const PATH_MANAGERS = ['detour', 'full-mesh', 'ndiffports'] as const

const DETOUR_EXAMPLE = `[[detour]]
type = "openvpn"
file = "/etc/mptcpd-user/office.ovpn"

[[detour]]
type = "interface"
device = "wlan0"
backup = true

[[detour]]
type = "nat"
address = "192.0.2.7"
destinations = ["203.0.113.0/24"]
`

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
  addressesPerEgress: key(v.picklist([1, 2, 4, 8, 16], 'must be 1, 2, 4, 8 or 16'), 1, {
    doc: 'Stack addresses of each egress. One has 55 000 ports towards each destination; more help only where the egress is translated to several addresses. They come out of `address4` and `address6`.',
    applies: 'restart',
  }),
  mptcp: key(flag, true, {
    doc: 'Speak MPTCP towards servers; false: plain TCP only.',
    flag: '--no-mptcp',
    help: 'speak plain TCP only towards servers',
    applies: 'new connections',
  }),
  checksum: key(flag, false, {
    doc: 'DSS checksums even when the server does not ask for them (RFC 8684 §3.1).',
    flag: '--checksum',
    applies: 'new connections',
  }),
  sparseDss: key(oneOf(SPARSE_DSS), 'auto', {
    doc: [
      '`auto`: in bulk transfers over slow paths (to about 200 Mbit/s) segments leave out a DSS that an earlier segment has told already',
      '(RFC 8684 §3.3.1), which saves 1.4 % of the bytes; never with checksums, and never again on a path on which a subflow was reset or fell',
      'back meanwhile. `off`: every segment carries its own.',
    ].join(' '),
    flag: '--sparse-dss <mode>',
    applies: 'new connections',
  }),
  paths: key(list(v.pipe(text('eth1, or default,198.51.100.9:443'), parsable(parsePathSpec))), [], {
    doc: 'Additional paths, each `SOURCE[@GATEWAY][,DST[:PORT]]`. SOURCE is an interface, one of its addresses, or `default`. A path that is taken away by a reload keeps the subflows that it has.',
    flag: '--path <path>',
    applies: 'at once',
    example: '["eth1", "default,198.51.100.9:443"]',
  }),
  pathManager: key(oneOf(PATH_MANAGERS), 'detour', {
    doc: '`detour`: up to `extra-subflows` more per connection, VPNs and interfaces first, then NAT detours, oldest first. `full-mesh`: one by every path to every address of the server. `ndiffports`: `extra-subflows` more by the default path.',
    flag: '--path-manager <name>',
    applies: 'new connections',
  }),
  extraSubflows: key(number(0, 7), 2, {
    doc: 'Subflows beyond the first that a connection gets.',
    flag: '--extra-subflows <n>',
    applies: 'new connections',
  }),
  replace: key(flag, true, {
    doc: 'Replace the worst subflow of a connection when an untried or better path exists, make before break.',
    flag: '--no-replace',
    help: 'never replace a subflow that works',
    applies: 'new connections',
  }),
  replaceInterval: key(number(1, 3600), 5, {
    doc: 'Seconds between two looks whether a subflow is to be replaced.',
    flag: '--replace-interval <s>',
    applies: 'new connections',
  }),
  scheduler: key(oneOf(SCHEDULERS), 'min-rtt', {
    doc: [
      'Which subflow carries the next bytes: `min-rtt` (the fastest with room), `round-robin`, `redundant` (all carry all), `adaptive`',
      '(redundant on new subflows and while the application is the limit, else the fastest), `blest` and `ecf` (the fastest; a slow one',
      'waits where it would be in the way), `cheapest` (by the cost of the path).',
    ].join(' '),
    flag: '--scheduler <name>',
    applies: 'new connections',
  }),
  congestion: key(oneOf(CONGESTION), 'cubic', {
    doc: 'Congestion control of each subflow by itself: `cubic`, `newreno` or `bbr`.',
    flag: '--congestion <name>',
    applies: 'new connections',
  }),
  coupled: key(oneOf(COUPLED), 'none', {
    doc: 'Congestion control that couples the subflows of a connection, instead: `lia` (RFC 6356), `olia`, or `none`.',
    flag: '--coupled <name>',
    applies: 'new connections',
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
  probe: key(flag, true, {
    doc: 'Send one probe by each egress when it is set up, and say what drops it.',
    flag: '--no-probe',
    help: 'send no probe when an egress is set up',
    applies: 'restart',
  }),
  sendBuffer: key(number(64 << 10, 64 << 20), 8 << 20, {
    doc: 'Bytes towards the server that one connection may hold.',
    flag: '--send-buffer <bytes>',
    applies: 'new connections',
  }),
  receiveBuffer: key(number(64 << 10, 64 << 20), 8 << 20, {
    doc: 'Bytes towards the application that one connection may hold.',
    flag: '--receive-buffer <bytes>',
    applies: 'new connections',
  }),
  memory: key(number(4 << 20, 1 << 30), 64 << 20, {
    doc: 'Bytes of payload in all connections together.',
    flag: '--memory <bytes>',
    applies: 'restart',
  }),
  keepalive: key(number(0, 86_400), 240, {
    doc: 'Seconds of silence after which a subflow towards a server is asked for a sign of life, so that address translators on the way do not forget it. Not on backups. 0: never.',
    flag: '--keepalive <s>',
    applies: 'new connections',
  }),
  userTimeout: key(number(0, 86_400), 0, {
    doc: 'Seconds that data may wait for the acknowledgement of the server before the connection is given up. 0: as long as it is retransmitted, about a quarter of an hour.',
    flag: '--user-timeout <s>',
    applies: 'new connections',
  }),
  synRetries: key(number(0, 127), 6, {
    doc: 'Repetitions of a SYN towards a server before the connect fails; with 6 that takes about two minutes.',
    flag: '--syn-retries <n>',
    applies: 'new connections',
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
  log: key(oneOf(['error', 'warn', 'info', 'debug']), 'info', {
    doc: 'How much is logged: `error`, `warn`, `info` or `debug`.',
    flag: '--log <level>',
    applies: 'at once',
  }),
  logFormat: key(oneOf(['auto', 'text', 'json']), 'auto', {
    doc: '`text` for people, `json` for programs (one object a line), `auto`: text on a terminal, else JSON.',
    flag: '--log-format <format>',
    applies: 'at once',
  }),
  // The last one: what follows a table in a file belongs to it.
  detour: key(v.array(DetourSchema, 'must be tables, each begun by a line [[detour]]'), [], {
    doc: 'Further ways to every server: each `[[detour]]` is a host that relays by address translation (`nat`), a VPN by the real `openvpn`, or another `interface`. A reload starts what is new, ends what is gone, and leaves what is unchanged alone. In a file these tables come last.',
    applies: 'at once',
    exampleToml: DETOUR_EXAMPLE,
    tables: [
      { name: 'nat', entries: NatSchema.entries },
      { name: 'openvpn', entries: OpenVpnSchema.entries },
      { name: 'interface', entries: InterfaceSchema.entries },
    ],
    isSecret: (value) => (value as readonly DetourConfig[]).some((detour) => detour.type === 'nat' && detour.token !== undefined),
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
  const names = config.detour.map(detourName)
  const twice = names.find((name, i) => names.indexOf(name) !== i || config.paths.includes(name))
  if (twice !== undefined)
    throw new MptcpError('ERR_CONFIG', `two detours or paths are called '${twice}': give one another name by name = "..."`)
  if (config.includeLocal && !config.all) throw new MptcpError('ERR_CONFIG', 'include-local widens all: set all too, or leave it out')
}

function isPrefixOf(given: string, family: 4 | 6): boolean {
  try {
    return parsePrefix(given).family === family
  } catch {
    return false
  }
}
