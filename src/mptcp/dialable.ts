import type { IpAddress } from '../base/address.js'
import type { MptcpConnection } from './connection.js'

/**
 * Whether a peer's announcement may make us connect: a hostile one could aim us at ourselves or at many. Never port 0, an unspecified,
 * loopback, multicast, broadcast or link-local address, one of our own, or one of a family that the connection does not use.
 */
export function isDialable(c: MptcpConnection, address: IpAddress, port: number): boolean {
  if (port === 0 || isSpecial(address)) return false
  let isSameFamily = false
  for (const s of c.subflows) {
    if (s.ep.tuple.local.equals(address)) return false
    if (s.ep.tuple.local.isV4 === address.isV4) isSameFamily = true
  }
  return isSameFamily
}

function isSpecial(a: IpAddress): boolean {
  if (a.isV4) {
    const top = a.w3 >>> 24
    return top === 0 || top === 127 || top >= 224 || a.w3 >>> 16 === 0xa9fe
  }
  if (a.w0 === 0 && a.w1 === 0) return true // ::, ::1, v4-compatible
  return a.w0 >>> 24 === 0xff || a.w0 >>> 22 === 0xfe80 >>> 6
}
