import type { IpAddress } from '../base/address.js'
import { readI32, writeI32 } from '../base/bytes.js'
import { SipHash } from '../base/siphash.js'
import { type Micros, US_PER_S } from '../base/time.js'

/** Bytes of a cookie (RFC 7413 §4.1.1 allows 4 to 16). */
export const FAST_OPEN_COOKIE_LEN = 8

/** A drawn key makes cookies for a day, and they are good for another one. */
const RENEWAL_US: Micros = 24 * 3600 * US_PER_S

/** 128 bits as four words. */
export type FastOpenKey = readonly [number, number, number, number]

/** Not one of ours, or given with a key that is not in use any more. */
export const COOKIE_INVALID = 0
export const COOKIE_VALID = 1
/** Given with the previous key: good, but the client should get a new one. */
export const COOKIE_OLD = 2
export type CookieVerdict = 0 | 1 | 2

/** A key as Linux writes it in `net.ipv4.tcp_fastopen_key`: `a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4`. Null: it is none. */
export function parseFastOpenKey(text: string): FastOpenKey | null {
  const words = text.split('-')
  if (words.length !== 4 || words.some((word) => !/^[0-9a-fA-F]{1,8}$/.test(word))) return null
  return words.map((word) => Number.parseInt(word, 16) | 0) as unknown as FastOpenKey
}

/**
 * Cookies that a server gives and takes (RFC 7413 §4.1.2): a keyed hash of the client's address and our own. Both are computed as Linux does
 * it, so that servers behind one address, some of them kernels, know each other's cookies when they have the same key. Nothing is kept per
 * client; a cookie expires when its key has been replaced twice.
 */
export class FastOpenKeys {
  private current: SipHash
  private previous: SipHash | null
  /** Where new keys come from, null: from whoever calls `rotate`. */
  private readonly rng: (() => number) | null
  private since: Micros = -1

  /** @param previous whose cookies are still good; null: none. @param rng random words, when the keys are to renew themselves */
  constructor(current: FastOpenKey, previous: FastOpenKey | null = null, rng: (() => number) | null = null) {
    this.current = new SipHash(...current)
    this.previous = previous === null ? null : new SipHash(...previous)
    this.rng = rng
  }

  /** Random keys, a new one each day. */
  static drawn(rng: () => number): FastOpenKeys {
    return new FastOpenKeys(draw(rng), null, rng)
  }

  /** Replaces what was drawn too long ago. To be called before each use. */
  renew(now: Micros): void {
    const { rng } = this
    if (rng === null) return
    if (this.since < 0) this.since = now
    const age = now - this.since
    if (age < RENEWAL_US) return
    if (age >= 2 * RENEWAL_US) this.rotate(draw(rng)) // nobody came for so long: the last one is too old as well
    this.rotate(draw(rng))
    this.since = now
  }

  /** From now on cookies are made with `key`; those of the last one are good until the next change. */
  rotate(key: FastOpenKey): void {
    this.previous = this.current
    this.current = new SipHash(...key)
  }

  /** The cookie for `client`, a fresh array. @param local the address that it has connected to */
  give(client: IpAddress, local: IpAddress): Uint8Array {
    const cookie = new Uint8Array(FAST_OPEN_COOKIE_LEN)
    digest(this.current, client, local)
    writeI32(cookie, 0, swap(this.current.lo))
    writeI32(cookie, 4, swap(this.current.hi))
    return cookie
  }

  /** What mem[off, off + len) of the client's SYN is worth. */
  check(client: IpAddress, local: IpAddress, mem: Uint8Array, off: number, len: number): CookieVerdict {
    if (len !== FAST_OPEN_COOKIE_LEN) return COOKIE_INVALID
    const lo = swap(readI32(mem, off))
    const hi = swap(readI32(mem, off + 4))
    if (isDigest(this.current, client, local, lo, hi)) return COOKIE_VALID
    return this.previous !== null && isDigest(this.previous, client, local, lo, hi) ? COOKIE_OLD : COOKIE_INVALID
  }
}

function draw(rng: () => number): FastOpenKey {
  return [rng(), rng(), rng(), rng()]
}

/** Without an early exit: how much of a guess was right must not show in time. */
function isDigest(hash: SipHash, client: IpAddress, local: IpAddress, lo: number, hi: number): boolean {
  digest(hash, client, local)
  return ((hash.lo ^ lo) | (hash.hi ^ hi)) === 0
}

/** The addresses as they stand in the IP header of the SYN. SipHash reads little-endian words, the wire has them big-endian. */
function digest(hash: SipHash, client: IpAddress, local: IpAddress): void {
  hash.begin()
  if (client.isV4) {
    hash.word(swap(client.w3), swap(local.w3))
    hash.end(0, 8 << 24)
    return
  }
  hash.word(swap(client.w0), swap(client.w1))
  hash.word(swap(client.w2), swap(client.w3))
  hash.word(swap(local.w0), swap(local.w1))
  hash.word(swap(local.w2), swap(local.w3))
  hash.end(0, 32 << 24)
}

/** The other byte order. */
function swap(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)
}
