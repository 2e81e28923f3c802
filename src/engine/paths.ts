import type { Micros } from '../base/time.js'
import type { PathDemand } from '../pathmgr/demand.js'
import type { Path } from '../pathmgr/path.js'
import type { Engine } from './engine.js'

/** The paths of an engine, the default one first, as they come and go while it runs. */
export class PathTable {
  /** Who wants to know what paths are needed for, null: nobody. */
  demand: PathDemand | null = null
  private readonly engine: Engine
  private lastId = 0

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

  /** A path is there, or has changed; connections that are there get it too. */
  upsert(path: Path, now: Micros): void {
    const { config } = this.engine
    if (config.paths.some((known) => known.id === path.id)) {
      config.paths = config.paths.map((known) => (known.id === path.id ? path : known))
    } else this.engine.addPath(path, now)
  }

  /** A path is gone, and with it its subflows. */
  remove(id: number, _now: Micros): void {
    const { config, connections } = this.engine
    config.paths = config.paths.filter((path) => path.id !== id)
    for (const connection of connections) {
      for (const subflow of connection.conn.subflows) if (subflow.path.id === id) subflow.ep.abort()
      this.engine.mark(connection)
    }
  }
}
