import { randomFillSync } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { performance } from 'node:perf_hooks'
import type { IpAddress } from '../base/address.js'
import { type Micros, NEVER, US_PER_MS } from '../base/time.js'
import { type Prefix, parseAddress } from '../config/address-text.js'
import { detourName, type NatConfig, parseDestination, parseHostPort } from '../config/detour-config.js'
import type { HostFacts } from '../host/facts.js'
import type { PathDemand } from '../pathmgr/demand.js'
import type { Path } from '../pathmgr/path.js'
import { prefixContains } from './daemon/destination.js'
import { NatClient } from './nat-client.js'
import { Demands } from './nat-memory.js'
import type { NatCounters } from './nat-report.js'
import { type Mark, NatSocket, ownMark } from './nat-socket.js'
import { type NatWire, RequestClock, WireV1, WireV2 } from './nat-wire.js'
import type { DetourKeys } from './protocol/keys.js'
import { DetourToken } from './protocol/token.js'
import { type DetourProvider, type DetourSettings, type DetourStatus, type ProviderHost, Signal } from './provider.js'

const MAX_DEMANDS = 64
/** How long the daemon may take to confirm at the end that all is deleted. */
const END_MS = 250
/** A name that cannot be resolved, and that of a detour which is down, is looked up again so often. */
const LOOKUP_MS = 30_000
/** setTimeout takes no more. */
const MAX_TIMEOUT_MS = 0x7fff_ffff

/** A NAT detour as configured. */
export interface NatSpec {
  readonly name: string
  /** Name or address. */
  readonly host: string
  readonly port: number
  /** null: version 1, which is not authenticated. */
  readonly keys: DetourKeys | null
  /** Only connections to these use it; none: all. */
  readonly destinations: readonly Prefix[]
  readonly isBackup: boolean
  readonly cost: number
}

/** From a table of the configuration, which was checked. @throws {MptcpError} ERR_DETOUR_TOKEN, ERR_DETOUR_ADDRESS */
export function natSpecOf(config: NatConfig): NatSpec {
  const token = config.token === undefined ? null : DetourToken.parse(config.token)
  const { host, port } = token ?? parseHostPort(config.address ?? '')
  const destinations = config.destinations.map(parseDestination)
  return { name: detourName(config), host, port, keys: token?.keys() ?? null, destinations, isBackup: config.backup, cost: config.cost }
}

/** The world of a detour; tests bring their own. */
export interface NatShell {
  nowUs(): Micros
  /** Microseconds since 1970. */
  wallUs(): number
  random32(): number
  /** All addresses of a name. */
  resolve(host: string): Promise<readonly IpAddress[]>
  readonly mark: Mark
}

/** The real one. */
export function natShell(): NatShell {
  const pool = new Int32Array(256)
  let used = pool.length
  return {
    nowUs: () => Math.round(performance.now() * US_PER_MS),
    wallUs: () => Date.now() * US_PER_MS,
    random32: () => {
      if (used === pool.length) {
        randomFillSync(pool)
        used = 0
      }
      return pool[used++] as number
    },
    resolve: async (host) => (await lookup(host, { all: true })).map(({ address }) => parseAddress(address)),
    mark: ownMark,
  }
}

/** A client with its socket, in one address family. */
interface Channel {
  readonly peer: IpAddress
  readonly client: NatClient
  socket: NatSocket
}

/**
 * A NAT detour: asks its daemon for a mapping for each destination that applications connect to, and shows the mappings as paths.
 * One client per address family in which the detour can be reached and which is carried.
 */
export class NatDetour implements DetourProvider, PathDemand {
  readonly name: string
  readonly settled: Promise<void>
  private readonly ready = new Signal()
  private readonly shell: NatShell
  private readonly clock: RequestClock
  private readonly demands = new Demands(MAX_DEMANDS)
  private readonly channels: Channel[] = []
  private spec: NatSpec
  private host: ProviderHost | null = null
  private timer: NodeJS.Timeout | null = null
  private opening: Promise<void> = Promise.resolve()
  private lookedUpAt: Micros = 0
  private lastError: string | null = null
  private shown = ''
  private isChecking = false
  private isStopped = false

  constructor(spec: NatSpec, shell: NatShell = natShell()) {
    this.name = spec.name
    this.spec = spec
    this.shell = shell
    this.clock = new RequestClock(() => shell.wallUs())
    this.settled = this.ready.done
  }

  start(host: ProviderHost): void {
    this.host = host
    this.inTurn(() => this.lookUp())
  }

  /** An application connects. Never throws. */
  onConnect(remote: IpAddress, port: number): void {
    if (this.isStopped || !this.serves(remote)) return
    const now = this.shell.nowUs()
    this.demands.touch(remote, port, now)
    for (const { client, peer } of this.channels) if (peer.isV4 === remote.isV4) client.onConnect(remote, port, now)
    this.arm(now)
  }

