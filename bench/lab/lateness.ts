import type { Micros } from '../../src/base/time.js'

/** Values below this have a bucket each; above, every power of two has half as many. */
const LINEAR = 64
const HALF = LINEAR / 2
const OCTAVES = 20
const BUCKETS = LINEAR + OCTAVES * HALF

/**
 * How late packets left, as a histogram of fixed size: exact below 64 µs, within 3 % above, up to a minute.
 *
 *     | 0 | 1 | ... | 63 | 64-65 | 66-67 | ... | 126-127 | 128-131 | ...
 */
export class Lateness {
  count = 0
  maxUs: Micros = 0
  private readonly buckets = new Float64Array(BUCKETS)

  record(lateUs: Micros): void {
    this.count++
    if (lateUs > this.maxUs) this.maxUs = lateUs
    const at = bucketOf(lateUs)
    this.buckets[at] = (this.buckets[at] as number) + 1
  }

  /** The lateness that a share `q` of the packets did not exceed (lower edge of its bucket); 0 when there were none. */
  quantile(q: number): Micros {
    let left = Math.ceil(q * this.count)
    for (let i = 0; i < BUCKETS; i++) {
      left -= this.buckets[i] as number
      if (left <= 0) return lowerEdge(i)
    }
    return this.maxUs
  }

  reset(): void {
    this.count = 0
    this.maxUs = 0
    this.buckets.fill(0)
  }
}

function bucketOf(lateUs: Micros): number {
  const us = Math.floor(lateUs)
  if (us < LINEAR) return Math.max(0, us)
  const octave = 25 - Math.clz32(us) // us in [64, 128) is octave 0
  if (octave >= OCTAVES) return BUCKETS - 1
  return LINEAR + octave * HALF + ((us >>> (octave + 1)) - HALF)
}

function lowerEdge(bucket: number): Micros {
  if (bucket < LINEAR) return bucket
  const octave = Math.floor((bucket - LINEAR) / HALF)
  return (((bucket - LINEAR) % HALF) + HALF) * 2 ** (octave + 1)
}
