/** A connection as an application sees it, non-blocking; the same for plain sockets and for streams of the engine. */
export interface ByteSocket {
  /** The handshake is done. */
  readonly isOpen: boolean
  /** Nothing more will happen. */
  readonly isClosed: boolean
  /** Called after anything may have changed: readable, writable, open, closed. */
  onActivity: () => void
  /** Takes as much of data[off, off+len) as the send buffer has room for; returns how much. */
  write(data: Uint8Array, off: number, len: number): number
  /** No more writes: the peer sees the end of the stream. */
  end(): void
  /** Copies at most `max` received bytes; returns how many. */
  read(dst: Uint8Array, off: number, max: number): number
  /** The peer ended its stream and everything was read. */
  readonly isReadEnded: boolean
  abort(): void
}
