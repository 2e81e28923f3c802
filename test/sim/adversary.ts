import type { Rng } from '../../src/base/rng.js'
import { type Micros, US_PER_MS } from '../../src/base/time.js'
import type { Box, Boxes } from './box.js'
import { GilbertOdds, Loss, Odds, Valve } from './links.js'
import type { Loop } from './loop.js'
import { Nat, OPTION_MPTCP, OptionStripper } from './middlebox.js'
import * as pk from './packet.js'
import { Coalescer, IsnRewriter, Splitter, UnknownOptions } from './segment-boxes.js'

/** How often each trouble really came about, over any number of transfers. */
export interface Troubles {
  stripped: number
  blanked: number
  refusedOptions: number
  shifted: number
  split: number
  coalesced: number
  rebound: number
  expired: number
  cut: number
  bursts: number
}

export const noTroubles = (): Troubles => ({
  stripped: 0,
  blanked: 0,
  refusedOptions: 0,
  shifted: 0,
  split: 0,
  coalesced: 0,
  rebound: 0,
  expired: 0,
  cut: 0,
  bursts: 0,
})

/** The middleboxes of one path, and how to read their counters afterwards. */
export interface Trouble {
  readonly boxes: Boxes
  count(sum: Troubles): void
  /** A NAT that forgets: a connection that has no other path cannot outlive that. */
  readonly isNat: boolean
  /** A NAT that forgets or a box that takes options: one of several subflows may be lost for good. */
  readonly isUnreliable: boolean
}

type Make = (loop: Loop, rng: Rng, natWord: number) => { box: Box; count: (sum: Troubles) => void }

/** Strips from k on, only the k-th, SYNs only or all but SYNs, in one direction or both. */
const stripper: Make = (loop, rng) => {
  const way = rng.below(3)
  const k = rng.below(4) === 0 ? 0 : rng.logUniform(1, 60)
  const rule = rng.below(4)
  const make = (): OptionStripper => {
    let n = -1
    return new OptionStripper(loop, OPTION_MPTCP, (p) => {
      n++
      const isSyn = (pk.flagsOf(p) & pk.SYN) !== 0
      return rule === 0 ? n >= k : rule === 1 ? n === k : rule === 2 ? isSyn : !isSyn
    })
  }
  const up = way === 1 ? null : make()
  const down = way === 0 ? null : make()
  return {
    box: { up, down },
    count: (sum) => {
      sum.stripped += (up?.stripped ?? 0) + (down?.stripped ?? 0)
    },
  }
}

const normaliser: Make = (loop, rng) => {
  const action = rng.chance(0.5) ? 'blank' : 'drop'
  const way = rng.below(3)
  const up = way === 1 ? null : new UnknownOptions(loop, action)
  const down = way === 0 ? null : new UnknownOptions(loop, action)
  return {
    box: { up, down },
    count: (sum) => {
      sum.blanked += (up?.blanked ?? 0) + (down?.blanked ?? 0)
      sum.refusedOptions += (up?.dropped ?? 0) + (down?.dropped ?? 0)
    },
  }
}

const isnRewriter: Make = (loop) => {
  const box = new IsnRewriter(loop)
  return {
    box,
    count: (sum) => {
      sum.shifted += box.rewritten
    },
  }
}

const splitter: Make = (loop, rng) => {
  const p = rng.chance(0.3) ? 1 : 0.1
  const isFirstOnly = rng.chance(0.3)
  const half = (): Splitter => new Splitter(loop, new Odds(rng.fork(), p), (len) => 1 + rng.below(len - 1), isFirstOnly)
  const [up, down] = [half(), half()]
  return {
    box: { up, down },
    count: (sum) => {
      sum.split += up.split + down.split
    },
  }
}

const coalescer: Make = (loop, rng) => {
  const p = rng.chance(0.3) ? 1 : 0.2
  const half = (): Coalescer => new Coalescer(loop, new Odds(rng.fork(), p), 2 * US_PER_MS, rng.chance(0.5) ? 1500 : 9000)
  const [up, down] = [half(), half()]
  return {
    box: { up, down },
    count: (sum) => {
      sum.coalesced += up.merged + down.merged
    },
  }
}

const nat: Make = (loop, rng, natWord) => {
  const isExpiring = rng.chance(0.5)
  const box = new Nat(loop, natWord, isExpiring ? rng.logUniform(2000, 30_000) * US_PER_MS : Number.POSITIVE_INFINITY)
  let resets = 0
  if (!isExpiring) {
    loop.at(someTime(rng), () => {
      if (box.translated === 0) return
      resets++
      box.reset()
    })
  }
  return {
    box,
    count: (sum) => {
      sum.rebound += resets
      sum.expired += box.expired
    },
  }
}

/** One direction or both are cut, and come back. */
const cutter: Make = (loop, rng) => {
  const way = rng.below(3)
  const up = way === 1 ? null : new Valve(loop)
  const down = way === 0 ? null : new Valve(loop)
  const set = (isOpen: boolean): void => {
    for (const valve of [up, down]) if (valve !== null) valve.isOpen = isOpen
  }
  const from = someTime(rng)
  loop.at(from, () => set(false))
  loop.at(from + rng.logUniform(20, 5000) * US_PER_MS, () => set(true))
  return {
    box: { up, down },
    count: (sum) => {
      sum.cut += (up?.dropped ?? 0) + (down?.dropped ?? 0)
    },
  }
}

const gilbert: Make = (loop, rng) => {
  const half = (): Loss<GilbertOdds> => new Loss(loop, new GilbertOdds(rng.fork(), 0.02, 0.6, 0.9))
  const [up, down] = [half(), half()]
  return {
    box: { up, down },
    count: (sum) => {
      sum.bursts += up.odds.bursts + down.odds.bursts
    },
  }
}

/** An instant while a transfer is likely to go on. */
function someTime(rng: Rng): Micros {
  return rng.logUniform(1, 2000) * US_PER_MS
}

const KINDS: readonly Make[] = [stripper, normaliser, isnRewriter, splitter, coalescer, nat, cutter, gilbert]
/** They take options away: at most one path of a connection has one of these, so that the rules of features.md tell how it ends. */
const OPTION_KINDS: readonly Make[] = [stripper, normaliser]

/** Up to three middleboxes of a path. @param mayStrip they may take options. @param natWord address of a NAT towards the server. */
export function randomTrouble(rng: Rng, mayStrip: boolean, natWord: number): Trouble {
  const kinds: Make[] = []
  for (let n = rng.below(4); n > 0; n--) {
    const kind = KINDS[rng.below(KINDS.length)] as Make
    if (!kinds.includes(kind) && (mayStrip || !OPTION_KINDS.includes(kind))) kinds.push(kind)
  }
  const counts: ((sum: Troubles) => void)[] = []
  return {
    isNat: kinds.includes(nat),
    isUnreliable: kinds.includes(nat) || kinds.some((kind) => OPTION_KINDS.includes(kind)),
    boxes: (loop, fork) =>
      kinds.map((make) => {
        const made = make(loop, fork.fork(), natWord)
        counts.push(made.count)
        return made.box
      }),
    count: (sum) => {
      for (const count of counts) count(sum)
    },
  }
}
