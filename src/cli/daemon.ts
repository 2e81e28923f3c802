import { MptcpError } from '../base/errors.js'
import { PAGE_LEN } from '../base/arena.js'
import type { DaemonConfig } from '../config/daemon-config.js'
import { type ConfigDiff, diffConfig, reloadedConfig } from '../config/diff.js'
import { parsePathSpec } from '../config/path-spec.js'
import { EngineConfig } from '../engine/config.js'
import { ControlServer, controlPath } from '../engine/control.js'
import { createEngine, type Engine } from '../engine/engine.js'
import { EngineLoop } from '../engine/loop.js'
import { randomHost } from '../engine/random-host.js'
import { countersOf, statusOf } from '../engine/status.js'
import { readFacts } from '../host/facts.js'
import { HostKeeper } from '../host/keeper.js'
import type { ProbeResult } from '../host/report.js'
import { HostRunner } from '../host/runner.js'
import { mptcpConfig } from '../mptcp/env.js'
import { tcpConfig } from '../tcp/config.js'
import { native } from '../tun/native.js'
import { TunDevice } from '../tun/tun-device.js'
import { type CountersReply, JSON_VERSION, type Outcome, type ReloadReply } from './json.js'
import { hostOptions, hostReport, TUN_MTU } from './host-options.js'
import type { Log } from './log.js'
import { probeEgresses } from './probe.js'
import { packageVersion } from './package-version.js'
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
    this.tellOutcome = parts.tellOutcome
  }

  /** Sets everything up, or nothing. @throws {MptcpError} */
  static async start(config: DaemonConfig, log: Log, hooks: DaemonHooks): Promise<Daemon> {
    const device = openTun(config.tun, () => hooks.fail(`${config.tun} was deleted`))
    let keeper: HostKeeper | null = null
    try {
      const facts = await readFacts()
      const setup = computeSetup(config, facts)
      if (config.address6 !== null && facts.v6 === null) log.warn('IPv6 is off on this host: only IPv4 is carried')
      const runner = new HostRunner()
      keeper = await HostKeeper.start(hostOptions(config, setup), { native: native(), runner, log, closeTun: () => device.close() })
      const running = await run(config, log, setup, device, keeper, hooks)
      const parts = { tun: config.tun, engine: running.engine, keeper, runner, log, fix: config.fixFirewall }
      const probed = config.probe ? probeEgresses(parts, setup.families, [...setup.egresses]).then(running.onProbed) : null
      // What is to be mended is mended before anybody's traffic depends on it.
      if (config.fixFirewall) await probed
      else probed?.catch((error: unknown) => log.warn('the egresses could not be probed', { error: String(error) }))
      await keeper.setCapturing(true)
      return new Daemon(config, log, setup, keeper, running)
    } catch (error) {
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
    const { engine, setup, keeper, loop } = this
    const from = this.config
    const diff = diffConfig(from, next)
    const config = reloadedConfig(from, next)
    const added: string[] = []
    try {
      for (const path of config.paths.filter((text) => !from.paths.includes(text))) {
        await addPath(setup, keeper, engine, loop, path)
        added.push(path)
      }
    } catch (error) {
      for (const path of added) removePath(engine, path)
      throw error
    }
    for (const path of from.paths.filter((text) => !config.paths.includes(text))) {
      if (engine.config.paths.some((known) => known.label === path)) removePath(engine, path)
    }
    engine.config.heldMax = config.heldConnects
    engine.config.heldPerDestination = config.heldPerDestination
    engine.config.sendBuffer = config.sendBuffer
    engine.config.receiveBuffer = config.receiveBuffer
    engine.config.mptcp = { ...engine.config.mptcp, isEnabled: config.mptcp, checksum: config.checksum }
    this.log.configure(config.log, config.logFormat)
    this.config = config
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
  readonly tellOutcome: (outcome: Outcome) => void
  readonly onProbed: (probes: readonly ProbeResult[]) => void
}

async function run(
  config: DaemonConfig,
  log: Log,
  setup: Setup,
  device: TunDevice,
  keeper: HostKeeper,
  hooks: DaemonHooks,
): Promise<Running> {
  const gso = device.caps.gso
  const tcp = tcpConfig({ mss4: setup.mss4, mss6: setup.mss6, gso })
  const base = new EngineConfig()
  const engine = createEngine(
    randomHost(),
    [device],
    new EngineConfig({
      memoryPages: Math.ceil(config.memory / PAGE_LEN),
      ownRanges: setup.ownRanges,
      hostAddresses: setup.hostAddresses,
      stackAddresses: setup.stackAddresses,
      paths: setup.paths,
      app: { ...base.app, gso },
      mptcp: mptcpConfig({ tcp, isEnabled: config.mptcp, checksum: config.checksum }),
      sendBuffer: config.sendBuffer,
      receiveBuffer: config.receiveBuffer,
      heldMax: config.heldConnects,
      heldPerDestination: config.heldPerDestination,
      onInternalError: (error) =>
        log.error('a connection hit a bug and was reset', { stack: error instanceof Error ? error.stack : String(error) }),
    }),
  )
  let tellOutcome: (outcome: Outcome) => void = () => {}
  const outcome = new Promise<Outcome>((resolve) => {
    tellOutcome = resolve
  })
  const startedAt = Date.now()
  let probes: readonly ProbeResult[] | null = null
  const loop = new EngineLoop(engine)
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
        host: hostReport(config, setup, probes),
        device: { rxPackets: device.stats[0], rxBytes: device.stats[1], txPackets: device.stats[4], txBytes: device.stats[5] },
      }),
      counters: (): CountersReply => ({ version: JSON_VERSION, counters: countersOf(engine) }),
      stop: (args) => {
        hooks.stop(args.now === true)
        return outcome
      },
      reload: () => hooks.reload(),
      'path-add': (args) => addPath(setup, keeper, engine, loop, String(args.path)),
      'path-remove': (args) => removePath(engine, String(args.path)),
    })
    const onProbed = (results: readonly ProbeResult[]): void => {
      probes = results
    }
    return { engine, loop, control, tellOutcome, onProbed }
  } catch (error) {
    loop.stop()
    throw error
  }
}

