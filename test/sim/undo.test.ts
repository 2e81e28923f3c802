import t from 'tap'
import { US_PER_MS, US_PER_S } from '../../src/base/time.js'
import { cubic } from '../../src/tcp/cc/cubic.js'
import { seeds } from '../oracle/seeds.js'
import { BulkSim } from './bulk.js'

const MBIT = 1_000_000

for (const [mbit, loss] of [
  [100, 0.02],
  [100, 0.2],
  [200, 0.005],
] as const) {
  t.test(`rfc3522 3.2: a path that only loses never lets a reduction be undone: ${mbit} Mbit/s, ${100 * loss} %`, (t) => {
    let undone = 0
    let events = 0
    for (const seed of seeds([1, 2, 3, 4])) {
      t.comment(`SEED=${seed}`)
      const sim = new BulkSim({
        seed,
        bitsPerSecond: mbit * MBIT,
        rttUs: 30 * US_PER_MS,
        queuePackets: 500,
        loss,
        congestion: (initialWindow) => {
          const cc = cubic(initialWindow)
          const { onSpurious } = cc
          cc.onSpurious = (now) => {
            undone++
            onSpurious.call(cc, now)
          }
          return cc
        },
      })
      sim.run(10 * US_PER_S)
      events += sim.flows[0]?.lossEvents ?? 0
    }
    t.equal(undone, 0)
    t.ok(events > 50, `${events} reductions`)
    t.end()
  })
}
