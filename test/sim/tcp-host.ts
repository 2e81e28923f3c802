import { IpAddress, type Tuple } from '../../src/base/address.js'
import { Arena } from '../../src/base/arena.js'
import { FlowTable } from '../../src/base/flow-table.js'
import { RX_SLOT_LEN, RxRing, TX_HEADER_ROOM, TxRing } from '../../src/base/rings.js'
import type { Rng } from '../../src/base/rng.js'
import { StreamQueue } from '../../src/base/stream-queue.js'
import { NEVER } from '../../src/base/time.js'
import { TimerQueue } from '../../src/base/timers.js'
import { type TcpConfig, tcpConfig } from '../../src/tcp/config.js'
import { ICMP_REFUSED, ICMP_TOO_BIG, ICMP_UNREACHABLE, TcpEndpoint } from '../../src/tcp/endpoint.js'
import { HalfOpen } from '../../src/tcp/half-open.js'
import { PlainFlow } from '../../src/tcp/plain.js'
import { CAUSE_NONE, type CloseCause, EV_CLOSED, EV_ESTABLISHED } from '../../src/tcp/state.js'
import { Packet, PARSE_OK, parsePacket } from '../../src/wire/packet.js'
import { ACK, buildRst, RST, SYN } from '../../src/wire/tcp.js'
import { parseTcpOptions, TcpOptions } from '../../src/wire/tcp-options.js'
import type { ByteSocket } from './byte-socket.js'
import { SimDevice, type SimDeviceConfig } from './device.js'
import type { VirtualLoop } from './loop.js'

export interface TcpHostConfig extends SimDeviceConfig {
  readonly tcp?: Partial<TcpConfig>
  /** Socket buffers in bytes. */
  readonly sendBuffer?: number
  readonly receiveBuffer?: number
  readonly pages?: number
}

const RX_SLOTS = 64
const TX_SLOTS = 64

/**
 * A host with plain TCP sockets: our endpoints without engine. It stands for the kernel of an application or a server, and is
 * the smallest user of src/tcp.
 */
export class TcpHost {
  readonly device: SimDevice
  readonly arena: Arena
  /** Packets by what became of them. */
  readonly counters = { good: 0, bad: 0, unknown: 0, icmp: 0 }
  readonly loop: VirtualLoop
  readonly cfg: TcpConfig
  readonly settings: Required<Pick<TcpHostConfig, 'sendBuffer' | 'receiveBuffer'>>
  private readonly rng: Rng
  private readonly rx: RxRing
  private readonly tx: TxRing
  private readonly flows: FlowTable<TcpSocket>
  private readonly listeners = new Map<number, (socket: TcpSocket) => void>()
  private readonly timers = new TimerQueue()
  private readonly byTimer = new Map<number, TcpSocket>()
  private readonly dirty = new Set<TcpSocket>()
  private turnAt = NEVER
  private readonly packet = new Packet()
  private readonly options = new TcpOptions()
  private nextPort = 40_000

  constructor(loop: VirtualLoop, rng: Rng, config: TcpHostConfig = {}) {
    this.loop = loop
    this.rng = rng
    this.device = new SimDevice(config)
    const mtu = this.device.caps.mtu
    this.cfg = tcpConfig({ mss4: mtu - 40, mss6: mtu - 60, gso: this.device.caps.gso, ...config.tcp })
    this.settings = { sendBuffer: config.sendBuffer ?? 1 << 20, receiveBuffer: config.receiveBuffer ?? 1 << 20 }
    this.arena = new Arena(RX_SLOTS * RX_SLOT_LEN + TX_SLOTS * TX_HEADER_ROOM + 4096, config.pages ?? 1024)
    this.rx = new RxRing(this.arena, RX_SLOTS)
    this.tx = new TxRing(this.arena, TX_SLOTS)
    this.flows = new FlowTable(rng.int32(), rng.int32())
    this.device.onReady(() => this.wake(loop.now))
  }

  /** Accepts connections to `port` on every address. */
  listen(port: number, onSocket: (socket: TcpSocket) => void): void {
    this.listeners.set(port, onSocket)
  }

  /** An active open; `onActivity` of the socket tells the outcome. */
  connect(local: IpAddress, remote: IpAddress, remotePort: number, localPort = this.nextPort++): TcpSocket {
    const socket = new TcpSocket(this, { local, localPort, remote, remotePort })
    socket.endpoint = new TcpEndpoint(this.cfg, socket.tuple, this.rng.int32(), socket.flow, socket.flow, socket.flow)
    socket.endpoint.connect(this.loop.now)
    this.add(socket)
    return socket
  }

  get openSockets(): number {
    return this.flows.size
  }

  /** Something changed at `socket`: it is served in a turn of its own, at this instant. */
  touch(socket: TcpSocket): void {
    this.dirty.add(socket)
    this.wake(this.loop.now)
  }

  private wake(at: number): void {
    if (at >= this.turnAt) return
    this.turnAt = at
    this.loop.at(at, () => {
      if (this.turnAt !== at) return // an earlier turn came in between and set another alarm
      this.turnAt = NEVER
      this.turn(this.loop.now)
    })
  }

  private turn(now: number): void {
    while (this.device.hasWaiting) {
      const n = this.device.readBatch(this.rx)
      for (let i = 0; i < n; i++) this.onPacket(this.rx.slotOff(i), this.rx.lens[i] as number, now)
    }
    for (let id = this.timers.popDue(now); id >= 0; id = this.timers.popDue(now)) {
      const socket = this.byTimer.get(id) as TcpSocket
      socket.endpoint.onTimeout(now)
      this.dirty.add(socket)
    }
    for (const socket of [...this.dirty]) {
      this.dirty.delete(socket)
      this.pump(socket, now)
    }
    this.flush()
    this.wake(this.dirty.size > 0 ? now : this.timers.next())
  }

