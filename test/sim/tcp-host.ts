import type { IpAddress, Tuple } from '../../src/base/address.js'
import type { TxRing } from '../../src/base/rings.js'
import type { Rng } from '../../src/base/rng.js'
import { StreamQueue } from '../../src/base/stream-queue.js'
import type { Micros } from '../../src/base/time.js'
import { type TcpConfig, tcpConfig } from '../../src/tcp/config.js'
import { TcpEndpoint } from '../../src/tcp/endpoint.js'
import { HalfOpen } from '../../src/tcp/half-open.js'
import { InitialNumbers } from '../../src/tcp/isn.js'
import { PlainFlow } from '../../src/tcp/plain.js'
import { CAUSE_NONE, type CloseCause, EV_CLOSED, EV_ESTABLISHED } from '../../src/tcp/state.js'
import type { Packet } from '../../src/wire/packet.js'
import { QueueSocket } from './byte-socket.js'
import { SimHost, type SimHostConfig, type SimOwner } from './host.js'
import type { VirtualLoop } from './loop.js'

export interface TcpHostConfig extends SimHostConfig {
  readonly tcp?: Partial<TcpConfig>
  /** Initial sequence number of every connection instead of a random one. */
  readonly isn?: number
}

/** A host with plain TCP sockets. It stands for the kernel of an application or of a server. */
export class TcpHost extends SimHost {
  readonly cfg: TcpConfig
  private readonly isn: number | null
  private readonly numbers: InitialNumbers
  private readonly listeners = new Map<number, (socket: TcpSocket) => void>()

  constructor(loop: VirtualLoop, rng: Rng, config: TcpHostConfig = {}) {
    super(loop, rng, config)
    this.isn = config.isn ?? null
    this.numbers = new InitialNumbers(() => rng.int32())
    const mtu = this.device.caps.mtu
    this.cfg = tcpConfig({ mss4: mtu - 40, mss6: mtu - 60, gso: this.device.caps.gso, ...config.tcp })
  }

  /** Accepts connections to `port` on every address. */
  listen(port: number, onSocket: (socket: TcpSocket) => void): void {
    this.listeners.set(port, onSocket)
  }

  /** An active open; `onActivity` of the socket tells the outcome. */
  connect(local: IpAddress, remote: IpAddress, remotePort: number, localPort = this.freePort()): TcpSocket {
    const tuple = { local, localPort, remote, remotePort }
    const socket = new TcpSocket(
      this,
      (flow) => new TcpEndpoint(this.cfg, tuple, this.isnOf(tuple), flow, flow, flow, this.numbers.tsOffsetOf(tuple)),
    )
    socket.endpoint.connect(this.loop.now)
    this.addOwner(socket)
    return socket
  }

  private isnOf(t: Tuple): number {
    if (this.isn !== null) return this.isn
    return this.numbers.issOf(t, this.loop.now)
  }

  protected override onSyn(syn: Packet, tuple: Tuple, now: Micros): boolean {
    const onSocket = this.listeners.get(tuple.localPort)
    if (onSocket === undefined) return false
    const half = new HalfOpen(this.cfg, tuple, syn, this.options, now)
    const socket = new TcpSocket(this, (flow) =>
      half.accept(this.cfg, this.isnOf(tuple), flow, flow, flow, now, this.numbers.tsOffsetOf(tuple)),
    )
    this.addOwner(socket)
    onSocket(socket)
    return true
  }
}

/** A connected or connecting plain TCP socket. */
export class TcpSocket extends QueueSocket implements SimOwner {
  timer = -1
  readonly endpoint: TcpEndpoint
  cause: CloseCause = CAUSE_NONE
  private readonly host: TcpHost

  constructor(host: TcpHost, make: (flow: PlainFlow) => TcpEndpoint) {
    super(new StreamQueue(host.arena, host.sendBuffer), new StreamQueue(host.arena, host.receiveBuffer))
    this.host = host
    this.endpoint = make(new PlainFlow(this.out, this.in))
    host.bind(this.endpoint, this)
  }

  override abort(): void {
    this.endpoint.abort()
    this.touch()
  }

  protected override touch(): void {
    this.host.touch(this)
  }

  pump(tx: TxRing, now: Micros): boolean {
    while (this.endpoint.pollTransmit(tx, now)) if (tx.count === tx.slots) return true
    return false
  }

  settle(): void {
    const events = this.endpoint.takeEvents()
    if ((events & EV_ESTABLISHED) !== 0) this.isOpen = true
    if ((events & EV_CLOSED) !== 0) {
      this.isClosed = true
      this.cause = this.endpoint.cause
    }
    if (this.endpoint.isDone) {
      this.host.unbind(this.endpoint)
      this.host.removeOwner(this)
      this.out.clear()
    }
    this.onActivity()
  }

  nextTimeout(): Micros {
    return this.endpoint.nextTimeout()
  }

  onTimeout(now: Micros): void {
    this.endpoint.onTimeout(now)
  }
}
