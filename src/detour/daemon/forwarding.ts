import { mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { forwardingOf, type Switch } from '../../host/forwarding.js'
import { restoreSwitches } from '../../host/reconcile.js'
import { readSysctl } from '../../host/runner.js'

/** What a killed daemon's successor must know. */
interface State {
  readonly version: 1
  readonly netns: string
  readonly switches: readonly Switch[]
}

/** Interfaces that forward because of us. */
export interface Opened {
  readonly opened4: readonly string[]
  readonly opened6: readonly string[]
}

/**
 * Forwarding on every interface, as far as it was off: for each alone, so that whoever wants a router later (`ip_forward`) is recognised.
 * What was there before is written down before it is changed, so that it comes back also when the daemon was killed in between.
 */
export class ForwardingSwitch {
  private owned: readonly Switch[]
  private readonly path: string
  private opened: Opened = { opened4: [], opened6: [] }

  /** @param path where what was there before is kept */
  constructor(path: string) {
    this.path = path
    this.owned = readState(path)
  }

  /** Switches on what is off. @returns whether other interfaces are open now than before. @throws {Error} when the kernel refuses */
  update(): boolean {
    const names = readdirSync('/proc/sys/net/ipv4/conf').filter((name) => name !== 'all' && name !== 'default')
    const facts = { sysctl: readSysctl, links: new Map(names.map((name) => [name, null])) }
    const v4 = forwardingOf(facts, 4, names, this.owned)
    const hasV6 = readSysctl('net/ipv6/conf/all/disable_ipv6') === '0'
    const v6 = hasV6 ? forwardingOf(facts, 6, names, this.owned) : { switches: [], opened: [] }
    const switches = [...v4.switches, ...v6.switches]
    const known = new Set(this.owned.map((s) => s.key))
    const isNew = switches.some((s) => !known.has(s.key)) || switches.length !== known.size
    this.owned = switches
    if (isNew) writeState(this.path, switches)
    for (const { key, value } of switches) if (readSysctl(key) !== value) writeFileSync(`/proc/sys/${key}`, value)
    const before = this.opened
    this.opened = { opened4: v4.opened, opened6: v6.opened }
    return before.opened4.join() !== v4.opened.join() || before.opened6.join() !== v6.opened.join()
  }

  get interfaces(): Opened {
    return this.opened
  }

  /** Puts back what was there before. @returns what could not be */
  restore(): string[] {
    const failures: string[] = []
    for (const step of restoreSwitches(readSysctl, this.owned)) {
      if (step.kind !== 'sysctl') continue
      try {
        writeFileSync(`/proc/sys/${step.key}`, step.value)
      } catch (error) {
        failures.push(`${step.key} could not be set back to ${step.value}: ${(error as Error).message}`)
      }
    }
    if (failures.length === 0) rmSync(this.path, { force: true })
    return failures
  }
}

function networkNamespace(): string {
  return readlinkSync('/proc/self/ns/net')
}

function readState(path: string): readonly Switch[] {
  try {
    const state = JSON.parse(readFileSync(path, 'utf8')) as State
    return state.version === 1 && state.netns === networkNamespace() ? state.switches : []
  } catch {
    return []
  }
}

function writeState(path: string, switches: readonly Switch[]): void {
  const state: State = { version: 1, netns: networkNamespace(), switches }
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  writeFileSync(`${path}.new`, `${JSON.stringify(state)}\n`, { mode: 0o600 })
  renameSync(`${path}.new`, path)
}
