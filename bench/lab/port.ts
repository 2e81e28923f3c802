import { VNET_HDR_LEN } from '../../src/base/rings.js'
import { native, OPEN_EXCLUSIVE, READY_GONE, READY_READ, STAT_TX_BLOCKED, STAT_TX_PACKETS, STATS_LEN } from '../../src/tun/native.js'
import type { NativeTun } from '../../src/tun/native.js'
import type { Sink } from '../../test/sim/node.js'
import type { PacketPool } from './packet-pool.js'
import type { RealLoop } from './real-loop.js'

const IP_HEADER_LEN = 20

/** Packets that one read fetches: a full batch means that there is more. */
const RX_SLOTS = 64

/** Receive slots that all ports share: a packet is copied to the pool before the next read. */
export class RxArea {
  readonly slotLen: number
  readonly lens = new Int32Array(RX_SLOTS)
  readonly bytes: Uint8Array

  constructor(maxLen: number) {
    this.slotLen = (VNET_HDR_LEN + maxLen + 64) & ~63
    this.bytes = new Uint8Array(RX_SLOTS * this.slotLen)
  }
}

/**
 * One end of a link: a TUN device in a node's namespace. It offers the kernel no offloads, so that super-segments are cut and
 * checksums completed before a packet gets here: one packet here is one packet on the wire.
 */
export class Port {
  readonly device: string
  /** Packets that could not enter: no slot left, or longer than the MTU or no packet at all. */
  droppedPool = 0
  droppedLen = 0
  /** Where packets from the node go. */
  out: Sink = () => {}
  /** The ports of the same node: what the kernel forwards or answers to a packet stands in one of them when the write returns. */
  siblings: readonly Port[] = []
  private readonly loop: RealLoop
  private readonly pool: PacketPool
  private readonly area: RxArea
  private readonly mtu: number
  private readonly tun: NativeTun
  private readonly stats = new Float64Array(STATS_LEN)
  /** The one entry of the tx ring: headerOff, headerLen, no pieces. */
  private readonly entry = new Int32Array(4)
  private isOpen = true
  private usualSibling = 0

  /** Opens device `name` in the network namespace at the path `netns`; addresses and state are the caller's. */
  constructor(loop: RealLoop, pool: PacketPool, area: RxArea, netns: string, name: string, mtu: number) {
    this.loop = loop
    this.pool = pool
    this.area = area
    this.mtu = mtu
    const { Tun } = native()
    this.tun = new Tun(name, OPEN_EXCLUSIVE, netns, (ready) => this.onReady(ready))
    this.device = this.tun.name
    this.tun.setOffloads(0)
    this.tun.attachStats(this.stats)
    this.tun.attachRx(area.bytes.buffer as ArrayBuffer, 0, area.slotLen, area.lens)
    this.tun.attachTx(pool.buffer, this.entry, 4)
  }

  /** Whether packets from the node wake the loop. */
  watch(isWatched: boolean): void {
    if (this.isOpen) this.tun.watch(isWatched ? READY_READ : 0)
  }

  /** Packets that the kernel took, and those that it refused: the device is down or has no memory. */
  get written(): number {
    return this.stats[STAT_TX_PACKETS] as number
  }

  get refused(): number {
    let refused = 0
    for (let i = STAT_TX_BLOCKED; i < STATS_LEN; i++) refused += this.stats[i] as number
    return refused
  }

  /** Hands a packet to the node, then takes up what the node did with it. */
  readonly write: Sink = (packet) => {
    const { pool, loop } = this
    if (!this.isOpen) {
      pool.give(packet)
      return
    }
    const own = pool.owns(packet) ? packet : pool.copy(packet, 0, packet.length)
    if (own === null) {
      this.droppedPool++
      return
    }
    loop.lateness.record(loop.lateUs)
    this.entry[0] = own.byteOffset - VNET_HDR_LEN
    this.entry[1] = own.length + VNET_HDR_LEN
    this.tun.writeBatch(0, 1)
    pool.give(own)
    loop.dateReads()
    this.readSiblings()
  }

  close(): void {
    this.isOpen = false
    this.tun.close()
  }

  /** Takes up what the node has sent. @returns whether that was anything */
  readonly read = (): boolean => {
    if (!this.isOpen) return false
    const { area, pool, mtu } = this
    let total = 0
    for (let count = RX_SLOTS; count === RX_SLOTS; total += count) {
      count = this.tun.readBatch()
      for (let i = 0; i < count; i++) {
        const len = (area.lens[i] as number) - VNET_HDR_LEN
        if (len > mtu || len < IP_HEADER_LEN) {
          this.droppedLen++
          continue
        }
        const packet = pool.copy(area.bytes, i * area.slotLen + VNET_HDR_LEN, len)
        if (packet === null) this.droppedPool++
        else this.out(packet)
      }
    }
    return total > 0
  }

  /** A packet mostly leads to others at one device, and that is mostly the one of last time. What is missed here arrives by itself. */
  private readSiblings(): void {
    if (this.siblings[this.usualSibling]?.read() === true) return
    for (let i = 0; i < this.siblings.length; i++) {
      if (i === this.usualSibling || this.siblings[i]?.read() !== true) continue
      this.usualSibling = i
      return
    }
  }

  private onReady(ready: number): void {
    if ((ready & READY_GONE) !== 0) this.isOpen = false
    else this.loop.onArrival(this.read)
  }
}
