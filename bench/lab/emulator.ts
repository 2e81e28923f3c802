import { Rng } from '../../src/base/rng.js'
import type { Micros } from '../../src/base/time.js'
import { MptcpError } from '../../src/base/errors.js'
import { native } from '../../src/tun/native.js'
import { type DirectionStats, LinkDirection } from './link-direction.js'
import { type LinkSettings, parseSetting } from './link-settings.js'
import { PacketPool } from './packet-pool.js'
import { Port, RxArea } from './port.js'
import { DEFAULT_SPIN_US, RealLoop } from './real-loop.js'
import type { LinkSpec, Topology } from './topology.js'

/** Bound of all packets on the way: some 80 000 of 1500 bytes. */
const POOL_LEN = 128 << 20

/** One direction of a link, as `lab stats --json` shows it; rates in bits a second, times in microseconds, null: no limit. */
export interface DirectionReport extends DirectionStats {
  readonly from: string
  readonly device: string
  readonly settings: Readonly<Record<keyof LinkSettings, number | boolean | null>>
  /** Packets that the emulator could not take or hand over: its own faults, 0 in every sound trial. */
  readonly faults: number
}

/** How well the emulator did since the last reset: what decides whether a trial counts. */
export interface TimingReport {
  readonly sinceUs: Micros
  readonly departures: number
  /** Actual minus scheduled departure. */
  readonly lateP50Us: Micros
  readonly lateP99Us: Micros
  readonly lateMaxUs: Micros
  /** Longest time that the process was not run or was held up by one packet: the hypervisor's and the scheduler's doing. */
  readonly worstStallUs: Micros
  readonly wakeups: number
  /** Share of the time in which there was so much to do that devices were polled: departures are late by up to 100 µs then. */
  readonly polledShare: number
  /** Share of one CPU that the emulator used, kernel work on its behalf included. */
  readonly cpuShare: number
}

export interface EmulatorReport {
  readonly seed: number
  readonly packetsOnTheWay: number
  readonly timing: TimingReport
  readonly links: Readonly<Record<string, readonly [DirectionReport, DirectionReport]>>
}

interface Link {
  readonly spec: LinkSpec
  readonly ports: readonly [Port, Port]
  readonly directions: readonly [LinkDirection, LinkDirection]
}

/**
 * All links of a topology: the directions of each between its two TUN devices, on one loop with one timer.
 *
 *     kernel of node a -> port a -> direction a to b -> port b -> kernel of node b
 *                         port a <- direction b to a <- port b
 */
export class Emulator {
  private readonly loop: RealLoop
  private readonly pool: PacketPool
  private readonly ports: Port[] = []
  private readonly links = new Map<string, Link>()
  private readonly seed: number
  private readonly closeTimer: () => void
  private resetAt: Micros
  private resetCpu = process.cpuUsage()

  /**
   * Opens the devices; the namespaces exist already.
   * @param netnsPath path of a node's network namespace. @param seed of all losses, jitter and reordering; each direction draws from its own generator.
   */
  constructor(topology: Topology, netnsPath: (node: string) => string, seed: number, spinUs: Micros = DEFAULT_SPIN_US) {
    const { nowUs, Timer } = native()
    const timer = new Timer(() => this.loop.onTimer())
    this.closeTimer = () => timer.close()
    const arrivals = {
      watch: (isWatched: boolean) => {
        for (const port of this.ports) port.watch(isWatched)
      },
      poll: () => {
        for (const port of this.ports) port.read()
      },
    }
    this.loop = new RealLoop({ nowUs, arm: (at) => timer.arm(at) }, arrivals, spinUs)
    this.resetAt = nowUs()
    this.seed = seed
    const maxLen = Math.max(...topology.links.map(({ mtu }) => mtu), 0)
    this.pool = new PacketPool(maxLen, POOL_LEN)
    const area = new RxArea(maxLen)
    const rng = new Rng(seed)
    for (const spec of topology.links) {
      const [a, b] = spec.ends.map(({ node, device }) => new Port(this.loop, this.pool, area, netnsPath(node), device, spec.mtu)) as [
        Port,
        Port,
      ]
      const lost = (packet: Uint8Array): void => this.pool.give(packet)
      const ab = new LinkDirection(this.loop, rng.fork(), spec.settings[0], b.write, lost)
      const ba = new LinkDirection(this.loop, rng.fork(), spec.settings[1], a.write, lost)
      a.out = ab.entry
      b.out = ba.entry
      this.ports.push(a, b)
      this.links.set(spec.name, { spec, ports: [a, b], directions: [ab, ba] })
    }
    for (const { name } of topology.nodes) {
      const siblings = this.portsOf(name)
      for (const port of siblings) port.siblings = siblings
    }
  }

