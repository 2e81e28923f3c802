import type { StreamQueue } from '../base/stream-queue.js'
import type { SeqOff } from '../tcp/extension.js'
import type { MptcpCounters } from './counters.js'
import { C_DATA, C_PEER_FIN } from './events.js'
import type { Coordinates, DataOff } from './mapping.js'
import type { DataSink } from './staging.js'

/**
 * A peer that sends that far beyond the data-level window is broken: the bytes are acknowledged on the subflow and dropped
 * (RFC 8684 §3.8). Nearer ones may be our rounding of the window, and are left for TCP to bring again.
 */
const WINDOW_SLACK = 65_536

/** Receive side of the data level, RFC 8684 §3.3.4; the bytes themselves are in the connection's receive queue. */
export class RecvState implements DataSink {
  private readonly queue: StreamQueue
  private readonly coords: Coordinates
  private readonly counters: MptcpCounters
  /** C_DATA, C_PEER_FIN; fetched by the connection. */
  events = 0
  private isFinNoted = false
  /** Right edge ever announced beside a DATA_ACK; never moves left. */
  announced: DataOff = 0
  /** The peer's data has 8-byte DSNs, so it MUST get 8-byte DATA_ACKs (RFC 8684 §3.3.2). */
  uses64 = false
  /** DataOff of the peer's DATA_FIN, -1: not seen. */
  finAt: DataOff = -1

  constructor(queue: StreamQueue, coords: Coordinates, counters: MptcpCounters) {
    this.queue = queue
    this.coords = coords
    this.counters = counters
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
    if (this.isComplete) this.noteFin()
    return true
  }

  /** Mapped (and verified) bytes of the peer's stream; returns how many from the front were taken. */
  receive(off: DataOff, mem: Uint8Array, memOff: number, len: number): number {
    const { queue } = this
    const at = this.coords.streamOfData(off)
    if (at >= queue.edge() + WINDOW_SLACK) {
      this.counters.NoDSSInWindow++ // §3.8: dropped, acknowledged on the subflow only
      return len
    }
    const before = queue.readyEnd
    if (queue.finAt >= 0 && at + len > queue.finAt) {
      this.counters.BadOption++ // behind the DATA_FIN
      const valid = Math.max(0, queue.finAt - at)
      const taken = valid === 0 ? 0 : queue.insert(at, mem, memOff, valid)
      if (queue.readyEnd > before) this.onReadable()
      return taken < valid ? taken : len
    }
    if (at + len <= before) this.counters.DuplicateData++
    const taken = queue.insert(at, mem, memOff, len)
    if (queue.readyEnd > before) this.onReadable()
    return taken
  }

  onReadable(): void {
    this.events |= C_DATA
    if (this.queue.isFinReady()) this.noteFin()
  }

  /** FIN of a connection that has fallen back. */
  onPlainFin(seqOff: SeqOff): void {
    this.queue.setFin(this.coords.streamOfSeq(seqOff))
    if (this.queue.isFinReady()) this.noteFin()
  }

  private noteFin(): void {
    if (this.isFinNoted) return
    this.isFinNoted = true
    this.events |= C_PEER_FIN
  }
}
