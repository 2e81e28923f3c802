import type { RxRing, TxRing } from '../base/rings.js'

export interface DeviceCaps {
  /** The device takes and hands out TCP super-segments (GSO metadata in the vnet header). */
  readonly gso: boolean
  /** Bytes of the largest IP packet without GSO, as the operating system sees the interface. */
  readonly mtu: number
}

/** A batched packet interface; the TUN, the simulator's hosts and the capture/fault/trace middlewares are all of this kind. */
export interface PacketDevice {
  readonly caps: DeviceCaps
  /** Fills `rx` from slot 0; returns the packets read (0: nothing there now). Sets `rx.count`. */
  readBatch(rx: RxRing): number
  /** Writes the oldest entries of `tx` and takes them off; returns how many. Fewer than `tx.count`: blocked, `onReady` tells when to go on. */
  writeBatch(tx: TxRing): number
  /** `cb(readable, writable)` is called outside of any turn when the device can go on. One subscriber. */
  onReady(cb: (readable: boolean, writable: boolean) => void): void
  close(): void
}