  /** Begins to carry packets. */
  start(): void {
    for (const port of this.ports) port.watch(true)
    this.reset()
  }

  /**
   * Changes a link, at once, in both directions or in that of packets sent by `from`. Nothing is changed when one value is bad.
   * @param values by the names of a topology file. @throws {MptcpError} ERR_LAB_VALUE
   */
  set(linkName: string, from: string | null, values: Readonly<Record<string, string>>): void {
    const link = this.links.get(linkName)
    if (link === undefined) throw new MptcpError('ERR_LAB_VALUE', `no link '${linkName}': ${[...this.links.keys()].join(', ')}`)
    const nodes = link.spec.ends.map(({ node }) => node)
    if (from !== null && !nodes.includes(from))
      throw new MptcpError('ERR_LAB_VALUE', `'${from}' is no end of ${linkName}: ${nodes.join(', ')}`)
    let changes: Partial<LinkSettings> = {}
    for (const [name, text] of Object.entries(values)) changes = { ...changes, ...parseSetting(name, text) }
    const meant = link.directions.filter((_, i) => from === null || nodes[i] === from)
    for (const direction of meant) direction.check(changes)
    for (const direction of meant) direction.set(changes)
  }

  report(): EmulatorReport {
    const { lateness, worstStallUs, wakeups, polledUs } = this.loop
    const sinceUs = native().nowUs() - this.resetAt
    const { user, system } = process.cpuUsage(this.resetCpu)
    return {
      seed: this.seed,
      packetsOnTheWay: this.pool.used,
      timing: {
        sinceUs,
        departures: lateness.count,
        lateP50Us: lateness.quantile(0.5),
        lateP99Us: lateness.quantile(0.99),
        lateMaxUs: Math.round(lateness.maxUs),
        worstStallUs: Math.round(worstStallUs),
        wakeups,
        polledShare: Math.min(1, polledUs / sinceUs),
        cpuShare: (user + system) / sinceUs,
      },
      links: Object.fromEntries([...this.links].map(([name, link]) => [name, [directionReport(link, 0), directionReport(link, 1)]])),
    }
  }

  /** Begins a new trial: timing counts from here. Counters of the links go on. */
  reset(): void {
    this.loop.resetStats()
    this.resetAt = native().nowUs()
    this.resetCpu = process.cpuUsage()
  }

  close(): void {
    for (const port of this.ports) port.close()
    this.closeTimer()
  }

  private portsOf(node: string): Port[] {
    return [...this.links.values()].flatMap(({ spec, ports }) => ports.filter((_, i) => spec.ends[i]?.node === node))
  }
}

function directionReport({ spec, ports, directions }: Link, i: 0 | 1): DirectionReport {
  const settings = Object.entries(directions[i].settings).map(([key, value]) => [key, value === Number.POSITIVE_INFINITY ? null : value])
  const [entrance, exit] = [ports[i], ports[1 - i] as Port]
  return {
    from: spec.ends[i].node,
    device: spec.ends[i].device,
    settings: Object.fromEntries(settings),
    ...directions[i].stats(),
    faults: entrance.droppedLen + entrance.droppedPool + exit.refused,
  }
}
