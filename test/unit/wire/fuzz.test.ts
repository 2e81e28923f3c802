import t from 'tap'
import { Rng } from '../../../src/base/rng.js'
import { loadCorpus } from '../../fuzz/corpus.js'
import { checkInput, fuzzParser, newCounts } from '../../fuzz/parser.js'
import { forSeeds } from '../../oracle/seeds.js'

const corpus = loadCorpus()

t.test('every input of the corpus', async (t) => {
  t.ok(corpus.size >= 20, `${corpus.size} inputs`)
  for (const [name, input] of corpus) {
    t.doesNotThrow(() => checkInput(new Rng(1), input, newCounts()), name)
  }
})

t.test('mutated inputs, a short run (long: npm run campaign -- fuzz-parser)', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    const counts = newCounts()
    fuzzParser(rng, [...corpus.values()], 3_000, counts)
    for (const name of ['ok', 'short', 'bad-header', 'fragment', 'other']) t.ok((counts.byResult.get(name) ?? 0) > 0, name)
    t.ok(counts.withMptcp > 100, `${counts.withMptcp} inputs with MPTCP options`)
    t.ok(counts.malformedOptions > 10, `${counts.malformedOptions} broken lists of options`)
  })
})
