import { type Micros, NEVER } from '../../src/base/time.js'
import type { Packet } from '../../src/wire/packet.js'
import type { TcpOptions } from '../../src/wire/tcp-options.js'

const SACK_BLOCKS = 4

/** What matters of one packet on its way; reused. */
export class WirePacket {
  /** When the next thing happens to it. */
  at: Micros = 0
  /** Length with IP header. */
  len = 0
  flow = 0
  seq = 0
  ack = 0
  flags = 0
  window = 0
  tclass = 0
  payLen = 0
  mss = -1
  wscale = -1
  sackPermitted = false
  hasTs = false
  tsVal = 0
  tsEcr = 0
  sackCount = 0
  readonly sack = new Int32Array(2 * SACK_BLOCKS)

  take(pkt: Packet, opts: TcpOptions, flow: number): void {
    this.flow = flow
    this.ack = pkt.ack
    this.flags = pkt.flags
    this.window = pkt.window
    this.tclass = pkt.tclass
    this.mss = opts.mss
    this.wscale = opts.wscale
    this.sackPermitted = opts.sackPermitted
    this.hasTs = opts.hasTs
    this.tsVal = opts.tsVal
    this.tsEcr = opts.tsEcr
    this.sackCount = opts.sackCount
    for (let i = 0; i < opts.sackCount; i++) {
      this.sack[2 * i] = opts.sackLeft[i] as number
      this.sack[2 * i + 1] = opts.sackRight[i] as number
    }
  }

  fill(pkt: Packet, opts: TcpOptions): void {
    pkt.seq = this.seq
    pkt.ack = this.ack
    pkt.flags = this.flags
    pkt.window = this.window
    pkt.tclass = this.tclass
    pkt.payLen = this.payLen
    pkt.payOff = 0
    pkt.gsoSize = 0
    opts.mss = this.mss
    opts.wscale = this.wscale
    opts.sackPermitted = this.sackPermitted
    opts.hasTs = this.hasTs
    opts.tsVal = this.tsVal
    opts.tsEcr = this.tsEcr
    opts.sackCount = this.sackCount
    for (let i = 0; i < this.sackCount; i++) {
      opts.sackLeft[i] = this.sack[2 * i] as number
      opts.sackRight[i] = this.sack[2 * i + 1] as number
    }
  }
}

/** First in, first out; a ring that grows. */
export class PacketQueue {
  length = 0
  private ring: WirePacket[] = []
  private mask = -1
  private head = 0

  /** Instant of the first, NEVER when empty. */
  get headAt(): Micros {
    return this.length === 0 ? NEVER : (this.ring[this.head & this.mask] as WirePacket).at
  }

  push(w: WirePacket): void {
    if (this.length > this.mask) this.grow()
    this.ring[(this.head + this.length++) & this.mask] = w
  }

  /** The caller knows that there is one. */
  shift(): WirePacket {
    const w = this.ring[this.head & this.mask] as WirePacket
    this.head = (this.head + 1) & this.mask
    this.length--
    return w
  }

  private grow(): void {
    const size = Math.max(64, 2 * this.ring.length)
    const ring: WirePacket[] = []
    for (let i = 0; i < size; i++) ring.push(this.ring[(this.head + (i < this.length ? i : 0)) & this.mask] as WirePacket)
    this.ring = ring
    this.mask = size - 1
    this.head = 0
  }
}

/** Packets by instant. */
export class EventHeap {
  private readonly heap: WirePacket[] = []

  get headAt(): Micros {
    return this.heap.length === 0 ? NEVER : (this.heap[0] as WirePacket).at
  }

  push(w: WirePacket): void {
    const heap = this.heap
    let i = heap.length
    heap.push(w)
    for (; i > 0; i = (i - 1) >> 1) {
      const parent = heap[(i - 1) >> 1] as WirePacket
      if (parent.at <= w.at) break
      heap[i] = parent
    }
    heap[i] = w
  }

  /** The caller knows that there is one. */
  pop(): WirePacket {
    const heap = this.heap
    const first = heap[0] as WirePacket
    const w = heap.pop() as WirePacket
    if (heap.length === 0) return first
    let i = 0
    for (let child = 1; child < heap.length; child = 2 * i + 1) {
      if (child + 1 < heap.length && (heap[child + 1] as WirePacket).at < (heap[child] as WirePacket).at) child++
      if ((heap[child] as WirePacket).at >= w.at) break
      heap[i] = heap[child] as WirePacket
      i = child
    }
    heap[i] = w
    return first
  }
}
