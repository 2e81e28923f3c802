import type { IpAddress, Tuple } from '../base/address.js'
import { SipHash } from '../base/siphash.js'
import type { Micros } from '../base/time.js'

/** Period of the clock M of RFC 6528 §3. */
const ISN_TICK_US: Micros = 4

/** What a value is derived for: the same addresses give unrelated results. */
const FOR_ISN = 1
const FOR_TIMESTAMP = 2
const FOR_PORT = 3

/**
 * Initial sequence numbers, timestamp offsets and the order of ports: by a keyed hash of whom they are for, so that nobody else can
 * guess them, while those of successive connections of a tuple rise with the clock, and a peer in TIME-WAIT takes the next one for what
 * it is (RFC 9293 §3.4.1, RFC 6191). Nothing is allocated.
 */
export class InitialNumbers {
  private readonly hash: SipHash

  /** @param rng 32 random bits, unknown to peers; drawn from four times. */
  constructor(rng: () => number) {
    this.hash = new SipHash(rng(), rng(), rng(), rng())
  }

  /** RFC 6528 §3: ISN = M + F(localip, localport, remoteip, remoteport, secretkey). An int32. */
  issOf(t: Tuple, now: Micros): number {
    this.digest(t.local, t.remote, (t.localPort << 16) | t.remotePort, FOR_ISN)
    return (Math.floor(now / ISN_TICK_US) + this.hash.lo) | 0
  }

  /**
   * What is added to the millisecond clock, an int32. RFC 7323 §5.4 and §7.1: an offset of its own for each pair of addresses. Not of
   * ports, as in Linux: a translator may show two connections under the same port, one after the other.
   */
  tsOffsetOf(t: Tuple): number {
    this.digest(t.local, t.remote, 0, FOR_TIMESTAMP)
    return this.hash.lo
  }

  /** For the order of ports towards remote:remotePort (RFC 6056 §3.3.4): 64 bits in `portLo` and `portHi`. */
  drawPort(local: IpAddress, remote: IpAddress, remotePort: number): void {
    this.digest(local, remote, remotePort, FOR_PORT)
  }

  get portLo(): number {
    return this.hash.lo
  }

  get portHi(): number {
    return this.hash.hi
  }

  private digest(l: IpAddress, r: IpAddress, ports: number, what: number): void {
    const { hash } = this
    hash.begin()
    hash.word(l.w0, l.w1)
    hash.word(l.w2, l.w3)
    hash.word(r.w0, r.w1)
    hash.word(r.w2, r.w3)
    hash.end(ports, what | (37 << 24)) // 32 bytes of addresses, 4 of ports, 1 that says what for
  }
}
