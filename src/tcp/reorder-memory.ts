/** RFC 8985 §6.2 step 4: recoveries without D-SACK after which the reordering window shrinks again. */
const REORDER_PERSIST = 16
const REORDER_MULT_MAX = 64

/**
 * What loss recovery remembers of a connection between flights, packed into one small integer: whether reordering was ever seen (bit 0),
 * the multiplier of the reordering window (bits 1-7), and the recoveries that are left until it goes back to 1 (RFC 8985 §6.2 step 4).
 */
export type ReorderMemory = number

export const REORDER_FRESH: ReorderMemory = 1 << 1

export function isReorderingSeen(memory: ReorderMemory): boolean {
  return (memory & 1) !== 0
}

export function withReorderingSeen(memory: ReorderMemory): ReorderMemory {
  return memory | 1
}

export function reorderMult(memory: ReorderMemory): number {
  return (memory >> 1) & 127
}

/** A D-SACK: the window was too small. */
export function widened(memory: ReorderMemory): ReorderMemory {
  return (memory & 1) | (Math.min(REORDER_MULT_MAX, reorderMult(memory) + 1) << 1) | (REORDER_PERSIST << 8)
}

/** A recovery ended without a D-SACK. */
export function aged(memory: ReorderMemory): ReorderMemory {
  const left = memory >> 8
  if (left <= 0) return memory
  return left === 1 ? (memory & 1) | REORDER_FRESH : (memory & 255) | ((left - 1) << 8)
}
