import { IpAddress, type Tuple } from '../../src/base/address.js'
import { Arena } from '../../src/base/arena.js'
import { TX_HEADER_ROOM, TX_META_STRIDE, TxRing, VNET_HDR_LEN } from '../../src/base/rings.js'
import { Rng } from '../../src/base/rng.js'
import { StreamQueue } from '../../src/base/stream-queue.js'
import { type Micros, NEVER, US_PER_S } from '../../src/base/time.js'
import { PlainFlow } from '../../src/tcp/plain.js'
import { Bbr } from '../../src/tcp/cc/bbr.js'
import type { CongestionController, CongestionFactory } from '../../src/tcp/cc/controller.js'
import { type TcpConfig, tcpConfig } from '../../src/tcp/config.js'
import { TcpEndpoint } from '../../src/tcp/endpoint.js'
import type { Run, SeqOff } from '../../src/tcp/extension.js'
import { HalfOpen } from '../../src/tcp/half-open.js'
import { Packet, PARSE_OK, parsePacket } from '../../src/wire/packet.js'
import { ACK, CWR, FIN, PSH } from '../../src/wire/tcp.js'
import { parseOptionsOf, TcpOptions } from '../../src/wire/tcp-options.js'
import { EventHeap, PacketQueue, WirePacket } from './bulk-queue.js'

/** Receive window of every receiver: it limits nothing. */
const WINDOW = 1 << 29
/** More than any sender asks for at once. */
const ENDLESS = 1 << 29
const TX_SLOTS = 8

export interface BulkConfig {
  readonly seed: number
  /** Of the bottleneck; unlimited when infinite. */
  readonly bitsPerSecond: number
  readonly rttUs: Micros
  /** Packets that may wait in front of the bottleneck, the one in transmission included. */
  readonly queuePackets: number
  /** Probability that a packet is lost behind the bottleneck. */
  readonly loss?: number
  /** Share of packets that are held back, each by a random time of at most `holdUs`. */
  readonly reorder?: number
  readonly holdUs?: Micros
  readonly congestion: CongestionFactory
  readonly tcp?: Partial<TcpConfig>
}

/** Bytes that stand for all others: nothing is stored. */
class EndlessQueue extends StreamQueue {
  override tx(_off: number, len: number, tx: TxRing): void {
    tx.iov(0, len)
  }
}

/** An application that always has more, and one that reads at once. */
class EndlessFlow extends PlainFlow {
  /** False: nothing is sent. */
  isSending = false
  received = 0
  endpoint: TcpEndpoint | null = null

  override pending(): number {
    return this.isSending ? ENDLESS : 0
  }

  override prepare(seqOff: SeqOff, maxLen: number, _now: Micros, run: Run): boolean {
    return this.runAt(seqOff, maxLen, run)
  }

  override commit(): void {}

  override runAt(seqOff: SeqOff, maxLen: number, run: Run): boolean {
    run.queue = this.out
    run.off = seqOff - 1
    run.len = maxLen
    return true
  }

  override acked(): void {}

  override finAt(): SeqOff {
    return -1
  }

  override accept(_seqOff: SeqOff, _mem: Uint8Array, _off: number, len: number): number {
    return len
  }

  override edge(): SeqOff {
    return (this.endpoint?.rcvNxt ?? 1) + WINDOW
  }

  override ownWindow(): number {
    return WINDOW
  }
}

/** One connection: its sender, its receiver, and what was counted. */
export class BulkFlow {
  readonly sender: TcpEndpoint
  receiver: TcpEndpoint | null = null
  readonly source: EndlessFlow
  readonly sink: EndlessFlow
  readonly startAt: Micros
  /** Packets that the network took from the sender and that it lost at random. */
  packets = 0
  lost = 0
  /** Reductions of the window: fast recoveries and first timeouts. */
  lossEvents = 0
  timeouts = 0
  readonly serverTuple: Tuple

