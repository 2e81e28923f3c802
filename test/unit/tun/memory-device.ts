import { Arena } from '../../../src/base/arena.js'
import { RX_SLOT_LEN, RxRing, TX_HEADER_ROOM, TxRing } from '../../../src/base/rings.js'
import type { DeviceCaps, PacketDevice } from '../../../src/tun/device.js'
import { copyEntry, entryLen } from '../../../src/tun/tx-entry.js'

/** A device without a system under it: hands out what is put into `incoming`, keeps what it is given in `written`. */
export class MemoryDevice implements PacketDevice {
  readonly caps: DeviceCaps = { gso: true, mtu: 65_535 }
  readonly incoming: Uint8Array[] = []
  readonly written: Uint8Array[] = []
  /** Packets that it takes until it is blocked. */
  room = Number.POSITIVE_INFINITY
  isClosed = false
  ready: ((readable: boolean, writable: boolean) => void) | null = null

  readBatch(rx: RxRing): number {
    rx.count = 0
    while (rx.count < rx.slots) {
      const packet = this.incoming.shift()
      if (packet === undefined) break
      rx.bytes.set(packet, rx.slotOff(rx.count))
      rx.lens[rx.count++] = packet.length
    }
    return rx.count
  }

  writeBatch(tx: TxRing): number {
    let done = 0
    for (; tx.count > 0 && this.room > 0; this.room--, done++) {
      const packet = new Uint8Array(entryLen(tx, tx.head))
      copyEntry(tx, tx.head, packet, 0, packet.length)
      this.written.push(packet)
      tx.take(1)
    }
    return done
  }

  onReady(cb: (readable: boolean, writable: boolean) => void): void {
    this.ready = cb
  }

  close(): void {
    this.isClosed = true
  }
}

export interface Rings {
  readonly arena: Arena
  readonly rx: RxRing
  readonly tx: TxRing
}

export function rings(slots: number): Rings {
  const arena = new Arena(slots * (RX_SLOT_LEN + TX_HEADER_ROOM) + 128 * slots, 8)
  return { arena, rx: new RxRing(arena, slots), tx: new TxRing(arena, slots) }
}

/** Puts a packet, vnet header included, on the ring: `headerLen` bytes in the header room, the rest in a page. */
export function push(r: Rings, packet: Uint8Array, headerLen: number): void {
  const at = r.tx.begin()
  if (at < 0) throw new Error('ring full')
  r.arena.bytes.set(packet.subarray(0, headerLen), at)
  if (packet.length > headerLen) {
    const page = r.arena.allocPage()
    r.arena.bytes.set(packet.subarray(headerLen), page)
    r.tx.iov(page, packet.length - headerLen)
  }
  r.tx.end(headerLen)
}

/** The packets that an rx ring holds. */
export function received(rx: RxRing): Uint8Array[] {
  return Array.from({ length: rx.count }, (_, i) => rx.bytes.slice(rx.slotOff(i), rx.slotOff(i) + (rx.lens[i] as number)))
}