  /** The server speaks no MPTCP. Never throws. */
  onPlain(remote: IpAddress, port: number): void {
    const now = this.shell.nowUs()
    this.demands.forget(remote, port)
    for (const { client, peer } of this.channels) if (peer.isV4 === remote.isV4) client.onPlain(remote, port, now)
    this.arm(now)
  }

  /** A subflow has begun or ended; paths of others are no concern. Never throws. */
  onUse(path: Path, delta: 1 | -1): void {
    if (path.kind !== 'nat') return
    const now = this.shell.nowUs()
    if (this.channels.some(({ client }) => client.onUse(path.id, delta, now))) this.arm(now)
  }

  /** The route to the detour may be another one, hence our address towards it. */
  onHostChange(_facts: HostFacts): void {
    if (this.isStopped || this.host === null || this.isChecking) return
    this.isChecking = true
    this.inTurn(async () => {
      this.isChecking = false
      for (const channel of this.channels) await this.renew(channel).catch(() => {}) // no way there: silence will tell
      if (this.channels.length === 0) await this.lookUp()
    })
  }

  set(settings: DetourSettings): void {
    this.spec = { ...this.spec, ...settings }
    for (const { client, peer } of this.channels) client.setPaths(this.look(peer))
  }

  status(): DetourStatus {
    const { isBackup, cost } = this.spec
    const clients = this.channels.map(({ client }) => client)
    const best = clients.find(({ state }) => state === 'up') ?? clients[0]
    const state = best === undefined ? (this.lastError === null ? 'starting' : 'waiting') : best.state === 'down' ? 'waiting' : best.state
    return {
      name: this.name,
      type: 'nat',
      state,
      device: null,
      peer: this.where(this.channels.find(({ client }) => client === best)?.peer),
      rttUs: best?.rttUs ?? null,
      loss: best?.loss ?? null,
      leases: clients.reduce((sum, client) => sum + client.leases, 0),
      pid: null,
      isBackup,
      cost,
      lastError: best?.lastError ?? this.lastError,
      nat: {
        seenAddress: best?.seenAddress?.toString() ?? null,
        quotaLeft: best?.quotaLeft ?? null,
        counters: sumOf(clients.map(({ counters }) => counters)),
      },
    }
  }

  async stop(): Promise<void> {
    this.isStopped = true
    if (this.timer !== null) clearTimeout(this.timer)
    await this.opening
    const now = this.shell.nowUs()
    for (const { client } of this.channels) client.stop(now)
    this.ready.fire()
    const end = now + END_MS * US_PER_MS
    while (this.channels.some(({ client }) => !client.isQuiet) && this.shell.nowUs() < end)
      await new Promise((resolve) => setTimeout(resolve, 5))
    for (const { socket } of this.channels) socket.close()
    this.channels.length = 0
  }

  private serves(remote: IpAddress): boolean {
    const { destinations } = this.spec
    return destinations.length === 0 || destinations.some((prefix) => prefixContains(prefix, remote))
  }

  private look(peer: IpAddress): { label: string; peer: IpAddress; isBackup: boolean; cost: number } {
    return { label: this.name, peer, isBackup: this.spec.isBackup, cost: this.spec.cost }
  }

  private where(peer: IpAddress | undefined): string {
    const host = peer?.toString() ?? this.spec.host
    return `${host.includes(':') ? `[${host}]` : host}:${this.spec.port}`
  }

  /** One change of the channels at a time. */
  private inTurn(work: () => Promise<void>): void {
    this.opening = this.opening.then(() => (this.isStopped ? undefined : work())).catch((error: unknown) => this.failed(String(error)))
  }

