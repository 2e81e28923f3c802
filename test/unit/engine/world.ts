import { createHash, createHmac } from 'node:crypto'
import { IpAddress, type Tuple } from '../../../src/base/address.js'
import { Arena } from '../../../src/base/arena.js'
import type { Host } from '../../../src/base/host.js'
import { type RxRing, TX_HEADER_ROOM, TX_META_STRIDE, TxRing, VNET_HDR_LEN } from '../../../src/base/rings.js'
import { Rng } from '../../../src/base/rng.js'
import { StreamQueue } from '../../../src/base/stream-queue.js'
import { NEVER, type Micros } from '../../../src/base/time.js'
import { parseAddress } from '../../../src/config/address-text.js'
import { AddressRange } from '../../../src/engine/address-range.js'
import { EngineConfig } from '../../../src/engine/config.js'
import { createEngine, type Engine } from '../../../src/engine/engine.js'
import { tcpConfig, type TcpConfig } from '../../../src/tcp/config.js'
import { TcpEndpoint } from '../../../src/tcp/endpoint.js'
import { HalfOpen } from '../../../src/tcp/half-open.js'
import { PlainFlow } from '../../../src/tcp/plain.js'
import type { DeviceCaps, PacketDevice } from '../../../src/tun/device.js'
import { PARSE_OK, Packet, parsePacket } from '../../../src/wire/packet.js'
import { formatPacket } from '../../../src/wire/pretty.js'
import { writeIpHeader } from '../../../src/wire/ip.js'
import { ACK, finishTcp, RST, SYN, writeTcpSegment } from '../../../src/wire/tcp.js'
import { parseOptionsOf, TcpOptions } from '../../../src/wire/tcp-options.js'

export const A = parseAddress('198.18.0.1')
export const STACK = parseAddress('198.18.0.2')
export const SERVER = parseAddress('203.0.113.5')

export function seededHost(seed: number): Host {
  const rng = new Rng(seed)
  return {
    rng: () => rng.int32(),
    hash: {
      sha256: (data) => createHash('sha256').update(data).digest(),
      hmacSha256: (key, data) => createHmac('sha256', key).update(data).digest(),
    },
  }
}

/** The packets of a tx ring, oldest first, each as one piece; takes at most `max` of them off. */
export function drain(tx: TxRing, max = Number.POSITIVE_INFINITY): Uint8Array[] {
  const out: Uint8Array[] = []
  while (tx.count > 0 && out.length < max) {
    const at = tx.head * TX_META_STRIDE
    const word = (i: number) => tx.meta[at + i] as number
    const packet = new Uint8Array(word(1) + word(3))
    packet.set(tx.bytes.subarray(word(0), word(0) + word(1)))
    let pos = word(1)
    for (let i = 0; i < word(2); i++) {
      packet.set(tx.bytes.subarray(word(4 + 2 * i), word(4 + 2 * i) + word(5 + 2 * i)), pos)
      pos += word(5 + 2 * i)
    }
    out.push(packet)
    tx.take(1)
  }
  return out
}

/** A device in memory: what the test puts into `incoming` is read, what the engine writes is in `outgoing`. */
export class FakeDevice implements PacketDevice {
  readonly caps: DeviceCaps = { gso: true, mtu: 65_535 }
  readonly incoming: Uint8Array[] = []
  readonly outgoing: Uint8Array[] = []
  /** Packets that it takes before it blocks. */
  room = Number.POSITIVE_INFINITY

  readBatch(rx: RxRing): number {
    rx.count = 0
    while (rx.count < rx.slots && this.incoming.length > 0) {
      const packet = this.incoming.shift() as Uint8Array
      rx.bytes.set(packet, rx.slotOff(rx.count))
      rx.lens[rx.count++] = packet.length
    }
    return rx.count
  }

  writeBatch(tx: TxRing): number {
    const packets = drain(tx, this.room)
    this.room -= packets.length
    this.outgoing.push(...packets)
    return packets.length
  }

