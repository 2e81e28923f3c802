import { readI32, writeI32, writeU16 } from '../../src/base/bytes.js'
import { finishSum, sumBytes } from '../../src/base/checksum.js'
import { VNET_HDR_LEN } from '../../src/base/rings.js'
import type { Rng } from '../../src/base/rng.js'
import type { TcpEndpoint } from '../../src/tcp/endpoint.js'

const IP = VNET_HDR_LEN
const TCP = IP + 20
const NEEDS_CSUM = 1
const WINDOWS = [0, 1, 10, 1000, 32_768, 65_535]

/** Changes IPv4 TCP segments (vnet header first) so that they look as if they belonged to the connection, but do not quite. */
export class SegmentMutator {
  private readonly rng: Rng

  constructor(rng: Rng) {
    this.rng = rng
  }

  /**
   * Writes a copy of `from` with one to four changes to `out`; `ep`, who will receive it, tells which numbers are interesting.
   * The lengths and the header checksum are right, the TCP checksum counts as verified. @returns its length.
   */
  mutate(from: Uint8Array, ep: TcpEndpoint | null, out: Uint8Array): number {
    let len = Math.min(from.length, out.length)
    if (len < TCP + 20) {
      // nothing was sent yet: a bare header
      len = TCP + 20
      out.fill(0, 0, len)
      out[TCP + 12] = 0x50
      out[TCP + 13] = this.rng.int32()
    } else out.set(len === from.length ? from : from.subarray(0, len))
    for (let n = this.rng.logUniform(1, 4); n > 0; n--) len = this.change(out, len, ep)
    out[0] = NEEDS_CSUM
    out[1] = 0 // a segment of the network, not a super-segment
    out[IP] = 0x45
    out[IP + 6] = 0
    out[IP + 7] = 0
    out[IP + 9] = 6
    writeU16(out, IP + 2, len - IP)
    writeU16(out, IP + 10, 0)
    writeU16(out, IP + 10, finishSum(sumBytes(out, IP, 20)))
    return len
  }

  private change(out: Uint8Array, len: number, ep: TcpEndpoint | null): number {
    const { rng } = this
    const optionsEnd = Math.min(len, TCP + ((out[TCP + 12] as number) >> 4) * 4)
    switch (rng.below(12)) {
      case 0:
      case 1:
        writeI32(
          out,
          TCP + 4,
          this.number(readI32(out, TCP + 4), ep === null ? 0 : ep.irs, ep === null ? 0 : ep.rcv.rcvNxt, ep?.rcv.edge ?? 0),
        )
        return len
      case 2:
      case 3:
        writeI32(out, TCP + 8, this.number(readI32(out, TCP + 8), ep?.iss ?? 0, ep?.snd.sndUna ?? 0, ep?.snd.sndNxt ?? 0))
        return len
      case 4: // any flags; a reset mostly ends the connection, which teaches little more
        out[TCP + 13] = rng.int32() & (rng.chance(0.05) ? 255 : ~4)
        return len
      case 5:
        out[TCP + 13] = (out[TCP + 13] as number) ^ (1 << (rng.chance(0.9) ? ([0, 3, 4, 5, 6, 7][rng.below(6)] as number) : rng.below(8)))
        return len
      case 6:
        writeU16(out, TCP + 14, WINDOWS[rng.below(WINDOWS.length)] as number)
        return len
      case 7: // one byte of the options, or of the length of the header
        if (optionsEnd > TCP + 20 && rng.chance(0.8)) out[rng.between(TCP + 20, optionsEnd - 1)] = rng.int32()
        else out[TCP + 12] = rng.int32()
        return len
      case 8:
        return this.sack(out, len, optionsEnd, ep)
      case 9: // more or less payload
        return Math.max(optionsEnd, Math.min(out.length, rng.chance(0.5) ? len + rng.between(-40, 40) : optionsEnd + rng.below(700)))
      case 10: // the timestamps, which stand behind two NOPs
        if (optionsEnd >= TCP + 32 && out[TCP + 22] === 8) {
          const at = TCP + (rng.chance(0.7) ? 24 : 28)
          writeI32(out, at, rng.chance(0.8) ? readI32(out, at) + rng.between(-300, 300) : rng.int32())
        }
        return len
      default: // ECN, urgent pointer, anything in the fixed header
        if (rng.chance(0.4)) out[IP + 1] = rng.int32() & 3
        else if (rng.chance(0.5)) writeU16(out, TCP + 18, rng.int32() & 0xffff)
        else out[TCP + rng.below(20)] = rng.int32()
        return len
    }
  }

  /** A sequence number near `value`, near one of the edges [low, high], between them, or anywhere. */
  private number(value: number, base: number, low: number, high: number): number {
    const { rng } = this
    switch (rng.below(6)) {
      case 0:
        return (value + rng.between(-3, 3)) | 0
      case 1:
        return (base + low + rng.between(-2, 2)) | 0
      case 2:
        return (base + high + rng.between(-2, 2)) | 0
      case 3:
        return (value + rng.between(-3000, 3000)) | 0
      case 4:
        return (base + low + rng.below(Math.max(1, high - low + 1))) | 0
      default:
        return rng.int32()
    }
  }

  /** Replaces the options by one to four SACK blocks, most of them within the flight. */
  private sack(out: Uint8Array, len: number, optionsEnd: number, ep: TcpEndpoint | null): number {
    const { rng } = this
    const blocks = rng.between(1, 4)
    const payload = len - optionsEnd
    const end = TCP + 20 + 4 + 8 * blocks
    if (end + payload > out.length) return len
    out.copyWithin(end, optionsEnd, len)
    out[TCP + 12] = ((20 + 4 + 8 * blocks) / 4) << 4
    out.set([1, 1, 5, 2 + 8 * blocks], TCP + 20)
    const [iss, low, high] = ep === null ? [0, 0, 0] : [ep.iss, ep.snd.sndUna, ep.snd.sndNxt]
    for (let i = 0; i < blocks; i++) {
      const left = this.number(0, iss, low, high)
      writeI32(out, TCP + 24 + 8 * i, left)
      writeI32(out, TCP + 28 + 8 * i, rng.chance(0.8) ? left + rng.logUniform(1, 2000) : this.number(left, iss, low, high))
    }
    return end + payload
  }
}
