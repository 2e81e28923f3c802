import t from 'tap'
import { SipHash } from '../../../src/base/siphash.js'

/** Of `bytes`, as the 16 hexadecimal digits of the 64-bit number. */
function sip(hash: SipHash, bytes: Uint8Array): string {
  const padded = new Uint8Array((bytes.length & ~7) + 8)
  padded.set(bytes)
  padded[padded.length - 1] = bytes.length
  const word = (at: number) => new DataView(padded.buffer).getInt32(at, true)
  hash.begin()
  for (let at = 0; at < padded.length - 8; at += 8) hash.word(word(at), word(at + 4))
  hash.end(word(padded.length - 8), word(padded.length - 4))
  return [hash.hi, hash.lo].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('')
}

t.test('siphash-2-4: the vectors of the reference implementation, key 00..0f, message 00 01 02 ...', (t) => {
  const hash = new SipHash(0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c)
  const of = (n: number) =>
    sip(
      hash,
      Uint8Array.from({ length: n }, (_, i) => i),
    )
  t.equal(of(0), '726fdb47dd0e0e31')
  t.equal(of(1), '74f839c593dc67fd')
  t.equal(of(2), '0d6c8009d9a94f5a')
  t.equal(of(3), '85676696d7fb7e2d')
  t.equal(of(7), 'ab0200f58b01d137')
  t.equal(of(8), '93f5f5799a932462')
  t.equal(of(15), 'a129ca6149be45e5', 'appendix A of the paper')
  t.equal(of(63), '958a324ceb064572')
  t.end()
})

t.test('another key or another bit of the message changes about half of the result', (t) => {
  const bytes = Uint8Array.from({ length: 40 }, (_, i) => 7 * i)
  const bits = (a: string, b: string) => {
    let n = 0
    for (let x = BigInt(`0x${a}`) ^ BigInt(`0x${b}`); x > 0n; x >>= 1n) n += Number(x & 1n)
    return n
  }
  const base = sip(new SipHash(1, 2, 3, 4), bytes)
  let sum = 0
  for (let bit = 0; bit < 320; bit++) {
    const other = bytes.slice()
    other[bit >> 3] = (other[bit >> 3] as number) ^ (1 << (bit & 7))
    sum += bits(base, sip(new SipHash(1, 2, 3, 4), other))
  }
  t.ok(Math.abs(sum / 320 - 32) < 1.5, `${sum / 320} bits`)
  t.ok(bits(base, sip(new SipHash(1, 2, 3, 5), bytes)) > 16)
  t.end()
})
