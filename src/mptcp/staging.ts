import type { Arena } from '../base/arena.js'
import { addSums, isSumValid } from '../base/checksum.js'
import { StreamQueue } from '../base/stream-queue.js'
import type { SeqOff } from '../tcp/extension.js'
import { sumQueue } from './dss-checksum.js'
import type { DataOff } from './mapping.js'
import { type RxMappings, SUM_IMPLIED } from './rx-mappings.js'

/** Takes bytes at the data level; returns how many from the front it took. */
export interface DataSink {
  receive(off: DataOff, mem: Uint8Array, memOff: number, len: number): number
}

const CHUNK = 16_384
const scratch = new Uint8Array(CHUNK)
const filler = new Uint8Array(CHUNK)

/**
 * Bytes that one subflow received and acknowledged, but that cannot be placed yet: no mapping is known, or the checksum of their
 * mapping is not verified. Addressed by SeqOff, bounded by the receive window (RFC 8684 §3.3.1). Once there is one, all bytes
 * of the subflow pass through it until it is empty.
 *
 *          queue.base                      scanAt              queue.readyEnd
 *     .....|  unmapped  | delivered        |  not looked at    |......[out of order]
 *          kept: a mapping may still come    (incomplete checksum, no memory)
 */
export class Staging {
  readonly queue: StreamQueue
  private scanAt: SeqOff

  /** @param at next SeqOff expected on the subflow. */
  constructor(arena: Arena, at: SeqOff, capacity: number) {
    this.queue = new StreamQueue(arena, capacity)
    this.queue.base = at
    this.queue.readyEnd = at
    this.scanAt = at
  }

  /** Stores what fits; returns how many bytes from the front are held now. */
  accept(seqOff: SeqOff, mem: Uint8Array, off: number, len: number): number {
    return this.queue.insert(seqOff, mem, off, len)
  }

  /** A mapping for bytes from `seqOff` on became known. */
  rescan(seqOff: SeqOff): void {
    this.scanAt = Math.min(this.scanAt, Math.max(seqOff, this.queue.base))
  }

  /** Bytes in order that wait at the front. */
  get waiting(): number {
    return this.queue.readyEnd - this.queue.base
  }

  /** Nothing says where the oldest byte, which is in order on the subflow, belongs. */
  isHeadUnmapped(rx: RxMappings | null): boolean {
    return this.waiting > 0 && (rx === null || rx.find(this.queue.base) < 0)
  }

  /** Nor where the newest one does. */
  isTailUnmapped(rx: RxMappings | null): boolean {
    return this.waiting > 0 && (rx === null || rx.find(this.queue.readyEnd - 1) < 0)
  }

  /** Bytes from the front on that nothing maps. */
  unmappedLen(rx: RxMappings | null): number {
    const { base, readyEnd } = this.queue
    return rx === null ? readyEnd - base : Math.min(readyEnd, rx.nextStart(base)) - base
  }

  /**
   * The subflow is complete up to `seqOff`. What is missing here was delivered directly before the staging began; the data level holds
   * it already and ignores the copies that stand in for it (the first one wins).
   */
  fillTo(seqOff: SeqOff): void {
    while (this.queue.readyEnd < seqOff) {
      const n = Math.min(CHUNK, seqOff - this.queue.readyEnd)
      if (this.queue.append(filler, 0, n) < n) break
    }
  }

  /**
   * Delivers what is mapped (and verified, with `verify`) and forgets it.
   * @returns -1, or the SeqOff at which a mapping begins whose checksum is wrong.
   */
  deliver(rx: RxMappings | null, verify: boolean, sink: DataSink): SeqOff {
    const queue = this.queue
    if (rx === null) {
      this.scanAt = queue.readyEnd
      return -1
    }
    let pos = this.scanAt
    while (pos < queue.readyEnd) {
      const i = rx.find(pos)
      if (i < 0) {
        pos = Math.min(rx.nextStart(pos), queue.readyEnd)
        continue
      }
      const end = Math.min(rx.endAt(i), queue.readyEnd)
      if (verify) {
        if (end < rx.endAt(i)) break // the rest of the mapping has not come
        if (pos === rx.seqAt(i) && !this.isValid(rx, i)) {
          this.scanAt = pos
          this.trim(rx)
          return pos
        }
      }
      const taken = this.move(pos, end - pos, rx.diffAt(i), sink)
      pos += taken
      if (pos < end) break // no memory: tried again later
    }
    this.scanAt = pos
    this.trim(rx)
    return -1
  }

  /** Everything from the front on is [data, ...): the subflow has fallen back. Returns true when nothing is left. */
  deliverAll(diff: number, sink: DataSink): boolean {
    const queue = this.queue
    while (this.waiting > 0) {
      const n = Math.min(CHUNK, this.waiting)
      const taken = this.move(queue.base, n, diff, sink)
      queue.release(queue.base + taken) // at once: there may be no memory for both
      if (taken < n) break
    }
    this.scanAt = queue.base
    return queue.isEmpty
  }

  dispose(): void {
    this.queue.clear()
  }

  private isValid(rx: RxMappings, i: number): boolean {
    const stated = rx.sumAt(i)
    if (stated === SUM_IMPLIED) return true
    return stated >= 0 && isSumValid(addSums(sumQueue(this.queue, rx.seqAt(i), rx.lenAt(i)), stated))
  }

  private move(from: SeqOff, len: number, diff: number, sink: DataSink): number {
    let done = 0
    while (done < len) {
      const n = Math.min(CHUNK, len - done)
      this.queue.copyOut(from + done, scratch, 0, n)
      const taken = sink.receive(from + done + diff, scratch, 0, n)
      done += taken
      if (taken < n) break
    }
    return done
  }

  /** Forgets what was delivered from the front. */
  private trim(rx: RxMappings): void {
    let at = this.queue.base
    while (at < this.scanAt) {
      const i = rx.find(at)
      if (i < 0) break
      at = Math.min(rx.endAt(i), this.scanAt)
    }
    this.queue.release(at)
  }
}
