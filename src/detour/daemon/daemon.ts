import { randomInt } from 'node:crypto'
import { type FSWatcher, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { IpAddress } from '../../base/address.js'
import { parseAddress } from '../../config/address-text.js'
import { parseDestination } from '../../config/detour-config.js'
import { Attribution } from './attribution.js'
import { operatorRules, type ServeConfig } from './config.js'
import { mayReach } from './destination.js'
import { ForwardingSwitch } from './forwarding.js'
import { type ClientKey, keyFileStamp, parsePorts, readKeys } from './key-file.js'
import { KeyRing, type Owner } from './keys.js'
import { Mapper } from './mapper.js'
import { Peers } from './peers.js'
import { RateLimit } from './rate.js'
import { Service } from './service.js'
import { hostAddresses, Sockets } from './sockets.js'
import { clientsOf, type DetourStatus, type LeaseStatus } from './status.js'
import { V1Owners } from './v1-owners.js'

/** Keys' times, addresses and interfaces of this host, leases: all looked at so often. */
const TICK_MS = 1000
/** Whether the table is still ours is asked so often, beside being told. */
const CHECK_TICKS = 10
/** A change of the key file is taken up after that: editors and renames make several of it. */
const WATCH_MS = 50

export interface DaemonLog {
  error(message: string, details?: object): void
  warn(message: string, details?: object): void
  info(message: string, details?: object): void
}

/** Owns the parts of the detour daemon: keys, sockets, mappings, forwarding. */
export class DetourDaemon {
  private readonly config: ServeConfig
  private readonly log: DaemonLog
  private readonly version: string
  private readonly keys: KeyRing
  private readonly v1: V1Owners
  private readonly mapper: Mapper
  private readonly peers = new Peers()
  private readonly service: Service
  private readonly sockets: Sockets
  private readonly forwarding: ForwardingSwitch
  private readonly attribution: Attribution
  private readonly startedAt = performance.now()
  private own = new Set<string>()
  private keyStamp = ''
  private watcher: FSWatcher | null = null
  private watchTimer: NodeJS.Timeout | null = null
  private ticker: NodeJS.Timeout | null = null
  private ticks = 0
  private isTicking = false
  private keyErrors = 0
  private lastListenError = ''

  private constructor(config: ServeConfig, log: DaemonLog, version: string) {
    this.config = config
    this.log = log
    this.version = version
    const now = performance.now()
    let slot = 0
    const nextSlot = () => ++slot
    const defaults = { leases: config.leasesPerKey, rate: config.ratePerKey, flows: config.flowsPerKey }
    this.keys = new KeyRing(defaults, nextSlot)
    this.v1 = new V1Owners(config.allowV1.map(parseDestination), defaults, nextSlot)
    this.attribution = new Attribution(config.attribution ?? null)
    this.forwarding = new ForwardingSwitch(`${config.control}.forwarding`)
    const { from: firstPort, to: lastPort } = parsePorts(config.ports)
    const limits = { maxLeases: config.leases, rate: new RateLimit(config.rate, 2 * config.rate, now), firstPort, lastPort }
    this.mapper = new Mapper(limits, this.tableOptions(), this.attribution, log, () => performance.now(), Date.now(), randomInt(2 ** 24))
    const rules = operatorRules(config)
    const isOwn = (address: IpAddress) => this.own.has(address.toString())
    const mayReachFor = (address: IpAddress, port: number, owner: Owner) =>
      mayReach(address, port, isOwn, owner.key === null ? [rules] : [rules, owner.key.rules])
    this.service = new Service(
      this.keys,
      this.mapper,
      this.peers,
      {
        maxLeaseS: config.maxLease,
        advertise: config.advertise.map(parseAddress),
        mayReach: mayReachFor,
        v1Owner: (client) => this.v1.owner(client, performance.now()),
      },
      { nowMs: () => performance.now(), wallUs: () => Math.round((performance.timeOrigin + performance.now()) * 1000) },
    )
    this.mayReach = mayReachFor
    this.sockets = new Sockets(config.listen, config.port, (...datagram) => this.service.onDatagram(...datagram))
  }

  private readonly mayReach: (address: IpAddress, port: number, owner: Owner) => boolean

  /** Everything up to the first request. @throws {MptcpError} when it cannot be; then nothing is left of it. */
  static async start(config: ServeConfig, log: DaemonLog, version: string): Promise<DetourDaemon> {
    const keys = readKeys(config.keys)
    const daemon = new DetourDaemon(config, log, version)
    try {
      await daemon.setUp(keys)
      return daemon
    } catch (error) {
      await daemon.undo()
      throw error
    }
  }

  private async setUp(keys: readonly ClientKey[]): Promise<void> {
    this.keyStamp = keyFileStamp(this.config.keys)
    this.keys.update(keys, performance.now(), Date.now())
    this.readAddresses()
    this.forwarding.update()
    await this.mapper.kernel.build(this.tableOptions())
    const [failure] = await this.sockets.update()
    if (failure !== undefined) throw failure
    this.watchKeys()
    this.ticker = setInterval(() => void this.tick(), TICK_MS)
  }

  /** What stands on the line that says that it is ready. */
  readyLine(): string {
    const { config } = this
    const v1 = config.allowV1.length > 0 ? `, version 1 for ${config.allowV1.join(', ')}` : ''
    return `mptcpd-user detour ready: ${this.sockets.addresses().join(' ')}, ${this.keys.size} keys, ports ${config.ports}${v1}`
  }

  private tableOptions() {
    const { from: firstPort, to: lastPort } = parsePorts(this.config.ports)
    return { firstPort, lastPort, maxFlows: this.config.flows, ...this.forwarding.interfaces }
  }

  /** This host's addresses: no mapping may lead to them. */
  private readAddresses(): void {
    this.own = new Set(hostAddresses().map(({ text }) => parseAddress(text).toString()))
  }

  private async tick(): Promise<void> {
    if (this.isTicking) return
    this.isTicking = true
    try {
      this.readAddresses()
      for (const key of this.keys.expire(Date.now())) this.revoke(key, 'expired')
      if (keyFileStamp(this.config.keys) !== this.keyStamp) this.readKeysAgain()
      this.mapper.tick()
      for (const owner of this.v1.idle()) this.mapper.dropOwner(owner)
      if (this.forwarding.update()) await this.mapper.kernel.setOpened(this.tableOptions())
      const [failure] = await this.sockets.update()
      if (failure !== undefined && failure.message !== this.lastListenError)
        this.log.warn('an address is not served', { error: failure.message })
      this.lastListenError = failure?.message ?? ''
      if (++this.ticks % CHECK_TICKS === 0) this.mapper.kernel.look()
    } catch (error) {
      this.log.error('the host could not be followed', { error: (error as Error).message })
    }
    this.isTicking = false
  }

  private watchKeys(): void {
    const name = basename(this.config.keys)
    try {
      // The folder, not the file: who writes it anew renames.
      this.watcher = watch(dirname(this.config.keys), { persistent: false }, (_event, file) => {
        if (file !== name || this.watchTimer !== null) return
        this.watchTimer = setTimeout(() => {
          this.watchTimer = null
          if (keyFileStamp(this.config.keys) !== this.keyStamp) this.readKeysAgain()
        }, WATCH_MS)
      })
      this.watcher.on('error', () => this.watcher?.close()) // it is looked at every second, too
    } catch {
      this.watcher = null
    }
  }

  /** SIGHUP: the key file and the attribution log. */
  reload(): void {
    this.readKeysAgain()
    try {
      this.attribution.reopen()
    } catch (error) {
      this.log.error('the attribution log could not be opened again', { error: (error as Error).message })
    }
  }

  private readKeysAgain(): void {
    this.keyStamp = keyFileStamp(this.config.keys)
    let keys: ClientKey[]
    try {
      keys = readKeys(this.config.keys)
    } catch (error) {
      this.keyErrors++
      this.log.error('the key file cannot be used, the old keys stay', { error: (error as Error).message })
      return
    }
    const { added, removed, changed } = this.keys.update(keys, performance.now(), Date.now())
    for (const key of removed) this.revoke(key, 'removed')
    for (const key of changed) this.enforceRules(key)
    this.log.info('key file read', { clients: this.keys.size, added: added.length, removed: removed.length, changed: changed.length })
  }

  private revoke(owner: Owner, why: string): void {
    this.log.info('a client is not admitted any more', { client: owner.name, why, mappings: owner.leases })
    this.mapper.revoke(owner)
    if (owner.key !== null) this.peers.forget(owner.key.id)
  }

  /** Mappings that the rules of a key do not allow any more. */
  private enforceRules(owner: Owner): void {
    for (const lease of this.mapper.leases.leasesOf(owner))
      if (!this.mayReach(lease.remote, lease.remotePort, owner)) this.mapper.revokeLease(lease, owner)
  }

  async status(): Promise<DetourStatus> {
    const of = await this.mapper.usage()
    const now = performance.now()
    const leases = [...this.mapper.leases.all()].map((lease): LeaseStatus => {
      const { client, remote, remotePort, port, number: mapping, isLive } = lease
      return {
        mapping,
        key: lease.owner.name,
        client: client.toString(),
        destination: remote.toString(),
        destinationPort: remotePort,
        port,
        state: isLive ? 'live' : 'ended',
        expiresInMs: isLive ? Math.max(0, Math.round(lease.endsAt - now)) : 0,
        ...of(lease),
      }
    })
    const { mapper, attribution, sockets, keyErrors, config } = this
    const { opened4, opened6 } = this.forwarding.interfaces
    return {
      daemon: {
        version: this.version,
        pid: process.pid,
        uptimeMs: Math.round(now - this.startedAt),
        epoch: mapper.epoch,
        listen: sockets.addresses(),
        ports: config.ports,
        keys: this.keys.size,
        v1: config.allowV1.length > 0,
        opened: [...new Set([...opened4, ...opened6])],
      },
      leases,
      clients: clientsOf(leases),
      flows: leases.reduce((sum, lease) => sum + lease.flows, 0),
      counters: {
        ...this.service.counters,
        mappingsBegun: mapper.leases.begun,
        mappingsLive: mapper.leases.live,
        overQuota: mapper.leases.overQuota,
        tablesLost: mapper.lost,
        kernelFailures: mapper.kernelFailures,
        transactions: mapper.kernel.transactions,
        sendErrors: sockets.sendErrors,
        attributionFailures: attribution.failures,
        keyFileErrors: keyErrors,
      },
    }
  }

  /** Tells clients, ends every mapping, takes everything back. @returns what could not be undone */
  async stop(): Promise<string[]> {
    this.service.sayBye()
    return this.undo()
  }

  private async undo(): Promise<string[]> {
    if (this.ticker !== null) clearInterval(this.ticker)
    if (this.watchTimer !== null) clearTimeout(this.watchTimer)
    this.watcher?.close()
    await this.sockets.close()
    const failures = await this.mapper.end('stopped').then(
      () => [],
      (error: Error) => [error.message],
    )
    return [...failures, ...this.forwarding.restore()]
  }
}
