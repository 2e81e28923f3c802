import type { Loop } from './loop.js'

/** Takes a packet over: the giver does not touch it again. */
export type Sink = (packet: Uint8Array) => void

const discard: Sink = () => {}

const nowhere: Sink = () => {
  throw new Error('a node is not connected')
}

/**
 * Something on the way of packets in one direction: a rate, a delay, a fault, one half of a middlebox. Nodes compose as lists
 * (`chain`); what sits in both directions is two nodes with shared state.
 */
export abstract class Node {
  protected readonly loop: Loop
  /** Where packets go on. */
  out: Sink = nowhere
  /** Where packets go that this node drops, after it has counted them: an emulator takes their memory back. */
  lost: Sink = discard
  /** Packets that came in. */
  seen = 0

  constructor(loop: Loop) {
    this.loop = loop
  }

  readonly in: Sink = (packet) => {
    this.seen++
    this.accept(packet)
  }

  protected abstract accept(packet: Uint8Array): void
}

/** Connects the nodes in this order and ends in `sink`. @returns the entry. */
export function chain(nodes: readonly Node[], sink: Sink): Sink {
  let next = sink
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i] as Node
    node.out = next
    next = node.in
  }
  return next
}
