import t from 'tap'
import { Rng } from '../../src/base/rng.js'
import { TcpFuzzer } from '../fuzz/tcp.js'
import { seeds } from '../oracle/seeds.js'

const SEGMENTS = 1_000_000

t.setTimeout(300_000)

t.test('10^6 changed segments into live connections break no invariant, and the connections go on', async (t) => {
  const all = seeds([1])
  for (const seed of all) {
    t.comment(`SEED=${seed}`)
    const fuzzer = new TcpFuzzer(new Rng(seed))
    try {
      fuzzer.run(SEGMENTS / all.length)
    } catch (error) {
      t.fail(`SEED=${seed}, after ${fuzzer.counts.segments} segments: ${error instanceof Error ? error.message : String(error)}`)
      continue
    }
    const { counts } = fuzzer
    t.comment(JSON.stringify({ ...counts, byState: [...counts.byState] }))
    t.ok(counts.established > 0.7 * counts.connections, 'most connections come about')
    t.ok(counts.advanced > 0.5 * counts.established, 'most of them move data between the changed segments')
    t.ok(counts.delivered > 500 && counts.acknowledged > 2000, 'many changed segments are acceptable and act')
    t.ok(counts.answered > 20_000 && counts.resets > 20 && counts.timeouts > 5000 && counts.icmp > 1000)
    t.equal(counts.byState.size, 10, 'every state is met')
  }
})
