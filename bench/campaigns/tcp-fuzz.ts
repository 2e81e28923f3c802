import { Rng } from '../../src/base/rng.js'
import { TcpFuzzer, type TcpFuzzCounts } from '../../test/fuzz/tcp.js'
import { freshSeed } from '../../test/oracle/seeds.js'
import type { Campaign } from './campaign.js'

/** Segments of one seed: what has to be repeated to see a failure again. */
const ROUND = 1_000_000

/** Changed segments into live connections; after each of them the endpoint's invariants are checked. */
export const campaign: Campaign = {
  summary: 'changed segments into live TCP connections; [segments], 10000000 (two minutes) unless told; SEED=n repeats a round',
  async run(args) {
    const total = Number(args[0] ?? 1e7)
    if (!(total >= 1)) {
      process.stdout.write(`tcp-fuzz: "${args[0]}" is no number of segments\n`)
      return false
    }
    const wanted = process.env.SEED
    const first = wanted === undefined ? freshSeed() : Number(wanted)
    const from = performance.now()
    let done = 0
    for (let seed = first; done < total; seed = (seed + 1) >>> 0) {
      const fuzzer = new TcpFuzzer(new Rng(seed))
      try {
        fuzzer.run(Math.min(ROUND, total - done))
      } catch (error) {
        report(seed, fuzzer.counts)
        const what = error instanceof Error ? (error.stack ?? error.message) : String(error)
        process.stdout.write(`after ${done + fuzzer.counts.segments} segments, SEED=${seed} repeats it: ${what}\n`)
        return false
      }
      done += fuzzer.counts.segments
      report(seed, fuzzer.counts)
    }
    process.stdout.write(`${done} segments in ${((performance.now() - from) / 1000).toFixed(0)} s, no invariant broken\n`)
    return true
  },
}

function report(seed: number, counts: TcpFuzzCounts): void {
  const { byState, ...rest } = counts
  const line = Object.entries(rest).map(([name, n]) => `${name} ${n}`)
  const states = [...byState].map(([name, n]) => `${name} ${n}`)
  process.stdout.write(`SEED=${seed}: ${line.join(', ')}; ${states.join(', ')}\n`)
}