/** One more path by hand, for live connections too. @throws {MptcpError} and leaves everything as it was. */
async function addPath(setup: Setup, keeper: HostKeeper, engine: Engine, loop: EngineLoop, text: string): Promise<void> {
  const facts = await readFacts()
  const known = setup.book.egresses.length
  const nextId = Math.max(...engine.config.paths.map((path) => path.id)) + 1
  const paths = setup.book.addPath(parsePathSpec(text), facts, nextId)
  for (const egress of setup.book.egresses.slice(known)) {
    await keeper.addEgress(egress)
  }
  for (const path of paths) engine.addPath(path, loop.clock.now())
}

function removePath(engine: Engine, label: string): void {
  const kept = engine.config.paths.filter((path, i) => i === 0 || path.label !== label)
  if (kept.length === engine.config.paths.length)
    throw new MptcpError('ERR_PATH_UNKNOWN', `there is no path '${label}': see mptcpd-user status`)
  engine.config.paths = kept
}

function openTun(name: string, onGone: () => void): TunDevice {
  try {
    return new TunDevice({ name, exclusive: true, mtu: TUN_MTU, onGone })
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'EPERM' || code === 'EACCES') {
      throw new MptcpError('ERR_PRIVILEGE', `opening ${name} needs CAP_NET_ADMIN and access to /dev/net/tun: run as root`, { cause: error })
    }
    if (code === 'EEXIST' || code === 'EBUSY') {
      throw new MptcpError('ERR_TUN_TAKEN', `interface ${name} exists already: stop who uses it, or choose another by --tun`, {
        cause: error,
      })
    }
    if (code === 'ENOENT') throw new MptcpError('ERR_TUN_MISSING', '/dev/net/tun does not exist: load the module tun', { cause: error })
    throw error
  }
}
