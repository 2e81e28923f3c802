import { VNET_HDR_LEN } from '../../src/base/rings.js'
import type { Rng } from '../../src/base/rng.js'
import { naiveChecksum } from '../oracle/wire-packet.js'

/** Longer inputs teach nothing about headers and options. */
const MAX_LEN = 400
/** Values at which lengths, counts and kinds turn. */
const EDGES = [0, 1, 2, 3, 4, 5, 8, 10, 11, 12, 16, 18, 20, 22, 24, 26, 28, 30, 34, 40, 41, 0x45, 0x60, 127, 128, 254, 255]

/** A changed copy of one of the inputs: between one and eight small changes, now and then joined with a part of another input. */
export function mutate(rng: Rng, corpus: readonly Uint8Array[]): Uint8Array {
  let bytes: Uint8Array = pick(rng, corpus).slice()
  for (let n = rng.logUniform(1, 8); n > 0; n--) bytes = change(rng, bytes, corpus)
  if (bytes.length > MAX_LEN) bytes = bytes.slice(0, MAX_LEN)
  if (rng.chance(0.6)) repair(bytes)
  return bytes
}

/** Makes IP length and IPv4 header checksum right again, so that the change is not found out before it is looked at. */
function repair(bytes: Uint8Array): void {
  const len = bytes.length - VNET_HDR_LEN
  const version = (bytes[VNET_HDR_LEN] ?? 0) >> 4
  if (version === 6 && len >= 40) bytes.set([(len - 40) >> 8, (len - 40) & 255], VNET_HDR_LEN + 4)
  if (version !== 4 || len < 20) return
  bytes.set([len >> 8, len & 255], VNET_HDR_LEN + 2)
  bytes.set([0, 0], VNET_HDR_LEN + 10)
  const hdrLen = ((bytes[VNET_HDR_LEN] as number) & 15) * 4
  const sum = naiveChecksum(bytes.slice(VNET_HDR_LEN, VNET_HDR_LEN + hdrLen))
  bytes.set([sum >> 8, sum & 255], VNET_HDR_LEN + 10)
}

function change(rng: Rng, bytes: Uint8Array, corpus: readonly Uint8Array[]): Uint8Array {
  if (bytes.length === 0) return Uint8Array.of(rng.int32())
  const at = rng.below(bytes.length)
  const size = rng.between(1, Math.min(8, bytes.length - at))
  switch (rng.below(8)) {
    case 0: // one bit
      bytes[at] = (bytes[at] as number) ^ (1 << rng.below(8))
      return bytes
    case 1:
      bytes[at] = rng.int32()
      return bytes
    case 2:
      bytes[at] = pick(rng, EDGES)
      return bytes
    case 3: // up or down by a little
      bytes[at] = (bytes[at] as number) + rng.between(-4, 4)
      return bytes
    case 4: // cut out
      return Uint8Array.of(...bytes.subarray(0, at), ...bytes.subarray(at + size))
    case 5: // say twice
      return Uint8Array.of(...bytes.subarray(0, at + size), ...bytes.subarray(at))
    case 6: // end here
      return bytes.slice(0, at)
    default: {
      // the beginning of this one, the end of another
      const other = pick(rng, corpus)
      return Uint8Array.of(...bytes.subarray(0, at), ...other.subarray(Math.min(at, other.length)))
    }
  }
}

function pick<T>(rng: Rng, list: readonly T[]): T {
  return list[rng.below(list.length)] as T
}
