import { TX_META_STRIDE } from '../base/rings.js'
import type { TxRing } from '../base/rings.js'

/** Bytes of the `i`th slot's entry (a ring index, not a position behind the head), vnet header included. */
export function entryLen(tx: TxRing, i: number): number {
  const at = i * TX_META_STRIDE
  return (tx.meta[at + 1] as number) + (tx.meta[at + 3] as number)
}

/** Copies the first `max` bytes of the `i`th slot's entry, header and payload pieces in one, to dst[dstOff..]; returns how many. */
export function copyEntry(tx: TxRing, i: number, dst: Uint8Array, dstOff: number, max: number): number {
  const at = i * TX_META_STRIDE
  const pieces = tx.meta[at + 2] as number
  let done = 0
  for (let piece = -1; piece < pieces && done < max; piece++) {
    const pair = piece < 0 ? at : at + 4 + 2 * piece
    const from = tx.meta[pair] as number
    const len = Math.min(tx.meta[pair + 1] as number, max - done)
    dst.set(tx.bytes.subarray(from, from + len), dstOff + done)
    done += len
  }
  return done
}
