import type { Arena } from '../base/arena.js'
import { StreamQueue } from '../base/stream-queue.js'
import type { Run, SeqOff } from '../tcp/extension.js'
import type { Coordinates } from './mapping.js'
import type { TxMappings } from './tx-mappings.js'

const CHUNK = 16_384
const chunk = new Uint8Array(CHUNK)

/**
 * What one subflow has in flight, in a copy of its own. RFC 8684 §3.3.2 wants bytes kept until every subflow that carried them has
 * acknowledged them, though the data level has them long since: a subflow that is slow or silent would thereby hold the send buffer
 * of the whole connection. Its flight is small beside that buffer, so it takes a copy with it and the buffer goes on.
 */
export class Retained {
  readonly from: SeqOff
  /** Bytes [from, end) of the subflow are copied, or were and are acknowledged. */
  end: SeqOff
  private readonly queue: StreamQueue

  /** @param from first byte that the subflow still needs. */
  constructor(from: SeqOff, arena: Arena) {
    this.from = from
    this.end = from
    this.queue = new StreamQueue(arena, 0)
  }

  /** Copies what `tx` has in flight beyond `end` out of the stream; all or, when there is no memory, as much as there is. */
  extend(tx: TxMappings, source: StreamQueue, coords: Coordinates): void {
    this.queue.capacity = tx.end - this.from - this.queue.base
    for (let i = Math.max(tx.acked, tx.find(this.end)); i < tx.count; i++) {
      const seq = Math.max(this.end, tx.unackedFrom(i))
      let off = coords.streamOfData(tx.dataAt(i) + (seq - tx.seqAt(i)))
      for (let left = tx.endAt(i) - seq; left > 0; ) {
        const n = Math.min(left, CHUNK)
        source.copyOut(off, chunk, 0, n)
        const taken = this.queue.append(chunk, 0, n)
        this.end += taken
        if (taken < n) return
        off += n
        left -= n
      }
    }
  }

  has(seqOff: SeqOff): boolean {
    return seqOff >= this.from && seqOff < this.end
  }

  /** Fills in where the bytes from `seqOff` on stand; `run.len` stays a bound. */
  locate(seqOff: SeqOff, run: Run): void {
    run.queue = this.queue
    run.off = seqOff - this.from
    run.len = Math.min(run.len, this.end - seqOff)
  }

  /** Everything below was acknowledged on the subflow. True: nothing is left. */
  ackTo(seqOff: SeqOff): boolean {
    if (seqOff >= this.end) {
      this.queue.clear()
      return true
    }
    if (seqOff > this.from) this.queue.release(seqOff - this.from)
    return false
  }

  clear(): void {
    this.queue.clear()
  }
}
