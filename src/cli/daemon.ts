import { PAGE_LEN } from '../base/arena.js'
import type { DaemonConfig } from '../config/daemon-config.js'
import { type ConfigDiff, diffConfig, reloadedConfig } from '../config/diff.js'
import { EngineConfig } from '../engine/config.js'
import { ControlServer, controlPath } from '../engine/control.js'
import { createEngine, type Engine } from '../engine/engine.js'
import { EngineLoop } from '../engine/loop.js'
import { randomHost } from '../engine/random-host.js'
import { countersOf, statusOf } from '../engine/status.js'
import { readFacts } from '../host/facts.js'
import { HostKeeper } from '../host/keeper.js'
import type { Family } from '../host/numbers.js'
import { HostRunner } from '../host/runner.js'
import { mptcpConfig } from '../mptcp/env.js'
import { tcpConfig } from '../tcp/config.js'
import { native } from '../tun/native.js'
import type { TunDevice } from '../tun/tun-device.js'
import { DefaultEgress } from './default-egress.js'
import { checkDetours, Detours } from './detours.js'
import { Egresses } from './egresses.js'
import { type CountersReply, JSON_VERSION, type Outcome, type ReloadReply } from './json.js'
import { hostOptions, hostReport } from './host-options.js'
import type { Log } from './log.js'
import { mptcpOptions, pathOptions } from './mptcp-options.js'
import { pathCommands } from './path-commands.js'
import { Probes } from './probe.js'
import { ProviderParts } from './provider-parts.js'
import { packageVersion } from './package-version.js'
import { openTun } from './open-tun.js'
import { computeSetup, type Setup } from './setup.js'

/** How long connections may finish by themselves at the end. */
export const DRAIN_MS = 5000
/** How long the resets have to leave afterwards. */
const RESET_MS = 50
const POLL_MS = 20

/** What the daemon asks of whoever runs it. */
export interface DaemonHooks {
  /** Somebody asks by the control socket to end; `isNow`: without draining. */
  stop(isNow: boolean): void
  reload(): Promise<ReloadReply>
  /** The daemon cannot do its work any more. */
  fail(what: string): void
  /** What `status` says about it. */
  info(): { readonly config: string | null; readonly reloads: number; readonly failedReloads: number }
}

/** The running daemon: TUN, host set-up, engine in real time, control socket. */
export class Daemon {
  readonly setup: Setup
  private config: DaemonConfig
  private readonly log: Log
  private readonly keeper: HostKeeper
  private readonly engine: Engine
  private readonly loop: EngineLoop
  private readonly control: ControlServer
  private readonly detours: Detours
  private readonly egresses: Egresses
  private readonly tellOutcome: (outcome: Outcome) => void
  private isHurried = false

  private constructor(config: DaemonConfig, log: Log, setup: Setup, keeper: HostKeeper, parts: Running) {
    this.config = config
    this.log = log
    this.setup = setup
    this.keeper = keeper
    this.engine = parts.engine
    this.loop = parts.loop
    this.control = parts.control
    this.detours = parts.detours
    this.egresses = parts.egresses
    this.tellOutcome = parts.tellOutcome
  }

  /** Sets everything up, or nothing. @throws {MptcpError} */
  static async start(config: DaemonConfig, log: Log, hooks: DaemonHooks): Promise<Daemon> {
    const device = openTun(config.tun, () => hooks.fail(`${config.tun} was deleted`))
    let keeper: HostKeeper | null = null
    let running: Running | null = null
    try {
      const facts = await readFacts()
      const setup = computeSetup(config, facts)
      checkDetours(config, familiesOf(setup), facts)
      if (config.address6 !== null && facts.v6 === null) log.warn('IPv6 is off on this host: only IPv4 is carried')
      const runner = new HostRunner()
      keeper = await HostKeeper.start(hostOptions(config, setup), { native: native(), runner, log, closeTun: () => device.close() })
      running = await run(config, log, setup, device, keeper, runner, hooks)
      if (config.probe) running.probes.probeDefault()
      await running.detours.start(config)
      // What is to be mended is mended before anybody's traffic depends on it.
      if (config.fixFirewall) await running.probes.done
      await keeper.setCapturing(true)
      return new Daemon(config, log, setup, keeper, running)
    } catch (error) {
      await running?.detours.stop()
      await running?.control.close()
      running?.loop.stop()
      await keeper?.stop()
      device.close()
      throw error
    }
  }

  /**
   * Ends everything and undoes every change of the host: no new connections, the others may finish for 5 s (unless `hurry` is
   * called), then they are reset. Who waits at the control socket is told how it ended.
   * @param exitCode what the program will end with, given what could not be undone
   * @returns what could not be undone.
   */
  async stop(exitCode: (failures: readonly string[]) => number): Promise<string[]> {
    const { engine, log } = this
    // New connections leave as without us; those that were captured stay in the TUN until they end.
    await this.keeper.setCapturing(false).catch(() => {})
    engine.config.intercept = false
    for (const connection of [...engine.connections]) if (!connection.isEstablished) connection.abort(this.loop.clock.now())
    if (engine.connections.size > 0) log.info('waiting for connections to end', { connections: engine.connections.size, ms: DRAIN_MS })
    await this.until(() => engine.connections.size === 0 || this.isHurried, DRAIN_MS)
    const now = this.loop.clock.now()
    for (const connection of [...engine.connections]) connection.abort(now)
    await this.until(() => engine.connections.size === 0, RESET_MS)
    // The rules of egresses go with everything else, in one step.
    this.egresses.leave()
    await this.detours.stop()
    this.loop.stop()
    const failures = await this.keeper.stop()
    for (const failure of failures) log.error('could not be undone', { failure })
    this.tellOutcome({ version: JSON_VERSION, pid: process.pid, exitCode: exitCode(failures), failures })
    await new Promise((resolve) => setImmediate(resolve)) // the answers are written
    await this.control.close()
    return failures
  }

