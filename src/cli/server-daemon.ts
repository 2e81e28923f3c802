import type { Duplex } from 'node:stream'
import { PAGE_LEN } from '../base/arena.js'
import type { DaemonConfig } from '../config/daemon-config.js'
import { EngineConfig } from '../engine/config.js'
import { ControlServer, controlPath } from '../engine/control.js'
import { createEngine, type Engine } from '../engine/engine.js'
import { EngineLoop } from '../engine/loop.js'
import { randomHost } from '../engine/random-host.js'
import { MptcpServer } from '../engine/server.js'
import { countersOf, statusOf } from '../engine/status.js'
import type { MptcpStream } from '../engine/stream.js'
import { readFacts } from '../host/facts.js'
import { HostKeeper } from '../host/keeper.js'
import type { Family } from '../host/numbers.js'
import { HostRunner } from '../host/runner.js'
import { mptcpConfig } from '../mptcp/env.js'
import { tcpConfig } from '../tcp/config.js'
import { native } from '../tun/native.js'
import type { TunDevice } from '../tun/tun-device.js'
import { hostOptions, hostReport } from './host-options.js'
import { type CountersReply, JSON_VERSION, type Outcome } from './json.js'
import type { Log } from './log.js'
import { mptcpOptions } from './mptcp-options.js'
import { openTun } from './open-tun.js'
import { packageVersion } from './package-version.js'
import { planServe, type ServePlan, type ServeRequest, type Service } from './serve-plan.js'
import { computeSetup, type Setup } from './setup.js'
import { splice } from './splice.js'

/** Repetitions of a SYN/ACK (Linux tcp_synack_retries: 5). */
const SYNACK_RETRIES = 5
/** How long connections may finish by themselves at the end, and the resets have to leave afterwards. */
const DRAIN_MS = 5000
const RESET_MS = 50
const POLL_MS = 20

/** What the server asks of whoever runs it. */
export interface ServerHooks {
  /** Somebody asks by the control socket to end; `isNow`: without draining. */
  stop(isNow: boolean): void
  /** It cannot do its work any more. */
  fail(what: string): void
}

/** More than the keys of the daemon say. */
export interface ServerOptions extends ServeRequest {
  /** Joins to the address and port that a connection came to are forbidden (flag C). */
  readonly denyJoinInitial: boolean
  /** Half-open connections before SYN cookies. */
  readonly backlog: number
  /** Fast Open: off, on, or how many of its connections may wait for their third ACK. */
  readonly fastOpen: boolean | number
  /** Keys of its cookies: the present one, the previous one. None: drawn. */
  readonly fastOpenKeys: readonly string[]
}

/** `mptcpd-user serve`: takes up connections from the network for a local service, MPTCP where the peer speaks it. */
export class ServerDaemon {
  private readonly log: Log
  private readonly keeper: HostKeeper
  private readonly engine: Engine
  private readonly loop: EngineLoop
  private readonly servers: readonly MptcpServer[]
  private readonly plan: ServePlan
  private readonly tun: string
  private control: ControlServer | null = null
  private isHurried = false
  private tellOutcome: (outcome: Outcome) => void = () => {}

  private constructor(
    config: DaemonConfig,
    options: ServerOptions,
    log: Log,
    setup: Setup,
    plan: ServePlan,
    keeper: HostKeeper,
    device: TunDevice,
  ) {
    this.log = log
    this.keeper = keeper
    this.plan = plan
    this.tun = config.tun
    const { gso } = device.caps
    const tcp = tcpConfig({ mss4: setup.mss4, mss6: setup.mss6, gso, synRetries: SYNACK_RETRIES })
    this.engine = createEngine(
      randomHost(),
      [device],
      new EngineConfig({
        intercept: false,
        memoryPages: Math.ceil(config.memory / PAGE_LEN),
        ownRanges: setup.ownRanges,
        hostAddresses: setup.hostAddresses,
        stackAddresses: setup.stackAddresses,
        announced: [...plan.announced],
        mptcp: mptcpConfig({ ...mptcpOptions(config, tcp), denyJoinInitial: options.denyJoinInitial }),
        sendBuffer: config.sendBuffer,
        receiveBuffer: config.receiveBuffer,
        onInternalError: (error) =>
          log.error('a connection hit a bug and was reset', { stack: error instanceof Error ? error.stack : String(error) }),
      }),
    )
    this.servers = plan.services.map((service) => this.listen(service, options))
    this.loop = new EngineLoop(this.engine)
  }

