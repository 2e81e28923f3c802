import type { Rng } from '../../src/base/rng.js'
import type { Micros } from '../../src/base/time.js'
import { US_PER_S } from '../../src/base/time.js'
import type { Loop } from './loop.js'
import { Node, type Sink } from './node.js'

export interface RateConfig {
  readonly bitsPerSecond: number
  /** Bytes that may wait (default unbounded). What comes on top is dropped. */
  readonly queueBytes?: number
  /** Packets that may wait. */
  readonly queuePackets?: number
  /** What the link adds to every packet and transmits with it: 14 for an Ethernet header. */
  readonly overheadBytes?: number
}

/** A transmitter with a drop-tail queue. Bits are those of the IP packet and of the link's overhead; bytes are the packet's alone. */
export class Rate extends Node {
  dropped = 0
  bytesOut = 0
  /** Most bytes that ever waited. */
  queuePeak = 0
  /** May be changed while running: a path that gets slower. */
  bitsPerSecond: number
  queueBytes: number
  queuePackets: number
  overheadBytes: number
  /** What waits, the packet in transmission included. */
  waitingBytes = 0
  waitingPackets = 0
  private freeAt = 0

  constructor(loop: Loop, config: RateConfig) {
    super(loop)
    this.bitsPerSecond = config.bitsPerSecond
    this.queueBytes = config.queueBytes ?? Number.POSITIVE_INFINITY
    this.queuePackets = config.queuePackets ?? Number.POSITIVE_INFINITY
    this.overheadBytes = config.overheadBytes ?? 0
  }

  protected accept(packet: Uint8Array): void {
    const now = this.loop.now
    const len = packet.length
    if (this.freeAt > now && (this.waitingBytes + len > this.queueBytes || this.waitingPackets + 1 > this.queuePackets)) {
      this.dropped++
      this.lost(packet)
      return
    }
    this.waitingBytes += len
    this.waitingPackets++
    this.queuePeak = Math.max(this.queuePeak, this.waitingBytes)
    this.freeAt = Math.max(this.freeAt, now) + ((len + this.overheadBytes) * 8 * US_PER_S) / this.bitsPerSecond
    this.loop.pass(this.freeAt, this.depart, packet)
  }

  private readonly depart: Sink = (packet) => {
    this.waitingBytes -= packet.length
    this.waitingPackets--
    this.bytesOut += packet.length
    this.out(packet)
  }
}

/** Propagation: every packet arrives `delayUs` later, in order. */
export class Delay extends Node {
  /** May be changed while running; packets on the way are not affected, so a shorter delay reorders. */
  delayUs: Micros

  constructor(loop: Loop, delayUs: Micros) {
    super(loop)
    this.delayUs = delayUs
  }

  protected accept(packet: Uint8Array): void {
    this.loop.pass(this.loop.now + this.delayUs, this.out, packet)
  }
}

/** Which packets a fault hits; asked once for each, in their order. */
export interface Hits {
  hit(): boolean
}

/**
 * Which packets a fault hits: each with probability `p`, and those with an index (from 0) in `exactly` for certain.
 * The latter make short transfers see a fault too.
 */
export class Odds implements Hits {
  private readonly rng: Rng
  p: number
  private readonly exactly: ReadonlySet<number>
  private index = 0

  constructor(rng: Rng, p: number, exactly: readonly number[] = []) {
    this.rng = rng
    this.p = p
    this.exactly = new Set(exactly)
  }

  hit(): boolean {
    return this.exactly.has(this.index++) || this.rng.chance(this.p)
  }
}

/** Loss in bursts: two states with a probability of loss each, between which every packet may change (Gilbert 1960, Elliott 1963). */
export class GilbertOdds implements Hits {
  /** Times the bad state was entered. */
  bursts = 0
  isBad = false
  private readonly rng: Rng
  private readonly toBad: number
  private readonly toGood: number
  private readonly lossBad: number
  private readonly lossGood: number