  /**
   * Goes over to a new configuration as far as that is possible without a restart. A change that can fail comes first, so that
   * on an error everything is as before. @throws {MptcpError}
   */
  async reload(next: DaemonConfig): Promise<ConfigDiff> {
    const { engine, setup } = this
    const from = this.config
    const diff = diffConfig(from, next)
    const config = reloadedConfig(from, next)
    checkDetours(config, familiesOf(setup), await readFacts())
    this.config = config
    engine.config.heldMax = config.heldConnects
    engine.config.heldPerDestination = config.heldPerDestination
    engine.config.sendBuffer = config.sendBuffer
    engine.config.receiveBuffer = config.receiveBuffer
    Object.assign(engine.config, pathOptions(config))
    engine.config.mptcp = { ...engine.config.mptcp, ...mptcpOptions(config, engine.config.mptcp.tcp) }
    this.log.configure(config.log, config.logFormat)
    await this.detours.reload(from, config)
    return diff
  }

  /** Ends the draining of `stop`. */
  hurry(): void {
    this.isHurried = true
  }

  /** The one line that says that the daemon is ready. */
  readyLine(): string {
    const addresses = this.setup.families.map((family) => family.address).join(', ')
    return `mptcpd-user ${packageVersion()} ready: ${this.config.tun} (${addresses}); routes at ${this.config.tun} are carried by ${this.config.mptcp ? 'MPTCP' : 'TCP'}`
  }

  private async until(isDone: () => boolean, ms: number): Promise<void> {
    for (let waited = 0; waited < ms && !isDone(); waited += POLL_MS) await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

interface Running {
  readonly engine: Engine
  readonly loop: EngineLoop
  readonly control: ControlServer
  readonly detours: Detours
  readonly egresses: Egresses
  readonly probes: Probes
  readonly tellOutcome: (outcome: Outcome) => void
}

async function run(
  config: DaemonConfig,
  log: Log,
  setup: Setup,
  device: TunDevice,
  keeper: HostKeeper,
  runner: HostRunner,
  hooks: DaemonHooks,
): Promise<Running> {
  const gso = device.caps.gso
  const tcp = tcpConfig({ mss4: setup.mss4, mss6: setup.mss6, gso, synRetries: config.synRetries })
  const base = new EngineConfig()
  const engine = createEngine(
    randomHost(),
    [device],
    new EngineConfig({
      memoryPages: Math.ceil(config.memory / PAGE_LEN),
      ownRanges: setup.ownRanges,
      hostAddresses: setup.hostAddresses,
      stackAddresses: setup.stackAddresses,
      app: { ...base.app, gso },
      mptcp: mptcpConfig(mptcpOptions(config, tcp)),
      ...pathOptions(config),
      sendBuffer: config.sendBuffer,
      receiveBuffer: config.receiveBuffer,
      heldMax: config.heldConnects,
      heldPerDestination: config.heldPerDestination,
      onInternalError: (error) =>
        log.error('a connection hit a bug and was reset', { stack: error instanceof Error ? error.stack : String(error) }),
    }),
  )
  const loop = new EngineLoop(engine)
  const probes = new Probes({ tun: config.tun, engine, keeper, runner, log, fix: config.fixFirewall }, setup.families)
  const egresses = new Egresses(setup.book, keeper, setup.stackAddresses)
  if (config.probe) egresses.onOpened = (egress) => probes.probe(egress)
  const parts = new ProviderParts({ tun: config.tun, engine, loop, keeper, egresses, families: familiesOf(setup), log })
  const detours = new Detours(parts, () => [...engine.connections].flatMap((connection) => connection.control ?? []))
  engine.paths.demand = detours.demand
  const defaultEgress = new DefaultEgress()
  const devices = () => new Map(familiesOf(setup).map((family) => [family, keeper.defaultDevices(family)]))
  defaultEgress.look(keeper.hostFacts, devices())
  keeper.onChange = (facts) => {
    for (const family of defaultEgress.look(facts, devices())) {
      log.info('the default egress is another one: its subflows begin anew', { family })
      for (const path of engine.paths.list()) if (path.source === null) engine.paths.renew(path.id, family === 4, loop.clock.now())
    }
    detours.onHostChange(facts)
  }
  let tellOutcome: (outcome: Outcome) => void = () => {}
  const outcome = new Promise<Outcome>((resolve) => {
    tellOutcome = resolve
  })
  const startedAt = Date.now()
  try {
    const control = await ControlServer.open(controlPath(config.tun), {
      status: () => ({
        ...statusOf(engine, loop.clock.now()),
        daemon: {
          version: packageVersion(),
          pid: process.pid,
          tun: config.tun,
          mptcp: config.mptcp,
          uptimeMs: Date.now() - startedAt,
          ...hooks.info(),
        },
        addresses: setup.families.map((family) => `${family.address}/${family.prefixLen}`),
        host: hostReport(config, setup, probes.results),
        detours: detours.status(),
        device: { rxPackets: device.stats[0], rxBytes: device.stats[1], txPackets: device.stats[4], txBytes: device.stats[5] },
      }),
      counters: (): CountersReply => ({ version: JSON_VERSION, counters: countersOf(engine) }),
      stop: (args) => {
        hooks.stop(args.now === true)
        return outcome
      },
      reload: () => hooks.reload(),
      ...pathCommands(detours),
    })
    return { engine, loop, control, detours, egresses, probes, tellOutcome }
  } catch (error) {
    loop.stop()
    throw error
  }
}

function familiesOf(setup: Setup): Family[] {
  return setup.families.map((f) => f.family)
}
