/**
 * The Internet checksum, RFC 1071. Sums are numbers 0..65535 (already folded) in network order, so that they chain:
 * `checksum = finish(add(sumBytes(mem, off, len), pseudoSum))`.
 */

const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1
/** 4-byte words summed before the 32-bit accumulator must be folded: 2 * 65535 * 16384 < 2^31. */
const WORDS_PER_FOLD = 16_384

// A view for 32-bit reads of the memory that was summed last: a cache only, nearly always that of the one arena.
let viewBuffer: ArrayBufferLike | null = null
let view: Int32Array = new Int32Array(0)

function fold(sum: number): number {
  sum = (sum & 0xffff) + (sum >>> 16)
  return (sum & 0xffff) + (sum >>> 16)
}

/** Sum of two sums. */
export function addSums(a: number, b: number): number {
  return fold(a + b)
}

/** The checksum field's value for a sum. */
export function finishSum(sum: number): number {
  return ~sum & 0xffff
}

/** Ones'-complement sum of mem[off, off+len), as if a zero byte followed an odd one, added to `start` (a sum). */
export function sumBytes(mem: Uint8Array, off: number, len: number, start = 0): number {
  if (len < 32) return sumSmall(mem, off, len, start)
  // RFC 1071 §2 (B): the sum does not depend on byte order, but for a swap; so memory is read in aligned host-order words.
  const at = mem.byteOffset + off
  const lead = -at & 3
  const words = (len - lead) >>> 2
  const tail = len - lead - 4 * words
  // Words begin at an odd distance from the first byte: they contribute with their bytes swapped.
  const isOdd = (lead & 1) === 1
  let sum = sumWords(mem, (at + lead) >>> 2, words)
  if (isOdd !== IS_LITTLE_ENDIAN) sum = ((sum & 0xff) << 8) | (sum >>> 8)
  sum += sumSmall(mem, off, lead, start)
  const rest = sumSmall(mem, off + len - tail, tail, 0)
  return fold(sum + (isOdd ? ((rest & 0xff) << 8) | (rest >>> 8) : rest))
}

/** Whether the checksum inside a summed stretch is right: its sum, pseudo-header included, is all ones. */
export function isSumValid(sum: number): boolean {
  return sum === 0xffff
}

/** Sum of an IPv4 pseudo-header (RFC 9293 §3.1). Addresses as 32-bit words; `len` the transport header and payload. */
export function pseudoSum4(src: number, dst: number, proto: number, len: number): number {
  return fold(wordSum(src) + wordSum(dst) + proto + (len & 0xffff))
}

/** Sum of an IPv6 pseudo-header (RFC 8200 §8.1). */
export function pseudoSum6(
  s0: number,
  s1: number,
  s2: number,
  s3: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
  proto: number,
  len: number,
): number {
  const addresses = wordSum(s0) + wordSum(s1) + wordSum(s2) + wordSum(s3) + wordSum(d0) + wordSum(d1) + wordSum(d2) + wordSum(d3)
  return fold(addresses + proto + wordSum(len))
}

/** Sum of a 32-bit word, not folded (at most 17 bits). */
export function wordSum(word: number): number {
  return (word >>> 16) + (word & 0xffff)
}

/**
 * The checksum field after a 16-bit word under it changed from `before` to `after`: RFC 1624 eqn. 3.
 * For rewriting nodes, which must not hide an earlier corruption by summing anew.
 */
export function updateChecksum(field: number, before: number, after: number): number {
  return ~fold((~field & 0xffff) + (~before & 0xffff) + after) & 0xffff
}

function sumSmall(mem: Uint8Array, off: number, len: number, start: number): number {
  let sum = start
  const even = off + (len & ~1)
  for (let i = off; i < even; i += 2) sum += ((mem[i] as number) << 8) | (mem[i + 1] as number)
  if ((len & 1) === 1) sum += (mem[even] as number) << 8
  return fold(sum)
}

/** Host-order sum of `count` aligned words from word index `first` of the whole buffer. */
function sumWords(mem: Uint8Array, first: number, count: number): number {
  if (mem.buffer !== viewBuffer) {
    viewBuffer = mem.buffer
    view = new Int32Array(viewBuffer, 0, viewBuffer.byteLength >>> 2)
  }
  const words = view
  let total = 0
  let i = first
  const end = first + count
  while (i < end) {
    const stop = Math.min(end, i + WORDS_PER_FOLD)
    let sum = 0
    for (; i + 4 <= stop; i += 4) {
      const a = words[i] as number
      const b = words[i + 1] as number
      const c = words[i + 2] as number
      const d = words[i + 3] as number
      sum = (sum + (a & 0xffff) + (a >>> 16) + (b & 0xffff) + (b >>> 16) + (c & 0xffff) + (c >>> 16) + (d & 0xffff) + (d >>> 16)) | 0
    }
    for (; i < stop; i++) sum = (sum + ((words[i] as number) & 0xffff) + ((words[i] as number) >>> 16)) | 0
    total = fold(total + fold(sum))
  }
  return total
}
