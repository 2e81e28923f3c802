import { isIPv6 } from 'node:net'
import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { forSeeds } from '../../oracle/seeds.js'

t.test('IPv4 is v4-mapped and prints as dotted quad', async (t) => {
  const address = IpAddress.v4(0xc6336401)
  t.equal(address.isV4, true)
  t.equal(address.toString(), '198.51.100.1')
  t.equal(address.equals(new IpAddress(0, 0, 0xffff, 0xc6336401)), true)
  t.equal(address.equals(IpAddress.v4(0xc6336402)), false)
})

t.test('rfc5952 §4: lower case, the first longest run of zeros compressed, a single group not', async (t) => {
  const rows: [number, number, number, number, string][] = [
    [0x20010db8, 0, 0, 1, '2001:db8::1'],
    [0, 0, 0, 0, '::'],
    [0, 0, 0, 1, '::1'],
    [0x20010db8, 0x00000001, 0x00010001, 0x00010001, '2001:db8:0:1:1:1:1:1'],
    [0x20010000, 0x00010000, 0x00000001, 0x00000001, '2001:0:1::1:0:1'],
    [0xfe800000, 0, 0xabcd0000, 0, 'fe80::abcd:0:0:0'],
    [0x20010db8, 0x00000000, 0x00010000, 0x00000001, '2001:db8::1:0:0:1'],
  ]
  for (const [a, b, c, d, text] of rows) t.equal(new IpAddress(a, b, c, d).toString(), text)
})

t.test('every address prints as a valid one that reads back the same', async (t) => {
  await forSeeds(t, [1], (rng) => {
    const word = (): number => (rng.chance(0.4) ? 0 : rng.chance(0.5) ? rng.int32() : rng.int32() & 0xffff)
    for (let i = 0; i < 500; i++) {
      const address = new IpAddress(0x20010000 | rng.below(2), word(), word(), word())
      const text = address.toString()
      if (!isIPv6(text)) t.fail(text)
      const [left = '', right] = text.split('::')
      const before = left.split(':')
      const after = right === undefined || right === '' ? [] : right.split(':')
      const groups = right === undefined ? before : [...before, ...new Array<string>(8 - before.length - after.length).fill('0'), ...after]
      const words = [0, 2, 4, 6].map((n) => (Number.parseInt(groups[n] as string, 16) << 16) | Number.parseInt(groups[n + 1] as string, 16))
      if (!address.equals(new IpAddress(...(words as [number, number, number, number])))) t.fail(text)
    }
    t.pass('500 addresses')
  })
})
