import { IpAddress } from '../../../src/base/address.js'
import { type Micros, NEVER } from '../../../src/base/time.js'
import { type Path, type PathKind, path } from '../../../src/pathmgr/path.js'
import type {
  PathCommand,
  PathEvent,
  PathLimits,
  PathManager,
  PathManagerFactory,
  PathView,
  SubflowStats,
} from '../../../src/pathmgr/path-manager.js'

export const REMOTE = IpAddress.v4(0xcb007105)
export const LIMITS: PathLimits = { extraSubflows: 2, addAddrAccepted: 2, replaceUs: 0 }

export function pathOf(id: number, kind: PathKind, over: Partial<Path> = {}): Path {
  return path({ id, kind, label: `${kind}${id}`, ...over })
}

interface Fake {
  readonly path: Path
  bytes: number
  isUp: boolean
}

/** Plays the connection for a manager: carries out what it asks for, and lets the test say what becomes of it. */
export class Driver implements PathView {
  readonly remote = REMOTE
  readonly port = 80
  readonly manager: PathManager
  now: Micros = 1_000_000
  wakeAt: Micros = NEVER
  readonly subflows = new Map<number, Fake>()
  readonly log: PathCommand[] = []
  /** Paths by which nothing can be opened, with the reason. */
  readonly refused = new Map<number, string>()
  private nextId = 1

  constructor(factory: PathManagerFactory, limits: Partial<PathLimits> = {}) {
    this.manager = factory(this, { ...LIMITS, ...limits })
  }

  establish(paths: readonly Path[]): void {
    const first = pathOf(0, 'default')
    this.subflows.set(0, { path: first, bytes: 0, isUp: true })
    this.tell({ kind: 'established', subflow: 0, path: first, paths: [first, ...paths] })
  }

  tell(first: PathEvent | null): void {
    const queue: (PathEvent | null)[] = [first]
    for (let event = queue.shift(); event !== undefined; event = queue.shift()) {
      const commands: PathCommand[] = []
      this.wakeAt = this.manager.handle(event, this.now, commands)
      this.log.push(...commands)
      for (const command of commands) queue.push(...this.execute(command))
      if (this.log.length > 10_000) throw new Error('a manager that never stops')
    }
  }

  private execute(command: PathCommand): PathEvent[] {
    if (command.kind === 'close') {
      if (!this.subflows.delete(command.subflow)) return []
      return [{ kind: 'subflow-down', subflow: command.subflow, why: 'reset by us', isFault: false }]
    }
    if (command.kind !== 'open') return []
    const why = this.refused.get(command.path.id)
    if (why !== undefined) return [{ kind: 'refused', path: command.path, why, isFinal: false }]
    const subflow = this.nextId++
    this.subflows.set(subflow, { path: command.path, bytes: 0, isUp: false })
    return [{ kind: 'opened', subflow, path: command.path }]
  }

  /** All joins that are on their way succeed. */
  answer(): void {
    for (const [id, fake] of this.subflows) {
      if (fake.isUp) continue
      fake.isUp = true
      this.tell({ kind: 'subflow-up', subflow: id })
    }
  }

  /** The subflow by that path is lost. */
  lose(pathId: number, why = 'reset'): void {
    const id = this.subflowBy(pathId)
    this.subflows.delete(id)
    this.tell({ kind: 'subflow-down', subflow: id, why, isFault: true })
  }

  silence(pathId: number, isSilent: boolean): void {
    this.tell({ kind: isSilent ? 'subflow-silent' : 'subflow-back', subflow: this.subflowBy(pathId) })
  }

  /** Time passes; the manager is called when it asked to be. `each`: traffic of that second by path id. */
  pass(seconds: number, each: Readonly<Record<number, number>> = {}): void {
    const end = this.now + seconds * 1e6
    for (let second = this.now + 1e6; second <= end; second += 1e6) {
      for (const fake of this.subflows.values()) if (fake.isUp) fake.bytes += each[fake.path.id] ?? 0
      while (this.wakeAt <= second) {
        this.now = Math.max(this.now, this.wakeAt)
        this.tell(null)
      }
      this.now = second
    }
  }

  subflowBy(pathId: number): number {
    for (const [id, fake] of this.subflows) if (fake.path.id === pathId) return id
    throw new Error(`no subflow by path ${pathId}`)
  }

  /** Path ids with a subflow, sorted. */
  get used(): number[] {
    return [...new Set([...this.subflows.values()].map((fake) => fake.path.id))].sort((a, b) => a - b)
  }

  count(kind: PathCommand['kind']): number {
    return this.log.filter((command) => command.kind === kind).length
  }

  stats(subflow: number, out: SubflowStats): boolean {
    const fake = this.subflows.get(subflow)
    if (fake === undefined) return false
    out.bytes = fake.bytes
    out.srttUs = 20_000
    return true
  }
}
