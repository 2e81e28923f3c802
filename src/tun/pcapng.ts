import type { RxRing, TxRing } from '../base/rings.js'
import { VNET_HDR_LEN } from '../base/rings.js'
import type { Micros } from '../base/time.js'
import type { DeviceCaps, PacketDevice } from './device.js'
import { copyEntry, entryLen } from './tx-entry.js'

const BLOCK_SECTION = 0x0a0d0d0a
const BLOCK_INTERFACE = 1
const BLOCK_PACKET = 6
const BYTE_ORDER_MAGIC = 0x1a2b3c4d
/** Bare IPv4 and IPv6 packets. */
const LINKTYPE_RAW = 101
const OPT_COMMENT = 1
const OPT_EPB_FLAGS = 2
const INBOUND = 1
const OUTBOUND = 2
const U32 = 0x1_0000_0000

export interface PcapngOptions {
  /** Receives each block. The array is reused: consume it before returning. */
  readonly write: (block: Uint8Array) => void
  /** Wall clock in microseconds since 1970, for the time stamps. */
  readonly wallUs: () => Micros
  /** IP bytes kept of each packet. Default: all. */
  readonly snapLen?: number
}

/**
 * Records what passes through a device, both ways, in the pcapng format (draft-ietf-opsawg-pcapng): packets as the kernel sees
 * them, super-segments in one piece and with the partial checksums that the vnet header stands for.
 */
export class PcapngDevice implements PacketDevice {
  private readonly inner: PacketDevice
  private readonly out: (block: Uint8Array) => void
  private readonly wallUs: () => Micros
  private readonly snapLen: number
  private readonly block: Uint8Array
  private readonly view: DataView
  private comment: Uint8Array | null = null

  constructor(inner: PacketDevice, options: PcapngOptions) {
    this.inner = inner
    this.out = options.write
    this.wallUs = options.wallUs
    this.snapLen = Math.min(options.snapLen ?? 65_535, 65_535)
    this.block = new Uint8Array(this.snapLen + 1024)
    this.view = new DataView(this.block.buffer)
    this.writeHeaders()
  }

  get caps(): DeviceCaps {
    return this.inner.caps
  }

  /** Puts `text` on the next packet that is recorded. */
  annotate(text: string): void {
    this.comment = new TextEncoder().encode(text).subarray(0, 900)
  }

  readBatch(rx: RxRing): number {
    const count = this.inner.readBatch(rx)
    for (let i = 0; i < count; i++) {
      const ip = rx.slotOff(i) + VNET_HDR_LEN
      const len = (rx.lens[i] as number) - VNET_HDR_LEN
      const kept = Math.min(len, this.snapLen)
      this.block.set(rx.bytes.subarray(ip, ip + kept), 28)
      this.finishPacket(kept, len, INBOUND)
    }
    return count
  }

  writeBatch(tx: TxRing): number {
    const head = tx.head
    const done = this.inner.writeBatch(tx)
    // The entries are off the ring, but nobody has begun new ones in their place yet.
    for (let n = 0; n < done; n++) {
      const i = (head + n) % tx.slots
      // The vnet header lands where the packet block's header is written afterwards.
      const kept = copyEntry(tx, i, this.block, 28 - VNET_HDR_LEN, this.snapLen + VNET_HDR_LEN) - VNET_HDR_LEN
      this.finishPacket(kept, entryLen(tx, i) - VNET_HDR_LEN, OUTBOUND)
    }
    return done
  }

  onReady(cb: (readable: boolean, writable: boolean) => void): void {
    this.inner.onReady(cb)
  }

  close(): void {
    this.inner.close()
  }

  private writeHeaders(): void {
    const { view } = this
    view.setUint32(8, BYTE_ORDER_MAGIC, true)
    view.setUint16(12, 1, true) // version 1.0
    view.setUint16(14, 0, true)
    view.setBigInt64(16, -1n, true) // section length: unknown
    this.emit(BLOCK_SECTION, 24)
    view.setUint16(8, LINKTYPE_RAW, true)
    view.setUint16(10, 0, true)
    view.setUint32(12, this.snapLen, true)
    this.emit(BLOCK_INTERFACE, 16)
  }

  /** Enhanced packet block around the `kept` packet bytes that stand at 28. */
  private finishPacket(kept: number, len: number, direction: number): void {
    const { view, block } = this
    const at = this.wallUs()
    view.setUint32(8, 0, true) // interface
    view.setUint32(12, Math.floor(at / U32), true)
    view.setUint32(16, at % U32, true)
    view.setUint32(20, kept, true)
    view.setUint32(24, len, true)
    let end = this.pad(28 + kept)
    if (this.comment !== null) {
      this.option(end, OPT_COMMENT, this.comment.length)
      block.set(this.comment, end + 4)
      end = this.pad(end + 4 + this.comment.length)
      this.comment = null
    }
    this.option(end, OPT_EPB_FLAGS, 4)
    view.setUint32(end + 4, direction, true)
    this.option(end + 8, 0, 0)
    this.emit(BLOCK_PACKET, end + 12)
  }

  private option(at: number, code: number, len: number): void {
    this.view.setUint16(at, code, true)
    this.view.setUint16(at + 2, len, true)
  }

  /** Zeros up to the next multiple of 4, which is returned. */
  private pad(end: number): number {
    const to = (end + 3) & ~3
    this.block.fill(0, end, to)
    return to
  }

  /** Type and both lengths of the block whose body ends at `end`. */
  private emit(type: number, end: number): void {
    this.view.setUint32(0, type, true)
    this.view.setUint32(4, end + 4, true)
    this.view.setUint32(end, end + 4, true)
    this.out(this.block.subarray(0, end + 4))
  }
}
