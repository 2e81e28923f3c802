import { addSums, wordSum } from '../base/checksum.js'

/**
 * Data sequence numbers, RFC 8684 §3.3.1: 64 bits on the wire, here two int32 words (hi, lo). Inside the stack a position is a
 * DataOff = DSN - IDSN - 1: the MP_CAPABLE handshake takes the IDSN itself (§3.1), so the first byte of the stream is 0.
 * A plain integer that never wraps; the modular arithmetic is in this file only.
 */

const TWO_32 = 0x1_0000_0000
/** |DataOff| of anything further away than that; no connection carries 4 PB. */
export const DATA_OFF_LIMIT = 2 ** 52

/** DataOff of a 64-bit DSN; negative for what precedes the first byte, saturated at +-DATA_OFF_LIMIT. */
export function dataOffOf64(idsnHi: number, idsnLo: number, hi: number, lo: number): number {
  let low = (lo >>> 0) - (idsnLo >>> 0) - 1
  let high = hi - idsnHi
  if (low < 0) {
    low += TWO_32
    high--
  }
  high |= 0
  if (high >= 1 << 20) return DATA_OFF_LIMIT
  if (high < -(1 << 20)) return -DATA_OFF_LIMIT
  return high * TWO_32 + low
}

/**
 * The DataOff nearest to `ref` whose low 32 bits of DSN are `lo`: the promotion that RFC 8684 §3.3.1 asks for. A wrap is believed
 * only where it is expected, because `ref` never moves back by an old packet. May be negative.
 */
export function dataOffOf32(idsnLo: number, ref: number, lo: number): number {
  return ref + ((lo - dsnLoOf(idsnLo, ref)) | 0)
}

/** High word (int32) of the DSN of `off`, 0 <= off <= DATA_OFF_LIMIT. */
export function dsnHiOf(idsnHi: number, idsnLo: number, off: number): number {
  return (idsnHi + Math.floor(((idsnLo >>> 0) + 1 + off) / TWO_32)) | 0
}

/** Low word (int32) of the DSN of `off`. */
export function dsnLoOf(idsnLo: number, off: number): number {
  return (idsnLo + 1 + off) | 0
}

/**
 * Sum of the pseudo-header of the DSS checksum (RFC 8684 Figure 10); `ssn` and `dataLen` as they stand in the option.
 * The checksum field is `finishSum` of this plus the sum of the mapped bytes.
 */
export function dssPseudoSum(dsnHi: number, dsnLo: number, ssn: number, dataLen: number): number {
  return addSums(wordSum(dsnHi) + wordSum(dsnLo), wordSum(ssn) + (dataLen & 0xffff))
}
