import { MptcpError } from '../base/errors.js'
import { EgressCopy, NO_NEWS } from './egress-copy.js'
import { factsOf, type HostFacts, readFacts } from './facts.js'
import type { FirewallUndo } from './firewall.js'
import { releasedSwitches, type Switch } from './forwarding.js'
import { openedSet, ownTable } from './nft.js'
import type { Family } from './numbers.js'
import { endOrphans, undoFirewall } from './leftovers.js'
import { displacedBack, type HostLog, leftStates, loopbackUndo, undoPlan } from './undo.js'
import { applyPlan, type Failure, formatPlan, mayFail, type Plan, type Step } from './plan.js'
import { reconcile, restoreSwitches } from './reconcile.js'
import { addWords } from './route-text.js'
import { type Change, type ChangeSource, type RtnetlinkSource, watchChanges } from './rtnetlink.js'
import { type HostRunner, readSysctl } from './runner.js'
import { type HostState, removeState, startTimeOf, writeState } from './state-file.js'
import { linkSteps, loopSteps } from './tun-steps.js'
import { type EgressPlan, type HostOptions, type WantedFamily, wantedFamily } from './wanted.js'

/** Announcements come in bursts; and a pass within this time of the last one waits. */
const SETTLE_MS = 40
const MIN_INTERVAL_MS = 150
/** Switches are looked at this often too: not every change of one is announced. */
const AUDIT_MS = 500

export interface KeeperParts {
  readonly native: RtnetlinkSource
  readonly runner: HostRunner
  readonly log: HostLog
  /** Ends the TUN device; may be called twice. */
  readonly closeTun: () => void
  readonly stateDir?: string
}

/**
 * Everything that the daemon changes on the host: made at the start, kept up to date with the host's own changes, repaired when
 * somebody else damages it, and taken back at the end. All of it is the difference between what is there and what is wanted:
 *
 *     announcement of rtnetlink -> read the host -> EgressCopy (T) -> wanted -> steps -> apply, log
 */
export class HostKeeper {
  private options: HostOptions
  private readonly parts: KeeperParts
  private readonly copies: ReadonlyMap<Family, EgressCopy>
  private state: HostState
  private facts: HostFacts
  private names = new Map<number, string>()
  private isCapturing = false
  private source: ChangeSource | null = null
  private audit: NodeJS.Timeout | null = null
  private timer: NodeJS.Timeout | null = null
  private readonly deleted = new Map<Family, Set<string>>()
  private readonly takenByTun = new Map<Family, Set<string>>()
  /** Steps that make what was wanted at the last pass: when one is due again, somebody undid it. */
  private made: ReadonlySet<string> = new Set()
  private pass: Promise<unknown> = Promise.resolve()
  private lastPassAt = 0
  private isStopped = false
  private opened = ''
  private readonly hadDefault = new Map<Family, boolean>()
  /** Told after every change of links, addresses or routes of the host, when T follows it already. */
  onChange: (facts: HostFacts) => void = () => {}

  private constructor(options: HostOptions, parts: KeeperParts, state: HostState, facts: HostFacts) {
    this.options = options
    this.parts = parts
    this.state = state
    this.facts = facts
    this.copies = new Map(options.families.map((f) => [f.family, new EgressCopy(options.tun)]))
    this.learnNames()
  }

  /**
   * Sets the host up, on top of whatever a killed run left: all of it, or nothing. The TUN exists already.
   * Traffic is captured from `setCapturing(true)` on.
   * @throws {MptcpError} ERR_ALREADY_RUNNING, ERR_HOST_SETUP
   */
  static async start(options: HostOptions, parts: KeeperParts): Promise<HostKeeper> {
    const netns = parts.native.netnsCookie()
    const left = leftStates(netns, parts.stateDir)
    const facts = await readFacts()
    const state: HostState = {
      version: 1,
      tun: options.tun,
      pid: process.pid,
      startTime: startTimeOf(process.pid),
      netns,
      switches: left.flatMap((s) => s.switches),
      displaced: { 4: left.flatMap((s) => s.displaced[4]), 6: left.flatMap((s) => s.displaced[6]) },
      firewall: left.flatMap((s) => s.firewall),
      addresses: options.families.map((f) => f.address),
      failClosed: options.failClosed,
    }
    const keeper = new HostKeeper(options, parts, state, facts)
    writeState(state, parts.stateDir)
    for (const old of left) if (old.tun !== options.tun) removeState(old.tun, parts.stateDir)
    try {
      if (left.length > 0) {
        parts.log.info('took over what a daemon that was killed left on this host')
        await endOrphans([...new Set(left.flatMap((s) => s.addresses))], parts.log)
        await keeper.undoFirewall()
        // The address on lo comes back with the rest when it is still wanted.
        const addresses = left.flatMap((s) => s.addresses)
        const back = displacedBack(facts, state.displaced, options.tun)
        await applyPlan([...loopbackUndo(facts, addresses), ...back], parts.runner)
      }
      keeper.watch()
      await keeper.run(() => keeper.setUp())
      return keeper
    } catch (error) {
      const failures = await keeper.stop()
      const more = failures.length === 0 ? '' : `; undoing what was done failed too: ${failures.join('; ')}`
      const what = error instanceof Error ? error.message : String(error)
      throw new MptcpError('ERR_HOST_SETUP', `host set-up: ${what}${more}`, { cause: error })
    }
  }

