import type { Rng } from '../../src/base/rng.js'
import type { Loop } from './loop.js'
import type { Node } from './node.js'

/** Something in the middle of a path that handles both directions: two nodes, null where it has nothing to do. */
export interface Box {
  readonly up: Node | null
  readonly down: Node | null
}

/** Makes the boxes of one path, in the order in which packets towards the server meet them. */
export type Boxes = (loop: Loop, rng: Rng) => readonly Box[]

/** The nodes of a list of boxes by direction: the way back meets them the other way round. */
export function lanes(boxes: readonly Box[]): { up: Node[]; down: Node[] } {
  return {
    up: boxes.flatMap((box) => box.up ?? []),
    down: boxes.flatMap((box) => box.down ?? []).reverse(),
  }
}
