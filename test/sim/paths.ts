import type { Rng } from '../../src/base/rng.js'
import { type Boxes, lanes } from './box.js'
import { type FaultTally, FaultyPath, type FaultyPathConfig } from './faulty-path.js'
import type { Loop } from './loop.js'
import type { Node, Sink } from './node.js'
import { Router } from './router.js'

export interface PathPairConfig {
  readonly up: FaultyPathConfig
  readonly down: FaultyPathConfig
  /** Middleboxes of both directions, the one next to the client first; behind the delays, before the faults and `middle`. */
  readonly boxes?: Boxes
}

/** Both directions of one path. */
export interface PathPair {
  readonly up: FaultyPath
  readonly down: FaultyPath
}

/** Several paths between a client with one address per path and a server: picked by (the last word of) the client's addresses, both ways. */
export class Paths {
  readonly pairs: readonly PathPair[]
  /** What the client's device gives out. */
  readonly up = new Router()
  /** What the server's device gives out. */
  readonly down = new Router()

  constructor(
    loop: Loop,
    rng: Rng,
    configs: readonly PathPairConfig[],
    addresses: readonly (readonly number[])[],
    client: Sink,
    server: Sink,
  ) {
    this.pairs = configs.map((config, i) => {
      const boxes = config.boxes === undefined ? { up: [], down: [] } : lanes(config.boxes(loop, rng.fork()))
      const withBoxes = (own: FaultyPathConfig, nodes: readonly Node[]): FaultyPathConfig =>
        nodes.length === 0 ? own : { ...own, middle: [...nodes, ...(own.middle ?? [])] }
      const pair = {
        up: new FaultyPath(loop, rng.fork(), withBoxes(config.up, boxes.up), server),
        down: new FaultyPath(loop, rng.fork(), withBoxes(config.down, boxes.down), client),
      }
      for (const address of addresses[i] ?? []) {
        this.up.from(address, pair.up.entry)
        this.down.to(address, pair.down.entry)
      }
      return pair
    })
  }

  get faults(): number {
    return this.pairs.reduce((n, pair) => n + pair.up.faults + pair.down.faults, 0)
  }

  tally(sum: FaultTally): void {
    for (const pair of this.pairs) {
      pair.up.tally(sum)
      pair.down.tally(sum)
    }
  }
}
