/** Network byte order accessors on (memory, offset). 32-bit values are signed: uint32 does not fit a small integer of the engine. */

/** Big-endian 16 bits, 0..65535. */
export function readU16(mem: Uint8Array, off: number): number {
  return ((mem[off] as number) << 8) | (mem[off + 1] as number)
}

/** Big-endian 32 bits as a signed number. */
export function readI32(mem: Uint8Array, off: number): number {
  return ((mem[off] as number) << 24) | ((mem[off + 1] as number) << 16) | ((mem[off + 2] as number) << 8) | (mem[off + 3] as number)
}

/** Writes the low 16 bits of `value`, big-endian. */
export function writeU16(mem: Uint8Array, off: number, value: number): void {
  mem[off] = value >>> 8
  mem[off + 1] = value
}

/** Writes the low 32 bits of `value`, big-endian. */
export function writeI32(mem: Uint8Array, off: number, value: number): void {
  mem[off] = value >>> 24
  mem[off + 1] = value >>> 16
  mem[off + 2] = value >>> 8
  mem[off + 3] = value
}

/** Little-endian 16 bits: the fields of the vnet header (host order; Linux on the machines that we support). */
export function readU16le(mem: Uint8Array, off: number): number {
  return (mem[off] as number) | ((mem[off + 1] as number) << 8)
}

/** Writes the low 16 bits of `value`, little-endian. */
export function writeU16le(mem: Uint8Array, off: number, value: number): void {
  mem[off] = value
  mem[off + 1] = value >>> 8
}

/** Whether two stretches of the same length are equal. Not for secrets: its time depends on the content. */
export function bytesEqual(a: Uint8Array, aOff: number, b: Uint8Array, bOff: number, len: number): boolean {
  for (let i = 0; i < len; i++) if (a[aOff + i] !== b[bOff + i]) return false
  return true
}