  /** Brings traffic to the TUN, or stops doing so; sockets that were captured stay. */
  setCapturing(isCapturing: boolean): Promise<void> {
    return this.run(async () => {
      this.isCapturing = isCapturing
      await this.follow(true)
    })
  }

  /** One more egress while the rest stands. @throws {MptcpError} ERR_HOST_SETUP */
  addEgress(egress: EgressPlan): Promise<void> {
    return this.run(async () => {
      this.options = { ...this.options, egresses: [...this.options.egresses, egress] }
      await this.follow(true)
    })
  }

  /** Its rules and routes go, and what was switched on for its interface alone. Unknown ones are passed over. */
  removeEgress(egress: EgressPlan): Promise<void> {
    return this.run(async () => {
      const egresses = this.options.egresses.filter((one) => one.family !== egress.family || one.source !== egress.source)
      if (egresses.length === this.options.egresses.length) return
      this.options = { ...this.options, egresses }
      await this.follow(false)
    })
  }

  /** The host as last read. */
  get hostFacts(): HostFacts {
    return this.facts
  }

  /** Interfaces that the stack's packets can leave by at the moment, by family: those of T. */
  egressDevices(family: Family): string[] {
    return [...new Set((this.copies.get(family)?.routes ?? []).flatMap((route) => route.devices))]
  }

  /** Interfaces of the default routes of T, the preferred first. */
  defaultDevices(family: Family): string[] {
    const all = (this.copies.get(family)?.routes ?? []).filter((route) => route.destination === 'default')
    const routes = all.toSorted((a, b) => a.metric - b.metric)
    return [...new Set(routes.flatMap((route) => route.devices))]
  }

  /** Whether T of that family has a default route. */
  hasDefault(family: Family): boolean {
    return (this.copies.get(family)?.routes ?? []).some((route) => route.destination === 'default' && route.devices.length > 0)
  }

  /** Writes down how to take something back that is about to be admitted in a foreign firewall. */
  rememberFirewall(undo: readonly FirewallUndo[]): void {
    this.remember({ firewall: [...this.state.firewall, ...undo] })
  }

  /**
   * Takes everything back. The TUN goes first, with its routes and addresses: while sockets are left that have its address, the guards
   * still stand that keep them off other interfaces. @returns what could not be undone.
   */
  async stop(): Promise<string[]> {
    this.isStopped = true
    this.source?.close()
    if (this.audit !== null) clearInterval(this.audit)
    if (this.timer !== null) clearTimeout(this.timer)
    return this.run(async () => {
      const { runner } = this.parts
      const failures = await this.undoFirewall()
      this.parts.closeTun()
      await endOrphans(this.state.addresses, this.parts.log)
      this.facts = await readFacts()
      const plan = undoPlan(this.facts, this.state, this.options.tun)
      failures.push(...(await applyPlan(plan, runner)).map((failure) => failure.message))
      await runner.endNft()
      if (failures.length === 0) removeState(this.state.tun, this.parts.stateDir)
      return failures
    })
  }

  /** Takes back what was admitted in foreign firewalls. @returns failures */
  private async undoFirewall(): Promise<string[]> {
    const failures = await undoFirewall(this.state.firewall, this.parts.runner)
    if (this.state.firewall.length > 0) this.remember({ firewall: [] })
    return failures
  }

  private async setUp(): Promise<void> {
    const { tun, mtu, families, served } = this.options
    const plan: Step[] = [...linkSteps(tun, mtu, families), { kind: 'nft', lines: ownTable(tun, families, served) }]
    const failures = await applyPlan(plan, this.parts.runner, true)
    const first = failures[0]
    if (first !== undefined) throw new MptcpError('ERR_HOST_COMMAND', first.message)
    this.facts = await readFacts() // with the TUN's own routes
    this.updateCopies()
    await this.bring(this.wanted(), true)
    this.tellEgress()
    this.parts.runner.onNftEnd = () => this.onNftEnd()
    this.audit = setInterval(() => this.checkSwitches(), AUDIT_MS)
    this.audit.unref()
  }

