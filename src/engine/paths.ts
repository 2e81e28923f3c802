import type { IpAddress } from '../base/address.js'
import type { Micros } from '../base/time.js'
import type { PathDemand } from '../pathmgr/demand.js'
import { isPathFor, isSameEnd, type Path } from '../pathmgr/path.js'
import type { Engine } from './engine.js'

/** The last of the ids that RFC 8684 §3.2 has for addresses. */
const ADDRESS_ID_MAX = 255

/** The paths of an engine, the default one first, as they come and go while it runs; tells the path managers of its connections. */
export class PathTable {
  /** Who wants to know what paths are needed for, null: nobody. */
  demand: PathDemand | null = null
  private readonly engine: Engine
  private lastId = 0
  /** Address ids of joins by their source. */
  private readonly addressIds = new Map<string, number>()
  /** Subflows by path id. */
  private readonly uses = new Map<number, number>()

  constructor(engine: Engine) {
    this.engine = engine
  }

  /** A number for a path that is about to be upserted for the first time. */
  newId(): number {
    this.lastId = Math.max(this.lastId, ...this.list().map((path) => path.id)) + 1
    return this.lastId
  }

  list(): readonly Path[] {
    return this.engine.config.paths
  }

  find(id: number): Path | null {
    return this.list().find((path) => path.id === id) ?? null
  }

  /** Subflows that use the path now. */
  usesOf(id: number): number {
    return this.uses.get(id) ?? 0
  }

  /** Those that may carry a connection to that destination and have an address to do it from, oldest first. */
  serving(remote: IpAddress, port: number): Path[] {
    const { config } = this.engine
    return this.list().filter((path) => isPathFor(path, remote, port) && config.sourceOf(path, remote.isV4) !== null)
  }

  /** A path is there, or has changed; connections that are there get it too. */
  upsert(path: Path, now: Micros): void {
    const { config, connections } = this.engine
    const known = this.find(path.id)
    if (known !== null && isUnchanged(known, path)) return
    config.paths = known !== null ? config.paths.map((one) => (one.id === path.id ? path : one)) : [...config.paths, path]
    for (const connection of connections) {
      if (connection.control === null || config.sourceOf(path, connection.control.remote.isV4) === null) continue
      if (connection.control.onPath(path, now)) this.engine.mark(connection)
    }
  }

  /** What stood in the way of a path may be gone: the SYNs of joins by it that are not answered yet are sent again. */
  repeatJoins(id: number, now: Micros): void {
    for (const connection of this.engine.connections) if (connection.control?.repeatJoins(id, now) === true) this.engine.mark(connection)
  }

  /** A path is gone, and with it its subflows. */
  remove(id: number, now: Micros): void {
    const { config, connections } = this.engine
    const path = this.find(id)
    if (path === null) return
    config.paths = config.paths.filter((known) => known.id !== id)
    for (const connection of connections) {
      connection.control?.onPathGone(path, now)
      this.engine.mark(connection)
    }
  }

  /** What connections of that family sent by the path leads nowhere any more: its subflows are lost, new ones may come. */
  renew(id: number, isV4: boolean, now: Micros): void {
    const path = this.find(id)
    if (path === null) return
    for (const connection of this.engine.connections) {
      if (connection.control?.remote.isV4 !== isV4) continue
      connection.control.onPathGone(path, now)
      connection.control.onPath(path, now)
      this.engine.mark(connection)
    }
  }

  /** The id that names the address `local` in joins: the one that it was announced by, else one of its own. */
  addressId(local: IpAddress): number {
    const announced = this.engine.config.announced.find((a) => a.local.equals(local))
    if (announced !== undefined) return announced.id
    const key = local.toString()
    let id = this.addressIds.get(key)
    if (id !== undefined) return id
    const taken = new Set([...this.addressIds.values(), ...this.engine.config.announced.map((a) => a.id)])
    id = 1
    while (id < ADDRESS_ID_MAX && taken.has(id)) id++
    this.addressIds.set(key, id)
    return id
  }

  /** A subflow by `path` has begun or ended. Routes that a manager made up of an announced address are no paths of this table. */
  onUse(path: Path, delta: 1 | -1): void {
    this.uses.set(path.id, this.usesOf(path.id) + delta)
    if (this.usesOf(path.id) === 0) this.uses.delete(path.id)
    this.demand?.onUse(path, delta)
  }
}

/** Nothing that matters to a connection differs: a provider may tell again what it has told. */
function isUnchanged(a: Path, b: Path): boolean {
  if (!isSameEnd(a, b) || a.isTentative !== b.isTentative || a.isBackup !== b.isBackup || a.cost !== b.cost) return false
  if (a.mtu !== b.mtu || a.label !== b.label || a.destinations !== b.destinations) return false
  const [x, y] = [a.remote, b.remote]
  return x === y || (x !== null && y !== null && x.port === y.port && x.address.equals(y.address))
}