  private pump(socket: TcpSocket, now: number): void {
    const ep = socket.endpoint
    while (ep.pollTransmit(this.tx, now)) if (this.tx.count === TX_SLOTS) this.flush()
    if (this.tx.count === TX_SLOTS) this.dirty.add(socket)
    this.timers.arm(socket.timer, ep.nextTimeout())
    socket.notice(ep.takeEvents())
    if (ep.isDone) this.remove(socket)
    socket.onActivity()
  }

  private flush(): void {
    this.device.writeBatch(this.tx)
    if (this.tx.count === 0) this.arena.recycle()
  }

  private onPacket(off: number, len: number, now: number): void {
    const p = this.packet
    if (parsePacket(this.rx.bytes, off, len, p) !== PARSE_OK) {
      this.counters.bad++
      return
    }
    if (p.proto !== 6) {
      this.onIcmp(p, now)
      return
    }
    this.counters.good++
    const ports = (p.dstPort << 16) | p.srcPort
    const socket = this.flows.find(p.dst0, p.dst1, p.dst2, p.dst3, p.src0, p.src1, p.src2, p.src3, ports)
    parseTcpOptions(p.mem, p.optOff, p.optLen, (p.flags & SYN) !== 0, this.options)
    if (socket !== null && !this.isNewIncarnation(socket, p)) {
      if (!socket.endpoint.onSegment(p, this.options, now)) this.refuse(p)
      this.dirty.add(socket)
      return
    }
    const onSocket = this.listeners.get(p.dstPort)
    if (onSocket === undefined || (p.flags & (SYN | ACK | RST)) !== SYN) {
      this.refuse(p)
      return
    }
    if (socket !== null) this.remove(socket)
    const made = new TcpSocket(this, tupleOf(p))
    const half = new HalfOpen(this.cfg, made.tuple, p, this.options, now)
    made.endpoint = half.accept(this.cfg, this.rng.int32(), made.flow, made.flow, made.flow, now)
    this.add(made)
    onSocket(made)
  }

  private isNewIncarnation(socket: TcpSocket, p: Packet): boolean {
    return (p.flags & (SYN | ACK | RST)) === SYN && socket.endpoint.mayReuse(p, this.options)
  }

  private refuse(p: Packet): void {
    this.counters.unknown++
    const at = this.tx.begin()
    if (at < 0) return
    const len = buildRst(this.tx.bytes, at, p)
    if (len > 0) this.tx.end(len)
  }

  private onIcmp(p: Packet, now: number): void {
    this.counters.icmp++
    if (p.qProto !== 6) return
    const ports = (p.qSrcPort << 16) | p.qDstPort
    const socket = this.flows.find(p.qSrc0, p.qSrc1, p.qSrc2, p.qSrc3, p.qDst0, p.qDst1, p.qDst2, p.qDst3, ports)
    if (socket === null) return
    const kind = p.icmpMtu >= 0 ? ICMP_TOO_BIG : p.family === 4 && p.icmpCode === 3 ? ICMP_REFUSED : ICMP_UNREACHABLE
    socket.endpoint.onIcmp(kind, p.icmpMtu, p.qSeq)
    this.dirty.add(socket)
    void now
  }

  private add(socket: TcpSocket): void {
    const { local: l, remote: r, localPort, remotePort } = socket.tuple
    this.flows.set(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, (localPort << 16) | remotePort, socket)
    socket.timer = this.timers.add()
    this.byTimer.set(socket.timer, socket)
    this.touch(socket)
  }

  private remove(socket: TcpSocket): void {
    if (this.byTimer.get(socket.timer) !== socket) return
    const { local: l, remote: r, localPort, remotePort } = socket.tuple
    this.flows.delete(l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, (localPort << 16) | remotePort)
    this.byTimer.delete(socket.timer)
    this.timers.remove(socket.timer)
  }
}

/** A connected or connecting plain TCP socket. */
export class TcpSocket implements ByteSocket {
  readonly tuple: Tuple
  readonly flow: PlainFlow
  endpoint!: TcpEndpoint
  timer = -1
  isOpen = false
  isClosed = false
  cause: CloseCause = CAUSE_NONE
  onActivity: () => void = () => {}
  private readonly host: TcpHost

  constructor(host: TcpHost, tuple: Tuple) {
    this.host = host
    this.tuple = tuple
    const { sendBuffer, receiveBuffer } = host.settings
    this.flow = new PlainFlow(new StreamQueue(host.arena, sendBuffer), new StreamQueue(host.arena, receiveBuffer))
  }

  write(data: Uint8Array, off: number, len: number): number {
    const n = this.flow.out.append(data, off, len)
    if (n > 0) this.host.touch(this)
    return n
  }

  end(): void {
    this.flow.out.setFin(this.flow.out.readyEnd)
    this.host.touch(this)
  }

  read(dst: Uint8Array, off: number, max: number): number {
    const queue = this.flow.in
    const n = Math.min(max, queue.ready)
    if (n === 0) return 0
    queue.copyOut(queue.base, dst, off, n)
    queue.release(queue.base + n)
    this.host.touch(this)
    return n
  }

  get isReadEnded(): boolean {
    const queue = this.flow.in
    return queue.isFinReady() && queue.base === queue.readyEnd
  }

  abort(): void {
    this.endpoint.abort()
    this.host.touch(this)
  }

  /** Takes over what the endpoint reports; by the host. */
  notice(events: number): void {
    if ((events & EV_ESTABLISHED) !== 0) this.isOpen = true
    if ((events & EV_CLOSED) !== 0) {
      this.isClosed = true
      this.cause = this.endpoint.cause
    }
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