  onReady(): void {}
  close(): void {}
}

/** A TCP endpoint of the test's own: the application, or the server. Plain TCP over two queues. */
export class Peer {
  readonly ep: TcpEndpoint
  readonly out: StreamQueue
  readonly in: StreamQueue
  events = 0
  /** Reads what arrives, as an application does that keeps up. */
  isReading = true
  received: number[] = []
  private readonly tx: TxRing

  constructor(world: World, tuple: Tuple, half: HalfOpen | null, cfg: TcpConfig, now: Micros) {
    this.out = new StreamQueue(world.peerArena, 1 << 20)
    this.in = new StreamQueue(world.peerArena, 128 << 10)
    this.tx = world.peerTx
    const flow = new PlainFlow(this.out, this.in)
    if (half !== null) this.ep = half.accept(cfg, world.host.rng(), flow, flow, flow, now)
    else {
      this.ep = new TcpEndpoint(cfg, tuple, world.host.rng(), flow, flow, flow)
      this.ep.connect(now)
    }
  }

  send(bytes: Uint8Array): void {
    const taken = this.out.append(bytes, 0, bytes.length)
    if (taken !== bytes.length) throw new Error('peer queue full')
  }

  /** No more bytes: a FIN follows the last one. */
  end(): void {
    this.out.setFin(this.out.readyEnd)
  }

  poll(now: Micros): Uint8Array[] {
    if (this.isReading) {
      const n = this.in.ready
      if (n > 0) {
        const bytes = new Uint8Array(n)
        this.in.copyOut(this.in.base, bytes, 0, n)
        for (const byte of bytes) this.received.push(byte)
        this.in.release(this.in.readyEnd)
      }
    }
    while (this.ep.pollTransmit(this.tx, now)) {}
    this.events |= this.ep.takeEvents()
    return drain(this.tx)
  }
}

/** What a server does with a SYN. */
export type ServerMode = 'accept' | 'refuse' | 'silent'

/**
 * An engine over a FakeDevice, an application and a server, in virtual time and without delay:
 *
 *     application (A) --- device --- engine (STACK) --- the same device --- server (SERVER)
 */
export class World {
  now: Micros = 0
  readonly host = seededHost(11)
  readonly device = new FakeDevice()
  readonly engine: Engine
  readonly peerArena = new Arena(1 << 20, 1024)
  readonly peerTx = new TxRing(this.peerArena, 64)
  readonly cfg = tcpConfig({ timeWaitUs: 1_000_000 })
  mode: ServerMode = 'accept'
  readonly peers = new Map<string, Peer>()
  /** Servers' ends of connections, in the order of their SYNs. */
  readonly servers: Peer[] = []
  /** Every packet that the engine sent, as text, since the last `take`. */
  log: string[] = []
  /** Packets of the engine that belong to no peer. */
  readonly strays: Uint8Array[] = []
  /** The last packet that the engine sent to the server. */
  lastToServer: Uint8Array | null = null
  private readonly pkt = new Packet()
  private readonly opts = new TcpOptions()

  constructor(over: Partial<EngineConfig> = {}) {
    this.engine = createEngine(
      this.host,
      [this.device],
      new EngineConfig({
        memoryPages: 2048,
        ownRanges: [new AddressRange(A, 29)],
        hostAddresses: [A],
        stackAddresses: [{ address: STACK, isDefault: true }],
        onInternalError: (error) => {
          throw error
        },
        ...over,
      }),
    )
  }

  /** An application opens a connection to the server. */
  connect(port: number, remotePort = 80, remote: IpAddress = SERVER): Peer {
    const tuple = { local: A, localPort: port, remote, remotePort }
    const peer = new Peer(this, tuple, null, this.cfg, this.now)
    this.peers.set(keyOf(tuple), peer)
    return peer
  }

