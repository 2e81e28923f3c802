import { Address4, Address6 } from 'ip-address'
import { IpAddress } from '../base/address.js'
import { MptcpError } from '../base/errors.js'

/** An address from its text, without prefix length, port or zone. @throws {MptcpError} ERR_ADDRESS */
export function parseAddress(text: string): IpAddress {
  if (Address4.isValid(text) && !text.includes('/')) return IpAddress.v4(Number(new Address4(text).bigInt()) | 0)
  if (Address6.isValid(text) && !/[/%]/.test(text)) {
    const n = new Address6(text).bigInt()
    const word = (shift: bigint) => Number((n >> shift) & 0xffff_ffffn) | 0
    return new IpAddress(word(96n), word(64n), word(32n), word(0n))
  }
  throw new MptcpError('ERR_ADDRESS', `'${text}' is not an IPv4 or IPv6 address`)
}

/** An address of ours with the length of the network that it stands in. */
export interface Prefix {
  readonly family: 4 | 6
  readonly address: IpAddress
  readonly len: number
}

/** `198.18.0.1/29`, `fd00:198:18::1/64`. @throws {MptcpError} ERR_ADDRESS */
export function parsePrefix(text: string): Prefix {
  const [head = '', tail = '', ...rest] = text.split('/')
  const address = parseAddress(head)
  const family = address.isV4 ? 4 : 6
  const max = family === 4 ? 32 : 128
  const len = /^\d{1,3}$/.test(tail) ? Number(tail) : -1
  if (rest.length > 0 || len < 0 || len > max)
    throw new MptcpError('ERR_ADDRESS', `'${text}' needs a prefix length of 0-${max}, like 198.18.0.1/29`)
  return { family, address, len }
}

/** The prefix's network with its length, as text: `198.18.0.0/29`. */
export function networkText(prefix: Prefix): string {
  const bits = prefix.family === 4 ? prefix.len + 96 : prefix.len
  const words = [prefix.address.w0, prefix.address.w1, prefix.address.w2, prefix.address.w3].map((word, i) => {
    const kept = Math.max(0, Math.min(32, bits - 32 * i))
    return kept === 0 ? 0 : word & (-1 << (32 - kept))
  }) as [number, number, number, number]
  return `${new IpAddress(...words).toString()}/${prefix.len}`
}

/** The address `n` behind the prefix's own one; null when that leaves the prefix (or is IPv4's broadcast address). */
export function addressAfter(prefix: Prefix, n: number): IpAddress | null {
  const hostBits = (prefix.family === 4 ? 32 : 128) - prefix.len
  const size = hostBits >= 31 ? 2 ** 31 : 2 ** hostBits
  const at = ((prefix.address.w3 & (size - 1)) >>> 0) + n
  if (at >= size - (prefix.family === 4 ? 1 : 0)) return null
  return new IpAddress(prefix.address.w0, prefix.address.w1, prefix.address.w2, (prefix.address.w3 + n) | 0)
}
