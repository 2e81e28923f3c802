import t from 'tap'
import { Rng } from '../../../src/base/rng.js'
import { FaultDevice } from '../../../src/tun/fault.js'
import type { FaultOptions } from '../../../src/tun/fault.js'
import { forSeeds } from '../../oracle/seeds.js'
import { MemoryDevice, push, received, rings } from './memory-device.js'
import { isTransportSumRight, superSegment } from './packets.js'

const SHAPE = { isV6: false, payloadLen: 100, gsoSize: 0, flags: 0x10, optionsLen: 0 }

function numbered(rng: Rng, n: number): Uint8Array {
  const packet = superSegment(rng, SHAPE)
  packet[14] = n >>> 8 // IPv4 identification
  packet[15] = n & 255
  return packet
}

const idOf = (packet: Uint8Array): number => ((packet[14] as number) << 8) | (packet[15] as number)

/** Sends `count` packets in each direction; the ids that came through. */
function run(rng: Rng, options: FaultOptions, count: number): { rx: number[]; tx: number[]; device: FaultDevice; packets: Uint8Array[] } {
  const inner = new MemoryDevice()
  const device = new FaultDevice(inner, rng.fork(), options)
  const packets: Uint8Array[] = []
  for (let n = 0; n < count; n += 16) {
    const r = rings(32)
    for (let i = n; i < Math.min(count, n + 16); i++) {
      inner.incoming.push(numbered(rng, i))
      push(r, numbered(rng, i), 50 + 100)
    }
    if (device.readBatch(r.rx) !== r.rx.count) throw new Error('count of the ring')
    packets.push(...received(r.rx))
    const offered = r.tx.count
    if (device.writeBatch(r.tx) !== offered || r.tx.count !== 0) throw new Error('not everything was taken')
  }
  return { rx: packets.map(idOf), tx: inner.written.map(idOf), device, packets }
}

const all = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

t.test('without options everything passes as it is', async (t) => {
  await forSeeds(t, [1], (rng) => {
    const { rx, tx, device } = run(rng, {}, 64)
    t.same(rx, all(64))
    t.same(tx, all(64))
    t.same(device.counts, { rxDropped: 0, rxDuplicated: 0, rxCorrupted: 0, txDropped: 0, txDuplicated: 0 })
  })
})

t.test('drops and duplicates what it counts, and nothing else', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    const { rx, tx, device } = run(rng, { rxDrop: 0.2, rxDuplicate: 0.2, txDrop: 0.2, txDuplicate: 0.2 }, 320)
    const { rxDropped, rxDuplicated, txDropped, txDuplicated } = device.counts
    t.ok(rxDropped > 0 && rxDuplicated > 0 && txDropped > 0 && txDuplicated > 0, JSON.stringify(device.counts))
    t.equal(new Set(rx).size, 320 - rxDropped)
    t.equal(rx.length, 320 - rxDropped + rxDuplicated)
    t.equal(new Set(tx).size, 320 - txDropped)
    t.equal(tx.length, 320 - txDropped + txDuplicated)
    t.same(
      [...new Set(tx)],
      [...tx].filter((id, i) => tx.indexOf(id) === i),
      'in order',
    )
  })
})

t.test('a corrupted packet differs in one bit and cannot pass as valid', async (t) => {
  await forSeeds(t, [3], (rng) => {
    const { packets, device } = run(rng, { rxCorrupt: 1 }, 64)
    t.equal(device.counts.rxCorrupted, 64)
    for (const packet of packets) t.equal(packet[0], 0, 'neither partial nor verified')
    // A bit of the IP header leaves TCP's checksum right: then IP's own is wrong.
    const bad = packets.filter((p) => !isTransportSumRight(p.subarray(10)))
    t.ok(bad.length > 40, `${bad.length} of 64 hit what TCP sums`)
  })
})

t.test('a blocked device leaves the ring as it was', async (t) => {
  const rng = new Rng(4)
  const inner = new MemoryDevice()
  inner.room = 2
  const device = new FaultDevice(inner, rng, {})
  const r = rings(8)
  for (let i = 0; i < 5; i++) push(r, numbered(rng, i), 150)
  t.equal(device.writeBatch(r.tx), 2)
  t.equal(r.tx.count, 3)
  inner.room = 9
  t.equal(device.writeBatch(r.tx), 3)
  t.same(inner.written.map(idOf), [0, 1, 2, 3, 4])
})

t.test('readiness, capabilities and closing are those of the device', async (t) => {
  const inner = new MemoryDevice()
  const device = new FaultDevice(inner, new Rng(1), {})
  const seen: boolean[] = []
  device.onReady((readable, writable) => seen.push(readable, writable))
  inner.ready?.(true, false)
  device.close()
  t.same(seen, [true, false])
  t.equal(device.caps, inner.caps)
  t.ok(inner.isClosed)
})
