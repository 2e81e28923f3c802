import { IpAddress, type Tuple } from '../../src/base/address.js'
import { Arena } from '../../src/base/arena.js'
import { FlowTable } from '../../src/base/flow-table.js'
import { RX_SLOT_LEN, RxRing, TX_HEADER_ROOM, TxRing } from '../../src/base/rings.js'
import type { Rng } from '../../src/base/rng.js'
import { type Micros, NEVER } from '../../src/base/time.js'
import { TimerQueue } from '../../src/base/timers.js'
import { ICMP_REFUSED, ICMP_TOO_BIG, ICMP_UNREACHABLE, type TcpEndpoint } from '../../src/tcp/endpoint.js'
import { Packet, PARSE_OK, parsePacket } from '../../src/wire/packet.js'
import { ACK, buildRst, RST, SYN } from '../../src/wire/tcp.js'
import { parseOptionsOf, TcpOptions } from '../../src/wire/tcp-options.js'
import { SimDevice, type SimDeviceConfig } from './device.js'
import type { VirtualLoop } from './loop.js'

export interface SimHostConfig extends SimDeviceConfig {
  /** Socket buffers in bytes, default 1 MiB. */
  readonly sendBuffer?: number
  readonly receiveBuffer?: number
  /** Pages of payload memory, default 1024 (16 MiB). */
  readonly pages?: number
  /** Packets per batch, each way, default 64. */
  readonly slots?: number
}

/** What a host schedules: a socket with its endpoint or endpoints. */
export interface SimOwner {
  timer: number
  /** Transmits into `tx`; true when it was full and there is more. */
  pump(tx: TxRing, now: Micros): boolean
  /** After a pump that went through: tells the application. */
  settle(now: Micros): void
  nextTimeout(): Micros
  onTimeout(now: Micros): void
}

interface Flow {
  readonly endpoint: TcpEndpoint
  readonly owner: SimOwner
}

const SLOTS = 64

/** A host with sockets but without engine: packets from its device to endpoints, timers, transmission. The smallest user of the core. */
export abstract class SimHost {
  readonly device: SimDevice
  readonly arena: Arena
  readonly packets = { good: 0, bad: 0, unknown: 0, icmp: 0 }
  readonly loop: VirtualLoop
  readonly sendBuffer: number
  readonly receiveBuffer: number
  protected readonly rng: Rng
  protected readonly options = new TcpOptions()
  private readonly rx: RxRing
  private readonly tx: TxRing
  private readonly flows: FlowTable<Flow>
  private readonly timers = new TimerQueue()
  private readonly owners = new Map<number, SimOwner>()
  private readonly dirty = new Set<SimOwner>()
  private readonly packet = new Packet()
  private turnAt: Micros = NEVER
  private nextPort = 40_000

  constructor(loop: VirtualLoop, rng: Rng, config: SimHostConfig) {
    this.loop = loop
    this.rng = rng
    this.device = new SimDevice(loop, config)
    this.sendBuffer = config.sendBuffer ?? 1 << 20
    this.receiveBuffer = config.receiveBuffer ?? 1 << 20
    const slots = config.slots ?? SLOTS
    this.arena = new Arena(slots * (RX_SLOT_LEN + TX_HEADER_ROOM) + 4096, config.pages ?? 1024)
    this.rx = new RxRing(this.arena, slots)
    this.tx = new TxRing(this.arena, slots)
    this.flows = new FlowTable(rng.int32(), rng.int32())
    this.device.onReady(() => this.wake(loop.now))
  }

  /** A SYN to a tuple that no flow has. False: nobody listens there. */
  protected abstract onSyn(syn: Packet, tuple: Tuple, now: Micros): boolean

  get openFlows(): number {
    return this.flows.size
  }

  /** Something changed at `owner`: it is served in a turn of its own, at this instant. */
  touch(owner: SimOwner): void {
    if (owner.timer < 0) return
    this.dirty.add(owner)
    this.wake(this.loop.now)
  }

  addOwner(owner: SimOwner): void {
    owner.timer = this.timers.add()
    this.owners.set(owner.timer, owner)
    this.touch(owner)
  }

  removeOwner(owner: SimOwner): void {
    if (owner.timer < 0) return
    this.owners.delete(owner.timer)
    this.timers.remove(owner.timer)
    this.dirty.delete(owner)
    owner.timer = -1
  }

