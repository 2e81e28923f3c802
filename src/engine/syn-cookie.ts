import type { Tuple } from '../base/address.js'
import { readI32, writeI32 } from '../base/bytes.js'
import type { Host } from '../base/host.js'
import { type Micros, US_PER_S } from '../base/time.js'
import { KeyMaterial } from '../mptcp/keys.js'
import type { OfferedOptions } from '../tcp/handshake.js'
import type { HalfOpen } from '../tcp/half-open.js'

/** The clock of cookies: one is good for the rest of its period and the next one. */
const PERIOD_US: Micros = 64 * US_PER_S
const PERIOD_BITS = 5
const MSS_BITS = 3
const MAC_MASK = 0xff_ffff
/** What a peer's MSS is rounded down to. */
const MSS_TABLE: readonly number[] = [64, 536, 1200, 1300, 1400, 1440, 1460, 8960]

/** Low bits of the timestamp that a cookie's SYN/ACK carries and the third ACK echoes. */
const TS_BITS = 6
const TS_MASK = (1 << TS_BITS) - 1
const TS_WSCALE = 0xf
/** No window scale: 15 is none that may be offered (RFC 7323 §2.3). */
const TS_NO_WSCALE = 0xf
const TS_SACK = 0x10

/** What a third ACK brought back. */
export interface Returned {
  readonly iss: number
  readonly irs: number
  /** What the SYN offered, as far as it could be kept. */
  readonly offered: OfferedOptions
  /** The key that the SYN/ACK named, if it had MP_CAPABLE. */
  readonly key: KeyMaterial
}

/**
 * SYN cookies (RFC 4987 §3.6): what a half-open connection would remember goes out in the SYN/ACK and comes back in the third ACK.
 *
 *     ISN        | period mod 32 | MSS | 24 bits of HMAC(tuple, peer's ISN, period) |
 *     timestamp  | milliseconds, rounded down                | SACK | window scale   |
 *
 * The MPTCP key is derived from the same input, so that MP_CAPABLE works without state too: the third ACK repeats it.
 */
export class SynCookies {
  private readonly hash: Host['hash']
  private readonly secret = new Uint8Array(32)
  private readonly message = new Uint8Array(44)
  private lastSentAt: Micros = -1

  constructor(host: Host) {
    this.hash = host.hash
    for (let i = 0; i < this.secret.length; i += 4) writeI32(this.secret, i, host.rng())
  }

  /** The ISN of the SYN/ACK that answers `half`. */
  issFor(half: HalfOpen, now: Micros): number {
    this.lastSentAt = now
    const period = Math.floor(now / PERIOD_US)
    let mss = 0
    while (mss + 1 < MSS_TABLE.length && (MSS_TABLE[mss + 1] as number) <= half.peer.peerMss) mss++
    return this.iss(this.mac(half.tuple, half.irs, period), period, mss)
  }

  /** The key of the connection that `half` asks for. */
  keyFor(half: HalfOpen, now: Micros): KeyMaterial {
    return this.key(this.mac(half.tuple, half.irs, Math.floor(now / PERIOD_US)))
  }

  /** The timestamp beside it. @param clock the one that the connection would use */
  timestampFor(half: HalfOpen, clock: number): number {
    const kept = (half.hasWscale ? half.peer.sndWscale : TS_NO_WSCALE) | (half.peer.isSackOk ? TS_SACK : 0)
    const at = (clock & ~TS_MASK) | kept
    return ((clock - at) | 0) < 0 ? (at - (TS_MASK + 1)) | 0 : at
  }

  /** Whether some cookie is still good: without, no third ACK is worth a look. */
  isExpected(now: Micros): boolean {
    return this.lastSentAt >= 0 && now - this.lastSentAt < 2 * PERIOD_US
  }

  /** What an ACK for `tuple` brings back, null: no cookie of ours. @param tsEcr its echoed timestamp, `hasTs` whether there is one */
  read(tuple: Tuple, seq: number, ack: number, hasTs: boolean, tsVal: number, tsEcr: number, now: Micros): Returned | null {
    const iss = (ack - 1) | 0
    const irs = (seq - 1) | 0
    const age = (Math.floor(now / PERIOD_US) - (iss >>> (32 - PERIOD_BITS))) & ((1 << PERIOD_BITS) - 1)
    if (age > 1) return null
    const period = Math.floor(now / PERIOD_US) - age
    const mss = (iss >>> 24) & ((1 << MSS_BITS) - 1)
    const mac = this.mac(tuple, irs, period)
    if (this.iss(mac, period, mss) !== iss) return null
    const wscale = hasTs ? tsEcr & TS_WSCALE : TS_NO_WSCALE
    const offered: OfferedOptions = {
      mss: MSS_TABLE[mss] as number,
      hasTs,
      tsVal,
      // without timestamps nothing was kept, and the SYN/ACK agreed to nothing
      wscale: wscale === TS_NO_WSCALE ? -1 : wscale,
      sackPermitted: hasTs && (tsEcr & TS_SACK) !== 0,
    }
    return { iss, irs, offered, key: this.key(mac) }
  }

  private iss(mac: Uint8Array, period: number, mss: number): number {
    return ((period & ((1 << PERIOD_BITS) - 1)) << (32 - PERIOD_BITS)) | (mss << 24) | (readI32(mac, 0) & MAC_MASK) | 0
  }

  private key(mac: Uint8Array): KeyMaterial {
    return new KeyMaterial(this.hash, readI32(mac, 8), readI32(mac, 12))
  }

  private mac(t: Tuple, irs: number, period: number): Uint8Array {
    const { message } = this
    const words = [t.local.w0, t.local.w1, t.local.w2, t.local.w3, t.remote.w0, t.remote.w1, t.remote.w2, t.remote.w3]
    for (let i = 0; i < words.length; i++) writeI32(message, 4 * i, words[i] as number)
    writeI32(message, 32, (t.localPort << 16) | t.remotePort)
    writeI32(message, 36, irs)
    writeI32(message, 40, period)
    return this.hash.hmacSha256(this.secret, message)
  }
}
