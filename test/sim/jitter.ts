import type { Rng } from '../../src/base/rng.js'
import type { Micros } from '../../src/base/time.js'
import type { Loop } from './loop.js'
import { Node } from './node.js'

/** Delays every packet by up to `spreadUs` more, evenly distributed, and keeps their order. */
export class Jitter extends Node {
  /** May be changed while running; order is kept all the same. */
  spreadUs: Micros
  private readonly rng: Rng
  private lastAt: Micros = 0

  constructor(loop: Loop, rng: Rng, spreadUs: Micros) {
    super(loop)
    this.rng = rng
    this.spreadUs = spreadUs
  }

  protected accept(packet: Uint8Array): void {
    const now = this.loop.now
    if (this.spreadUs === 0 && this.lastAt <= now) {
      this.out(packet)
      return
    }
    this.lastAt = Math.max(this.lastAt, now + this.rng.float() * this.spreadUs)
    this.loop.pass(this.lastAt, this.out, packet)
  }
}
