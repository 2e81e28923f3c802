import type { StreamQueue } from '../../src/base/stream-queue.js'

/** A connection as an application sees it, non-blocking; the same for plain TCP and for MPTCP. */
export interface ByteSocket {
  /** The handshake is done. */
  readonly isOpen: boolean
  /** Nothing more will be exchanged. */
  readonly isClosed: boolean
  /** Called after anything may have changed: readable, writable, open, closed. */
  onActivity: () => void
  /** Takes as much of data[off, off+len) as the send buffer has room for; returns how much. */
  write(data: Uint8Array, off: number, len: number): number
  /** No more writes: the peer sees the end of the stream. */
  end(): void
  /** Copies at most `max` received bytes; returns how many. */
  read(dst: Uint8Array, off: number, max: number): number
  /** Bytes that `read` would give now. */
  readonly readable: number
  /** The peer ended its stream and everything was read. */
  readonly isReadEnded: boolean
  /** Resets the connection. */
  abort(): void
}

/** The part of a socket that is two stream queues. */
export abstract class QueueSocket implements ByteSocket {
  readonly out: StreamQueue
  readonly in: StreamQueue
  isOpen = false
  isClosed = false
  onActivity: () => void = () => {}

  constructor(out: StreamQueue, into: StreamQueue) {
    this.out = out
    this.in = into
  }

  /** The host serves the socket soon. */
  protected abstract touch(): void
  abstract abort(): void

  write(data: Uint8Array, off: number, len: number): number {
    const n = this.out.append(data, off, len)
    if (n > 0) this.touch()
    return n
  }

  end(): void {
    this.out.setFin(this.out.readyEnd)
    this.touch()
  }

  read(dst: Uint8Array, off: number, max: number): number {
    const n = Math.min(max, this.in.ready)
    if (n === 0) return 0
    this.in.copyOut(this.in.base, dst, off, n)
    this.in.release(this.in.base + n)
    this.touch()
    return n
  }

  get readable(): number {
    return this.in.ready
  }

  get isReadEnded(): boolean {
    return this.in.isFinReady() && this.in.base === this.in.readyEnd
  }
}
