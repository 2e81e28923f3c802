import type { SeqOff } from '../tcp/extension.js'

/** Position in the application's stream, as the queues count. */
export type StreamOff = number

/** DSN - IDSN - 1: position at the data level; the first byte behind the key exchange is 0. */
export type DataOff = number

/**
 * The only place that knows how the three coordinates of one direction of a connection stand to each other.
 *
 *     StreamOff  = DataOff + shift     while the direction speaks MPTCP; shift: bytes sent by Fast Open, which count neither in
 *                                      the DSN nor in the subflow sequence number (RFC 8684 appendix B)
 *     StreamOff  = SeqOff + delta      once it is plain TCP or has an infinite mapping (RFC 8684 §3.7)
 *
 * In between, single mappings tie DataOff to SeqOff: `TxMappings` and `RxMappings`.
 */
export class Coordinates {
  shift = 0
  /** Valid in fallback. The SYN takes SeqOff 0, so a stream that was never mapped has -1. */
  delta = -1

  streamOfData(off: DataOff): StreamOff {
    return off + this.shift
  }

  dataOfStream(off: StreamOff): DataOff {
    return off - this.shift
  }

  streamOfSeq(off: SeqOff): StreamOff {
    return off + this.delta
  }

  seqOfStream(off: StreamOff): SeqOff {
    return off - this.delta
  }

  /** Ties SeqOff to StreamOff for good. */
  fixSeq(seqOff: SeqOff, streamOff: StreamOff): void {
    this.delta = streamOff - seqOff
  }
}
