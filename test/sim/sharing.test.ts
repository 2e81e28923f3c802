import t from 'tap'
import { US_PER_S } from '../../src/base/time.js'
import type { CoupledFactory } from '../../src/mptcp/cc/coupled.js'
import { lia } from '../../src/mptcp/cc/lia.js'
import { olia } from '../../src/mptcp/cc/olia.js'
import { type SharingConfig, share, shareOf } from './sharing.js'

// `npm run campaign -- coupled` takes 20 seeds and longer

function config(coupled: CoupledFactory | null, over: Partial<SharingConfig>): SharingConfig {
  return { seed: 1, coupled, subflows: 2, isShared: true, warmUpUs: 10 * US_PER_S, measureUs: 30 * US_PER_S, ...over }
}

for (const [name, make] of [
  ['LIA', lia],
  ['OLIA', olia],
] as const) {
  t.test(`${name}: two equal disjoint paths give 95 % of what two connections on one each would get`, async (t) => {
    const one = share(config(make, { isShared: false, subflows: 1, measureUs: 20 * US_PER_S }))
    const two = share(config(make, { isShared: false, measureUs: 20 * US_PER_S }))
    t.ok(one.dropped > 20 && two.dropped > 40, 'the paths were full')
    t.ok(two.coupled >= 0.95 * 2 * one.coupled, `${two.coupled} against twice ${one.coupled}`)
  })

  t.test(`${name}: two subflows over one bottleneck take at most 1.25 of the fair share against a NewReno flow`, async (t) => {
    for (const seed of [1, 2]) {
      const shares = share(config(make, { seed }))
      t.ok(shares.dropped > 50)
      t.ok(shareOf(shares) <= 1.25, `${shareOf(shares)}`)
      t.ok(shareOf(shares) >= 0.6, `${shareOf(shares)}`)
    }
  })
}

t.test('control: uncoupled subflows take more than their share', async (t) => {
  const shares = share(config(null, {}))
  t.ok(shareOf(shares) > 1.15, `${shareOf(shares)}`)
})