  /** Sets everything up, or nothing. @throws {MptcpError} */
  static async start(config: DaemonConfig, options: ServerOptions, log: Log, hooks: ServerHooks): Promise<ServerDaemon> {
    const device = openTun(config.tun, () => hooks.fail(`${config.tun} was deleted`))
    let keeper: HostKeeper | null = null
    try {
      const facts = await readFacts()
      const setup = computeSetup(config, facts)
      const routes = (family: Family) => (family === 4 ? facts.v4 : facts.v6)?.main ?? []
      const defaults = (family: Family) => routes(family).flatMap((r) => (r.destination === 'default' ? r.devices : []))
      const plan = planServe(options, setup, facts, defaults)
      const egresses = plan.egresses.map((e, index) => ({ ...e, source: e.source.toString(), gateway: null, index }))
      const runner = new HostRunner()
      const parts = { native: native(), runner, log, closeTun: () => device.close() }
      keeper = await HostKeeper.start({ ...hostOptions(config, setup, egresses), served: plan.served }, parts)
      const daemon = new ServerDaemon(config, options, log, setup, plan, keeper, device)
      await daemon.openControl(config, setup, device, hooks)
      return daemon
    } catch (error) {
      await keeper?.stop()
      device.close()
      throw error
    }
  }

  /** The one line that says that it is ready. */
  readyLine(): string {
    const services = this.plan.services.map((s) => `${s.label} -> ${s.host}:${s.targetPort}`).join(', ')
    return `mptcpd-user ${packageVersion()} ready: serving ${services} by ${this.tun}`
  }

  /** Ends the draining of `stop`. */
  hurry(): void {
    this.isHurried = true
  }

  /** No new connections; those that are there may finish for 5 s; then everything is undone. @returns what could not be. */
  async stop(exitCode: (failures: readonly string[]) => number): Promise<string[]> {
    const { engine, loop } = this
    for (const server of this.servers) server.close()
    await this.until(() => engine.connections.size === 0 || this.isHurried, DRAIN_MS)
    const now = loop.clock.now()
    for (const connection of [...engine.connections]) connection.abort(now)
    await this.until(() => engine.connections.size === 0, RESET_MS)
    loop.stop()
    const failures = await this.keeper.stop()
    for (const failure of failures) this.log.error('could not be undone', { failure })
    this.tellOutcome({ version: JSON_VERSION, pid: process.pid, exitCode: exitCode(failures), failures })
    await new Promise((resolve) => setImmediate(resolve)) // the answers are written
    await this.control?.close()
    return failures
  }

  private listen(service: Service, { backlog, fastOpen, fastOpenKeys }: ServerOptions): MptcpServer {
    const server = new MptcpServer(this.engine, { fastOpen, fastOpenKeys })
    server.on('connection', (stream: MptcpStream & Duplex) => {
      splice(stream, service.host, service.targetPort, (error) =>
        this.log.debug('connection to the local service', { service: `${service.host}:${service.targetPort}`, error: error.message }),
      )
    })
    return server.listen({ port: service.port, host: service.address.toString(), backlog })
  }

  private async openControl(config: DaemonConfig, setup: Setup, device: TunDevice, hooks: ServerHooks): Promise<void> {
    const { engine, loop } = this
    const outcome = new Promise<Outcome>((resolve) => {
      this.tellOutcome = resolve
    })
    const startedAt = Date.now()
    try {
      this.control = await ControlServer.open(controlPath(config.tun), {
        status: () => ({
          ...statusOf(engine, loop.clock.now()),
          daemon: {
            version: packageVersion(),
            pid: process.pid,
            tun: config.tun,
            mptcp: config.mptcp,
            uptimeMs: Date.now() - startedAt,
            config: null,
            reloads: 0,
            failedReloads: 0,
          },
          addresses: setup.families.map((family) => `${family.address}/${family.prefixLen}`),
          host: hostReport(config, setup, null),
          device: { rxPackets: device.stats[0], rxBytes: device.stats[1], txPackets: device.stats[4], txBytes: device.stats[5] },
        }),
        counters: (): CountersReply => ({ version: JSON_VERSION, counters: countersOf(engine) }),
        stop: (args) => {
          hooks.stop(args.now === true)
          return outcome
        },
      })
    } catch (error) {
      loop.stop()
      throw error
    }
  }

  private async until(isDone: () => boolean, ms: number): Promise<void> {
    for (let waited = 0; waited < ms && !isDone(); waited += POLL_MS) await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}
