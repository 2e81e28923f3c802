import { lookup } from 'node:dns/promises'
import type { Duplex } from 'node:stream'
import { MptcpError } from './base/errors.js'
import { US_PER_S } from './base/time.js'
import { parseAddress, parsePrefix, type Prefix } from './config/address-text.js'
import { AddressRange } from './engine/address-range.js'
import { EngineConfig } from './engine/config.js'
import { createEngine, type Engine } from './engine/engine.js'
import { EngineLoop } from './engine/loop.js'
import { randomHost } from './engine/random-host.js'
import { countersOf, type Status, statusOf } from './engine/status.js'
import { MptcpServer, type ServerOptions } from './engine/server.js'
import { MptcpStream } from './engine/stream.js'
import { mptcpConfig } from './mptcp/env.js'
import { SPARSE_AUTO } from './mptcp/sparse.js'
import { type Path, path } from './pathmgr/path.js'
import type { PathManagerFactory } from './pathmgr/path-manager.js'
import { PATH_MANAGERS } from './pathmgr/registry.js'
import { type PathScript, scripted } from './pathmgr/scripted.js'
import { tcpConfig } from './tcp/config.js'
import type { PacketDevice } from './tun/device.js'

export { MptcpError } from './base/errors.js'
export type { Status } from './engine/status.js'
export type { Path } from './pathmgr/path.js'
export type { PathCommand, PathEvent, PathView } from './pathmgr/path-manager.js'
export type { PathScript } from './pathmgr/scripted.js'
export type { ListenOptions, MptcpServer, ServerOptions } from './engine/server.js'
export type { MptcpStream } from './engine/stream.js'
export type { DeviceCaps, PacketDevice } from './tun/device.js'
export { TunDevice, type TunOptions } from './tun/tun-device.js'

/** What a stack needs to know; unstable until 1.0. */
export interface StackOptions {
  /** Where packets go; stays the caller's to close. */
  readonly device: PacketDevice
  readonly config: StackConfig
}

export interface StackConfig {
  /** The stack's own addresses with prefix length, at most one per family: `198.18.0.2/29`. */
  readonly addresses: readonly string[]
  /** Bytes of the largest IP packet towards peers, 68-65535. Default 1500. */
  readonly mtu?: number
  /** Speak MPTCP. Default true. */
  readonly mptcp?: boolean
  /** DSS checksums even when the peer does not ask for them. Default false. */
  readonly checksum?: boolean
  /**
   * `auto`: in bulk transfers over slow paths (to 200 Mbit/s) segments leave out a DSS that an earlier one has told already (RFC 8684
   * §3.3.1), 1.4 % of the bytes. `off`: every segment carries its own. Default `auto`.
   */
  readonly sparseDss?: 'auto' | 'off'
  /** Further addresses of the stack, each one more path for every connection. */
  readonly morePaths?: readonly string[]
  /** Who decides which subflows a connection has: a manager by its name, or a script of yours. Default `detour`. */
  readonly pathManager?: keyof typeof PATH_MANAGERS | PathScript
  /**
   * What servers of this stack announce to their peers (RFC 8684 §3.4.1), each the address as peers see it and the stack address that
   * it leads to. Never an address that only masquerading made.
   */
  readonly announce?: readonly AnnounceOptions[]
  /** Accepted connections forbid joins to the address and port that they came to (flag C). Default false. */
  readonly denyJoinInitial?: boolean
  /**
   * Servers answer a Fast Open before the handshake is complete over MPTCP too, as over TCP (RFC 8684 appendix B.3): for clients that are
   * this stack. Linux takes such an answer for a fallback to TCP. Default false.
   */
  readonly answerEarly?: boolean
  /** Seconds of silence after which a subflow is asked for a sign of life; 0: never. Default 240. */
  readonly keepalive?: number
  /** Seconds that data may wait for its acknowledgement before the connection ends with ETIMEDOUT; 0: as long as it is retransmitted. */
  readonly userTimeout?: number
}

export interface AnnounceOptions {
  readonly address: string
  /** Without it the port that the connection came to. */
  readonly port?: number
  /** The stack address that packets to it arrive at. Default: `address` itself. */
  readonly local?: string
}

export interface ConnectOptions {
  /** Name or address of the server. */
  readonly host: string
  /** 1-65535. */
  readonly port: number
  /**
   * TCP Fast Open (RFC 7413): what is written at once, before 'connect', travels in the SYN of all connections but the first to a server,
   * which asks for the cookie. The network may repeat a SYN: only for requests that may be carried out twice. Default false.
   */
  readonly fastOpen?: boolean
}

