import { addSums, finishSum, sumBytes } from '../base/checksum.js'
import type { StreamQueue } from '../base/stream-queue.js'
import { dssPseudoSum } from '../wire/dsn.js'

/** Bytes summed at a time; even, so that the partial sums chain. */
const CHUNK = 16_384
const scratch = new Uint8Array(CHUNK)

/** Ones'-complement sum of [off, off + len) of a queue, which must be ready. */
export function sumQueue(queue: StreamQueue, off: number, len: number): number {
  let sum = 0
  for (let done = 0; done < len; done += CHUNK) {
    const n = Math.min(CHUNK, len - done)
    queue.copyOut(off + done, scratch, 0, n)
    sum = sumBytes(scratch, 0, n, sum)
  }
  return sum
}

/** Checksum field of a DSS whose mapped bytes sum up to `dataSum` (RFC 8684 §3.3.1, figure 10). */
export function dssChecksum(dataSum: number, dsnHi: number, dsnLo: number, ssn: number, dataLen: number): number {
  return finishSum(addSums(dataSum, dssPseudoSum(dsnHi, dsnLo, ssn, dataLen)))
}
