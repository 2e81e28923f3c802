import * as v from 'valibot'
import { MptcpError } from '../base/errors.js'
import { parseAddress, parsePrefix, type Prefix } from './address-text.js'
import { key, required } from './key.js'
import { flag, interfaceName, list, number, parsable, text } from './value.js'

/** UDP port of detour daemons (docs/detours.md). */
export const DETOUR_PORT = 45_672

/** `mptcp-detour://KEYID.SECRET@host[:port]`: 8 and 32 bytes in base64url without padding. */
const TOKEN = /^mptcp-detour:\/\/(?<id>[\w-]{11})\.(?<secret>[\w-]{43})@(?<where>\S+)$/

/** A host with or without port; IPv6 in brackets, or bare when there is no port. */
const HOST_PORT = /^(?:\[(?<v6>[\da-f:.]+)\]|(?<bare>[\da-f:]*:[\da-f:]*:[\da-f:.]*)|(?<host>[^\s[\]:/]+))(?::(?<port>\d{1,5}))?$/i

/** Whom a NAT detour's client talks to. */
export interface HostPort {
  /** Name or address, without brackets. */
  readonly host: string
  readonly port: number
}

/** `192.0.2.7`, `detour.example:45672`, `[2001:db8::7]:45672`. @throws {MptcpError} ERR_DETOUR_ADDRESS */
export function parseHostPort(given: string): HostPort {
  const groups = HOST_PORT.exec(given)?.groups
  const port = groups?.port === undefined ? DETOUR_PORT : Number(groups.port)
  const host = groups?.v6 ?? groups?.bare ?? groups?.host
  if (host === undefined || port < 1 || port > 65_535)
    throw new MptcpError('ERR_DETOUR_ADDRESS', 'expected HOST or HOST:PORT, IPv6 in brackets, like 192.0.2.7 or [2001:db8::7]:45672')
  if (groups?.host === undefined) parseAddress(host)
  return { host, port }
}

/** Whom a token is for; the rest of it is the secret. @throws {MptcpError} ERR_DETOUR_TOKEN, never with the token */
export function hostOfToken(token: string): HostPort {
  const where = TOKEN.exec(token)?.groups?.where
  if (where === undefined) {
    throw new MptcpError(
      'ERR_DETOUR_TOKEN',
      'is no token: expected mptcp-detour://KEYID.SECRET@HOST[:PORT], whole, as `mptcpd-user detour keygen` prints it',
    )
  }
  return parseHostPort(where)
}

/** A prefix, or an address alone. @throws {MptcpError} ERR_ADDRESS */
export function parseDestination(given: string): Prefix {
  if (given.includes('/')) return parsePrefix(given)
  const address = parseAddress(given)
  return { family: address.isV4 ? 4 : 6, address, len: address.isV4 ? 32 : 128 }
}

const COMMON = {
  name: key(v.optional(v.pipe(text('office'), v.regex(/^[\w.:@[\]-]{1,40}$/, 'must be 1-40 letters, digits and .:-_@[]'))), undefined, {
    doc: 'What `status` and `path` call it. Default: made of the device, the file, or the host.',
    applies: 'at once',
  }),
  backup: key(flag, false, { doc: 'Carry data only while no other path can (RFC 8684 §3.3.8).', applies: 'at once' }),
  cost: key(number(0, 1_000_000), 0, { doc: 'Relative price of a byte; paths of lower cost are taken first.', applies: 'at once' }),
  destinations: key(list(v.pipe(text('203.0.113.0/24'), parsable(parseDestination))), [], {
    doc: 'Only connections to these prefixes use it; none: all.',
    applies: 'at once',
  }),
}

const MTU = key(v.union([v.literal(0), number(576, 65_535)], 'must be 0 or a number from 576 to 65535'), 0, {
  doc: 'Bytes of the largest IP packet through it; 0: what the device says.',
  applies: 'at once',
})

