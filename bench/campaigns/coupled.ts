import { US_PER_S } from '../../src/base/time.js'
import { lia } from '../../src/mptcp/cc/lia.js'
import { olia } from '../../src/mptcp/cc/olia.js'
import { share, shareOf } from '../../test/sim/sharing.js'
import type { Campaign } from './campaign.js'

const BEST_PART = 0.95
const SHARE_MAX = 1.25

/** The claims of coupled congestion control: as much as is there on disjoint paths, no more than one flow on a shared one. */
export const campaign: Campaign = {
  summary: 'LIA and OLIA on disjoint paths and on a shared bottleneck; [seeds], 20 unless told (3 s each)',
  async run(args) {
    const seeds = Number(args[0] ?? 20)
    const times = { warmUpUs: 20 * US_PER_S, measureUs: 60 * US_PER_S }
    let isGood = true
    for (const [name, coupled] of [
      ['lia', lia],
      ['olia', olia],
      ['uncoupled', null],
    ] as const) {
      const one = share({ seed: 1, coupled, subflows: 1, isShared: false, ...times })
      const two = share({ seed: 1, coupled, subflows: 2, isShared: false, ...times })
      const part = two.coupled / (2 * one.coupled)
      const shares: number[] = []
      for (let seed = 1; seed <= seeds; seed++) shares.push(shareOf(share({ seed, coupled, subflows: 2, isShared: true, ...times })))
      const most = Math.max(...shares)
      const mean = shares.reduce((sum, x) => sum + x, 0) / seeds
      process.stdout.write(
        `${name.padEnd(10)} disjoint: ${(100 * part).toFixed(1)} % of the sum; shared: mean ${mean.toFixed(3)}, most ${most.toFixed(3)} of its share\n`,
      )
      if (coupled !== null) isGood &&= part >= BEST_PART && most <= SHARE_MAX
      else isGood &&= mean > SHARE_MAX // the measurement can tell
    }
    return isGood
  },
}
