import type { HostFacts } from '../host/facts.js'
import type { Path } from '../pathmgr/path.js'
import type { DetourProvider, DetourSettings, DetourStatus, ProviderHost } from './provider.js'

/** A path by the default egress that is always there: to another address of the server, or the same once more. */
export class FixedPath implements DetourProvider {
  readonly name: string
  readonly settled: Promise<void> = Promise.resolve()
  private path: Path
  private host: ProviderHost | null = null

  /** @param path its number is chosen at the start */
  constructor(path: Path) {
    this.name = path.label
    this.path = path
  }

  start(host: ProviderHost): void {
    this.host = host
    this.path = { ...this.path, id: host.newPathId() }
    host.upsert(this.path)
  }

  onHostChange(_facts: HostFacts): void {}

  set(settings: DetourSettings): void {
    this.path = { ...this.path, ...settings }
    this.host?.upsert(this.path)
  }

  status(): DetourStatus {
    const { kind, isBackup, cost, destination } = this.path
    const peer = destination?.toString() ?? null
    const unknown = { device: null, rttUs: null, loss: null, leases: null, pid: null, lastError: null }
    return { name: this.name, type: kind, state: 'up', peer, ...unknown, isBackup, cost }
  }

  async stop(): Promise<void> {
    this.host?.remove(this.path.id)
  }
}
