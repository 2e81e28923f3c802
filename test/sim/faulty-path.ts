import type { Rng } from '../../src/base/rng.js'
import type { Micros } from '../../src/base/time.js'
import { Corrupt, Delay, Duplicate, Loss, Odds, Rate, type RateConfig, Reorder } from './links.js'
import type { Loop } from './loop.js'
import { chain, type Node, type Sink } from './node.js'

export interface FaultyPathConfig extends RateConfig {
  readonly delayUs: Micros
  /** Probabilities per packet, default 0. */
  readonly loss?: number
  readonly reorder?: number
  readonly duplicate?: number
  readonly corrupt?: number
  /** Kind and packet index of a fault that happens for certain. */
  readonly certain?: { readonly kind: 'loss' | 'duplicate' | 'corrupt'; readonly index: number }
  /** How long a reordered packet is held, default half the delay. */
  readonly holdUs?: Micros
  /** Nodes between delay and faults: a middlebox, an MTU, a tap. */
  readonly middle?: readonly Node[]
}

/** One direction between two hosts: transmitter, propagation, then faults. */
export class FaultyPath {
  readonly rate: Rate
  readonly delay: Delay
  readonly loss: Loss
  readonly reorder: Reorder
  readonly duplicate: Duplicate
  readonly corrupt: Corrupt
  readonly entry: Sink

  constructor(loop: Loop, rng: Rng, config: FaultyPathConfig, sink: Sink) {
    const odds = (kind: string, p = 0): Odds => new Odds(rng.fork(), p, config.certain?.kind === kind ? [config.certain.index] : [])
    const hold = config.holdUs ?? Math.max(100, config.delayUs / 2)
    this.rate = new Rate(loop, config)
    this.delay = new Delay(loop, config.delayUs)
    this.loss = new Loss(loop, odds('loss', config.loss))
    this.reorder = new Reorder(loop, odds('reorder', config.reorder), hold)
    this.duplicate = new Duplicate(loop, odds('duplicate', config.duplicate), hold)
    this.corrupt = new Corrupt(loop, odds('corrupt', config.corrupt), rng.fork())
    this.entry = chain([this.rate, this.delay, ...(config.middle ?? []), this.loss, this.reorder, this.duplicate, this.corrupt], sink)
  }

  /** Faults that really happened, queue overflows not counted. */
  get faults(): number {
    return this.loss.dropped + this.reorder.overtaken + this.duplicate.duplicated + this.corrupt.corrupted
  }

  /** Adds the counts to a tally by kind. */
  tally(sum: FaultTally): void {
    sum.lost += this.loss.dropped
    sum.reordered += this.reorder.overtaken
    sum.duplicated += this.duplicate.duplicated
    sum.corrupted += this.corrupt.corrupted
    sum.overflowed += this.rate.dropped
  }
}

export interface FaultTally {
  lost: number
  reordered: number
  duplicated: number
  corrupted: number
  overflowed: number
}

export const noFaults = (): FaultTally => ({ lost: 0, reordered: 0, duplicated: 0, corrupted: 0, overflowed: 0 })
