import type { RxRing, TxRing } from '../base/rings.js'
import { VNET_HDR_LEN } from '../base/rings.js'
import type { Micros } from '../base/time.js'
import type { DeviceCaps, PacketDevice } from './device.js'
import { INBOUND, OUTBOUND, PACKET_AT, PcapngWriter, type PcapngWriterOptions } from './pcapng-writer.js'
import { copyEntry, entryLen } from './tx-entry.js'

export interface PcapngOptions extends PcapngWriterOptions {
  /** Wall clock in microseconds since 1970, for the time stamps. */
  readonly wallUs: () => Micros
}

/**
 * Records what passes through a device, both ways: packets as the kernel sees them, super-segments in one piece and with the partial
 * checksums that the vnet header stands for.
 */
export class PcapngDevice implements PacketDevice {
  private readonly inner: PacketDevice
  private readonly wallUs: () => Micros
  private readonly writer: PcapngWriter

  constructor(inner: PacketDevice, options: PcapngOptions) {
    this.inner = inner
    this.wallUs = options.wallUs
    this.writer = new PcapngWriter(options)
  }

  get caps(): DeviceCaps {
    return this.inner.caps
  }

  /** Puts `text` on the next packet that is recorded. */
  annotate(text: string): void {
    this.writer.annotate(text)
  }

  readBatch(rx: RxRing): number {
    const count = this.inner.readBatch(rx)
    for (let i = 0; i < count; i++) {
      const len = (rx.lens[i] as number) - VNET_HDR_LEN
      this.writer.packet(rx.bytes, rx.slotOff(i) + VNET_HDR_LEN, len, INBOUND, this.wallUs())
    }
    return count
  }

  writeBatch(tx: TxRing): number {
    const { writer } = this
    const head = tx.head
    const done = this.inner.writeBatch(tx)
    // The entries are off the ring, but nobody has begun new ones in their place yet.
    for (let n = 0; n < done; n++) {
      const i = (head + n) % tx.slots
      // The vnet header lands where the packet block's header is written afterwards.
      const kept = copyEntry(tx, i, writer.block, PACKET_AT - VNET_HDR_LEN, writer.snapLen + VNET_HDR_LEN) - VNET_HDR_LEN
      writer.finish(kept, entryLen(tx, i) - VNET_HDR_LEN, OUTBOUND, this.wallUs())
    }
    return done
  }

  onReady(cb: (readable: boolean, writable: boolean) => void): void {
    this.inner.onReady(cb)
  }

  close(): void {
    this.inner.close()
  }
}
