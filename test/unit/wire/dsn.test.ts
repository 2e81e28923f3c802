import t from 'tap'
import { finishSum } from '../../../src/base/checksum.js'
import type { Rng } from '../../../src/base/rng.js'
import { DATA_OFF_LIMIT, dataOffOf32, dataOffOf64, dsnHiOf, dsnLoOf, dssPseudoSum } from '../../../src/wire/dsn.js'
import { naiveChecksum } from '../../oracle/wire-packet.js'
import { forSeeds } from '../../oracle/seeds.js'

const hi = (v: bigint): number => Number(BigInt.asIntN(32, v >> 32n))
const lo = (v: bigint): number => Number(BigInt.asIntN(32, v))
const LIMIT = BigInt(DATA_OFF_LIMIT)

/** Random 64 bits, often close to a place where something carries. */
function word64(rng: Rng): bigint {
  const high = rng.chance(0.3) ? [0, -1, 1, -0x80000000][rng.below(4)] : rng.int32()
  const low = rng.chance(0.5) ? rng.between(-3, 3) : rng.int32()
  return BigInt.asUintN(64, (BigInt(high as number) << 32n) + BigInt(low))
}

t.test('rfc8684 3.1: the first byte has DSN = IDSN + 1', async (t) => {
  t.equal(dataOffOf64(0x12345678, 0x7abcdef0, 0x12345678, 0x7abcdef1), 0)
  t.equal(dataOffOf64(0, -1, 1, 0), 0, 'carry into the high word')
  t.equal(dataOffOf64(-1, -1, 0, 0), 0, 'wrap of all 64 bits')
  t.equal(dataOffOf64(5, 5, 5, 5), -1, 'the IDSN itself precedes the stream')
  t.equal(dataOffOf64(0, 0, 0, -1), 0xfffffffe)
  t.equal(dsnHiOf(0, -1, 0), 1)
  t.equal(dsnLoOf(-1, 0), 0)
})

t.test('what is further away than any stream saturates', async (t) => {
  t.equal(dataOffOf64(0, -1, 1 << 20, -1), DATA_OFF_LIMIT - 2 ** 32 + (2 ** 32 - 1), 'just below the limit')
  t.equal(dataOffOf64(0, 0, (1 << 20) + 1, 0), DATA_OFF_LIMIT)
  t.equal(dataOffOf64(0, 0, 0x7fffffff, 0), DATA_OFF_LIMIT)
  t.equal(dataOffOf64(0, 0, -0x80000000, 0), DATA_OFF_LIMIT, 'behind by one less than half of the space: ahead')
  t.equal(dataOffOf64(0, 0, -0x80000000, 1), -DATA_OFF_LIMIT)
  t.equal(dataOffOf64(0, 0, -(1 << 20) - 1, 0), -DATA_OFF_LIMIT)
})

t.test('64-bit conversions agree with arithmetic on big integers', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    for (let i = 0; i < 20_000; i++) {
      const idsn = word64(rng)
      const off = BigInt(Math.floor(rng.float() * 2 ** rng.between(0, 52)))
      const dsn = BigInt.asUintN(64, idsn + 1n + off)
      if (dsnHiOf(hi(idsn), lo(idsn), Number(off)) !== hi(dsn)) t.fail(`hi of ${idsn} + ${off}`)
      if (dsnLoOf(lo(idsn), Number(off)) !== lo(dsn)) t.fail(`lo of ${idsn} + ${off}`)
      const any = rng.chance(0.5) ? dsn : word64(rng)
      const exact = BigInt.asIntN(64, any - idsn - 1n)
      const expected = exact >= LIMIT ? LIMIT : exact < -LIMIT ? -LIMIT : exact
      if (dataOffOf64(hi(idsn), lo(idsn), hi(any), lo(any)) !== Number(expected)) t.fail(`offset of ${any} from ${idsn}`)
    }
    t.pass('all cases agree')
  })
})

t.test('rfc8684 3.3.1: 32 bits are promoted across a wrap, and an old packet triggers none', async (t) => {
  const ref = 2 ** 32 - 10
  const at = (off: number): number => dsnLoOf(77, off)
  t.equal(dataOffOf32(77, ref, at(ref + 20)), ref + 20, 'ahead, beyond the wrap')
  t.equal(dataOffOf32(77, ref + 20, at(ref)), ref, 'back, before the wrap')
  t.equal(dataOffOf32(77, 0, at(-1)), -1, 'the IDSN')
  await forSeeds(t, [1], (rng) => {
    for (let i = 0; i < 20_000; i++) {
      const idsnLo = rng.int32()
      const around = Math.floor(rng.float() * 2 ** rng.between(0, 51))
      const off = around + rng.int32()
      if (dataOffOf32(idsnLo, around, lo(BigInt(idsnLo) + 1n + BigInt(off))) !== off) t.fail(`near ${around}: ${off}`)
    }
    t.pass('all cases agree')
  })
})

t.test('rfc8684 figure 10: pseudo-header of the DSS checksum', async (t) => {
  await forSeeds(t, [1], (rng) => {
    for (let i = 0; i < 2_000; i++) {
      const bytes = new Uint8Array(16)
      rng.fill(bytes, 0, 14)
      const v = new DataView(bytes.buffer)
      const sum = dssPseudoSum(v.getInt32(0), v.getInt32(4), v.getInt32(8), v.getUint16(12))
      if (finishSum(sum) !== naiveChecksum(bytes)) t.fail(`pseudo-header ${bytes}`)
    }
    t.pass('all cases agree')
  })
})
