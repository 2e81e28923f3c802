import { RX_SLOT_LEN, TX_META_STRIDE } from '../base/rings.js'
import type { RxRing, TxRing } from '../base/rings.js'
import type { DeviceCaps, PacketDevice } from './device.js'
import { OPEN_EXCLUSIVE, OPEN_MULTI_QUEUE, READY_GONE, READY_READ, READY_WRITE, STATS_LEN, native } from './native.js'
import type { NativeTun } from './native.js'

// linux/if_tun.h
const TUN_F_CSUM = 0x01
const TUN_F_TSO4 = 0x02
const TUN_F_TSO6 = 0x04
const TUN_F_TSO_ECN = 0x08

export interface TunOptions {
  /** Interface name, or a pattern such as 'tun%d'. */
  readonly name: string
  /** MTU that the host side gives the interface. Default 65535. */
  readonly mtu?: number
  /** One queue of a device that several workers share. */
  readonly multiQueue?: boolean
  /** Fail when the interface exists instead of taking over a persistent one. */
  readonly exclusive?: boolean
  /** Path of a network namespace in which the device is made. */
  readonly netns?: string
  /** Refuse super-segments, as a device without offloads would. For tests and measurements. */
  readonly noGso?: boolean
  /** Called once when the interface was deleted under us; nothing is read any more. */
  readonly onGone?: () => void
}

/**
 * A TUN interface as a packet device. It is readable when the kernel has routed something at it, and practically always
 * writable: a write is the kernel's receive path, run to its end.
 * Needs CAP_NET_ADMIN. The interface lives until `close` or the end of the process; addresses, MTU and state are the host side's.
 */
export class TunDevice implements PacketDevice {
  readonly caps: DeviceCaps
  readonly name: string
  /** What passed and what was refused, by STAT_* index. */
  readonly stats = new Float64Array(STATS_LEN)
  private readonly tun: NativeTun
  private readonly onGone: (() => void) | null
  private ready: ((readable: boolean, writable: boolean) => void) | null = null
  private isWatchingWrite = false
  private isClosed = false
  private rx: RxRing | null = null
  private tx: TxRing | null = null

  /** @throws the system's error (code EPERM, EBUSY, ENOENT, ...) when the interface cannot be opened. */
  constructor(options: TunOptions) {
    const flags = (options.multiQueue ? OPEN_MULTI_QUEUE : 0) | (options.exclusive ? OPEN_EXCLUSIVE : 0)
    const { Tun } = native()
    this.tun = new Tun(options.name, flags, options.netns ?? '', (ready) => this.onEvent(ready))
    this.name = this.tun.name
    this.onGone = options.onGone ?? null
    this.tun.attachStats(this.stats)
    const gso = options.noGso !== true && this.offerGso()
    if (!gso) this.tun.setOffloads(options.noGso === true ? 0 : TUN_F_CSUM)
    this.caps = { gso, mtu: options.mtu ?? 65_535 }
  }

  readBatch(rx: RxRing): number {
    if (rx !== this.rx) {
      this.tun.attachRx(rx.bytes.buffer as ArrayBuffer, rx.base, RX_SLOT_LEN, rx.lens)
      this.rx = rx
    }
    rx.count = this.tun.readBatch()
    return rx.count
  }

  writeBatch(tx: TxRing): number {
    if (tx.count === 0) return 0
    if (tx !== this.tx) {
      this.tun.attachTx(tx.bytes.buffer as ArrayBuffer, tx.meta, TX_META_STRIDE)
      this.tx = tx
    }
    const count = tx.count
    const done = this.tun.writeBatch(tx.head, count)
    tx.take(done)
    this.watchWrite(done < count)
    return done
  }

  onReady(cb: (readable: boolean, writable: boolean) => void): void {
    this.ready = cb
    this.tun.watch(READY_READ)
  }

  /** Lets the process end although the device is open. */
  unref(): void {
    this.tun.unref()
  }

  close(): void {
    this.isClosed = true
    this.tun.close()
  }

  private offerGso(): boolean {
    const base = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
    return this.tun.setOffloads(base | TUN_F_TSO_ECN) || this.tun.setOffloads(base)
  }

  private watchWrite(isBlocked: boolean): void {
    if (isBlocked === this.isWatchingWrite || this.ready === null) return
    this.isWatchingWrite = isBlocked
    this.tun.watch(isBlocked ? READY_READ | READY_WRITE : READY_READ)
  }

  private onEvent(ready: number): void {
    if ((ready & READY_GONE) !== 0) {
      if (!this.isClosed) this.onGone?.()
      return
    }
    this.ready?.((ready & READY_READ) !== 0, (ready & READY_WRITE) !== 0)
  }
}
