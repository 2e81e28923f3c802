import t from 'tap'
import { readI32, readU16 } from '../../../src/base/bytes.js'
import { GsoSplitter } from '../../../src/tun/gso-split.js'
import { forSeeds } from '../../oracle/seeds.js'
import { segment } from '../../sim/segmentation.js'
import { isTransportSumRight, superSegment } from './packets.js'

const FIN = 0x01
const PSH = 0x08
const ACK = 0x10
const CWR = 0x80
const OFF = 7

function split(packet: Uint8Array): Uint8Array[] {
  const mem = new Uint8Array(OFF + packet.length)
  mem.set(packet, OFF)
  const splitter = new GsoSplitter()
  const count = splitter.start(mem, OFF, packet.length)
  const out: Uint8Array[] = []
  const dst = new Uint8Array(65_600)
  for (let i = 0; i < count; i++) out.push(dst.slice(3, 3 + splitter.segment(i, dst, 3)))
  return out
}

t.test('segments are what the kernel would make, and their payloads make up the whole', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    for (let i = 0; i < 200; i++) {
      const isV6 = rng.chance(0.5)
      const optionsLen = 4 * rng.below(11)
      const payloadLen = rng.logUniform(2, 65_535 - 100)
      const gsoSize = rng.between(1, payloadLen - 1)
      if (payloadLen / gsoSize > 2000) continue
      const flags = ACK | (rng.int32() & (FIN | PSH | CWR))
      const packet = superSegment(rng, { isV6, payloadLen, gsoSize, flags, optionsLen })
      const parts = split(packet)
      const head = (isV6 ? 40 : 20) + 20 + optionsLen
      const payload = Buffer.concat(parts.map((p) => p.subarray(10 + head)))
      if (!payload.equals(packet.subarray(10 + head))) throw new Error('payload differs')
      // test/sim's segmentation is written apart from src: whatever differs is a mistake of one of the two
      const expected = segment(withHeaderLen(packet, head))
      if (parts.length !== expected.length) throw new Error(`${parts.length} segments instead of ${expected.length}`)
      for (const [n, part] of parts.entries()) {
        if (!Buffer.from(part.subarray(10)).equals(expected[n] as Uint8Array)) throw new Error(`segment ${n} differs`)
        if (!isTransportSumRight(part.subarray(10))) throw new Error(`segment ${n}: checksum`)
        if (part.subarray(0, 10).some((byte) => byte !== 0)) throw new Error('vnet header of a plain packet')
      }
    }
  })
})

t.test('FIN and PSH go with the last segment, CWR with the first, the rest with all', async (t) => {
  await forSeeds(t, [3], (rng) => {
    const packet = superSegment(rng, { isV6: false, payloadLen: 2500, gsoSize: 1000, flags: FIN | PSH | ACK | CWR, optionsLen: 12 })
    const parts = split(packet)
    t.same(
      parts.map((p) => p[10 + 33]),
      [ACK | CWR, ACK, ACK | PSH | FIN],
    )
    const seq = readI32(packet, 10 + 24)
    t.same(
      parts.map((p) => (readI32(p, 10 + 24) - seq) | 0),
      [0, 1000, 2000],
    )
    const id = readU16(packet, 10 + 4)
    t.same(
      parts.map((p) => (readU16(p, 10 + 4) - id) & 0xffff),
      [0, 1, 2],
    )
    t.same(
      parts.map((p) => readU16(p, 10 + 2)),
      [1052, 1052, 552],
    )
  })
})

t.test('a packet without GSO is one segment with a complete checksum', async (t) => {
  await forSeeds(t, [4], (rng) => {
    const packet = superSegment(rng, { isV6: true, payloadLen: 777, gsoSize: 0, flags: ACK, optionsLen: 0 })
    const parts = split(packet)
    t.equal(parts.length, 1)
    t.ok(isTransportSumRight((parts[0] as Uint8Array).subarray(10)))
    t.notOk(isTransportSumRight(packet.subarray(10)), 'it was partial before')
  })
})

t.test('what is no TCP super-segment gives nothing', async (t) => {
  await forSeeds(t, [5], (rng) => {
    const make = (change: (p: Uint8Array) => void): Uint8Array => {
      const packet = superSegment(rng, { isV6: false, payloadLen: 3000, gsoSize: 1000, flags: ACK, optionsLen: 0 })
      change(packet)
      return packet
    }
    const cases: Record<string, (p: Uint8Array) => void> = {
      'type of the other family': (p) => p.set([4], 1),
      'a type that was never asked for': (p) => p.set([3], 1),
      'size 0': (p) => p.set([0, 0], 4),
      UDP: (p) => p.set([17], 19),
      'IP header too short': (p) => p.set([0x44], 10),
      'TCP header too short': (p) => p.set([0x40], 42),
      'version 5': (p) => p.set([0x55], 10),
      'length field': (p) => p.set([(p[13] as number) ^ 1], 13),
    }
    t.equal(split(make(() => {})).length, 3, 'control')
    for (const [name, change] of Object.entries(cases)) t.equal(split(make(change)).length, 0, name)
    const splitter = new GsoSplitter()
    for (let len = 0; len < 40; len++) t.equal(splitter.start(new Uint8Array(40), 0, len), 0)
  })
})

t.test('random bytes never make it write outside of the packet', async (t) => {
  await forSeeds(t, [6, 7], (rng) => {
    const splitter = new GsoSplitter()
    const dst = new Uint8Array(65_600)
    const mem = new Uint8Array(400)
    let split = 0
    for (let i = 0; i < 20_000; i++) {
      rng.fill(mem, 0, mem.length)
      const len = rng.below(mem.length)
      mem[10] = rng.chance(0.5) ? 0x45 : 0x60
      mem[1] = mem[10] === 0x45 ? 1 : 4
      const ipLen = len - 10
      if (mem[10] === 0x45) mem.set([ipLen >>> 8, ipLen & 255], 12)
      else mem.set([(ipLen - 40) >>> 8, (ipLen - 40) & 255], 14)
      mem[mem[10] === 0x45 ? 19 : 16] = 6
      const count = splitter.start(mem, 0, len)
      for (let n = 0; n < count; n++) if (splitter.segment(n, dst, 0) > len) throw new Error('longer than the packet')
      if (count > 0) split++
    }
    t.ok(split > 1000, `${split} of them could be split`)
  })
})

/** The oracle is strict about hdr_len, which the splitter must not look at. */
function withHeaderLen(packet: Uint8Array, len: number): Uint8Array {
  const copy = packet.slice()
  copy[2] = len & 255
  copy[3] = len >>> 8
  return copy
}
