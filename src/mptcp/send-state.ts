import type { DataOff } from './mapping.js'

export const DATA_ACK_OLD = 0
export const DATA_ACK_ADVANCED = 1
/** Of something that was never sent: the option is ignored. */
export const DATA_ACK_BAD = 2
export type DataAckResult = 0 | 1 | 2

/**
 * Send side of the data level, RFC 8684 §3.3.2-3.3.5. All in DataOff.
 *
 *       una                nxt                  edge
 *        |   in flight      |  may be scheduled  |  the peer has no room
 *     ---+------------------+--------------------+-----------
 *      DATA_ACK          next new byte       DATA_ACK + window: never moves left, whichever subflow says so
 *
 * The DATA_FIN takes one octet behind the last byte; it needs no window.
 */
export class SendState {
  una: DataOff = 0
  nxt: DataOff = 0
  edge: DataOff = 0
  isFinSent = false
  isFinAcked = false

  /** A DATA_ACK, with the window (bytes, scaled) of the segment that carried it. */
  onDataAck(off: DataOff, window: number): DataAckResult {
    if (off > this.nxt + (this.isFinSent ? 1 : 0)) return DATA_ACK_BAD
    if (off + window > this.edge) this.edge = off + window
    if (this.isFinSent && off > this.nxt) {
      const isNew = !this.isFinAcked
      this.isFinAcked = true
      this.una = this.nxt
      return isNew ? DATA_ACK_ADVANCED : DATA_ACK_OLD
    }
    if (off <= this.una) return DATA_ACK_OLD
    this.una = off
    return DATA_ACK_ADVANCED
  }

  /** Everything sent was acknowledged at the data level, the DATA_FIN too if one was sent. */
  get isSettled(): boolean {
    return this.una === this.nxt && (!this.isFinSent || this.isFinAcked)
  }
}