  /** Runs until nothing happens without time going on. */
  settle(): void {
    for (let i = 0; i < 10_000; i++) {
      const next = this.engine.turn(this.now)
      const moved = this.deliver() + this.pollPeers()
      if (moved === 0 && next > this.now) return
    }
    throw new Error('the world does not settle')
  }

  /** Lets `us` of virtual time go by, stopping at every deadline. */
  advance(us: Micros): void {
    const until = this.now + us
    for (;;) {
      this.settle()
      const next = Math.min(this.engine.nextDeadline, ...[...this.peers.values()].map((peer) => peer.ep.nextTimeout()))
      if (next === NEVER || next > until) break
      this.now = Math.max(next, this.now)
      for (const peer of this.peers.values()) if (peer.ep.nextTimeout() <= this.now) peer.ep.onTimeout(this.now)
    }
    this.now = until
    this.settle()
  }

  /** Log since the last call. */
  take(): string[] {
    const log = this.log
    this.log = []
    return log
  }

  /** Hands a packet to the engine as the kernel would. */
  inject(packet: Uint8Array): void {
    this.device.incoming.push(packet)
  }

  private deliver(): number {
    const packets = this.device.outgoing.splice(0)
    for (const packet of packets) this.receive(packet)
    return packets.length
  }

  private receive(packet: Uint8Array): void {
    const { pkt, opts } = this
    this.log.push(formatPacket(packet, 0, packet.length))
    if (parsePacket(packet, 0, packet.length, pkt) !== PARSE_OK || pkt.proto !== 6) {
      this.strays.push(packet)
      return
    }
    parseOptionsOf(pkt, opts)
    const tuple: Tuple = {
      local: new IpAddress(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3),
      localPort: pkt.dstPort,
      remote: new IpAddress(pkt.src0, pkt.src1, pkt.src2, pkt.src3),
      remotePort: pkt.srcPort,
    }
    if (tuple.local.equals(SERVER)) this.lastToServer = packet
    const known = this.peers.get(keyOf(tuple))
    if (known !== undefined) known.ep.onSegment(pkt, opts, this.now)
    else if (tuple.local.equals(SERVER) && (pkt.flags & (SYN | ACK)) === SYN) this.onServerSyn(tuple)
    else this.strays.push(packet)
  }

  private onServerSyn(tuple: Tuple): void {
    if (this.mode === 'silent') return
    if (this.mode === 'refuse') {
      this.inject(this.rst(tuple))
      return
    }
    const peer = new Peer(this, tuple, new HalfOpen(this.cfg, tuple, this.pkt, this.opts, this.now), this.cfg, this.now)
    this.peers.set(keyOf(tuple), peer)
    this.servers.push(peer)
  }

  private rst(tuple: Tuple): Uint8Array {
    return segment(tuple, { flags: RST | ACK, ack: (this.pkt.seq + 1) | 0 })
  }

  private pollPeers(): number {
    let n = 0
    for (const peer of this.peers.values()) {
      for (const packet of peer.poll(this.now)) {
        this.inject(packet)
        n++
      }
    }
    return n
  }
}

function keyOf(t: Tuple): string {
  return `${t.local} ${t.localPort} ${t.remote} ${t.remotePort}`
}

/** A bare segment from tuple.local to tuple.remote. */
export function segment(tuple: Tuple, fields: { flags: number; seq?: number; ack?: number; window?: number }): Uint8Array {
  const mem = new Uint8Array(TX_HEADER_ROOM)
  const ipLen = writeIpHeader(mem, VNET_HDR_LEN, tuple.local, tuple.remote, 6, 20, 0, 64)
  const tcp = VNET_HDR_LEN + ipLen
  writeTcpSegment(mem, tcp, tuple.localPort, tuple.remotePort, fields.seq ?? 0, fields.ack ?? 0, fields.flags, fields.window ?? 65_535)
  finishTcp(mem, 0, VNET_HDR_LEN, tcp, 20, 0, 0)
  return mem.slice(0, tcp + 20)
}