  bind(endpoint: TcpEndpoint, owner: SimOwner): void {
    const { local: l, remote: r, localPort, remotePort } = endpoint.tuple
    this.flows.set(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, (localPort << 16) | remotePort, { endpoint, owner })
  }

  unbind(endpoint: TcpEndpoint): void {
    const { local: l, remote: r, localPort, remotePort } = endpoint.tuple
    const ports = (localPort << 16) | remotePort
    const flow = this.flows.find(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, ports)
    if (flow?.endpoint === endpoint) this.flows.delete(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, ports)
  }

  freePort(): number {
    return this.nextPort++
  }

  private wake(at: Micros): void {
    if (at >= this.turnAt) return
    this.turnAt = at
    this.loop.at(at, () => {
      if (this.turnAt !== at) return // an earlier turn came in between and set another alarm
      this.turnAt = NEVER
      this.turn(this.loop.now)
    })
  }

  private turn(now: Micros): void {
    while (this.device.hasWaiting) {
      const n = this.device.readBatch(this.rx)
      for (let i = 0; i < n; i++) this.onPacket(this.rx.slotOff(i), this.rx.lens[i] as number, now)
    }
    for (let id = this.timers.popDue(now); id >= 0; id = this.timers.popDue(now)) {
      const owner = this.owners.get(id) as SimOwner
      owner.onTimeout(now)
      this.dirty.add(owner)
    }
    for (const owner of [...this.dirty]) this.serve(owner, now)
    this.flush()
    this.wake(this.dirty.size > 0 && !this.device.isBlocked ? now : this.timers.next())
  }

  private serve(owner: SimOwner, now: Micros): void {
    this.dirty.delete(owner)
    while (owner.pump(this.tx, now) || this.tx.count === this.tx.slots) {
      this.flush()
      if (this.tx.count < this.tx.slots) continue
      this.dirty.add(owner) // the device is full; it goes on when that changes
      return
    }
    if (owner.timer >= 0) this.timers.arm(owner.timer, owner.nextTimeout())
    owner.settle(now)
  }

  private flush(): void {
    this.device.writeBatch(this.tx)
    if (this.tx.count === 0) this.arena.recycle()
  }

  private onPacket(off: number, len: number, now: Micros): void {
    const p = this.packet
    if (parsePacket(this.rx.bytes, off, len, p) !== PARSE_OK) {
      this.packets.bad++
      return
    }
    if (p.proto !== 6) {
      this.onIcmp(p)
      return
    }
    this.packets.good++
    const ports = (p.dstPort << 16) | p.srcPort
    const flow = this.flows.find(p.dst0, p.dst1, p.dst2, p.dst3, p.src0, p.src1, p.src2, p.src3, ports)
    parseOptionsOf(p, this.options)
    const isSyn = (p.flags & (SYN | ACK | RST)) === SYN
    if (flow !== null && !(isSyn && flow.endpoint.mayReuse(p, this.options))) {
      if (!flow.endpoint.onSegment(p, this.options, now)) this.refuse(p)
      this.dirty.add(flow.owner)
      return
    }
    if (!isSyn || !this.onSyn(p, tupleOf(p), now)) this.refuse(p)
  }

  private refuse(p: Packet): void {
    this.packets.unknown++
    const at = this.tx.begin()
    if (at < 0) return
    const len = buildRst(this.tx.bytes, at, p)
    if (len > 0) this.tx.end(len)
  }

  private onIcmp(p: Packet): void {
    this.packets.icmp++
    if (p.qProto !== 6) return
    const ports = (p.qSrcPort << 16) | p.qDstPort
    const flow = this.flows.find(p.qSrc0, p.qSrc1, p.qSrc2, p.qSrc3, p.qDst0, p.qDst1, p.qDst2, p.qDst3, ports)
    if (flow === null) return
    const kind = p.icmpMtu >= 0 ? ICMP_TOO_BIG : p.family === 4 && p.icmpCode === 3 ? ICMP_REFUSED : ICMP_UNREACHABLE
    flow.endpoint.onIcmp(kind, p.icmpMtu, p.qSeq)
    this.dirty.add(flow.owner)
  }
}

function tupleOf(p: Packet): Tuple {
  return {
    local: new IpAddress(p.dst0, p.dst1, p.dst2, p.dst3),
    localPort: p.dstPort,
    remote: new IpAddress(p.src0, p.src1, p.src2, p.src3),
    remotePort: p.srcPort,
  }
}
