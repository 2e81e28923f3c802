import t from 'tap'
import { bytesEqual, readI32, readU16, readU16le, writeI32, writeU16, writeU16le } from '../../../src/base/bytes.js'
import { forSeeds } from '../../oracle/seeds.js'

t.test('accessors agree with DataView', async (t) => {
  await forSeeds(t, [1], (rng) => {
    const mem = new Uint8Array(64)
    const view = new DataView(mem.buffer)
    rng.fill(mem, 0, 64)
    for (let off = 0; off < 60; off++) {
      t.equal(readU16(mem, off), view.getUint16(off))
      t.equal(readU16le(mem, off), view.getUint16(off, true))
      t.equal(readI32(mem, off), view.getInt32(off))
      const value = rng.int32()
      writeI32(mem, off, value)
      t.equal(view.getInt32(off), value)
      writeU16(mem, off, value)
      t.equal(view.getUint16(off), value & 0xffff)
      writeU16le(mem, off, value)
      t.equal(view.getUint16(off, true), value & 0xffff)
    }
  })
})

t.test('bytesEqual compares exactly the stretch', async (t) => {
  const a = Uint8Array.of(1, 2, 3, 4)
  const b = Uint8Array.of(9, 2, 3, 8)
  t.equal(bytesEqual(a, 1, b, 1, 2), true)
  t.equal(bytesEqual(a, 1, b, 1, 3), false)
  t.equal(bytesEqual(a, 0, b, 0, 0), true)
})
