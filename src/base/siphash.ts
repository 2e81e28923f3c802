/**
 * SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed pseudo-random function that is cheap for short messages. 64-bit words are pairs of
 * int32, low half first. One message at a time and nothing allocated: `begin`, `word` for each eight bytes, `end`, then `lo` and `hi`.
 */
export class SipHash {
  /** The result, after `end`. */
  lo = 0
  hi = 0
  private readonly k0 = { lo: 0, hi: 0 }
  private readonly k1 = { lo: 0, hi: 0 }
  private a0 = 0
  private a1 = 0
  private b0 = 0
  private b1 = 0
  private c0 = 0
  private c1 = 0
  private d0 = 0
  private d1 = 0

  /** @param k0lo,k0hi,k1lo,k1hi the key of 128 bits, its first four bytes (little-endian) first. */
  constructor(k0lo: number, k0hi: number, k1lo: number, k1hi: number) {
    this.k0.lo = k0lo | 0
    this.k0.hi = k0hi | 0
    this.k1.lo = k1lo | 0
    this.k1.hi = k1hi | 0
  }

  /** Starts a message. */
  begin(): void {
    const { k0, k1 } = this
    this.a0 = k0.lo ^ 0x70736575
    this.a1 = k0.hi ^ 0x736f6d65
    this.b0 = k1.lo ^ 0x6e646f6d
    this.b1 = k1.hi ^ 0x646f7261
    this.c0 = k0.lo ^ 0x6e657261
    this.c1 = k0.hi ^ 0x6c796765
    this.d0 = k1.lo ^ 0x79746573
    this.d1 = k1.hi ^ 0x74656462
  }

  /** Eight bytes of the message, little-endian. */
  word(lo: number, hi: number): void {
    this.d0 ^= lo
    this.d1 ^= hi
    this.rounds(2)
    this.a0 ^= lo
    this.a1 ^= hi
  }

  /** The last word: up to seven bytes that are left, and the length of the message (mod 256) in the highest byte of `hi`. */
  end(lo: number, hi: number): void {
    this.word(lo, hi)
    this.c0 ^= 0xff
    this.rounds(4)
    this.lo = this.a0 ^ this.b0 ^ this.c0 ^ this.d0
    this.hi = this.a1 ^ this.b1 ^ this.c1 ^ this.d1
  }

  private rounds(n: number): void {
    let { a0, a1, b0, b1, c0, c1, d0, d1 } = this
    for (let i = 0; i < n; i++) {
      let t = 0
      // a += b; b = rotl(b, 13) ^ a; a = rotl(a, 32)
      t = (a0 + b0) | 0
      a1 = (a1 + b1 + (t >>> 0 < b0 >>> 0 ? 1 : 0)) | 0
      a0 = t
      t = (b0 << 13) | (b1 >>> 19)
      b1 = ((b1 << 13) | (b0 >>> 19)) ^ a1
      b0 = t ^ a0
      t = a0
      a0 = a1
      a1 = t
      // c += d; d = rotl(d, 16) ^ c
      t = (c0 + d0) | 0
      c1 = (c1 + d1 + (t >>> 0 < d0 >>> 0 ? 1 : 0)) | 0
      c0 = t
      t = (d0 << 16) | (d1 >>> 16)
      d1 = ((d1 << 16) | (d0 >>> 16)) ^ c1
      d0 = t ^ c0
      // a += d; d = rotl(d, 21) ^ a
      t = (a0 + d0) | 0
      a1 = (a1 + d1 + (t >>> 0 < d0 >>> 0 ? 1 : 0)) | 0
      a0 = t
      t = (d0 << 21) | (d1 >>> 11)
      d1 = ((d1 << 21) | (d0 >>> 11)) ^ a1
      d0 = t ^ a0
      // c += b; b = rotl(b, 17) ^ c; c = rotl(c, 32)
      t = (c0 + b0) | 0
      c1 = (c1 + b1 + (t >>> 0 < b0 >>> 0 ? 1 : 0)) | 0
      c0 = t
      t = (b0 << 17) | (b1 >>> 15)
      b1 = ((b1 << 17) | (b0 >>> 15)) ^ c1
      b0 = t ^ c0
      t = c0
      c0 = c1
      c1 = t
    }
    this.a0 = a0
    this.a1 = a1
    this.b0 = b0
    this.b1 = b1
    this.c0 = c0
    this.c1 = c1
    this.d0 = d0
    this.d1 = d1
  }
}