  /** Makes the channels fit the addresses that the name has now. */
  private async lookUp(): Promise<void> {
    this.lookedUpAt = this.shell.nowUs()
    let addresses: readonly IpAddress[]
    try {
      addresses = await this.shell.resolve(this.spec.host)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error)
      this.failed(`its name '${this.spec.host}' cannot be resolved (${code}): check it, and the resolver of this host`)
      return
    }
    if (this.isStopped) return
    const wanted = this.wanted(addresses)
    for (const channel of [...this.channels]) {
      // A detour that works, or whose kernel does, keeps its address, also when its name has others now.
      if (!isIdleAndDown(channel.client) || wanted.some((peer) => peer.equals(channel.peer))) continue
      channel.client.stop(this.shell.nowUs())
      channel.socket.close()
      this.channels.splice(this.channels.indexOf(channel), 1)
    }
    for (const peer of wanted) {
      const known = this.channels.find((channel) => channel.peer.isV4 === peer.isV4)
      try {
        if (known === undefined) await this.open(peer)
        else await this.renew(known)
      } catch (error) {
        if (known === undefined) this.failed(`there is no way to ${peer}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`)
      }
    }
    if (wanted.length === 0) this.failed(`'${this.spec.host}' has no address of a family that is carried`)
    this.arm(this.shell.nowUs())
  }

  /** One address of each family that is carried: the one that we have, the next one when it is down, at first the first. */
  private wanted(addresses: readonly IpAddress[]): IpAddress[] {
    const families = (this.host?.families ?? []).filter((family) => this.spec.keys !== null || family === 4)
    return families.flatMap((family) => {
      const list = addresses.filter((address) => address.isV4 === (family === 4))
      const known = this.channels.find(({ peer }) => peer.isV4 === (family === 4))
      if (known !== undefined && !isIdleAndDown(known.client)) return [known.peer]
      const at = known === undefined ? -1 : list.findIndex((address) => address.equals(known.peer))
      return list.slice((at + 1) % Math.max(1, list.length)).slice(0, 1)
    })
  }

  private async open(peer: IpAddress): Promise<void> {
    const { host, shell } = this
    if (host === null) return
    const wire: NatWire = this.spec.keys === null ? new WireV1() : new WireV2(this.spec.keys, this.clock, () => shell.random32())
    const socket = await this.socketFor(peer, () => channel)
    const world = {
      send: (datagram: Uint8Array) => channel.socket.send(datagram),
      random32: () => shell.random32(),
      newPathId: () => host.newPathId(),
      upsert: (path: Path) => host.upsert(path),
      repeatJoins: (id: number) => host.repeatJoins(id),
      remove: (id: number) => host.remove(id),
    }
    const channel: Channel = { peer, socket, client: new NatClient(wire, this.look(peer), this.demands, world, shell.nowUs()) }
    if (this.isStopped) {
      socket.close()
      return
    }
    this.channels.push(channel)
    this.lastError = null
    if (!wire.hasLeases) this.ready.fire() // it tells nothing before it is asked
    this.shown = ''
    channel.client.onTimeout(shell.nowUs())
  }

  /** A new socket takes the place of the old one when the kernel chooses another source for it. */
  private async renew(channel: Channel): Promise<void> {
    const socket = await this.socketFor(channel.peer, () => channel)
    if (socket.source === channel.socket.source) {
      socket.close()
      return
    }
    channel.socket.close()
    channel.socket = socket
    channel.client.onMoved(this.shell.nowUs())
  }

  private socketFor(peer: IpAddress, channel: () => Channel): Promise<NatSocket> {
    return NatSocket.open(peer, this.spec.port, this.shell.mark, {
      datagram: (datagram) => {
        const now = this.shell.nowUs()
        channel().client.onDatagram(datagram, now)
        this.arm(now)
      },
      unreachable: (what) => channel().client.onUnreachable(what),
    })
  }

  private failed(what: string): void {
    this.lastError = what
    this.ready.fire()
    this.arm(this.shell.nowUs())
  }

  /** Sets the one timer, and tells what has changed. */
  private arm(now: Micros): void {
    if (this.isStopped) return
    this.tell()
    let at = NEVER
    for (const { client } of this.channels) at = Math.min(at, client.nextTimeout())
    if (this.channels.length === 0 || this.channels.some(({ client }) => client.state === 'down'))
      at = Math.min(at, this.lookedUpAt + LOOKUP_MS * US_PER_MS)
    if (this.timer !== null) clearTimeout(this.timer)
    const ms = Math.min(MAX_TIMEOUT_MS, Math.max(0, Math.ceil((at - now) / US_PER_MS)))
    this.timer = setTimeout(() => this.onTimer(), ms)
    this.timer.unref()
  }

  private onTimer(): void {
    const now = this.shell.nowUs()
    for (const { client } of this.channels) if (client.nextTimeout() <= now) client.onTimeout(now)
    const isWorking = this.channels.length > 0 && this.channels.every(({ client }) => client.state !== 'down')
    if (!isWorking && now >= this.lookedUpAt + LOOKUP_MS * US_PER_MS) {
      this.lookedUpAt = now
      this.inTurn(() => this.lookUp())
    }
    this.arm(now)
  }

  private tell(): void {
    const { state, lastError, peer } = this.status()
    if (state !== 'starting') this.ready.fire()
    const shown = `${state} ${lastError ?? ''}`
    if (shown === this.shown) return
    this.shown = shown
    const log = this.host?.log
    if (state === 'up' && lastError === null) log?.info(`detour ${this.name} is up`, { peer })
    else if (lastError !== null) log?.warn(`detour ${this.name}: ${lastError}`, { peer })
  }
}

/** No answer, and no subflow by it that may go on without. */
function isIdleAndDown(client: NatClient): boolean {
  return client.state === 'down' && client.leases === 0
}

function sumOf(all: readonly NatCounters[]): Record<string, number> {
  const sum: Record<string, number> = {}
  for (const counters of all) for (const [name, n] of Object.entries(counters)) sum[name] = (sum[name] ?? 0) + Number(n)
  return sum
}
