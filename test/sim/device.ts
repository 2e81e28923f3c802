import type { RxRing, TxRing } from '../../src/base/rings.js'
import { TX_META_STRIDE } from '../../src/base/rings.js'
import type { Micros } from '../../src/base/time.js'
import type { DeviceCaps, PacketDevice } from '../../src/tun/device.js'
import type { Loop } from './loop.js'
import type { Sink } from './node.js'
import { coalesce, plain, segment } from './segmentation.js'

export interface SimDeviceConfig {
  readonly mtu?: number
  /** Offer super-segments to the host, and merge what arrives (as GRO does). */
  readonly gso?: boolean
  /** Packets that wait for the host; more are dropped (txqueuelen). */
  readonly queuePackets?: number
  /** The host is woken that long after the first packet that waits, so that others join it (interrupt moderation). Default 0. */
  readonly batchUs?: Micros
}

/** The TUN of a simulated host: packets of the network on one side, a `PacketDevice` on the other. */
export class SimDevice implements PacketDevice {
  readonly caps: DeviceCaps
  /** Where the packets go that the host writes. */
  out: Sink = () => {}
  /** Packets written by the host, after segmentation; super-segments among them before it; packets read; how many were merged into others. */
  packetsOut = 0
  superSegmentsOut = 0
  packetsIn = 0
  superSegmentsIn = 0
  dropped = 0
  /** While set, `writeBatch` takes nothing: a full device. */
  isBlocked = false
  private readonly loop: Loop
  private readonly queuePackets: number
  private readonly batchUs: Micros
  private isAlarmed = false
  private waiting: Uint8Array[] = []
  /** With vnet headers, ready to be read. */
  private merged: Uint8Array[] = []
  private ready: ((readable: boolean, writable: boolean) => void) | null = null
  private isClosed = false

  constructor(loop: Loop, config: SimDeviceConfig = {}) {
    this.loop = loop
    this.batchUs = config.batchUs ?? 0
    this.caps = { gso: config.gso ?? true, mtu: config.mtu ?? 1500 }
    this.queuePackets = config.queuePackets ?? 10_000
  }

  /** A packet from the network. */
  readonly in: Sink = (packet) => {
    if (this.isClosed || this.waiting.length + this.merged.length >= this.queuePackets) {
      this.dropped++
      return
    }
    this.waiting.push(packet)
    if (this.batchUs === 0) this.ready?.(true, false)
    else if (!this.isAlarmed) {
      this.isAlarmed = true
      this.loop.at(this.loop.now + this.batchUs, () => {
        this.isAlarmed = false
        this.ready?.(true, false)
      })
    }
  }

  get hasWaiting(): boolean {
    return this.waiting.length + this.merged.length > 0
  }

  unblock(): void {
    this.isBlocked = false
    this.ready?.(false, true)
  }

  readBatch(rx: RxRing): number {
    this.merge()
    const slots = this.merged.splice(0, rx.slots)
    slots.forEach((packet, i) => {
      rx.bytes.set(packet, rx.slotOff(i))
      rx.lens[i] = packet.length
    })
    rx.count = slots.length
    return slots.length
  }

  /** What has arrived becomes ready to be read. */
  private merge(): void {
    if (this.waiting.length === 0) return
    const packets = this.caps.gso ? coalesce(this.waiting) : this.waiting.map(plain)
    this.packetsIn += this.waiting.length
    this.superSegmentsIn += this.waiting.length - packets.length
    this.waiting = []
    this.merged.push(...packets)
  }

  writeBatch(tx: TxRing): number {
    if (this.isBlocked || this.isClosed) return 0
    let n = 0
    while (tx.count > 0) {
      const parts = segment(gather(tx))
      if (parts.length > 1) this.superSegmentsOut++
      tx.take(1)
      n++
      for (const part of parts) {
        if (part.length > this.caps.mtu) throw new Error(`a packet of ${part.length} bytes on a device with MTU ${this.caps.mtu}`)
        this.packetsOut++
        this.out(part)
      }
    }
    return n
  }

  onReady(cb: (readable: boolean, writable: boolean) => void): void {
    this.ready = cb
  }

  close(): void {
    this.isClosed = true
    this.waiting = []
    this.merged = []
  }
}

/** The oldest entry of a tx ring as one stretch: vnet header, headers, payload. */
function gather(tx: TxRing): Uint8Array {
  const meta = tx.meta
  const at = tx.head * TX_META_STRIDE
  const headOff = meta[at] as number
  const headLen = meta[at + 1] as number
  const out = new Uint8Array(headLen + (meta[at + 3] as number))
  out.set(tx.bytes.subarray(headOff, headOff + headLen))
  let n = headLen
  for (let i = 0; i < (meta[at + 2] as number); i++) {
    const off = meta[at + 4 + 2 * i] as number
    const len = meta[at + 5 + 2 * i] as number
    out.set(tx.bytes.subarray(off, off + len), n)
    n += len
  }
  return out
}
