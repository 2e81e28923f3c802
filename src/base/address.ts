/**
 * An IP address as four signed 32-bit words, most significant first; IPv4 is v4-mapped (::ffff:a.b.c.d).
 * One form for both families keeps tuples, flow keys and comparisons free of branches. Immutable, shareable.
 */
export class IpAddress {
  readonly w0: number
  readonly w1: number
  readonly w2: number
  readonly w3: number
  constructor(w0: number, w1: number, w2: number, w3: number) {
    this.w0 = w0 | 0
    this.w1 = w1 | 0
    this.w2 = w2 | 0
    this.w3 = w3 | 0
  }

  /** From an IPv4 address as a 32-bit number. */
  static v4(word: number): IpAddress {
    return new IpAddress(0, 0, 0xffff, word)
  }

  get isV4(): boolean {
    return this.w0 === 0 && this.w1 === 0 && this.w2 === 0xffff
  }

  equals(other: IpAddress): boolean {
    return this.w3 === other.w3 && this.w2 === other.w2 && this.w1 === other.w1 && this.w0 === other.w0
  }

  /** Dotted quad, or RFC 5952 text (lower case, longest zero run compressed). */
  toString(): string {
    if (this.isV4) {
      const w = this.w3
      return `${w >>> 24}.${(w >>> 16) & 255}.${(w >>> 8) & 255}.${w & 255}`
    }
    return formatV6([this.w0, this.w1, this.w2, this.w3])
  }
}

function formatV6(words: number[]): string {
  const groups = words.flatMap((w) => [w >>> 16, w & 0xffff])
  let bestAt = -1
  let bestLen = 1 // RFC 5952 §4.2.2: a single zero group is not compressed
  for (let i = 0; i < 8; i++) {
    let n = 0
    while (i + n < 8 && groups[i + n] === 0) n++
    if (n > bestLen) {
      bestAt = i
      bestLen = n
    }
    if (n > 0) i += n - 1
  }
  const hex = groups.map((g) => g.toString(16))
  if (bestAt < 0) return hex.join(':')
  return `${hex.slice(0, bestAt).join(':')}::${hex.slice(bestAt + bestLen).join(':')}`
}

/** The four-tuple of one TCP flow as this host sees it. Ports 1-65535 in host order. */
export interface Tuple {
  readonly local: IpAddress
  readonly localPort: number
  readonly remote: IpAddress
  readonly remotePort: number
  /** DSCP of what is sent, in the upper six bits of the TOS or traffic class byte. Default 0. */
  tclass?: number
}
