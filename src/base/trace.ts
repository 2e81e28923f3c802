import type { Micros } from './time.js'

/** Words of a record: instant, kind, id of the object, three values. */
const STRIDE = 6

/** One record as a reader sees it. */
export interface TraceRecord {
  readonly at: Micros
  readonly kind: number
  readonly id: number
  readonly a: number
  readonly b: number
  readonly c: number
}

/**
 * The last records of what happened, for a look after the fact. Writers guard it, so that it costs one branch while off:
 * `if (trace.on) trace.add(...)`. Kinds and the meaning of the values belong to the writers.
 */
export class Trace {
  /** Set by `enable`; only read elsewhere. */
  on = false
  private ring = new Float64Array(0)
  private added = 0

  /** Starts anew with room for `capacity` records (memory is taken now, 48 bytes a record). */
  enable(capacity: number): void {
    this.ring = new Float64Array(capacity * STRIDE)
    this.added = 0
    this.on = capacity > 0
  }

  /** Stops; the records stay readable. */
  disable(): void {
    this.on = false
  }

  add(at: Micros, kind: number, id: number, a: number, b: number, c: number): void {
    const ring = this.ring
    if (ring.length === 0) return
    const i = (this.added % (ring.length / STRIDE)) * STRIDE
    ring[i] = at
    ring[i + 1] = kind
    ring[i + 2] = id
    ring[i + 3] = a
    ring[i + 4] = b
    ring[i + 5] = c
    this.added++
  }

  /** Records added since `enable`, overwritten ones included. */
  get total(): number {
    return this.added
  }

  /** The records that are still there, oldest first. */
  records(): TraceRecord[] {
    const capacity = this.ring.length / STRIDE
    const out: TraceRecord[] = []
    for (let n = Math.max(0, this.added - capacity); n < this.added; n++) {
      const i = (n % capacity) * STRIDE
      const [at = 0, kind = 0, id = 0, a = 0, b = 0, c = 0] = this.ring.subarray(i, i + STRIDE)
      out.push({ at, kind, id, a, b, c })
    }
    return out
  }
}
