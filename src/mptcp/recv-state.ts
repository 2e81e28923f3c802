import type { StreamQueue } from '../base/stream-queue.js'
import type { Coordinates, DataOff } from './mapping.js'

/** Receive side of the data level, RFC 8684 §3.3.4; the bytes themselves are in the connection's receive queue. */
export class RecvState {
  private readonly queue: StreamQueue
  private readonly coords: Coordinates
  /** Right edge ever announced beside a DATA_ACK; never moves left. */
  announced: DataOff = 0
  /** The peer's data has 8-byte DSNs, so it MUST get 8-byte DATA_ACKs (RFC 8684 §3.3.2). */
  uses64 = false
  /** DataOff of the peer's DATA_FIN, -1: not seen. */
  finAt: DataOff = -1

  constructor(queue: StreamQueue, coords: Coordinates) {
    this.queue = queue
    this.coords = coords
  }

  /** Next DataOff expected; the DATA_FIN counts one once everything before it has come (RFC 8684 §3.3.3). */
  get dataAck(): DataOff {
    const at = this.coords.dataOfStream(this.queue.readyEnd)
    return at === this.finAt ? at + 1 : at
  }

  /** Everything, DATA_FIN included, has come. */
  get isComplete(): boolean {
    return this.finAt >= 0 && this.coords.dataOfStream(this.queue.readyEnd) === this.finAt
  }

  /** Bytes beyond the DATA_ACK that we are willing to take. */
  get window(): number {
    return Math.max(0, this.queue.edge() - this.queue.readyEnd)
  }

  /** Window as last promised, relative to the DATA_ACK of now. */
  get promised(): number {
    return Math.max(0, this.announced - this.dataAck)
  }

  /** A DATA_FIN at `off`. False: it contradicts what is known. */
  onFin(off: DataOff): boolean {
    if (this.finAt >= 0) return this.finAt === off
    if (!this.queue.setFin(this.coords.streamOfData(off))) return false
    this.finAt = off
    return true
  }
}
