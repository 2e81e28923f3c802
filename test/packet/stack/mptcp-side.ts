import type { IpAddress, Tuple } from '../../../src/base/address.js'
import { JOIN_ACCEPTED, type MptcpConnection } from '../../../src/mptcp/connection.js'
import { MptcpCounters } from '../../../src/mptcp/counters.js'
import type { ConnectionEnv, MptcpConfig } from '../../../src/mptcp/env.js'
import type { TcpEndpoint } from '../../../src/tcp/endpoint.js'
import { HalfOpen } from '../../../src/tcp/half-open.js'
import { HAS_JOIN } from '../../../src/wire/mptcp-options.js'
import type { Packet } from '../../../src/wire/packet.js'
import type { TcpOptions } from '../../../src/wire/tcp-options.js'
import type { Path } from '../../../src/pathmgr/path.js'
import type { MultipathConnection } from './connection.js'
import type { ScriptPaths } from './paths.js'
import type { PortOwner, World } from './world.js'

/** What MPTCP connections of a world share: tokens, keys, and joins that arrive. */
export class MptcpSide implements ConnectionEnv, PortOwner {
  readonly world: World
  config: MptcpConfig
  readonly paths: ScriptPaths
  private readonly local: IpAddress
  readonly counters = new MptcpCounters()
  readonly sockets = new Map<MptcpConnection, MultipathConnection>()
  /** While a connection is made it registers endpoints before its socket has it in hand. */
  making: MultipathConnection | null = null
  private readonly tokens = new Map<number, MptcpConnection>()

  /** @param local address of the stack, for subflows that name none */
  constructor(world: World, config: MptcpConfig, paths: ScriptPaths, local: IpAddress) {
    this.world = world
    this.config = config
    this.paths = paths
    this.local = local
    world.onStraySyn = this
  }

  get host() {
    return this.world.host
  }

  get arena() {
    return this.world.arena
  }

  openFlow(path: Path, remote: IpAddress, remotePort: number): Tuple {
    return { local: path.source ?? this.local, localPort: this.world.freePort(), remote, remotePort }
  }

  addressId(local: IpAddress): number {
    return Math.max(0, this.paths.idOf(local))
  }

  issOf(): number {
    return this.host.rng()
  }

  tsOffsetOf(): number {
    return 0
  }

  register(endpoint: TcpEndpoint, connection: MptcpConnection): void {
    const owner = this.sockets.get(connection) ?? this.making
    if (owner === null) throw new Error('an endpoint of no socket')
    this.world.bind(endpoint, owner)
  }

  unregister(endpoint: TcpEndpoint): void {
    this.world.unbind(endpoint)
  }

  claimToken(token: number, connection: MptcpConnection): boolean {
    if (this.tokens.has(token)) return false
    this.tokens.set(token, connection)
    return true
  }

  releaseToken(token: number): void {
    this.tokens.delete(token)
  }

  /** A SYN that may be a join; also asked by listeners. */
  onSyn(syn: Packet, opts: TcpOptions, tuple: Tuple, now: number): boolean {
    const m = opts.mptcp
    if ((m.present & HAS_JOIN) === 0) return false
    const conn = this.tokens.get(m.joinToken)
    const half = new HalfOpen(this.config.tcp, tuple, syn, opts, now)
    return conn?.acceptJoin(half, m, now, this.paths.idOf(tuple.local)) === JOIN_ACCEPTED
  }
}
