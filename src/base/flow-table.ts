const KEY_WORDS = 9
const MIN_SLOTS = 16

/**
 * Objects by four-tuple. Open addressing with linear probing; a deletion shifts the following entries back, so that there
 * are no tombstones. Keys are nine words: local w0..w3, remote w0..w3, localPort << 16 | remotePort. Nothing is allocated
 * by a look-up. The hash is seeded: a peer who chooses addresses and ports cannot build one long chain.
 */
export class FlowTable<T> {
  size = 0
  private keys = new Int32Array(MIN_SLOTS * KEY_WORDS)
  private values: (T | null)[] = new Array<T | null>(MIN_SLOTS).fill(null)
  private mask = MIN_SLOTS - 1
  private readonly seed0: number
  private readonly seed1: number

  /** @param seed0,seed1 random words, unknown to peers. */
  constructor(seed0: number, seed1: number) {
    this.seed0 = seed0 | 0
    this.seed1 = seed1 | 0
  }

  /** The object of this tuple, or null. */
  find(l0: number, l1: number, l2: number, l3: number, r0: number, r1: number, r2: number, r3: number, ports: number): T | null {
    return this.values[this.slotOf(l0, l1, l2, l3, r0, r1, r2, r3, ports)] as T | null
  }

  /** Puts or replaces the object of this tuple. */
  set(l0: number, l1: number, l2: number, l3: number, r0: number, r1: number, r2: number, r3: number, ports: number, value: T): void {
    let slot = this.slotOf(l0, l1, l2, l3, r0, r1, r2, r3, ports)
    if (this.values[slot] === null) {
      if (2 * (this.size + 1) > this.mask + 1) {
        this.resize(2 * (this.mask + 1))
        slot = this.slotOf(l0, l1, l2, l3, r0, r1, r2, r3, ports)
      }
      const k = this.keys
      const at = slot * KEY_WORDS
      k[at] = l0
      k[at + 1] = l1
      k[at + 2] = l2
      k[at + 3] = l3
      k[at + 4] = r0
      k[at + 5] = r1
      k[at + 6] = r2
      k[at + 7] = r3
      k[at + 8] = ports
      this.size++
    }
    this.values[slot] = value
  }

  /** Takes the tuple out. False when it was not in. */
  delete(l0: number, l1: number, l2: number, l3: number, r0: number, r1: number, r2: number, r3: number, ports: number): boolean {
    let hole = this.slotOf(l0, l1, l2, l3, r0, r1, r2, r3, ports)
    if (this.values[hole] === null) return false
    const mask = this.mask
    // An entry moves into the hole unless its home lies cyclically in (hole, slot].
    for (let slot = (hole + 1) & mask; this.values[slot] !== null; slot = (slot + 1) & mask) {
      const home = this.homeOf(slot)
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue
      this.keys.copyWithin(hole * KEY_WORDS, slot * KEY_WORDS, (slot + 1) * KEY_WORDS)
      this.values[hole] = this.values[slot] as T
      hole = slot
    }
    this.values[hole] = null
    this.size--
    if (mask + 1 > MIN_SLOTS && 8 * this.size < mask + 1) this.resize((mask + 1) >> 1)
    return true
  }

  /** Calls `cb` for each object. The table must not change meanwhile. */
  forEach(cb: (value: T) => void): void {
    for (const value of this.values) if (value !== null) cb(value)
  }

  /** Slot that holds the key, or the free slot where it belongs. */
  private slotOf(l0: number, l1: number, l2: number, l3: number, r0: number, r1: number, r2: number, r3: number, ports: number): number {
    const k = this.keys
    let slot = this.hash(l0, l1, l2, l3, r0, r1, r2, r3, ports) & this.mask
    while (this.values[slot] !== null) {
      const at = slot * KEY_WORDS
      // The words that differ most between flows come first.
      if (
        k[at + 8] === ports &&
        k[at + 7] === r3 &&
        k[at + 3] === l3 &&
        k[at + 6] === r2 &&
        k[at + 2] === l2 &&
        k[at + 5] === r1 &&
        k[at + 1] === l1 &&
        k[at + 4] === r0 &&
        k[at] === l0
      )
        break
      slot = (slot + 1) & this.mask
    }
    return slot
  }

  private homeOf(slot: number): number {
    const k = this.keys
    const at = slot * KEY_WORDS
    return (
      this.hash(
        k[at] as number,
        k[at + 1] as number,
        k[at + 2] as number,
        k[at + 3] as number,
        k[at + 4] as number,
        k[at + 5] as number,
        k[at + 6] as number,
        k[at + 7] as number,
        k[at + 8] as number,
      ) & this.mask
    )
  }

  private hash(l0: number, l1: number, l2: number, l3: number, r0: number, r1: number, r2: number, r3: number, ports: number): number {
    let h = mix(this.seed0 ^ ports, r3)
    h = mix(h, l3)
    h = mix(h, r2)
    h = mix(h, l2)
    h = mix(h, r1)
    h = mix(h, l1)
    h = mix(h, r0)
    h = mix(h ^ this.seed1, l0)
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
    return h ^ (h >>> 16)
  }

  private resize(slots: number): void {
    const oldKeys = this.keys
    const oldValues = this.values
    this.keys = new Int32Array(slots * KEY_WORDS)
    this.values = new Array<T | null>(slots).fill(null)
    this.mask = slots - 1
    for (let i = 0; i < oldValues.length; i++) {
      const value = oldValues[i] as T | null
      if (value === null) continue
      const from = i * KEY_WORDS
      const slot = this.slotOf(
        oldKeys[from] as number,
        oldKeys[from + 1] as number,
        oldKeys[from + 2] as number,
        oldKeys[from + 3] as number,
        oldKeys[from + 4] as number,
        oldKeys[from + 5] as number,
        oldKeys[from + 6] as number,
        oldKeys[from + 7] as number,
        oldKeys[from + 8] as number,
      )
      for (let w = 0; w < KEY_WORDS; w++) this.keys[slot * KEY_WORDS + w] = oldKeys[from + w] as number
      this.values[slot] = value
    }
  }
}

function mix(h: number, word: number): number {
  h = Math.imul(h ^ word, 0x9e3779b1)
  return h ^ (h >>> 15)
}
