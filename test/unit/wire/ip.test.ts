import t from 'tap'
import { writeI32, writeU16 } from '../../../src/base/bytes.js'
import { isSumValid, sumBytes } from '../../../src/base/checksum.js'
import { ipHeaderLen, PROTO_TCP, PROTO_UDP, pseudoSumAt, writeIpHeader } from '../../../src/wire/ip.js'
import { setIpv4Length, sumIpv4Header } from '../../../src/wire/ipv4.js'
import { extensionHeaderLen, isExtensionHeader, setIpv6Length } from '../../../src/wire/ipv6.js'
import { writePlainVnetHdr, writeVnetHdr } from '../../../src/wire/vnet-hdr.js'
import { forSeeds } from '../../oracle/seeds.js'
import { hex, toHex } from '../../oracle/wire-bytes.js'
import { naiveChecksum, naivePseudoHeader } from '../../oracle/wire-packet.js'
import { A4, A6, B4, B6 } from './packet-support.js'

t.test("rfc791 3.1: IPv4 header, don't fragment, checksum", async (t) => {
  const mem = new Uint8Array(40).fill(0xee)
  t.equal(writeIpHeader(mem, 3, A4, B4, PROTO_TCP, 24, 0x2a, 63), 20)
  t.equal(ipHeaderLen(A4), 20)
  t.equal(toHex(mem, 3, 20), '452a002c000040003f066f9f0a000001c0000202')
  t.equal(naiveChecksum(mem.slice(3, 23)), 0)
  t.equal(toHex(mem, 0, 3) + toHex(mem, 23), 'ee'.repeat(20))
  setIpv4Length(mem, 3, 65535)
  t.equal(toHex(mem, 5, 2), 'ffff')
  t.equal(naiveChecksum(mem.slice(3, 23)), 0)
})

t.test('rfc8200 3: IPv6 header', async (t) => {
  const mem = new Uint8Array(60).fill(0xee)
  t.equal(writeIpHeader(mem, 3, A6, B6, PROTO_UDP, 0x1234, 0xab, 1), 40)
  t.equal(ipHeaderLen(A6), 40)
  t.equal(toHex(mem, 3, 40), '6ab0000012341101 20010db8000000000000000000000001 20010db80000ffff8000000000000002'.replace(/ /g, ''))
  t.equal(toHex(mem, 0, 3) + toHex(mem, 43), 'ee'.repeat(20))
  setIpv6Length(mem, 3, 7)
  t.equal(toHex(mem, 7, 2), '0007')
})

t.test('sum over an IPv4 header: the 20-byte way and the long way agree with the definition', async (t) => {
  await forSeeds(t, [1], (rng) => {
    const mem = new Uint8Array(80)
    for (let i = 0; i < 2_000; i++) {
      rng.fill(mem, 0, 80)
      if (rng.chance(0.2)) mem.fill(0xff)
      for (const len of [20, 24, 60]) {
        if ((~sumIpv4Header(mem, 5, len) & 0xffff) !== naiveChecksum(mem.slice(5, 5 + len))) t.fail(toHex(mem, 5, len))
      }
    }
    t.pass('all cases agree')
  })
})

t.test('pseudo-headers of both families', async (t) => {
  const mem = new Uint8Array(60)
  for (const [src, dst, len] of [
    [A4, B4, 24],
    [A4, B4, 65515],
    [A6, B6, 24],
    [A6, B6, 65535],
  ] as const) {
    writeIpHeader(mem, 7, src, dst, PROTO_TCP, len, 0, 64)
    const naive = naiveChecksum(naivePseudoHeader(mem.subarray(7), PROTO_TCP, len))
    t.equal(~pseudoSumAt(mem, 7, PROTO_TCP, len) & 0xffff, naive)
  }
})

t.test('extension headers and their length units', async (t) => {
  for (const next of [0, 43, 51, 60, 135, 139, 140]) t.equal(isExtensionHeader(next), true, `${next}`)
  for (const next of [6, 17, 44, 50, 58, 59, 255]) t.equal(isExtensionHeader(next), false, `${next}`)
  t.equal(extensionHeaderLen(0, 0), 8)
  t.equal(extensionHeaderLen(60, 255), 2048)
  t.equal(extensionHeaderLen(51, 4), 24)
})

t.test('vnet header: little-endian, all ten bytes written', async (t) => {
  const mem = new Uint8Array(16).fill(0xee)
  writeVnetHdr(mem, 2, 0x81, 1448, 72, 20, 16)
  t.equal(toHex(mem), 'eeee 01 81 4800 a805 1400 1000 eeeeeeee'.replace(/ /g, ''))
  writePlainVnetHdr(mem, 2)
  t.equal(toHex(mem), `eeee${'00'.repeat(10)}eeeeeeee`)
})

t.test('a written header with a summed payload validates', async (t) => {
  const mem = new Uint8Array(64)
  writeIpHeader(mem, 0, A4, B4, PROTO_UDP, 12, 0, 64)
  mem.set(hex('0035 1234 000c 0000 01020304'), 20)
  writeU16(mem, 26, ~sumBytes(mem, 20, 12, pseudoSumAt(mem, 0, PROTO_UDP, 12)) & 0xffff)
  t.ok(isSumValid(sumBytes(mem, 20, 12, pseudoSumAt(mem, 0, PROTO_UDP, 12))))
  writeI32(mem, 28, 0x01020305)
  t.notOk(isSumValid(sumBytes(mem, 20, 12, pseudoSumAt(mem, 0, PROTO_UDP, 12))))
})
