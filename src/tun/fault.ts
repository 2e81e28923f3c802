import type { RxRing, TxRing } from '../base/rings.js'
import { VNET_HDR_LEN } from '../base/rings.js'
import type { Rng } from '../base/rng.js'
import type { DeviceCaps, PacketDevice } from './device.js'
import { completeChecksum } from './vnet-hdr.js'

/** Probabilities per packet (a super-segment counts as one), 0 to 1. Default 0. */
export interface FaultOptions {
  readonly rxDrop?: number
  /** The copy comes at the end of its batch: also a reordering. Not when the batch is full. */
  readonly rxDuplicate?: number
  /** One bit of the packet flips on the way in; its checksum does not fit any more. */
  readonly rxCorrupt?: number
  readonly txDrop?: number
  readonly txDuplicate?: number
}

/** Loses, doubles and corrupts packets of a device, by seeded chance, and counts what it did: for tests on a real TUN. */
export class FaultDevice implements PacketDevice {
  readonly counts = { rxDropped: 0, rxDuplicated: 0, rxCorrupted: 0, txDropped: 0, txDuplicated: 0 }
  private readonly inner: PacketDevice
  private readonly rng: Rng
  private readonly rxDrop: number
  private readonly rxDuplicate: number
  private readonly rxCorrupt: number
  private readonly txDrop: number
  private readonly txDuplicate: number

  constructor(inner: PacketDevice, rng: Rng, options: FaultOptions) {
    this.inner = inner
    this.rng = rng
    this.rxDrop = options.rxDrop ?? 0
    this.rxDuplicate = options.rxDuplicate ?? 0
    this.rxCorrupt = options.rxCorrupt ?? 0
    this.txDrop = options.txDrop ?? 0
    this.txDuplicate = options.txDuplicate ?? 0
  }

  get caps(): DeviceCaps {
    return this.inner.caps
  }

  readBatch(rx: RxRing): number {
    const read = this.inner.readBatch(rx)
    let kept = 0
    for (let i = 0; i < read; i++) {
      if (this.rng.chance(this.rxDrop)) {
        this.counts.rxDropped++
        continue
      }
      if (kept < i) copySlot(rx, i, kept)
      if (this.rng.chance(this.rxCorrupt)) this.corrupt(rx, kept)
      kept++
    }
    const originals = kept
    for (let i = 0; i < originals && kept < rx.slots; i++) {
      if (!this.rng.chance(this.rxDuplicate)) continue
      copySlot(rx, i, kept++)
      this.counts.rxDuplicated++
    }
    rx.count = kept
    return kept
  }

  writeBatch(tx: TxRing): number {
    let done = 0
    while (tx.count > 0) {
      if (this.rng.chance(this.txDrop)) {
        tx.take(1)
        this.counts.txDropped++
      } else {
        if (this.rng.chance(this.txDuplicate)) this.writeCopy(tx)
        if (this.writeOne(tx) === 0) break
      }
      done++
    }
    return done
  }

  onReady(cb: (readable: boolean, writable: boolean) => void): void {
    this.inner.onReady(cb)
  }

  close(): void {
    this.inner.close()
  }

  /** Hands the oldest entry alone to the device; 0 when it is blocked. */
  private writeOne(tx: TxRing): number {
    const rest = tx.count - 1
    tx.count = 1
    const done = this.inner.writeBatch(tx)
    tx.count += rest
    return done
  }

  /** Writes the oldest entry and leaves it on the ring. */
  private writeCopy(tx: TxRing): void {
    const { head, count } = tx
    this.counts.txDuplicated += this.writeOne(tx)
    tx.head = head
    tx.count = count
  }

  private corrupt(rx: RxRing, slot: number): void {
    const off = rx.slotOff(slot)
    const len = rx.lens[slot] as number
    // A partial checksum would be taken as valid whatever the packet says; a super-segment's cannot be completed, and is wrong then.
    completeChecksum(rx.bytes, off, len)
    rx.bytes[off] = 0 // flags: neither partial nor already verified
    const at = off + VNET_HDR_LEN + this.rng.below(len - VNET_HDR_LEN)
    rx.bytes[at] = (rx.bytes[at] as number) ^ (1 << this.rng.below(8))
    this.counts.rxCorrupted++
  }
}

function copySlot(rx: RxRing, from: number, to: number): void {
  const len = rx.lens[from] as number
  rx.bytes.copyWithin(rx.slotOff(to), rx.slotOff(from), rx.slotOff(from) + len)
  rx.lens[to] = len
}
