import type { IpAddress, Tuple } from '../base/address.js'
import type { Arena } from '../base/arena.js'
import type { Host } from '../base/host.js'
import type { Micros } from '../base/time.js'
import type { MptcpConnection } from '../mptcp/connection.js'
import type { MptcpCounters } from '../mptcp/counters.js'
import type { ConnectionEnv } from '../mptcp/env.js'
import type { Path } from '../pathmgr/path.js'
import type { TcpEndpoint } from '../tcp/endpoint.js'
import { InitialNumbers } from '../tcp/isn.js'
import { SYN_RECEIVED } from '../tcp/state.js'
import type { Engine } from './engine.js'
import { Flow, type Owner } from './owner.js'

/** What the engine gives to its connections: tuples with free ports, entries of the flow table, unique tokens. */
export class EngineEnv implements ConnectionEnv {
  readonly host: Host
  readonly counters: MptcpCounters
  readonly arena: Arena
  readonly numbers: InitialNumbers
  private readonly engine: Engine
  private readonly owners = new Map<MptcpConnection, Owner>()
  private readonly tokens = new Map<number, MptcpConnection>()

  constructor(engine: Engine) {
    this.engine = engine
    this.host = engine.host
    this.counters = engine.mptcpCounters
    this.arena = engine.arena
    this.numbers = new InitialNumbers(() => engine.host.rng())
  }

  /** Says who is marked when something arrives for `connection`; before its `connect`. */
  adopt(connection: MptcpConnection, owner: Owner): void {
    this.owners.set(connection, owner)
  }

  /** The owner is done with it. */
  forget(connection: MptcpConnection): void {
    this.owners.delete(connection)
  }

  openFlow(path: Path, remote: IpAddress, remotePort: number, now: Micros): Tuple | null {
    const { engine } = this
    let local = engine.config.sourceOf(path, remote.isV4)
    if (local === null) {
      engine.counters.EngineNoPath++
      return null
    }
    let localPort = engine.portPicker.pick(local, remote, remotePort, now)
    for (const other of localPort === 0 ? engine.config.moreSources(local) : []) {
      localPort = engine.portPicker.pick(other, remote, remotePort, now)
      if (localPort === 0) continue
      local = other
      break
    }
    if (localPort === 0) {
      engine.counters.EngineNoPort++
      return null
    }
    const tuple = { local, localPort, remote, remotePort, tclass: 0 }
    if (engine.timeWaits.findTuple(tuple, now) !== null) engine.counters.TcpExtTWRecycled++
    return tuple
  }

  issOf(tuple: Tuple, now: Micros): number {
    const iss = this.numbers.issOf(tuple, now)
    return this.engine.timeWaits.findTuple(tuple, now)?.issAfter(iss) ?? iss
  }

  tsOffsetOf(tuple: Tuple): number {
    return this.numbers.tsOffsetOf(tuple)
  }

  addressId(local: IpAddress): number {
    return this.engine.paths.addressId(local)
  }

  isSparseOff(tuple: Tuple): boolean {
    return this.engine.destinations.isSparseOff(tuple)
  }

  noteSparseOff(tuple: Tuple): void {
    this.engine.destinations.noteSparseOff(tuple)
  }

  register(endpoint: TcpEndpoint, connection: MptcpConnection): void {
    const owner = this.owners.get(connection)
    if (owner === undefined) return
    if (endpoint.state === SYN_RECEIVED) this.engine.counters.TcpPassiveOpens++
    else this.engine.counters.TcpActiveOpens++
    this.engine.bind(endpoint.tuple, new Flow(owner, endpoint, null))
  }

  unregister(endpoint: TcpEndpoint): void {
    this.engine.release(endpoint)
  }

  claimToken(token: number, connection: MptcpConnection): boolean {
    if (this.tokens.has(token)) return false
    this.tokens.set(token, connection)
    return true
  }

  /** The connection that a token names, null: none. */
  connectionOf(token: number): MptcpConnection | null {
    return this.tokens.get(token) ?? null
  }

  /** Who is marked for `connection`. */
  ownerOf(connection: MptcpConnection): Owner | null {
    return this.owners.get(connection) ?? null
  }

  releaseToken(token: number): void {
    this.tokens.delete(token)
  }
}
