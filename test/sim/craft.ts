import { writeI32, writeU16 } from '../../src/base/bytes.js'
import * as pk from './packet.js'

export interface Crafted {
  readonly src?: number
  readonly dst?: number
  readonly srcPort?: number
  readonly dstPort?: number
  readonly seq?: number
  readonly flags?: number
  /** TCP options, a multiple of 4 bytes. */
  readonly options?: Uint8Array
  readonly payload?: Uint8Array
  readonly isV6?: boolean
}

/** A complete TCP packet by hand. Addresses are last words: 10.0.0.x style in IPv4, 2001:db8::x in IPv6. */
export function craftTcp(c: Crafted = {}): Uint8Array {
  const options = c.options ?? new Uint8Array(0)
  const data = c.payload ?? new Uint8Array(0)
  const head = c.isV6 === true ? 40 : 20
  const p = new Uint8Array(head + 20 + options.length + data.length)
  const src = c.src ?? 0x0a000001
  const dst = c.dst ?? 0x0a000002
  if (c.isV6 === true) {
    p[0] = 0x60
    writeU16(p, 4, p.length - 40)
    p[6] = pk.PROTO_TCP
    p[7] = 64
    writeI32(p, 8, 0x20010db8)
    writeI32(p, 24, 0x20010db8)
    writeI32(p, 20, src)
    writeI32(p, 36, dst)
  } else {
    p[0] = 0x45
    writeU16(p, 2, p.length)
    p[8] = 64
    p[9] = pk.PROTO_TCP
    writeI32(p, 12, src)
    writeI32(p, 16, dst)
    pk.fixIp(p)
  }
  writeU16(p, head, c.srcPort ?? 1000)
  writeU16(p, head + 2, c.dstPort ?? 80)
  writeI32(p, head + 4, c.seq ?? 1)
  p[head + 12] = ((20 + options.length) / 4) << 4
  p[head + 13] = c.flags ?? pk.ACK
  p.set(options, head + 20)
  p.set(data, head + 20 + options.length)
  pk.fixTcp(p)
  return p
}
