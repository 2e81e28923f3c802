import type { SeqOff } from '../tcp/extension.js'
import type { DataOff } from './mapping.js'

export const MAP_ADDED = 0
/** Known already, or all of it consumed: RFC 8684 §3.1 and §3.3.1 allow repetition. */
export const MAP_REPEATED = 1
/** Ties bytes to another place than an earlier mapping does. */
export const MAP_CONTRADICTS = 2
/** More mappings than a sane peer has in flight. */
export const MAP_FULL = 3
export type MapResult = 0 | 1 | 2 | 3

/** Stands for a checksum where a mapping is implied by the order of the bytes: nothing to verify it with. */
export const SUM_IMPLIED = -2

/** Mappings kept per subflow; each covers bytes of a segment that came, so only a window full of tiny segments reaches it. */
const MAX_MAPPINGS = 4096
const MIN_LEN = 4

/**
 * The mappings that the peer declared on one subflow for bytes that are not consumed yet, sorted by SeqOff, disjoint.
 * Usually one; a few while segments are missing. Held only while not empty.
 */
export class RxMappings {
  private seqs = new Float64Array(MIN_LEN)
  private datas = new Float64Array(MIN_LEN)
  private lens = new Int32Array(MIN_LEN)
  /** DSS checksum of the whole mapping, -1: none. */
  private sums = new Int32Array(MIN_LEN)
  count = 0

  clear(): void {
    this.count = 0
  }

  /**
   * Notes that [seq, seq + len) are the bytes [data, data + len). Bytes below `floor` are consumed already.
   * A mapping that agrees with known ones but reaches further adds what is new (a middlebox may have cut or joined segments).
   */
  add(seq: SeqOff, data: DataOff, len: number, sum: number, floor: SeqOff): MapResult {
    const end = seq + len
    if (end <= floor) return MAP_REPEATED
    const diff = data - seq
    // first entry that ends behind our start
    let i = this.count
    while (i > 0 && this.endAt(i - 1) > seq) i--
    if (i < this.count && this.seqAt(i) === seq && this.lenAt(i) === len) return this.diffAt(i) === diff ? MAP_REPEATED : MAP_CONTRADICTS
    for (let j = i; j < this.count && this.seqAt(j) < end; j++) if (this.diffAt(j) !== diff) return MAP_CONTRADICTS
    return this.fill(i, seq, end, diff, sum)
  }

  /** Adds the parts of [seq, end) that no entry from `i` on covers. */
  private fill(i: number, seq: SeqOff, end: SeqOff, diff: number, sum: number): MapResult {
    let at = seq
    let added = false
    let k = i
    while (at < end) {
      const next = k < this.count ? this.seqAt(k) : end
      if (next > at) {
        const stop = Math.min(next, end)
        if (!this.insert(k, at, at + diff, stop - at, at === seq && stop === end ? sum : -1)) return MAP_FULL
        added = true
        k++
        at = stop
      }
      if (at < end && k < this.count) {
        at = Math.max(at, this.endAt(k))
        k++
      }
    }
    return added ? MAP_ADDED : MAP_REPEATED
  }

  /** Index of the mapping that holds byte `at`, or -1. */
  find(at: SeqOff): number {
    for (let i = this.count - 1; i >= 0; i--) {
      if (this.seqAt(i) <= at) return at < this.endAt(i) ? i : -1
    }
    return -1
  }

  /** Start of the first mapping behind `at`, Infinity: none. */
  nextStart(at: SeqOff): SeqOff {
    for (let i = 0; i < this.count; i++) if (this.seqAt(i) > at) return this.seqAt(i)
    return Infinity
  }

  seqAt(i: number): SeqOff {
    return this.seqs[i] as number
  }

  lenAt(i: number): number {
    return this.lens[i] as number
  }

  sumAt(i: number): number {
    return this.sums[i] as number
  }

  endAt(i: number): SeqOff {
    return (this.seqs[i] as number) + (this.lens[i] as number)
  }

  /** DataOff - SeqOff. */
  diffAt(i: number): number {
    return (this.datas[i] as number) - (this.seqs[i] as number)
  }

  isLinear(diff: number): boolean {
    for (let i = 0; i < this.count; i++) if (this.diffAt(i) !== diff) return false
    return true
  }

  /** Forgets mappings that end at or below `seq`. @returns DataOff - SeqOff of the last of them, NaN: there was none. */
  dropBelow(seq: SeqOff): number {
    let n = 0
    while (n < this.count && this.endAt(n) <= seq) n++
    if (n === 0) return Number.NaN
    const diff = this.diffAt(n - 1)
    this.seqs.copyWithin(0, n, this.count)
    this.datas.copyWithin(0, n, this.count)
    this.lens.copyWithin(0, n, this.count)
    this.sums.copyWithin(0, n, this.count)
    this.count -= n
    return diff
  }

  get capacity(): number {
    return this.seqs.length
  }

  private insert(i: number, seq: SeqOff, data: DataOff, len: number, sum: number): boolean {
    if (this.count === MAX_MAPPINGS) return false
    if (this.count === this.seqs.length) this.grow()
    if (i < this.count) {
      this.seqs.copyWithin(i + 1, i, this.count)
      this.datas.copyWithin(i + 1, i, this.count)
      this.lens.copyWithin(i + 1, i, this.count)
      this.sums.copyWithin(i + 1, i, this.count)
    }
    this.seqs[i] = seq
    this.datas[i] = data
    this.lens[i] = len
    this.sums[i] = sum
    this.count++
    return true
  }

  private grow(): void {
    const len = this.seqs.length * 2
    const seqs = new Float64Array(len)
    const datas = new Float64Array(len)
    const lens = new Int32Array(len)
    const sums = new Int32Array(len)
    seqs.set(this.seqs)
    datas.set(this.datas)
    lens.set(this.lens)
    sums.set(this.sums)
    this.seqs = seqs
    this.datas = datas
    this.lens = lens
    this.sums = sums
  }
}

/** Recycles mapping lists: bulk reception takes and gives one back with every super-segment. */
export class RxMappingsPool {
  private readonly free: RxMappings[] = []

  take(): RxMappings {
    return this.free.pop() ?? new RxMappings()
  }

  give(m: RxMappings): void {
    m.clear()
    if (this.free.length < 64 && m.capacity <= 256) this.free.push(m)
  }
}
