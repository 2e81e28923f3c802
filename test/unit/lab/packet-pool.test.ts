import t from 'tap'
import { PacketPool } from '../../../bench/lab/packet-pool.js'
import { VNET_HDR_LEN } from '../../../src/base/rings.js'
import { forSeeds } from '../../oracle/seeds.js'

t.test('packets keep their bytes while others come and go, and leave the vnet header before them zero', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    const pool = new PacketPool(1500, 40 * 1536)
    t.equal(pool.slots, 40)
    const held: { packet: Uint8Array; expected: Uint8Array }[] = []
    let refused = 0
    for (let i = 0; i < 4000; i++) {
      if (rng.chance(0.55)) {
        const mem = new Uint8Array(1600)
        rng.fill(mem, 0, mem.length)
        const len = rng.chance(0.5) ? 1500 : rng.between(20, 1500)
        const packet = pool.copy(mem, 33, len)
        if (packet === null) {
          refused++
          if (held.length !== 40) t.fail('a slot was lost', { held: held.length })
        } else held.push({ packet, expected: mem.slice(33, 33 + len) })
      } else if (held.length > 0) {
        const [{ packet, expected }] = held.splice(rng.below(held.length), 1) as [(typeof held)[0]]
        const header = new Uint8Array(pool.buffer, packet.byteOffset - VNET_HDR_LEN, VNET_HDR_LEN)
        if (Buffer.compare(packet, expected) !== 0 || header.some((byte) => byte !== 0)) t.fail('a packet was overwritten')
        pool.give(packet)
      }
      if (pool.used !== held.length) t.fail('wrong count')
    }
    t.ok(refused > 0, 'the pool was full at times')
  })
})

t.test('the copy of a packet of the pool is another one; what a link node made is not taken back', async (t) => {
  const pool = new PacketPool(100, 1024)
  const first = pool.copy(Uint8Array.of(1, 2, 3), 0, 3) as Uint8Array
  const second = pool.copy(first, 0, 3) as Uint8Array
  t.not(second.byteOffset, first.byteOffset)
  t.same([...second], [1, 2, 3])
  const foreign = first.slice()
  t.notOk(pool.owns(foreign))
  pool.give(foreign)
  t.equal(pool.used, 2)
})
