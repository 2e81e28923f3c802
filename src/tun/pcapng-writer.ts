import type { Micros } from '../base/time.js'

const BLOCK_SECTION = 0x0a0d0d0a
const BLOCK_INTERFACE = 1
const BLOCK_PACKET = 6
const BYTE_ORDER_MAGIC = 0x1a2b3c4d
/** Bare IPv4 and IPv6 packets. */
const LINKTYPE_RAW = 101
const OPT_COMMENT = 1
const OPT_EPB_FLAGS = 2
const U32 = 0x1_0000_0000
const SNAP_MAX = 65_535
/** Comments in UTF-8 are cut off here, bytes. */
const COMMENT_MAX = 900

/** Offset of the packet in `PcapngWriter.block`. */
export const PACKET_AT = 28

/** Direction of a packet, seen from the recorder (option epb_flags). */
export const INBOUND = 1
export const OUTBOUND = 2
export type Direction = 1 | 2

export interface PcapngWriterOptions {
  /** Receives each block. The array is reused: consume it before returning. */
  readonly write: (block: Uint8Array) => void
  /** IP bytes kept of each packet. Default: all. */
  readonly snapLen?: number
}

/**
 * Blocks of the pcapng format (draft-ietf-opsawg-pcapng), little-endian, of one interface of bare IP packets:
 *
 *     section header | interface description | packet | packet | ...
 */
export class PcapngWriter {
  /** Scratch: a packet may be put here from `PACKET_AT` on, `snapLen` bytes, for `finish`. */
  readonly block: Uint8Array
  readonly snapLen: number
  /** Packets written. */
  packets = 0
  private readonly out: (block: Uint8Array) => void
  private readonly view: DataView
  private comment: Uint8Array | null = null

  /** Writes the headers at once. */
  constructor(options: PcapngWriterOptions) {
    this.out = options.write
    this.snapLen = Math.min(options.snapLen ?? SNAP_MAX, SNAP_MAX)
    this.block = new Uint8Array(this.snapLen + 1024)
    this.view = new DataView(this.block.buffer)
    this.writeHeaders()
  }

  /** Puts `text` on the next packet. */
  annotate(text: string): void {
    this.comment = new TextEncoder().encode(text).subarray(0, COMMENT_MAX)
  }

  /** Writes the IP packet [off, off + len) of `bytes`. @param atUs since 1970, or since the start of a simulation. */
  packet(bytes: Uint8Array, off: number, len: number, direction: Direction, atUs: Micros): void {
    const kept = Math.min(len, this.snapLen)
    this.block.set(bytes.subarray(off, off + kept), PACKET_AT)
    this.finish(kept, len, direction, atUs)
  }

  /** The same for a packet of which `kept` bytes stand in `block` at `PACKET_AT` already, `len` bytes long on the wire. */
  finish(kept: number, len: number, direction: Direction, atUs: Micros): void {
    const { view, block } = this
    view.setUint32(8, 0, true) // interface
    view.setUint32(12, Math.floor(atUs / U32), true)
    view.setUint32(16, atUs % U32, true)
    view.setUint32(20, kept, true)
    view.setUint32(24, len, true)
    let end = this.pad(PACKET_AT + kept)
    if (this.comment !== null) {
      this.option(end, OPT_COMMENT, this.comment.length)
      block.set(this.comment, end + 4)
      end = this.pad(end + 4 + this.comment.length)
      this.comment = null
    }
    this.option(end, OPT_EPB_FLAGS, 4)
    view.setUint32(end + 4, direction, true)
    this.option(end + 8, 0, 0)
    this.packets++
    this.emit(BLOCK_PACKET, end + 12)
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