  /** @param toBad, toGood probability per packet to change into that state: bursts last 1 / toGood packets on average. */
  constructor(rng: Rng, toBad: number, toGood: number, lossBad = 1, lossGood = 0) {
    this.rng = rng
    this.toBad = toBad
    this.toGood = toGood
    this.lossBad = lossBad
    this.lossGood = lossGood
  }

  hit(): boolean {
    if (this.rng.chance(this.isBad ? this.toGood : this.toBad)) {
      this.isBad = !this.isBad
      if (this.isBad) this.bursts++
    }
    return this.rng.chance(this.isBad ? this.lossBad : this.lossGood)
  }
}

/** Loses packets. */
export class Loss<O extends Hits = Odds> extends Node {
  dropped = 0
  readonly odds: O

  constructor(loop: Loop, odds: O) {
    super(loop)
    this.odds = odds
  }

  protected accept(packet: Uint8Array): void {
    if (this.odds.hit()) {
      this.dropped++
      this.lost(packet)
    } else this.out(packet)
  }
}

/** Holds single packets back for `holdUs`, so that later ones overtake them. */
export class Reorder extends Node {
  held = 0
  /** Held packets that others really overtook. */
  overtaken = 0
  /** Which packets it may happen to. */
  concerns: (packet: Uint8Array) => boolean = () => true
  private readonly odds: Odds
  holdUs: Micros

  constructor(loop: Loop, odds: Odds, holdUs: Micros) {
    super(loop)
    this.odds = odds
    this.holdUs = holdUs
  }

  protected accept(packet: Uint8Array): void {
    if (!this.concerns(packet) || !this.odds.hit()) {
      this.out(packet)
      return
    }
    this.held++
    const seen = this.seen
    this.loop.at(this.loop.now + this.holdUs, () => {
      if (this.seen > seen) this.overtaken++
      this.out(packet)
    })
  }
}

/** Delivers some packets twice, the second time `lagUs` later. */
export class Duplicate extends Node {
  duplicated = 0
  private readonly odds: Odds
  private readonly lagUs: Micros

  constructor(loop: Loop, odds: Odds, lagUs: Micros) {
    super(loop)
    this.odds = odds
    this.lagUs = lagUs
  }

  protected accept(packet: Uint8Array): void {
    if (this.odds.hit()) {
      this.duplicated++
      const copy = packet.slice()
      this.loop.at(this.loop.now + this.lagUs, () => this.out(copy))
    }
    this.out(packet)
  }
}

/** Flips one bit of some packets behind the IP version field: what a checksum must catch. */
export class Corrupt extends Node {
  corrupted = 0
  private readonly odds: Odds
  private readonly rng: Rng

  constructor(loop: Loop, odds: Odds, rng: Rng) {
    super(loop)
    this.odds = odds
    this.rng = rng
  }

  protected accept(packet: Uint8Array): void {
    if (this.odds.hit()) {
      this.corrupted++
      const at = this.rng.between(1, packet.length - 1)
      packet[at] = (packet[at] as number) ^ (1 << this.rng.below(8))
    }
    this.out(packet)
  }
}

/** A switch that a test turns: a path that is cut and comes back. */
export class Valve extends Node {
  isOpen = true
  dropped = 0

  protected accept(packet: Uint8Array): void {
    if (this.isOpen) this.out(packet)
    else {
      this.dropped++
      this.lost(packet)
    }
  }
}

/** Shows every packet to `look` and passes it on; a test may keep copies. */
export class Tap extends Node {
  private readonly look: Sink

  constructor(loop: Loop, look: Sink) {
    super(loop)
    this.look = look
  }

  protected accept(packet: Uint8Array): void {
    this.look(packet)
    this.out(packet)
  }
}

/** Drops what `isWanted` refuses: a firewall, or a fault at an exact place. */
export class Filter extends Node {
  dropped = 0
  private readonly isWanted: (packet: Uint8Array) => boolean

  constructor(loop: Loop, isWanted: (packet: Uint8Array) => boolean) {
    super(loop)
    this.isWanted = isWanted
  }

  protected accept(packet: Uint8Array): void {
    if (this.isWanted(packet)) this.out(packet)
    else {
      this.dropped++
      this.lost(packet)
    }
  }
}
