import type { IpAddress } from '../base/address.js'
import { parseAddress } from '../config/address-text.js'
import type { Engine } from '../engine/engine.js'
import { PROBE_PORT, Probe } from '../engine/probe.js'
import { dropperText, type Remedy, remedyFor } from '../host/firewall.js'
import type { HostKeeper } from '../host/keeper.js'
import { commandText } from '../host/plan.js'
import type { ProbeResult } from '../host/report.js'
import { foreignChains, hasProgram, traceProbe } from '../host/trace.js'
import type { HostRunner } from '../host/runner.js'
import type { HostLog } from '../host/undo.js'
import type { EgressPlan, FamilyPlan } from '../host/wanted.js'

/** Addresses for documentation: every default route leads to them, and nobody is there. */
const TARGET4 = '192.0.2.1'
const TARGET6 = '2001:db8::1'
const ANSWER_MS = 500
const TRIES = 2
/** Firewalls one behind the other that `--fix-firewall` gets through. */
const MAX_REMEDIES = 4

interface ProbeParts {
  readonly tun: string
  readonly engine: Engine
  readonly keeper: HostKeeper
  readonly runner: HostRunner
  readonly log: HostLog
  readonly fix: boolean
}

/** One probe per egress through forward and masquerade, one after the other. Says what is wrong, and mends it when asked to. */
export class Probes {
  private readonly parts: ProbeParts
  private readonly families: readonly FamilyPlan[]
  private readonly found = new Map<string, ProbeResult>()
  private queue: Promise<void> = Promise.resolve()
  private isFirstDone = false

  constructor(parts: ProbeParts, families: readonly FamilyPlan[]) {
    this.parts = parts
    this.families = families
  }

  /** What became of the last probe of each egress, null: the first ones are under way, or there was none. */
  get results(): readonly ProbeResult[] | null {
    return this.isFirstDone ? [...this.found.values()] : null
  }

  /** Resolves when nothing waits any more. */
  get done(): Promise<void> {
    return this.queue
  }

  /** The default egress of every family. */
  probeDefault(): void {
    for (const f of this.families) {
      this.enqueue(async () => {
        const stack = this.parts.engine.config.stackAddresses.find((s) => s.isDefault && s.address.isV4 === (f.family === 4))
        if (stack === undefined) return null
        if (!this.parts.keeper.hasDefault(f.family)) return { egress: 'default', family: f.family, state: 'no route' }
        return probeEgress(this.parts, f, 'default', stack.address)
      })
    }
    void this.queue.then(() => {
      this.isFirstDone = true
    })
  }

  /** An egress that was set up. */
  probe(egress: EgressPlan): void {
    const f = this.families.find((family) => family.family === egress.family)
    if (f !== undefined) this.enqueue(() => probeEgress(this.parts, f, egress.device, parseAddress(egress.source.replace(/\/.*/, ''))))
  }

  private enqueue(run: () => Promise<ProbeResult | null>): void {
    this.queue = this.queue.then(async () => {
      try {
        const result = await run()
        if (result !== null) this.found.set(`${result.egress} ${result.family}`, result)
      } catch (error) {
        this.parts.log.warn('an egress could not be probed', { error: error instanceof Error ? error.message : String(error) })
      }
    })
  }
}

async function probeEgress(parts: ProbeParts, f: FamilyPlan, egress: string, source: IpAddress): Promise<ProbeResult> {
  const { engine, tun, runner, log } = parts
  const target = parseAddress(f.family === 4 ? TARGET4 : TARGET6)
  const { deviceByAddress } = parts.keeper.hostFacts
  const newProbe = (): Probe => new Probe(engine, source, target, (address) => deviceByAddress.has(address))
  const tried: string[] = []
  for (let n = 0; n <= MAX_REMEDIES; n++) {
    for (let i = 0; i < TRIES; i++) {
      if (!(await newProbe().run(ANSWER_MS))) continue
      if (n > 0) log.info('a foreign firewall admits the packets of the stack now', { egress, family: f.family, commands: tried })
      return { egress, family: f.family, state: 'answered' }
    }
    const probe = newProbe()
    const dropper = await traceProbe(runner, tun, f.family, f.prefix, probe.sourcePort, () => probe.run(ANSWER_MS))
    if (dropper === null) {
      log.info(`the probe through ${egress} left, but nothing came back: its next hop may be silent`, {
        family: f.family,
        target: `${target}:${PROBE_PORT}`,
      })
      return { egress, family: f.family, state: 'silent' }
    }
    const remedy = remedyFor(dropper, await foreignChains(), tun, hasProgram)
    const commands = remedy.commands.map(commandText)
    const by = dropperText(dropper)
    if (!parts.fix || n === MAX_REMEDIES) {
      log.error(
        `the firewall of this host (${remedy.manager}) drops the packets of the stack: ${by}; admit them by: ${commands.join(' ; ')}`,
        {
          egress,
          family: f.family,
          or: '--fix-firewall',
        },
      )
      return { egress, family: f.family, state: 'dropped', by, remedy: commands }
    }
    if (!(await applyRemedy(parts, remedy, by))) return { egress, family: f.family, state: 'dropped', by, remedy: commands }
    tried.push(...commands)
  }
  return { egress, family: f.family, state: 'silent' }
}

async function applyRemedy(parts: ProbeParts, remedy: Remedy, by: string): Promise<boolean> {
  const { keeper, runner, log } = parts
  keeper.rememberFirewall(remedy.undo)
  try {
    for (const argv of remedy.commands) await runner.exec(argv)
    return true
  } catch (error) {
    log.error(`${remedy.manager} drops the packets of the stack (${by}), and could not be changed`, {
      error: error instanceof Error ? error.message : String(error),
    })
    return false
  }
}
