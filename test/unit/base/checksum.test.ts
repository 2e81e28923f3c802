import t from 'tap'
import { readU16, writeI32, writeU16 } from '../../../src/base/bytes.js'
import { addSums, finishSum, isSumValid, pseudoSum4, pseudoSum6, sumBytes, updateChecksum, wordSum } from '../../../src/base/checksum.js'
import { naiveSum } from '../../oracle/naive-checksum.js'
import { forSeeds } from '../../oracle/seeds.js'

t.test('rfc1071 §3: the worked example', async (t) => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7)
  t.equal(sumBytes(bytes, 0, 8), 0xddf2)
  t.equal(finishSum(0xddf2), 0x220d)
})

t.test('any alignment, length and start agree with the naive sum', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    const backing = new Uint8Array(70_000)
    rng.fill(backing, 0, backing.length)
    let done = 0
    for (let i = 0; i < 3000; i++) {
      const mem = backing.subarray(rng.below(9))
      const off = rng.below(9)
      const len = rng.chance(0.95) ? rng.below(300) : rng.below(65_536)
      const start = rng.below(0x10000)
      if (sumBytes(mem, off, len, start) !== addSums(naiveSum(mem, off, len), start)) {
        t.fail(`offset ${mem.byteOffset}+${off}, length ${len}`)
        return
      }
      done++
    }
    t.equal(done, 3000)
  })
})

t.test('the largest sums do not overflow', async (t) => {
  const ones = new Uint8Array(200_000).fill(0xff)
  t.equal(sumBytes(ones, 0, ones.length), 0xffff)
  t.equal(sumBytes(ones, 1, 70_000, 0xffff), 0xffff)
  t.equal(sumBytes(new Uint8Array(100), 0, 100), 0)
})

t.test('a sum can be taken in pieces of even length', async (t) => {
  await forSeeds(t, [3], (rng) => {
    const mem = new Uint8Array(1000)
    rng.fill(mem, 0, 1000)
    for (let cut = 0; cut <= 1000; cut += 50) {
      const parts = sumBytes(mem, cut, 1000 - cut, sumBytes(mem, 0, cut))
      t.equal(parts, sumBytes(mem, 0, 1000))
    }
  })
})

t.test('pseudo-headers are the sums of their bytes', async (t) => {
  await forSeeds(t, [4], (rng) => {
    for (let i = 0; i < 50; i++) {
      const words = Array.from({ length: 8 }, () => rng.int32())
      const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = words
      const len = rng.below(65_536)
      const v6 = new Uint8Array(40)
      words.forEach((w, n) => {
        writeI32(v6, 4 * n, w)
      })
      writeI32(v6, 32, len)
      v6[39] = 6
      t.equal(pseudoSum6(a, b, c, d, e, f, g, h, 6, len), naiveSum(v6, 0, 40))
      const v4 = new Uint8Array(12)
      writeI32(v4, 0, a)
      writeI32(v4, 4, b)
      v4[9] = 6
      writeU16(v4, 10, len)
      t.equal(pseudoSum4(a, b, 6, len), naiveSum(v4, 0, 12))
    }
  })
  t.equal(wordSum(-1), 0x1fffe)
})

t.test('rfc1624: an updated checksum is the one taken anew, and validates', async (t) => {
  await forSeeds(t, [5], (rng) => {
    const mem = new Uint8Array(60)
    for (let i = 0; i < 200; i++) {
      rng.fill(mem, 0, 60)
      writeU16(mem, 10, 0)
      writeU16(mem, 10, finishSum(sumBytes(mem, 0, 60)))
      if (!isSumValid(sumBytes(mem, 0, 60))) t.fail('a fresh checksum does not validate')
      const at = 12 + 2 * rng.below(20)
      const value = rng.below(0x10000)
      writeU16(mem, 10, updateChecksum(readU16(mem, 10), readU16(mem, at), value))
      writeU16(mem, at, value)
      if (!isSumValid(sumBytes(mem, 0, 60))) t.fail('an updated checksum does not validate')
      mem[at] = (mem[at] as number) ^ (1 << rng.below(8))
      if (isSumValid(sumBytes(mem, 0, 60))) t.fail('a flipped bit goes unnoticed')
    }
    t.pass('200 packets')
  })
})