  constructor(sim: BulkSim, index: number, startAt: Micros) {
    const local = IpAddress.v4(0x0a000001 + index)
    const remote = IpAddress.v4(0x0a010001)
    this.startAt = startAt
    this.source = new EndlessFlow(new EndlessQueue(sim.arena, 1), new EndlessQueue(sim.arena, 1))
    this.sink = new EndlessFlow(new EndlessQueue(sim.arena, 1), new EndlessQueue(sim.arena, 1))
    const tuple = { local, localPort: 1000 + index, remote, remotePort: 80 }
    this.serverTuple = { local: remote, localPort: 80, remote: local, remotePort: 1000 + index }
    const cfg = tcpConfig({ windowScale: 14, ...sim.config.tcp, congestion: (iw) => this.counted(sim.config.congestion(iw)) })
    this.sender = new TcpEndpoint(cfg, tuple, 1000 * index, this.source, this.source, this.source)
    this.source.endpoint = this.sender
    this.source.isSending = true
  }

  /** Bytes that arrived in order. */
  get received(): number {
    return this.receiver === null ? 0 : this.receiver.bytesReceived
  }

  get hasLeftSlowStart(): boolean {
    const cc = this.sender.snd.cc
    return cc instanceof Bbr ? cc.isSteady : cc.cwnd >= cc.ssthresh
  }

  private counted(cc: CongestionController): CongestionController {
    const { onCongestion, onRto } = cc
    cc.onCongestion = (...args) => {
      this.lossEvents++
      onCongestion.apply(cc, args)
    }
    cc.onRto = (...args) => {
      this.timeouts++
      if (args[2]) this.lossEvents++
      onRto.apply(cc, args)
    }
    return cc
  }
}

/**
 * Bulk transfers over one bottleneck in virtual time, made for millions of packets: real endpoints and real headers, but no payload,
 * no checksums, and queues instead of closures.
 *
 *     senders --> queue, bottleneck --> loss --> reordering --> half RTT --> receivers
 *        ^--------------------- half RTT, nothing else -------------------------+
 */
export class BulkSim {
  readonly config: BulkConfig
  readonly arena = new Arena(TX_SLOTS * TX_HEADER_ROOM + 4096, 16)
  readonly flows: BulkFlow[] = []
  now: Micros = 0
  /** Dropped by the full queue. */
  overflowed = 0
  /** Packets held back by reordering. */
  held = 0
  private readonly rng: Rng
  private readonly tx: TxRing
  private readonly pkt = new Packet()
  private readonly opts = new TcpOptions()
  /** Waiting for the transmitter; behind it on the way; held back; ACKs on the way. */
  private readonly waiting = new PacketQueue()
  private readonly forward = new PacketQueue()
  private readonly late = new EventHeap()
  private readonly backward = new PacketQueue()
  private freeAt: Micros = 0
  /** Bytes that the transmitter took. */
  private acceptedBytes = 0
  private waitingBytes = 0
  private readonly pool: WirePacket[] = []

  constructor(config: BulkConfig, starts: readonly Micros[] = [0]) {
    this.config = config
    this.rng = new Rng(config.seed)
    this.tx = new TxRing(this.arena, TX_SLOTS)
    // not all from the same phase of the clock
    starts.forEach((at, i) => {
      this.flows.push(new BulkFlow(this, i, at + this.rng.below(Math.ceil(config.rttUs))))
    })
  }

  /** Bytes that have left the bottleneck. */
  get wireBytes(): number {
    this.depart()
    return this.acceptedBytes - this.waitingBytes
  }

  get queueLength(): number {
    return this.waiting.length
  }

  /** Until `until`, or until `isDone`, asked after every event, holds. */
  run(until: Micros, isDone: () => boolean = () => false): void {
    for (;;) {
      const next = this.nextAt()
      if (next > until) {
        this.now = until
        return
      }
      this.now = Math.max(this.now, next)
      this.step()
      if (isDone()) return
    }
  }

  private nextAt(): Micros {
    let at = Math.min(this.forward.headAt, this.late.headAt, this.backward.headAt)
    for (const flow of this.flows) {
      at = Math.min(at, flow.sender.state === 0 ? flow.startAt : flow.sender.nextTimeout(), flow.receiver?.nextTimeout() ?? NEVER)
    }
    return at
  }

  private step(): void {
    const now = this.now
    if (this.backward.headAt <= now) this.deliver(this.backward.shift(), false)
    else if (this.late.headAt <= now) this.deliver(this.late.pop(), true)
    else if (this.forward.headAt <= now) this.deliver(this.forward.shift(), true)
    else {
      for (const flow of this.flows) {
        const { sender, receiver } = flow
        if (sender.state === 0) {
          if (flow.startAt > now) continue
          sender.connect(now)
          this.poll(flow, true)
        } else if (sender.nextTimeout() <= now) {
          sender.onTimeout(now)
          this.poll(flow, true)
        }
        if (receiver !== null && receiver.nextTimeout() <= now) {
          receiver.onTimeout(now)
          this.poll(flow, false)
        }
      }
    }
  }

