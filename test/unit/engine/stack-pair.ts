import type { IpAddress } from '../../../src/base/address.js'
import type { Micros } from '../../../src/base/time.js'
import { parseAddress } from '../../../src/config/address-text.js'
import { AddressRange } from '../../../src/engine/address-range.js'
import { EngineConfig } from '../../../src/engine/config.js'
import { createEngine, type Engine } from '../../../src/engine/engine.js'
import { MptcpStream } from '../../../src/engine/stream.js'
import { PARSE_OK, Packet, parsePacket } from '../../../src/wire/packet.js'
import { formatPacket } from '../../../src/wire/pretty.js'
import { parseOptionsOf, TcpOptions } from '../../../src/wire/tcp-options.js'
import { path } from '../../../src/pathmgr/path.js'
import { FakeDevice, seededHost } from './world.js'

export const CLIENT = parseAddress('192.0.2.1')
export const CLIENT2 = parseAddress('192.0.2.2')
export const HOST = parseAddress('203.0.113.5')
export const HOST2 = parseAddress('203.0.113.6')

/** A stack over a device in memory. */
export class Side {
  readonly device = new FakeDevice()
  readonly engine: Engine

  constructor(seed: number, addresses: readonly IpAddress[], over: Partial<EngineConfig>) {
    const first = addresses[0] as IpAddress
    this.engine = createEngine(
      seededHost(seed),
      [this.device],
      new EngineConfig({
        intercept: false,
        memoryPages: 1024,
        ownRanges: addresses.map((a) => new AddressRange(a, 32)),
        stackAddresses: [{ address: first, isDefault: true }],
        onInternalError: (error) => {
          throw error
        },
        ...over,
      }),
    )
  }
}

/** A client's stack and a server's, back to back without delay, in virtual time. */
export class StackPair {
  now: Micros = 1_000_000
  readonly client: Side
  readonly server: Side
  /** Everything that was sent, as text, since the last `take`. */
  log: string[] = []
  /** False: the packet is lost. */
  isPassing: (text: string, isFromClient: boolean) => boolean = () => true

  constructor(over: { client?: Partial<EngineConfig>; server?: Partial<EngineConfig> } = {}) {
    this.client = new Side(5, [CLIENT, CLIENT2], over.client ?? {})
    this.server = new Side(7, [HOST, HOST2], over.server ?? {})
  }

  /** Opens a connection from the client's stack. */
  connect(port: number, remote: IpAddress = HOST): MptcpStream {
    const stream = new MptcpStream(this.client.engine)
    stream.open(remote, port, this.now)
    return stream
  }

  /** Runs both until nothing happens, the streams' own ticks included. */
  async settle(): Promise<void> {
    for (let idle = 0; idle < 3; ) {
      this.client.engine.turn(this.now)
      this.server.engine.turn(this.now)
      const moved = this.move(this.client, this.server, true) + this.move(this.server, this.client, false)
      idle = moved === 0 ? idle + 1 : 0
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  async advance(us: Micros): Promise<void> {
    const until = this.now + us
    for (;;) {
      await this.settle()
      const next = Math.min(this.client.engine.nextDeadline, this.server.engine.nextDeadline)
      if (next > until) break
      this.now = Math.max(next, this.now)
    }
    this.now = until
    await this.settle()
  }

  take(): string[] {
    const { log } = this
    this.log = []
    return log
  }

  private move(from: Side, to: Side, isFromClient: boolean): number {
    const packets = from.device.outgoing.splice(0)
    for (const packet of packets) {
      const text = formatPacket(packet, 0, packet.length)
      this.log.push(text)
      if (this.isPassing(text, isFromClient)) to.device.incoming.push(packet)
    }
    return packets.length
  }
}

/** What a packet says about TCP. */
export function read(packet: Uint8Array): { pkt: Packet; opts: TcpOptions } {
  const pkt = new Packet()
  const opts = new TcpOptions()
  if (parsePacket(packet, 0, packet.length, pkt) !== PARSE_OK) throw new Error('not a packet')
  parseOptionsOf(pkt, opts)
  return { pkt, opts }
}

/** A path from the client's second address. */
export const SECOND = path({ id: 2, label: 'second', source: CLIENT2 })
