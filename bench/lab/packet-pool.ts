import { VNET_HDR_LEN } from '../../src/base/rings.js'

const NO_PACKET = new Uint8Array(0)

/**
 * Memory of all packets on the way, in slots of one length within one buffer, from which the addon writes them without a copy.
 * The vnet header of every slot stays zero: a packet that is complete as it stands.
 *
 *     slot: | vnet header, 10 | packet ... | unused |      slots that were never used cost no resident memory
 */
export class PacketPool {
  readonly buffer: ArrayBuffer
  readonly slots: number
  private readonly slotLen: number
  private readonly bytes: Uint8Array
  /** The view of each slot, kept as long as the next packet has the same length. */
  private readonly views: Uint8Array[] = []
  /** Slots given back, the latest on top: its memory is still in the cache. */
  private readonly free: Int32Array
  private freeCount = 0

  /** @param maxLen longest packet; @param memory bytes in all. */
  constructor(maxLen: number, memory: number) {
    this.slotLen = (VNET_HDR_LEN + maxLen + 63) & ~63
    this.slots = Math.floor(memory / this.slotLen)
    this.buffer = new ArrayBuffer(this.slots * this.slotLen)
    this.bytes = new Uint8Array(this.buffer)
    this.free = new Int32Array(this.slots)
  }

  /** Packets that are on the way. */
  get used(): number {
    return this.views.length - this.freeCount
  }

  /** A copy of the packet mem[off, off+len), to be given back; null when no slot is left. */
  copy(mem: Uint8Array, off: number, len: number): Uint8Array | null {
    const slot = this.freeCount > 0 ? (this.free[--this.freeCount] as number) : this.views.length
    if (slot === this.slots) return null
    let view = this.views[slot] ?? NO_PACKET
    if (view.length !== len) {
      view = new Uint8Array(this.buffer, slot * this.slotLen + VNET_HDR_LEN, len)
      this.views[slot] = view
    }
    if (mem.buffer === this.buffer) this.bytes.copyWithin(view.byteOffset, mem.byteOffset + off, mem.byteOffset + off + len)
    else view.set(off === 0 && len === mem.length ? mem : mem.subarray(off, off + len))
    return view
  }

  /** Whether the addon can write this packet where it lies; the copy that a link node made is elsewhere. */
  owns(packet: Uint8Array): boolean {
    return packet.buffer === this.buffer
  }

  /** Takes a packet back; one that is not of this pool is left to the garbage collector. */
  give(packet: Uint8Array): void {
    if (!this.owns(packet)) return
    this.free[this.freeCount++] = (packet.byteOffset - VNET_HDR_LEN) / this.slotLen
  }
}