/** An MPTCP stack of this program's own, over a packet device. */
export interface Stack {
  /** Opens a connection; 'connect' follows, or 'error' with a code like those of `net.Socket`. */
  connect(options: ConnectOptions): MptcpStream & Duplex
  /** A server on this stack's addresses; `onConnection` is added to its 'connection'. Listens from its `listen` on. */
  createServer(onConnection?: (stream: MptcpStream & Duplex) => void): MptcpServer
  /** @throws {MptcpError} ERR_FAST_OPEN */
  createServer(options: ServerOptions, onConnection?: (stream: MptcpStream & Duplex) => void): MptcpServer
  /** Everything that can be seen: connections, subflows, counters. */
  status(): Status
  /** Counters under the names of `nstat`. */
  counters(): Record<string, number>
  /** Resets all connections and stops. */
  close(): void
}

type OnConnection = (stream: MptcpStream & Duplex) => void

/** @throws {MptcpError} ERR_ADDRESS, ERR_NATIVE_MISSING */
export function createStack(options: StackOptions): Stack {
  const engine = createEngine(randomHost(), [options.device], engineConfigOf(options))
  const loop = new EngineLoop(engine)
  return {
    connect: (target) => open(engine, loop, target),
    createServer: (options: ServerOptions | OnConnection = {}, listener?: OnConnection) => {
      const [given, onConnection] = typeof options === 'function' ? [{}, options] : [options, listener]
      const server = new MptcpServer(engine, given)
      if (onConnection !== undefined) server.on('connection', onConnection)
      return server
    },
    status: () => statusOf(engine, loop.clock.now()),
    counters: () => countersOf(engine),
    close: () => {
      const now = loop.clock.now()
      for (const connection of [...engine.connections]) connection.abort(now)
      engine.turn(now)
      loop.stop()
    },
  }
}

function engineConfigOf({ device, config }: StackOptions): EngineConfig {
  const mtu = config.mtu ?? 1500
  const prefixes = config.addresses.map(parsePrefix)
  const more = (config.morePaths ?? []).map(parsePrefix)
  const paths: Path[] = [
    path(),
    ...more.map((prefix, i) => path({ id: i + 1, kind: 'static', label: prefix.address.toString(), source: prefix.address })),
  ]
  const announced = (config.announce ?? []).map(({ address, port = 0, local = address }, i) => ({
    id: i + 1,
    address: parseAddress(address),
    port,
    local: parseAddress(local),
  }))
  const own = (prefix: Prefix) => new AddressRange(prefix.address, prefix.family === 4 ? 32 : 128)
  return new EngineConfig({
    intercept: false,
    announced,
    pathManager: managerOf(config.pathManager ?? 'detour'),
    ownRanges: [...[...prefixes, ...more].map(own), ...announced.map((a) => new AddressRange(a.local, a.local.isV4 ? 32 : 128))],
    stackAddresses: prefixes.map((prefix) => ({ address: prefix.address, isDefault: true })),
    paths,
    mptcp: mptcpConfig({
      tcp: tcpConfig({
        mss4: mtu - 40,
        mss6: mtu - 60,
        gso: device.caps.gso,
        keepaliveUs: (config.keepalive ?? 240) * US_PER_S,
        userTimeoutUs: (config.userTimeout ?? 0) * US_PER_S,
      }),
      isEnabled: config.mptcp ?? true,
      checksum: config.checksum ?? false,
      sparse: config.sparseDss === 'off' ? null : SPARSE_AUTO,
      denyJoinInitial: config.denyJoinInitial ?? false,
      isAnswerEarly: config.answerEarly ?? false,
    }),
  })
}

function managerOf(choice: keyof typeof PATH_MANAGERS | PathScript): PathManagerFactory {
  return typeof choice === 'function' ? scripted(choice) : PATH_MANAGERS[choice]
}

function open(engine: Engine, loop: EngineLoop, { host, port, fastOpen = false }: ConnectOptions): MptcpStream {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new MptcpError('ERR_PORT', `port ${port} is not in 1-65535`)
  const stream = new MptcpStream(engine)
  const start = (address: string) => {
    if (!stream.destroyed) stream.open(parseAddress(address), port, loop.clock.now(), fastOpen)
  }
  const families = engine.config.stackAddresses.map((s) => (s.address.isV4 ? 4 : 6))
  resolve(host, families)
    .then(start)
    .catch((error: unknown) => stream.destroy(error instanceof Error ? error : new MptcpError('ERR_LOOKUP', String(error))))
  return stream
}

/** The first address of `host` whose family the stack speaks. */
async function resolve(host: string, families: readonly (4 | 6)[]): Promise<string> {
  const found = await lookup(host, { all: true })
  const usable = found.find((entry) => families.includes(entry.family as 4 | 6))
  if (usable === undefined) throw new MptcpError('ERR_MPTCP_NO_PATH', `${host} has no address of a family that the stack has`)
  return usable.address
}
