import { IpAddress } from '../../base/address.js'
import { type Prefix, parsePrefix } from '../../config/address-text.js'

/** Whether `address` lies in `prefix`; the families never mix. */
export function prefixContains(prefix: Prefix, address: IpAddress): boolean {
  if ((prefix.family === 4) !== address.isV4) return false
  const bits = prefix.family === 4 ? prefix.len + 96 : prefix.len
  const p = prefix.address
  return (
    sameBits(p.w0, address.w0, bits) &&
    sameBits(p.w1, address.w1, bits - 32) &&
    sameBits(p.w2, address.w2, bits - 64) &&
    sameBits(p.w3, address.w3, bits - 96)
  )
}

/** Whether the first `bits` bits of two words are the same; none are with 0 or less. */
function sameBits(a: number, b: number, bits: number): boolean {
  return bits <= 0 || (bits >= 32 ? a === b : (a ^ b) >>> (32 - bits) === 0)
}

/** IANA's special-purpose registry, and what is no unicast: none of it is anybody's host on the Internet. */
const SPECIAL4 = [
  '0.0.0.0/8', // this network, unspecified
  '10.0.0.0/8',
  '100.64.0.0/10', // RFC 6598, carriers' translation
  '127.0.0.0/8',
  '169.254.0.0/16', // link-local, clouds' metadata services among them
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24', // documentation
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16',
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, broadcast
].map(parsePrefix)

/** Within 2000::/3, the only space that is global unicast. */
const SPECIAL6 = ['2001::/23', '2001:db8::/32', '3fff::/20'].map(parsePrefix)
const GLOBAL6 = parsePrefix('2000::/3')
/** RFC 6052: global, and stands for the IPv4 address in it. RFC 8215's 64:ff9b:1::/48 is local and stays outside. */
const NAT64 = parsePrefix('64:ff9b::/96')

/** Whether an address is special by itself, whatever is embedded in it. */
function isSpecial(address: IpAddress): boolean {
  if (address.isV4) return SPECIAL4.some((prefix) => prefixContains(prefix, address))
  if (prefixContains(NAT64, address)) return false
  return !prefixContains(GLOBAL6, address) || SPECIAL6.some((prefix) => prefixContains(prefix, address))
}

/**
 * The IPv4 addresses that an IPv6 address may be taken for on its way: by translators and tunnels, or by whoever canonicalises
 * differently. Every one of them must be admissible. v4-mapped addresses are IPv4 already.
 */
export function embeddedV4(address: IpAddress): IpAddress[] {
  const { w0, w1, w2, w3 } = address
  if (address.isV4) return []
  const found: number[] = []
  if (w0 === 0 && w1 === 0 && w2 === 0) found.push(w3) // v4-compatible, RFC 4291 §2.5.5.1
  if (w0 === 0 && w1 === 0 && w2 === (0xffff0000 | 0)) found.push(w3) // IPv4-translated, RFC 2765
  if (w0 >>> 16 === 0x2002) found.push((w0 << 16) | (w1 >>> 16)) // 6to4, RFC 3056
  if (w0 === 0x0064ff9b) {
    found.push(w3) // RFC 6052 §2.2 with /96
    // 64:ff9b:1::/48: the operator chose the length, so the places of /48, /56 and /64 count too; bits 64-71 are zero.
    if (w1 >>> 16 === 1)
      found.push(((w1 & 0xffff) << 16) | ((w2 >>> 8) & 0xffff), ((w1 & 0xff) << 24) | (w2 & 0xffffff), (w2 << 8) | (w3 >>> 24))
  }
  if (w0 === 0x20010000) found.push(w1, ~w3) // Teredo, RFC 4380: its server, and the client, inverted
  if ((w2 & ~0x02000000) === 0x00005efe) found.push(w3) // ISATAP, RFC 5214 §6.1
  return found.map((word) => IpAddress.v4(word))
}

/** Ports from-to, both included. */
export interface PortRange {
  readonly from: number
  readonly to: number
}

export function isInRanges(port: number, ranges: readonly PortRange[]): boolean {
  return ranges.some((range) => port >= range.from && port <= range.to)
}

/** What one key, or the operator, says about destinations. */
export interface DestinationRules {
  /** Admitted although special. */
  readonly allow: readonly Prefix[]
  /** If any: only these. */
  readonly only: readonly Prefix[]
  readonly ports: readonly PortRange[]
}

/**
 * Whether the detour may send there: not an open relay (detour-protocol). Denied unless some rule admits it: what is no host of the
 * Internet, in whatever IPv6 form; always: the detour's own addresses, ports outside of the rules of both.
 * @param own whether an address is one of the detour's own, on any interface
 * @param rules the operator's and the key's: `allow` adds up, `only` and `ports` must hold in each
 */
export function mayReach(
  address: IpAddress,
  port: number,
  own: (address: IpAddress) => boolean,
  rules: readonly DestinationRules[],
): boolean {
  if (port < 1 || port > 65_535 || rules.some((rule) => !isInRanges(port, rule.ports))) return false
  const isAllowed = (form: IpAddress) => rules.some((rule) => rule.allow.some((prefix) => prefixContains(prefix, form)))
  for (const form of [address, ...embeddedV4(address)]) {
    if (own(form) || (isSpecial(form) && !isAllowed(form))) return false
  }
  return rules.every((rule) => rule.only.length === 0 || rule.only.some((prefix) => prefixContains(prefix, address)))
}
