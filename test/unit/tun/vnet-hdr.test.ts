import t from 'tap'
import { writeU16, writeU16le } from '../../../src/base/bytes.js'
import { completeChecksum, isWholePacket, needsChecksum } from '../../../src/tun/vnet-hdr.js'
import { forSeeds } from '../../oracle/seeds.js'
import { isTransportSumRight, pseudoHeader, superSegment } from './packets.js'
import { naiveSum } from '../../oracle/naive-checksum.js'

t.test('a partial checksum is completed, of both families, at any offset', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    for (let i = 0; i < 300; i++) {
      const shape = { isV6: rng.chance(0.5), payloadLen: rng.below(1500), gsoSize: 0, flags: 0x10, optionsLen: 4 * rng.below(11) }
      const packet = superSegment(rng, shape)
      const off = rng.below(20)
      const mem = new Uint8Array(off + packet.length + 5).fill(0xee)
      mem.set(packet, off)
      if (!completeChecksum(mem, off, packet.length)) throw new Error('refused')
      const ip = mem.subarray(off + 10, off + packet.length)
      if (!isTransportSumRight(ip)) throw new Error(`checksum of ${JSON.stringify(shape)}`)
      if (needsChecksum(mem, off)) throw new Error('still marked as partial')
      const again = mem.slice()
      if (!completeChecksum(mem, off, packet.length) || !again.every((byte, n) => byte === mem[n])) throw new Error('not idempotent')
    }
  })
})

t.test('rfc768: a UDP checksum that comes out as zero is written as all ones', async (t) => {
  const packet = new Uint8Array(10 + 20 + 8 + 2)
  const ip = packet.subarray(10)
  ip.set([0x45, 0, 0, 30, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2])
  ip.set([0x10, 0, 0x20, 0, 0, 10], 20)
  const pseudo = pseudoHeader(ip)
  writeU16(ip, 26, naiveSum(pseudo, 0, pseudo.length))
  // The payload that brings the sum to all ones.
  writeU16(ip, 28, 0xffff - naiveSum(ip.subarray(20), 0, 10))
  packet[0] = 1
  writeU16le(packet, 6, 20)
  writeU16le(packet, 8, 6)
  t.ok(completeChecksum(packet, 0, packet.length))
  t.equal(ip[26], 0xff)
  t.equal(ip[27], 0xff)
})

t.test('super-segments and headers that point outside are left alone', async (t) => {
  await forSeeds(t, [3], (rng) => {
    const big = superSegment(rng, { isV6: false, payloadLen: 3000, gsoSize: 1000, flags: 0x10, optionsLen: 0 })
    const outside = superSegment(rng, { isV6: false, payloadLen: 10, gsoSize: 0, flags: 0x10, optionsLen: 0 })
    writeU16le(outside, 6, 60_000)
    for (const packet of [big, outside]) {
      const before = packet.slice()
      t.notOk(completeChecksum(packet, 0, packet.length))
      t.same(packet, before)
    }
  })
})

t.test('a whole packet is as long as its IP header says', async (t) => {
  await forSeeds(t, [4], (rng) => {
    for (const isV6 of [false, true]) {
      const packet = superSegment(rng, { isV6, payloadLen: 100, gsoSize: 0, flags: 0x10, optionsLen: 0 })
      t.ok(isWholePacket(packet, 0, packet.length))
      t.notOk(isWholePacket(packet, 0, packet.length - 1))
      packet[10] = 0x50
      t.notOk(isWholePacket(packet, 0, packet.length))
    }
    t.notOk(isWholePacket(new Uint8Array(100), 0, 12))
  })
})
