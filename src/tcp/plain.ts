import type { StreamQueue } from '../base/stream-queue.js'
import { NEVER, type Micros } from '../base/time.js'
import type { Packet } from '../wire/packet.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import {
  KEEPALIVES_LAST,
  ACK_NONE,
  type AckWish,
  ON_CONTINUE,
  type OptionsVerdict,
  type Run,
  type SegmentKind,
  type SegmentSink,
  type SegmentSource,
  type SeqOff,
  type TcpExtension,
} from './extension.js'

/** Plain TCP over two stream queues: StreamOff = SeqOff - 1, no option, the window is the queue's. */
export class PlainFlow implements SegmentSource, SegmentSink, TcpExtension {
  /** What we send: filled by the owner, released by ACKs. */
  readonly out: StreamQueue
  /** What we receive: filled here, released by the owner. */
  readonly in: StreamQueue
  private sent = 0

  constructor(out: StreamQueue, into: StreamQueue) {
    this.out = out
    this.in = into
  }

  pending(): number {
    return this.out.readyEnd - this.sent
  }

  prepare(seqOff: SeqOff, maxLen: number, _now: Micros, run: Run): boolean {
    const n = Math.min(maxLen, this.out.readyEnd - this.sent)
    if (n <= 0) return false
    run.queue = this.out
    run.off = seqOff - 1
    run.len = n
    return true
  }

  commit(_seqOff: SeqOff, _run: Run, n: number, _now: Micros): void {
    this.sent += n
  }

  runAt(seqOff: SeqOff, maxLen: number, run: Run): boolean {
    const off = seqOff - 1
    const n = Math.min(maxLen, this.sent - off)
    if (n <= 0 || off < this.out.base) return false
    run.queue = this.out
    run.off = off
    run.len = n
    return true
  }

  acked(seqOff: SeqOff, _now: Micros): void {
    this.out.release(Math.min(seqOff - 1, this.sent))
  }

  finAt(): SeqOff {
    return this.out.finAt === this.sent ? this.sent + 1 : -1
  }

  isEnding(): boolean {
    return this.out.finAt >= 0
  }

  accept(seqOff: SeqOff, mem: Uint8Array, off: number, len: number, _now: Micros): number {
    return this.in.insert(seqOff - 1, mem, off, len)
  }

  edge(): SeqOff {
    return this.in.edge() + 1
  }

  onFin(seqOff: SeqOff, _now: Micros): void {
    this.in.setFin(seqOff - 1)
  }

  optionLen(_kind: SegmentKind, _room: number): number {
    return 0
  }

  write(): number {
    return 0
  }

  onOptions(_pkt: Packet, _opts: TcpOptions, _segOff: SeqOff, _ackOff: SeqOff, _now: Micros): OptionsVerdict {
    return ON_CONTINUE
  }

  afterSegment(_now: Micros): void {}

  peerEdge(ackOff: SeqOff, window: number): SeqOff {
    return ackOff + window
  }

  ownWindow(rcvNxt: SeqOff): number {
    return Math.max(0, this.in.edge() + 1 - rcvNxt)
  }

  maySendData(): boolean {
    return true
  }

  ownsPersist(): boolean {
    return false
  }

  keepalives(): number {
    return KEEPALIVES_LAST
  }

  wantsAck(): AckWish {
    return ACK_NONE
  }

  onLoss(): void {}

  onRto(): void {}

  onReset(): void {}

  nextTimeout(): Micros {
    return NEVER
  }

  onTimeout(): void {}
}
