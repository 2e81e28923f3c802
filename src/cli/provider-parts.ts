import type { Egress, ProviderHost } from '../detour/provider.js'
import { CONTROL_DIR } from '../engine/control.js'
import type { Engine } from '../engine/engine.js'
import type { EngineLoop } from '../engine/loop.js'
import type { HostFacts } from '../host/facts.js'
import type { HostKeeper } from '../host/keeper.js'
import type { Family } from '../host/numbers.js'
import { run } from '../host/runner.js'
import type { HostLog } from '../host/undo.js'
import type { Path } from '../pathmgr/path.js'
import type { Egresses } from './egresses.js'

interface Parts {
  readonly tun: string
  readonly engine: Engine
  readonly loop: EngineLoop
  readonly keeper: HostKeeper
  readonly egresses: Egresses
  readonly families: readonly Family[]
  readonly log: HostLog
}

/** What detours are given by the daemon: the engine's paths, the host's egresses. */
export class ProviderParts implements ProviderHost {
  readonly log: HostLog
  readonly families: readonly Family[]
  private readonly parts: Parts
  private readonly names = new Set<string>()

  constructor(parts: Parts) {
    this.parts = parts
    this.log = parts.log
    this.families = parts.families
  }

  get facts(): HostFacts {
    return this.parts.keeper.hostFacts
  }

  defaultDevices(): string[] {
    return [...new Set(this.families.flatMap((family) => this.parts.keeper.defaultDevices(family)))]
  }

  newPathId(): number {
    return this.parts.engine.paths.newId()
  }

  upsert(path: Path): void {
    this.parts.engine.paths.upsert(path, this.parts.loop.clock.now())
  }

  repeatJoins(id: number): void {
    this.parts.engine.paths.repeatJoins(id, this.parts.loop.clock.now())
  }

  remove(id: number): void {
    this.parts.engine.paths.remove(id, this.parts.loop.clock.now())
  }

  openEgress(family: Family, device: string, gateway: string | null): Promise<Egress> {
    return this.parts.egresses.open(family, device, gateway)
  }

  closeEgress(egress: Egress): Promise<void> {
    return this.parts.egresses.close(egress)
  }

  takeDeviceName(prefix: string): string {
    for (let n = 0; ; n++) {
      const name = `${prefix}${n}`
      if (this.names.has(name) || this.facts.links.has(name)) continue
      this.names.add(name)
      return name
    }
  }

  giveDeviceName(name: string): void {
    this.names.delete(name)
  }

  socketPath(device: string): string {
    return `${CONTROL_DIR}/${this.parts.tun}.${device}.sock`
  }

  run(argv: readonly string[]): Promise<string> {
    return run(argv)
  }
}
