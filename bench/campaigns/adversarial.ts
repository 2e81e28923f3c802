import { noTally, runAdversarial } from '../../test/sim/adversarial-run.js'
import { freshSeed } from '../../test/oracle/seeds.js'
import type { Campaign } from './campaign.js'

const REPORT_MS = 60_000

/** So many adversarial transfers over two paths, from a fresh seed on. */
export const campaign: Campaign = {
  summary: 'adversarial two-path transfers; [how many], 1000000 unless told (about an hour a million); SEED=n: the first seed',
  async run(args) {
    const total = Number(args[0] ?? 1_000_000)
    const wanted = process.env.SEED
    const first = wanted === undefined || wanted === '' ? freshSeed() : Number(wanted)
    process.stdout.write(`from SEED=${first} on\n`)
    const tally = noTally()
    let bad = 0
    let reportAt = performance.now() + REPORT_MS
    for (let i = 0; i < total; i++) {
      const wrong = runAdversarial(first + i, tally)
      if (wrong !== '') {
        bad++
        process.stdout.write(`${wrong}\n`)
      }
      if (performance.now() < reportAt) continue
      reportAt += REPORT_MS
      process.stdout.write(`${i + 1} of ${total}, ${bad} wrong\n`)
    }
    process.stdout.write(`${total} transfers, ${bad} wrong: ${JSON.stringify(tally)}\n`)
    return bad === 0
  },
}