  // ---------------------------------------------------------------- following and repair

  private watch(): void {
    this.source = watchChanges(
      this.parts.native,
      (index) => this.names.get(index) ?? null,
      (changes) => this.onChanges(changes),
      () => {
        this.parts.log.warn('announcements of the kernel were lost; looking at everything')
        this.schedule()
      },
    )
  }

  private onChanges(changes: readonly Change[]): void {
    let isDue = false
    for (const change of changes) {
      if (change.kind === 'route') {
        if (change.isDelete) setOf(this.deleted, change.family).add(change.key)
        else if (change.devices.includes(this.options.tun)) setOf(this.takenByTun, change.family).add(change.slot)
        if (!change.isOwn || change.isDelete) isDue = true
      } else if (change.kind === 'table' || change.kind === 'rule') {
        // Our own additions; a deletion of ours may be somebody else's.
        if (change.isOwn && change.isDelete) isDue = true
      } else isDue = true
    }
    if (isDue) this.schedule()
  }

  private schedule(): void {
    if (this.timer !== null || this.isStopped) return
    const wait = Math.max(SETTLE_MS, this.lastPassAt + MIN_INTERVAL_MS - performance.now())
    this.timer = setTimeout(() => {
      this.timer = null
      void this.run(() => this.follow(false)).catch((error: unknown) => {
        this.parts.log.error(`following the host's changes failed: ${error instanceof Error ? error.message : String(error)}`)
      })
    }, wait)
    this.timer.unref()
  }

  private checkSwitches(): void {
    const isGlobal = (s: Switch): boolean => s.unless !== undefined && readSysctl(s.unless.key) === s.unless.value
    const isOff = (s: Switch): boolean => {
      const now = readSysctl(s.key)
      return now !== null && now !== s.value && !isGlobal(s)
    }
    if (this.state.switches.some(isOff)) this.schedule()
  }

  private onNftEnd(): void {
    if (this.isStopped) return
    this.parts.log.warn('the nft process that holds our table ended; starting it again')
    void this.run(async () => {
      const { tun, families, served } = this.options
      this.opened = ''
      const failures = await applyPlan([{ kind: 'nft', lines: ownTable(tun, families, served) }], this.parts.runner)
      for (const failure of failures) this.parts.log.error(`our nftables table could not be restored: ${failure.message}`)
      await this.follow(false)
    }).catch(() => {})
  }

  /** One pass: reads the host, works out what is wanted, brings it about. */
  private async follow(isStrict: boolean): Promise<void> {
    if (this.isStopped) return
    const before = this.facts
    this.facts = await readFacts()
    this.lastPassAt = performance.now()
    this.updateCopies()
    await this.bring(this.wanted(), isStrict)
    this.tellEgress()
    if (!isSameHost(before, this.facts)) this.onChange(this.facts)
  }

  /** Says when there is no way out any more, and when there is one again. */
  private tellEgress(): void {
    for (const { family } of this.options.families) {
      const has = this.hasDefault(family)
      const had = this.hadDefault.get(family)
      this.hadDefault.set(family, has)
      if (has === had || (had === undefined && has)) continue
      if (has) this.parts.log.info(`IPv${family} has a default route again`)
      else if (had === undefined) this.parts.log.info(`IPv${family} has no default route: its connections fail until there is one`)
      else this.parts.log.warn(`IPv${family} has no default route besides the TUN: new connections fail until there is one`)
    }
  }

  private updateCopies(): void {
    this.learnNames()
    for (const [family, copy] of this.copies) {
      const news = { deleted: setOf(this.deleted, family), takenByTun: setOf(this.takenByTun, family) }
      copy.update(
        factsOf(this.facts, family)?.main ?? [],
        news.deleted.size + news.takenByTun.size === 0 ? NO_NEWS : news,
        this.facts.links,
      )
      this.deleted.delete(family)
      this.takenByTun.delete(family)
    }
  }

  /** Index and name of every interface; those that went stay known, for announcements that come late. */
  private learnNames(): void {
    for (const link of this.facts.links.values()) this.names.set(link.index, link.name)
  }

  private wanted(): Map<Family, WantedFamily> {
    const wanted = new Map<Family, WantedFamily>()
    for (const f of this.options.families) {
      const copy = this.copies.get(f.family)
      if (copy === undefined || factsOf(this.facts, f.family) === null) continue
      wanted.set(f.family, wantedFamily(this.facts, this.options, f, copy, this.state.switches, this.isCapturing))
    }
    return wanted
  }

