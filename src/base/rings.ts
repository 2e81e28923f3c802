import type { Arena } from './arena.js'
import { invariant } from './errors.js'

/** virtio_net_hdr without num_buffers; it leads every packet in both directions. */
export const VNET_HDR_LEN = 10

/** An rx slot takes the largest IP packet and its vnet header. */
export const RX_SLOT_LEN = 65_600

/** Room for vnet header, IP, TCP and options, or a whole small control packet (ICMP with its quotation). */
export const TX_HEADER_ROOM = 320

/** Payload pieces of one tx entry: 65 535 bytes never straddle more than 5 pages, and one to spare. */
export const TX_MAX_IOV = 6

/** Int32 words per tx entry: headerOff, headerLen, iovCount, payloadLen, then (off, len) pairs. */
export const TX_META_STRIDE = 4 + 2 * TX_MAX_IOV

/**
 * Received packets, filled by `PacketDevice.readBatch`, slots 0 .. count-1, each beginning with its vnet header.
 * Contents are valid until the next `readBatch`.
 */
export class RxRing {
  readonly bytes: Uint8Array
  readonly slots: number
  readonly base: number
  /** Length of each packet, vnet header included. */
  readonly lens: Int32Array
  count = 0

  constructor(arena: Arena, slots: number) {
    this.bytes = arena.bytes
    this.slots = slots
    this.base = arena.reserve(slots * RX_SLOT_LEN)
    this.lens = new Int32Array(slots)
  }

  /** Offset in `bytes` of slot `i` (its vnet header). */
  slotOff(i: number): number {
    return this.base + i * RX_SLOT_LEN
  }
}

/**
 * Packets to send: header bytes owned by the ring, payload by reference into the arena. A circular queue;
 * `begin` - `iov`* - `end` appends, `take` removes what the device accepted.
 */
export class TxRing {
  readonly bytes: Uint8Array
  readonly slots: number
  readonly meta: Int32Array
  /** Index of the oldest entry. */
  head = 0
  count = 0
  private at = 0

  constructor(arena: Arena, slots: number) {
    this.bytes = arena.bytes
    this.slots = slots
    this.meta = new Int32Array(slots * TX_META_STRIDE)
    const base = arena.reserve(slots * TX_HEADER_ROOM)
    for (let i = 0; i < slots; i++) this.meta[i * TX_META_STRIDE] = base + i * TX_HEADER_ROOM
  }

  /** Starts an entry: offset of its header room, or -1 when the ring is full. Without `end` the entry does not exist. */
  begin(): number {
    if (this.count === this.slots) return -1
    let i = this.head + this.count
    if (i >= this.slots) i -= this.slots
    this.at = i * TX_META_STRIDE
    this.meta[this.at + 2] = 0
    this.meta[this.at + 3] = 0
    return this.meta[this.at] as number
  }

  /** Appends a payload piece (arena offset, length) to the entry under construction; adjacent pieces merge. */
  iov(off: number, len: number): void {
    const at = this.at
    const n = this.meta[at + 2] as number
    if (n > 0) {
      const last = at + 4 + 2 * (n - 1)
      if ((this.meta[last] as number) + (this.meta[last + 1] as number) === off) {
        this.meta[last + 1] = (this.meta[last + 1] as number) + len
        this.meta[at + 3] = (this.meta[at + 3] as number) + len
        return
      }
    }
    invariant(n < TX_MAX_IOV, 'tx ring: too many payload pieces')
    this.meta[at + 4 + 2 * n] = off
    this.meta[at + 5 + 2 * n] = len
    this.meta[at + 2] = n + 1
    this.meta[at + 3] = (this.meta[at + 3] as number) + len
  }

  /** Completes the entry. @param headerLen bytes written at the header room, vnet header included, <= TX_HEADER_ROOM. */
  end(headerLen: number): void {
    this.meta[this.at + 1] = headerLen
    this.count++
  }

  /** The device took the oldest `n` entries. */
  take(n: number): void {
    this.head = (this.head + n) % this.slots
    this.count -= n
  }
}
