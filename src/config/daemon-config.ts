import * as v from 'valibot'
import { MptcpError } from '../base/errors.js'
import { parsePrefix } from './address-text.js'
import { parsePathSpec } from './path-spec.js'

const prefix = (family: 4 | 6) =>
  v.pipe(
    v.string(),
    v.check((text) => isParsable(() => parsePrefix(text).family === family), `must be an IPv${family} address with prefix length`),
  )

/** IFNAMSIZ is 16 with the terminating zero. */
const interfaceName = v.pipe(v.string(), v.regex(/^[\w.-]{1,15}$/, 'must be an interface name of at most 15 characters'))

const bytes = (min: number, max: number, fallback: number) =>
  v.optional(v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max)), fallback)

/** Everything that can be set on the daemon. One table: type, bounds and defaults. */
export const DaemonSchema = v.strictObject({
  /** Name of the TUN interface that is created. */
  tun: v.optional(interfaceName, 'tun0'),
  /**
   * Applications' source address and, as the addresses behind it in the same prefix, the stack's own. RFC 2544 benchmark
   * and RFC 4193 local space: they collide with nobody's network. null: the family is not carried.
   */
  address4: v.optional(v.nullable(prefix(4)), '198.18.0.1/29'),
  address6: v.optional(v.nullable(prefix(6)), 'fd00:198:18::1/64'),
  /** Speak MPTCP towards servers; false: plain TCP only. */
  mptcp: v.optional(v.boolean(), true),
  /** DSS checksums even when the peer does not ask for them (RFC 8684 §3.1). */
  checksum: v.optional(v.boolean(), false),
  /** Additional paths given by hand. */
  paths: v.optional(
    v.array(
      v.pipe(
        v.string(),
        v.check((text) => isParsable(() => parsePathSpec(text)), 'must look like eth1 or default,198.51.100.9:443'),
      ),
    ),
    [],
  ),
  /** What is captured beyond routes that the user sets by hand: TCP to these prefixes. */
  routes: v.optional(
    v.array(
      v.pipe(
        v.string(),
        v.check((text) => isParsable(() => parsePrefix(text)), 'must look like 203.0.113.0/24'),
      ),
    ),
    [],
  ),
  /** All TCP that this host originates on unbound sockets. */
  all: v.optional(v.boolean(), false),
  /** With `all`: connected networks and specific static routes too. */
  includeLocal: v.optional(v.boolean(), false),
  /** Router mode: interfaces whose forwarded TCP is captured. */
  lan: v.optional(v.array(interfaceName), []),
  /** After a crash what was captured stays blocked until the next start or `cleanup`; false: it leaves as without the daemon. */
  failClosed: v.optional(v.boolean(), false),
  /** Admit our packets in a foreign firewall that drops them. */
  fixFirewall: v.optional(v.boolean(), false),
  /** Send one probe per egress after set-up. */
  probe: v.optional(v.boolean(), true),
  /** Bytes that one direction of a connection may hold: towards the server, towards the application. */
  sendBuffer: bytes(64 << 10, 64 << 20, 4 << 20),
  receiveBuffer: bytes(64 << 10, 64 << 20, 4 << 20),
  /** Bytes of payload in all connections together. */
  memory: bytes(4 << 20, 1 << 30, 64 << 20),
  /** Applications' connects that wait for their server, in all and per destination. */
  heldConnects: bytes(1, 1 << 20, 4096),
  heldPerDestination: bytes(1, 1 << 20, 512),
  /** How much is logged. */
  log: v.optional(v.picklist(['error', 'warn', 'info', 'debug']), 'info'),
})

export type DaemonConfig = v.InferOutput<typeof DaemonSchema>
export type LogLevel = DaemonConfig['log']

/** Checks values and fills in defaults. @throws {MptcpError} ERR_CONFIG naming every bad key. */
export function daemonConfig(input: v.InferInput<typeof DaemonSchema>): DaemonConfig {
  const result = v.safeParse(DaemonSchema, input)
  if (!result.success) {
    const issues = result.issues.map((issue) => `${v.getDotPath(issue) ?? 'configuration'}: ${issue.message}`)
    throw new MptcpError('ERR_CONFIG', issues.join('; '))
  }
  const config = result.output
  if (config.address4 === null && config.address6 === null) throw new MptcpError('ERR_CONFIG', 'one of IPv4 and IPv6 must be carried')
  return config
}

function isParsable(parse: () => unknown): boolean {
  try {
    return parse() !== false
  } catch {
    return false
  }
}
