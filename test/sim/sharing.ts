import { IpAddress } from '../../src/base/address.js'
import { Rng } from '../../src/base/rng.js'
import { type Micros, US_PER_S } from '../../src/base/time.js'
import type { CoupledFactory } from '../../src/mptcp/cc/coupled.js'
import { path } from '../../src/pathmgr/path.js'
import { newReno } from '../../src/tcp/cc/newreno.js'
import type { ByteSocket } from './byte-socket.js'
import { Jitter } from './jitter.js'
import { Delay, Rate } from './links.js'
import { VirtualLoop } from './loop.js'
import { MptcpHost, type MptcpHostConfig } from './mptcp-host.js'
import { chain } from './node.js'
import { Router } from './router.js'

/*
 * How connections share bottlenecks in the long run:
 *
 *     client A (MPTCP, coupled) --- bottleneck 0 --- server        disjoint: a path for each subflow
 *                              \--- bottleneck 1 ---/
 *
 *     client A, both subflows ---\
 *                                 bottleneck 0 --- server          shared, with one NewReno flow
 *     client B (plain TCP) ------/
 */

const BITS_PER_SECOND = 5_000_000
const RTT_US: Micros = 40_000
/** Two bandwidth-delay products of full packets: 16 and 16. */
const QUEUE_PACKETS = 34
/** Less than the time of a packet: breaks the lockstep of drop-tail queues in simulation. */
const JITTER_US: Micros = 1500
const SERVER = IpAddress.v4(0xcb007105)
const COUPLED_PORT = 80
const PLAIN_PORT = 81

/** Bytes per second of each connection once the start is over. */
export interface Shares {
  readonly coupled: number
  /** Of the NewReno flow, 0 without. */
  readonly plain: number
  /** Packets that bottlenecks dropped: without them nobody was limited. */
  readonly dropped: number
}

export interface SharingConfig {
  readonly seed: number
  /** Null: NewReno on each subflow by itself. */
  readonly coupled: CoupledFactory | null
  /** Subflows of the coupled connection. */
  readonly subflows: number
  /** All subflows through one bottleneck, against a NewReno flow; else each through its own. */
  readonly isShared: boolean
  /** Not measured, then measured. */
  readonly warmUpUs: Micros
  readonly measureUs: Micros
}

const zeros = new Uint8Array(65_536)
const scratch = new Uint8Array(65_536)

function writeForEver(socket: ByteSocket): void {
  socket.onActivity = () => {
    if (socket.isOpen) while (socket.write(zeros, 0, zeros.length) > 0);
  }
}

/** Counts what is read. */
class Meter {
  bytes = 0

  attach(socket: ByteSocket): void {
    socket.onActivity = () => {
      for (let n = 1; n > 0; this.bytes += n) n = socket.read(scratch, 0, scratch.length)
    }
  }
}

/** Of the bottleneck that it shares with one NewReno flow, the part that a connection got beyond half: 1 is fair. */
export function shareOf({ coupled, plain }: Shares): number {
  return coupled / ((coupled + plain) / 2)
}

/** Runs endless uploads and measures them. */
export function share(config: SharingConfig): Shares {
  const loop = new VirtualLoop()
  const rng = new Rng(config.seed)
  const host: MptcpHostConfig = { gso: false, pages: 256, sendBuffer: 1 << 20, receiveBuffer: 1 << 21 }
  const client = new MptcpHost(loop, rng.fork(), { ...host, tcp: { congestion: newReno }, mptcp: { coupled: config.coupled } })
  const plain = new MptcpHost(loop, rng.fork(), { ...host, tcp: { congestion: newReno }, mptcp: { isEnabled: false } })
  const server = new MptcpHost(loop, rng.fork(), host)

  const bottlenecks: Rate[] = []
  const addresses = Array.from({ length: config.subflows }, (_, i) => IpAddress.v4(0x0a000001 + (i << 8)))
  const up = new Router()
  const down = new Router()
  let entry = server.device.in
  addresses.forEach((address, i) => {
    if (i === 0 || !config.isShared) {
      const rate = new Rate(loop, { bitsPerSecond: BITS_PER_SECOND, queuePackets: QUEUE_PACKETS })
      bottlenecks.push(rate)
      entry = chain([new Jitter(loop, rng.fork(), JITTER_US), rate, new Delay(loop, RTT_US / 2)], server.device.in)
    }
    up.from(address.w3, entry)
    down.to(address.w3, chain([new Delay(loop, RTT_US / 2)], client.device.in))
  })
  const other = IpAddress.v4(0x0a00ff01)
  down.to(other.w3, chain([new Delay(loop, RTT_US / 2)], plain.device.in))
  client.device.out = up.in
  plain.device.out = entry
  server.device.out = down.in

  const meters = { coupled: new Meter(), plain: new Meter() }
  server.listen(COUPLED_PORT, (socket) => meters.coupled.attach(socket))
  server.listen(PLAIN_PORT, (socket) => meters.plain.attach(socket))
  loop.after(rng.below(US_PER_S), () => {
    const socket = client.connect(path({ id: 0, source: addresses[0] as IpAddress }), SERVER, COUPLED_PORT)
    addresses.slice(1).forEach((source, i) => {
      socket.addPath(path({ id: i + 1, source }))
    })
    writeForEver(socket)
  })
  if (config.isShared) {
    loop.after(rng.below(US_PER_S), () => writeForEver(plain.connect(path({ id: 9, source: other }), SERVER, PLAIN_PORT)))
  }
  loop.run(() => false, config.warmUpUs)
  const before = { coupled: meters.coupled.bytes, plain: meters.plain.bytes }
  loop.run(() => false, config.warmUpUs + config.measureUs)
  const seconds = config.measureUs / US_PER_S
  return {
    coupled: (meters.coupled.bytes - before.coupled) / seconds,
    plain: (meters.plain.bytes - before.plain) / seconds,
    dropped: bottlenecks.reduce((n, rate) => n + rate.dropped, 0),
  }
}
