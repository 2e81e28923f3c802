import type { HostFacts } from '../host/facts.js'
import { InterfacePaths, type InterfaceSpec } from './interface-paths.js'
import { type DetourProvider, type DetourSettings, type DetourStatus, type ProviderHost, Signal } from './provider.js'

/** A second interface or tunnel by its name: its paths are there while it is up and has an address. It need not exist yet. */
export class InterfaceDetour implements DetourProvider {
  readonly name: string
  readonly settled: Promise<void>
  private readonly ready = new Signal()
  private spec: InterfaceSpec
  private paths: InterfacePaths | null = null
  private host: ProviderHost | null = null
  private wasUp = false

  constructor(spec: InterfaceSpec) {
    this.name = spec.label
    this.spec = spec
    this.settled = this.ready.done
  }

  start(host: ProviderHost): void {
    this.host = host
    const paths = new InterfacePaths(this.spec, host)
    paths.onSettled = () => {
      this.ready.fire()
      this.tell(paths.isUp)
    }
    this.paths = paths
    paths.follow(true)
  }

  onHostChange(_facts: HostFacts): void {
    this.paths?.follow(true)
  }

  set(settings: DetourSettings): void {
    this.spec = { ...this.spec, ...settings }
    this.paths?.set(settings)
  }

  status(): DetourStatus {
    const { kind, source, gateway, isBackup, cost } = this.spec
    const isUp = this.paths?.isUp === true
    return {
      name: this.name,
      type: kind,
      state: isUp ? 'up' : 'waiting',
      device: source,
      peer: gateway?.toString() ?? null,
      rttUs: null,
      loss: null,
      leases: null,
      pid: null,
      isBackup,
      cost,
      lastError: isUp ? null : (this.paths?.lastError ?? null),
    }
  }

  async stop(): Promise<void> {
    await this.paths?.stop()
    this.ready.fire()
  }

  private tell(isUp: boolean): void {
    if (isUp === this.wasUp) return
    this.wasUp = isUp
    const { log } = this.host as ProviderHost
    if (isUp) log.info('a detour is up', { detour: this.name })
    else log.warn('a detour is down', { detour: this.name, reason: this.paths?.lastError ?? '' })
  }
}
