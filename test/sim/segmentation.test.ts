import t from 'tap'
import { readU16, writeU16, writeU16le } from '../../src/base/bytes.js'
import { finishSum, pseudoSum4, pseudoSum6 } from '../../src/base/checksum.js'
import type { Rng } from '../../src/base/rng.js'
import { forSeeds } from '../oracle/seeds.js'
import { craftTcp } from './craft.js'
import * as pk from './packet.js'
import { coalesce, plain, segment } from './segmentation.js'

function stream(rng: Rng, isV6: boolean, sizes: readonly number[]): Uint8Array[] {
  let seq = rng.int32()
  const options = Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2)
  return sizes.map((size) => {
    const payload = new Uint8Array(size)
    rng.fill(payload, 0, size)
    const p = craftTcp({ seq, isV6, payload, options })
    seq = (seq + size) | 0
    return p
  })
}

t.test('cutting what was merged gives the same packets again', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    for (const isV6 of [false, true]) {
      const packets = stream(rng, isV6, [...new Array<number>(20).fill(1448), 300, 1448, 1448, 1448])
      const merged = coalesce(packets)
      t.equal(merged.length, 2, 'a short segment ends a run')
      for (const p of merged) writeU16le(p, 2, 0) // what the kernel says there must not be trusted
      const again = merged.flatMap(segment)
      t.equal(again.length, packets.length)
      again.forEach((p, i) => {
        if (pk.isV4(p)) {
          writeU16(p, 4, 0) // the kernel numbers them
          pk.fixIp(p)
        }
        t.same(p, packets[i])
      })
    }
  })
})

t.test('a super-segment stays below 64 KiB', async (t) => {
  await forSeeds(t, [1], (rng) => {
    const merged = coalesce(stream(rng, false, new Array<number>(100).fill(1448)))
    t.ok(merged.every((p) => p.length <= 65_535 + 10))
    t.equal(merged.length, 3)
  })
})

t.test('only equal, adjacent and sound segments are merged', async (t) => {
  await forSeeds(t, [1], (rng) => {
    const [a, b, c] = stream(rng, false, [1000, 1000, 1000]) as [Uint8Array, Uint8Array, Uint8Array]
    t.equal(coalesce([a, c]).length, 2, 'a gap')
    const otherOption = b.slice()
    otherOption[51] = 9
    pk.fixTcp(otherOption)
    t.equal(coalesce([a, otherOption, c]).length, 3, 'other options')
    const corrupt = b.slice()
    corrupt[100] = (corrupt[100] as number) ^ 1
    t.equal(coalesce([a, corrupt, c]).length, 3, 'a wrong checksum')
    const push = a.slice()
    push[33] = pk.ACK | 8
    pk.fixTcp(push)
    t.equal(coalesce([push, b, c]).length, 2, 'PSH ends a run')
    t.equal(coalesce([a, b, c]).length, 1, 'positive control')
  })
})

t.test('the device refuses an inconsistent vnet header', async (t) => {
  await forSeeds(t, [1], (rng) => {
    const [merged] = coalesce(stream(rng, false, [1000, 1000])) as [Uint8Array]
    const spoiled = (spoil: (p: Uint8Array) => void): Uint8Array => {
      const p = merged.slice()
      writeU16le(p, 2, 52)
      spoil(p)
      return p
    }
    t.equal(segment(spoiled(() => {})).length, 2)
    t.throws(() => segment(spoiled((p) => writeU16le(p, 4, 0))), /GSO size/)
    t.throws(() => segment(spoiled((p) => writeU16le(p, 6, 40))), /csum_start/)
    t.throws(() => segment(spoiled((p) => writeU16(p, 10 + 20 + 16, 1))), /partial checksum/)
    t.throws(() => segment(spoiled((p) => writeU16(p, 10 + 2, 100))), /length field/)
    t.throws(() => {
      segment(
        spoiled((p) => {
          p[1] = 4
        }),
      )
    }, /GSO type/)
    const whole = plain(craftTcp({ payload: Uint8Array.of(1, 2, 3) }))
    t.equal(segment(whole).length, 1)
    whole[52] = 9
    t.throws(() => segment(whole), /wrong TCP checksum/)
  })
})

t.test('a partial checksum is completed', async (t) => {
  for (const isV6 of [false, true]) {
    const ip = craftTcp({ isV6, payload: Uint8Array.of(1, 2, 3) })
    const expected = readU16(ip, pk.l4Off(ip) + 16)
    const p = plain(ip)
    const l4 = pk.l4Off(ip)
    const len = ip.length - l4
    writeU16(
      p,
      10 + l4 + 16,
      isV6 ? pseudoSum6(0x20010db8, 0, 0, 0x0a000001, 0x20010db8, 0, 0, 0x0a000002, 6, len) : pseudoSum4(0x0a000001, 0x0a000002, 6, len),
    )
    p[0] = 1
    writeU16le(p, 6, l4)
    writeU16le(p, 8, 16)
    const [done] = segment(p) as [Uint8Array]
    t.equal(readU16(done, l4 + 16), expected)
    t.not(finishSum(0), expected)
  }
})