  private deliver(w: WirePacket, toReceiver: boolean): void {
    const flow = this.flows[w.flow] as BulkFlow
    const { pkt, opts } = this
    w.fill(pkt, opts)
    pkt.mem = this.arena.bytes
    this.pool.push(w)
    if (!toReceiver) flow.sender.onSegment(pkt, opts, this.now)
    else if (flow.receiver === null) {
      const half = new HalfOpen(flow.sender.cfg, flow.serverTuple, pkt, opts, this.now)
      flow.receiver = half.accept(flow.sender.cfg, 77, flow.sink, flow.sink, flow.sink, this.now)
      flow.sink.endpoint = flow.receiver
    } else flow.receiver.onSegment(pkt, opts, this.now)
    this.poll(flow, !toReceiver)
  }

  private poll(flow: BulkFlow, isSender: boolean): void {
    const endpoint = isSender ? flow.sender : (flow.receiver as TcpEndpoint)
    const { tx, now } = this
    while (endpoint.pollTransmit(tx, now)) {
      while (tx.count > 0) {
        this.send(flow, isSender)
        tx.take(1)
      }
    }
    endpoint.takeEvents()
  }

  /** Cuts the oldest entry of the ring into packets and sends them on their way. */
  private send(flow: BulkFlow, isForward: boolean): void {
    const at = this.tx.head * TX_META_STRIDE
    const hdrOff = this.tx.meta[at] as number
    const payload = this.tx.meta[at + 3] as number
    const { pkt, opts } = this
    const headers = (this.tx.meta[at + 1] as number) - VNET_HDR_LEN
    if (parsePacket(this.tx.bytes, hdrOff, VNET_HDR_LEN + headers + payload, pkt) !== PARSE_OK) throw new Error('a packet does not parse')
    parseOptionsOf(pkt, opts)
    const size = pkt.gsoSize > 0 ? pkt.gsoSize : payload
    for (let off = 0; ; off += size) {
      const w = this.pool.pop() ?? new WirePacket()
      const n = Math.min(size, payload - off)
      w.take(pkt, opts, flow.sender === this.flows[0]?.sender ? 0 : this.flows.indexOf(flow))
      w.seq = (pkt.seq + off) | 0
      w.payLen = n
      w.len = headers + n
      if (off > 0) w.flags &= ~CWR
      if (off + n < payload) w.flags &= ~(FIN | PSH)
      if (isForward) this.intoBottleneck(flow, w)
      else {
        w.at = this.now + this.config.rttUs / 2
        this.backward.push(w)
      }
      if (off + n >= payload) break
    }
  }

  private intoBottleneck(flow: BulkFlow, w: WirePacket): void {
    const { config, now } = this
    flow.packets++
    let out = now
    if (config.bitsPerSecond !== Number.POSITIVE_INFINITY) {
      this.depart()
      if (this.waiting.length >= config.queuePackets) {
        this.overflowed++
        this.pool.push(w)
        return
      }
      this.freeAt = Math.max(this.freeAt, now) + (w.len * 8 * US_PER_S) / config.bitsPerSecond
      out = this.freeAt
      const mark = this.pool.pop() ?? new WirePacket()
      mark.at = out
      mark.len = w.len
      this.waiting.push(mark)
      this.waitingBytes += w.len
    }
    this.acceptedBytes += w.len
    if ((w.flags & (ACK | PSH)) !== 0 && this.rng.chance(config.loss ?? 0)) {
      flow.lost++
      this.pool.push(w)
      return
    }
    w.at = out + config.rttUs / 2
    if (this.rng.chance(config.reorder ?? 0)) {
      this.held++
      w.at += this.rng.float() * (config.holdUs ?? 0)
      this.late.push(w)
    } else this.forward.push(w)
  }

  /** What the transmitter has finished leaves the queue. */
  private depart(): void {
    while (this.waiting.headAt <= this.now) {
      const mark = this.waiting.shift()
      this.waitingBytes -= mark.len
      this.pool.push(mark)
    }
  }
}
