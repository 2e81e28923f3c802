import { IpAddress } from '../base/address.js'

/** A prefix as four words and four masks: containment of a packet's address is a few integer operations, for both families alike. */
export class AddressRange {
  readonly base: IpAddress
  private readonly mask: IpAddress

  /** @param len prefix length in the address's own family. */
  constructor(address: IpAddress, len: number) {
    const bits = address.isV4 ? len + 96 : len
    const word = (i: number) => {
      const kept = Math.max(0, Math.min(32, bits - 32 * i))
      return kept === 0 ? 0 : -1 << (32 - kept)
    }
    this.mask = new IpAddress(word(0), word(1), word(2), word(3))
    const m = this.mask
    this.base = new IpAddress(address.w0 & m.w0, address.w1 & m.w1, address.w2 & m.w2, address.w3 & m.w3)
  }

  contains(w0: number, w1: number, w2: number, w3: number): boolean {
    const m = this.mask
    const b = this.base
    return (((w0 & m.w0) ^ b.w0) | ((w1 & m.w1) ^ b.w1) | ((w2 & m.w2) ^ b.w2) | ((w3 & m.w3) ^ b.w3)) === 0
  }
}

const V4_MAPPED = 0xffff

/** An address that no TCP segment may come from or go to: unspecified, loopback, multicast, broadcast, IPv6 link-local. */
export function isMartian(w0: number, w1: number, w2: number, w3: number): boolean {
  if (w0 === 0 && w1 === 0) {
    if (w2 === V4_MAPPED) {
      const top = w3 >>> 24
      return top === 0 || top === 127 || top >= 240 || (top & 0xf0) === 224
    }
    if (w2 === 0) return true // ::, ::1 and the deprecated v4-compatible ones
  }
  return w0 >>> 24 === 0xff || w0 >>> 22 === 0xfe80 >>> 6
}
