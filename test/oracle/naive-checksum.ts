/** RFC 1071 word by word: the obviously correct twin of `sumBytes`. */
export function naiveSum(mem: Uint8Array, off: number, len: number): number {
  let sum = 0
  for (let i = 0; i < len; i++) sum += (mem[off + i] as number) * (i % 2 === 0 ? 256 : 1)
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000)
  return sum
}
