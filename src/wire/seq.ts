/**
 * Sequence numbers, RFC 9293 §3.4. On the wire they are modulo 2^32 and here signed (int32); inside the stack a position is an
 * offset from the ISN: a plain integer < 2^53 that never wraps (the SYN is 0, the first payload byte 1).
 *
 *      offset   0   1        2^31           2^32 + 1
 *               |---|----------|---------------|-------->    never wraps
 *      wire    isn isn+1   (modulo 2^32)    isn+1            wraps
 */

/** The wire number (int32) of the offset `off` (0 <= off < 2^53) of a flow whose ISN is `isn`. */
export function seqOf(isn: number, off: number): number {
  return (isn + off) | 0
}

/**
 * The offset nearest to `ref` whose wire number is `raw`: within [ref - 2^31, ref + 2^31), so possibly negative.
 * The door through which every received number enters.
 */
export function unwrap(ref: number, isn: number, raw: number): number {
  return ref + ((raw - seqOf(isn, ref)) | 0)
}

/** a < b in the modulo-2^32 order. For numbers that have no offset yet: before the ISN is known, SYN and RST checks. */
export function seqLt(a: number, b: number): boolean {
  return ((a - b) | 0) < 0
}

/** a <= b in the modulo-2^32 order. */
export function seqLeq(a: number, b: number): boolean {
  return ((a - b) | 0) <= 0
}

/** a > b in the modulo-2^32 order. */
export function seqGt(a: number, b: number): boolean {
  return ((a - b) | 0) > 0
}

/** a >= b in the modulo-2^32 order. */
export function seqGeq(a: number, b: number): boolean {
  return ((a - b) | 0) >= 0
}
