import { Rng } from '../../src/base/rng.js'
import { loadCorpus } from '../../test/fuzz/corpus.js'
import { type FuzzCounts, fuzzParser, newCounts } from '../../test/fuzz/parser.js'
import { freshSeed } from '../../test/oracle/seeds.js'
import type { Campaign } from './campaign.js'

const ROUND = 10_000

/** Mutated packets against the naive parsers for so many seconds; a failure prints what to add to the corpus. */
export const campaign: Campaign = {
  summary: 'mutated packets and options against the naive parsers; [seconds], 60 unless told; SEED=n repeats a run',
  async run(args) {
    const seconds = Number(args[0] ?? 60)
    const seed = process.env.SEED === undefined ? freshSeed() : Number(process.env.SEED)
    const rng = new Rng(seed)
    const corpus = [...loadCorpus().values()]
    const counts = newCounts()
    const end = performance.now() + seconds * 1000
    process.stdout.write(`SEED=${seed}, ${corpus.length} inputs to begin with\n`)
    try {
      while (performance.now() < end) fuzzParser(rng, corpus, ROUND, counts)
    } catch (error) {
      report(counts)
      process.stdout.write(`SEED=${seed}: ${error instanceof Error ? error.message : String(error)}\n`)
      process.stdout.write('keep the input as test/fuzz/corpus/NAME.hex, with the fix\n')
      return false
    }
    report(counts)
    return true
  },
}

function report(counts: FuzzCounts): void {
  const results = [...counts.byResult].map(([name, n]) => `${name} ${n}`).join(', ')
  process.stdout.write(`${counts.inputs} inputs: ${results}; MPTCP ${counts.withMptcp}, broken options ${counts.malformedOptions}\n`)
}