/** A host that relays by address translation: the detour daemon, or with `address` one that speaks version 1 of its protocol. */
export const NatSchema = v.strictObject({
  type: v.literal('nat'),
  ...COMMON,
  token: key(v.optional(v.pipe(text('mptcp-detour://...'), parsable(hostOfToken))), undefined, {
    doc: 'What `mptcpd-user detour keygen` printed on the detour.',
    applies: 'at once',
  }),
  address: key(v.optional(v.pipe(text('192.0.2.7'), parsable(parseHostPort))), undefined, {
    doc: 'Instead of a token: HOST[:PORT] of an old daemon that speaks version 1. It is not authenticated.',
    applies: 'at once',
  }),
})

/** A VPN by the real `openvpn`. */
export const OpenVpnSchema = v.strictObject({
  type: v.literal('openvpn'),
  ...COMMON,
  file: required(v.pipe(text('/etc/mptcpd-user/office.ovpn'), v.startsWith('/', 'must be an absolute path')), {
    doc: 'The .ovpn file. Routes that it or the server sets do not touch the host; neither do names of devices, users and logs in it.',
    applies: 'at once',
  }),
  scripts: key(flag, false, {
    doc: 'Run the scripts (up, down, ...) that the file names, as root; false: a file that names some is refused.',
    applies: 'at once',
  }),
  mtu: MTU,
})

/** Any second interface or tunnel. */
export const InterfaceSchema = v.strictObject({
  type: v.literal('interface'),
  ...COMMON,
  device: required(interfaceName, {
    doc: 'Name of the interface. The path is there while it is up and has an address; it need not exist yet.',
    applies: 'at once',
  }),
  gateway: key(v.optional(v.pipe(text('192.0.2.1'), parsable(parseAddress))), undefined, {
    doc: 'Next hop; default: what the main table has for that device, else everything is on link.',
    applies: 'at once',
  }),
  mtu: MTU,
})

/** One `[[detour]]`. */
export const DetourSchema = v.pipe(
  v.variant('type', [NatSchema, OpenVpnSchema, InterfaceSchema], 'must have a type: "nat", "openvpn" or "interface"'),
  v.check(
    (detour) => detour.type !== 'nat' || (detour.token === undefined) !== (detour.address === undefined),
    'needs a token, or the address of a version 1 daemon; one of them',
  ),
)

export type DetourConfig = v.InferOutput<typeof DetourSchema>
export type NatConfig = v.InferOutput<typeof NatSchema>
export type OpenVpnConfig = v.InferOutput<typeof OpenVpnSchema>
export type InterfaceConfig = v.InferOutput<typeof InterfaceSchema>

/** What people call a detour: its name, else something short that tells it from others. */
export function detourName(detour: DetourConfig): string {
  if (detour.name !== undefined) return detour.name
  if (detour.type === 'interface') return detour.device
  if (detour.type === 'openvpn') return (/[^/]+$/.exec(detour.file)?.[0] ?? detour.file).replace(/\.(ovpn|conf)$/, '')
  const { host, port } = detour.token === undefined ? parseHostPort(detour.address ?? '') : hostOfToken(detour.token)
  const shown = host.includes(':') ? `[${host}]` : host
  return `nat:${shown}${port === DETOUR_PORT ? '' : `:${port}`}`
}

/**
 * A detour from the text of `path add`: a token, or the absolute path of an .ovpn file; null: it is a path by hand.
 * @throws {MptcpError} ERR_CONFIG
 */
export function detourOfText(given: string): DetourConfig | null {
  const input = given.startsWith('mptcp-detour:')
    ? { type: 'nat', token: given }
    : given.startsWith('/') || /\.ovpn$/.test(given)
      ? { type: 'openvpn', file: given }
      : null
  if (input === null) return null
  const result = v.safeParse(DetourSchema, input)
  if (result.success) return result.output
  const [issue] = result.issues
  throw new MptcpError('ERR_CONFIG', `${String(issue.path?.at(-1)?.key ?? 'detour')}: ${issue.message}`)
}

/** Detours without what must stay secret, for output. */
export function withoutTokens(detours: readonly DetourConfig[]): DetourConfig[] {
  return detours.map((detour) => {
    if (detour.type !== 'nat' || detour.token === undefined) return detour
    const { host, port } = hostOfToken(detour.token)
    return { ...detour, token: `mptcp-detour://[hidden]@${host.includes(':') ? `[${host}]` : host}:${port}` }
  })
}
