import t from 'tap'
import { PcapngDevice } from '../../../src/tun/pcapng.js'
import { forSeeds } from '../../oracle/seeds.js'
import { MemoryDevice, push, received, rings } from './memory-device.js'
import { superSegment } from './packets.js'

interface Block {
  readonly type: number
  readonly body: Buffer
}

/** Blocks of a file, after the rules that hold for all of them. */
function parse(file: Buffer): Block[] {
  const blocks: Block[] = []
  for (let at = 0; at < file.length; ) {
    const len = file.readUInt32LE(at + 4)
    if (len % 4 !== 0 || file.readUInt32LE(at + len - 4) !== len) throw new Error(`lengths of the block at ${at}`)
    blocks.push({ type: file.readUInt32LE(at), body: file.subarray(at + 8, at + len - 4) })
    at += len
  }
  return blocks
}

/** Options from `at` on: code -> value. */
function options(body: Buffer, at: number): Map<number, Buffer> {
  const found = new Map<number, Buffer>()
  while (at < body.length) {
    const code = body.readUInt16LE(at)
    const len = body.readUInt16LE(at + 2)
    if (code === 0) break
    found.set(code, body.subarray(at + 4, at + 4 + len))
    at += 4 + ((len + 3) & ~3)
  }
  return found
}

const AT = 1_700_000_123_456_789

t.test('a file with both directions, times, comments and cut packets', async (t) => {
  await forSeeds(t, [1], (rng) => {
    const chunks: Buffer[] = []
    const inner = new MemoryDevice()
    const device = new PcapngDevice(inner, { write: (block) => chunks.push(Buffer.from(block)), wallUs: () => AT, snapLen: 201 })
    const r = rings(8)
    const sizes = [0, 1, 100, 5000]
    const incoming = sizes.map((payloadLen) => superSegment(rng, { isV6: false, payloadLen, gsoSize: 0, flags: 0x10, optionsLen: 0 }))
    const outgoing = sizes.map((payloadLen) => superSegment(rng, { isV6: true, payloadLen, gsoSize: 0, flags: 0x10, optionsLen: 12 }))
    inner.incoming.push(...incoming)
    device.annotate('the first one')
    t.equal(device.readBatch(r.rx), 4)
    t.same(received(r.rx), incoming, 'what is read stays as it is')
    for (const packet of outgoing) push(r, packet, 10 + 72)
    inner.room = 3
    t.equal(device.writeBatch(r.tx), 3)
    t.equal(r.tx.count, 1, 'what the device refuses stays')
    inner.room = 1
    device.writeBatch(r.tx)
    t.same(inner.written, outgoing, 'what is written stays as it is')

    const [section, iface, ...packets] = parse(Buffer.concat(chunks))
    t.equal(section?.type, 0x0a0d0d0a)
    t.equal(section?.body.readUInt32LE(0), 0x1a2b3c4d)
    t.equal(iface?.type, 1)
    t.equal(iface?.body.readUInt16LE(0), 101, 'raw IP')
    const expected = [...incoming, ...outgoing]
    t.equal(packets.length, expected.length)
    for (const [i, { type, body }] of packets.entries()) {
      const ip = (expected[i] as Uint8Array).subarray(10)
      const kept = Math.min(ip.length, 201)
      t.equal(type, 6)
      t.equal(body.readUInt32LE(4) * 2 ** 32 + body.readUInt32LE(8), AT)
      t.equal(body.readUInt32LE(12), kept)
      t.equal(body.readUInt32LE(16), ip.length)
      t.same(body.subarray(20, 20 + kept), Buffer.from(ip.subarray(0, kept)))
      const found = options(body, 20 + ((kept + 3) & ~3))
      t.equal(found.get(2)?.readUInt32LE(0), i < 4 ? 1 : 2, 'direction')
      t.equal(found.get(1)?.toString(), i === 0 ? 'the first one' : undefined)
    }
  })
})

t.test('readiness, capabilities and closing are those of the device', async (t) => {
  const inner = new MemoryDevice()
  const device = new PcapngDevice(inner, { write: () => {}, wallUs: () => 0 })
  const seen: boolean[] = []
  device.onReady((readable, writable) => seen.push(readable, writable))
  inner.ready?.(false, true)
  device.close()
  t.same(seen, [false, true])
  t.equal(device.caps, inner.caps)
  t.ok(inner.isClosed)
})
