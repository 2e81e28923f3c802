/** Seeded pseudo-random numbers (xoshiro128**, seeded by splitmix32) for tests and the simulator. Never for keys, nonces or ISNs. */
export class Rng {
  private a: number
  private b: number
  private c: number
  private d: number

  /** @param seed any integer; its low 32 bits count. */
  constructor(seed: number) {
    this.a = splitmix(seed | 0)
    this.b = splitmix((seed + 0x9e3779b9) | 0)
    this.c = splitmix((seed + 0x3c6ef372) | 0)
    this.d = splitmix((seed + 0xdaa66d2b) | 0)
    if ((this.a | this.b | this.c | this.d) === 0) this.a = 1 // the one state that never leaves zero
  }

  /** 32 random bits, signed. */
  int32(): number {
    const m = Math.imul(this.b, 5)
    const result = Math.imul((m << 7) | (m >>> 25), 9)
    const t = this.b << 9
    this.c ^= this.a
    this.d ^= this.b
    this.b ^= this.c
    this.a ^= this.d
    this.c ^= t
    this.d = (this.d << 11) | (this.d >>> 21)
    return result
  }

  /** Uniform in [0, 1), 32 bits of it. */
  float(): number {
    return (this.int32() >>> 0) / 0x1_0000_0000
  }

  /** Integer in [0, n), n <= 2^32. */
  below(n: number): number {
    return Math.floor(this.float() * n)
  }

  /** Integer in [min, max]. */
  between(min: number, max: number): number {
    return min + this.below(max - min + 1)
  }

  /** True with probability `p`; p <= 0 is never, and draws nothing. */
  chance(p: number): boolean {
    return p > 0 && this.float() < p
  }

  /** Integer in [min, max], every order of magnitude equally likely. min >= 1. */
  logUniform(min: number, max: number): number {
    return Math.min(max, Math.floor(min * ((max + 1) / min) ** this.float()))
  }

  /** Fills dst[off, off+len). */
  fill(dst: Uint8Array, off: number, len: number): void {
    let i = off
    const end = off + len
    for (; i + 4 <= end; i += 4) {
      const w = this.int32()
      dst[i] = w
      dst[i + 1] = w >>> 8
      dst[i + 2] = w >>> 16
      dst[i + 3] = w >>> 24
    }
    for (let w = this.int32(); i < end; i++, w >>>= 8) dst[i] = w
  }

  /** An independent generator: what one part draws does not shift what another one gets. */
  fork(): Rng {
    return new Rng(this.int32())
  }
}

function splitmix(x: number): number {
  x = (x + 0x9e3779b9) | 0
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad)
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97)
  return x ^ (x >>> 15)
}