  private async bring(wanted: ReadonlyMap<Family, WantedFamily>, isStrict: boolean): Promise<void> {
    this.rememberWanted(wanted)
    const released = releasedSwitches(this.state.switches, wanted)
    const release = restoreSwitches((key) => this.facts.sysctl(key), released)
    // Before their guards go: at no moment is the host a router for somebody.
    const plan = [...this.tunSteps(), ...release, ...reconcile(this.facts, wanted, this.copies), ...this.openedSteps(wanted)]
    const made = this.made
    this.made = new Set(reconcile(nothingThere(this.facts), wanted, new Map()).map(stepText))
    if (plan.length === 0 && released.length === 0) return
    this.tell(plan.filter((step) => made.has(stepText(step)) || (step.kind === 'exec' && made.size > 0)))
    const failures = await applyPlan(plan, this.parts.runner, isStrict)
    if (released.length > 0) this.remember({ switches: this.state.switches.filter((s) => !released.includes(s)) })
    this.report(failures, isStrict)
  }

  /** The TUN's own address or state, when somebody took it; and what blocking needs on lo. */
  private tunSteps(): Step[] {
    const { tun, mtu, families } = this.options
    const loop = loopSteps(this.facts, this.options)
    const link = this.facts.links.get(tun)
    if (link === undefined) return loop // it was deleted: whoever reads it knows
    const missing = families.filter((f) => factsOf(this.facts, f.family) !== null && !link.addresses.includes(f.address))
    return link.isUp && missing.length === 0 ? loop : [...loop, ...linkSteps(tun, mtu, missing)]
  }

  private openedSteps(wanted: ReadonlyMap<Family, WantedFamily>): Step[] {
    const lines = this.options.families.map((f) => openedSet(this.options.tun, f.family, wanted.get(f.family)?.opened ?? []))
    const text = lines.join('\n')
    if (text === this.opened) return []
    this.opened = text
    return [{ kind: 'nft', lines }]
  }

  /** Into the state file goes what is about to be changed and cannot be read back afterwards. */
  private rememberWanted(wanted: ReadonlyMap<Family, WantedFamily>): void {
    const known = new Set(this.state.switches.map((s) => s.key))
    const added = [...wanted.values()].flatMap((w) => w.switches).filter((s) => !known.has(s.key))
    const words = (family: Family): string[] =>
      (this.copies.get(family)?.displaced ?? []).map((route) => addWords({ ...route, table: 'main' }).join(' '))
    const displaced = { 4: words(4), 6: words(6) }
    if (added.length === 0 && JSON.stringify(displaced) === JSON.stringify(this.state.displaced)) return
    this.remember({ switches: [...this.state.switches, ...added], displaced })
  }

  private remember(change: Partial<HostState>): void {
    this.state = { ...this.state, ...change }
    writeState(this.state, this.parts.stateDir)
  }

  private tell(again: Plan): void {
    if (again.length === 0) return
    this.parts.log.warn(`somebody changed what the daemon had set on this host; restored ${again.length} of it`, {
      commands: formatPlan(again.slice(0, 20)),
    })
  }

  private report(failures: readonly Failure[], isStrict: boolean): void {
    for (const failure of failures) {
      if (isStrict && !mayFail(failure.step)) throw new MptcpError('ERR_HOST_SETUP', failure.message)
      this.parts.log.warn(`a change of the host failed: ${failure.message}`)
    }
  }

  /** One thing at a time. */
  private run<T>(work: () => Promise<T>): Promise<T> {
    const done = this.pass.then(work, work)
    this.pass = done.catch(() => {})
    return done
  }
}

/** A host on which nothing of ours stands. */
function nothingThere(facts: HostFacts): HostFacts {
  const none = { main: [], own: [], ownRules: [] }
  return { ...facts, v4: none, v6: facts.v6 === null ? null : none, sysctl: () => null }
}

function stepText(step: Step): string {
  return formatPlan([step]).join('\n')
}

function setOf(map: Map<Family, Set<string>>, family: Family): Set<string> {
  let set = map.get(family)
  if (set === undefined) {
    set = new Set()
    map.set(family, set)
  }
  return set
}

/** Whether nothing changed that paths depend on. */
function isSameHost(a: HostFacts, b: HostFacts): boolean {
  const text = (facts: HostFacts): string =>
    JSON.stringify([[...facts.links], facts.v4.main.map((r) => r.words), facts.v6?.main.map((r) => r.words)])
  return text(a) === text(b)
}
