import t from 'tap'
import { freshSeed } from '../oracle/seeds.js'
import { noTally, runAdversarial } from './adversarial-run.js'

const TRANSFERS = 10_000
/** Of them, transfers that no run had before. */
const FRESH = 1000

t.setTimeout(300_000)

t.test(`${TRANSFERS} adversarial transfers over two paths arrive byte-exact, or fail as they must`, { timeout: 300_000 }, async (t) => {
  const tally = noTally()
  const wanted = process.env.SEED
  if (wanted !== undefined && wanted !== '') {
    t.equal(runAdversarial(Number(wanted), tally), '')
    return
  }
  const first = freshSeed()
  t.comment(`fresh seeds SEED=${first} .. SEED=${first + FRESH - 1}`)
  for (let i = 0; i < TRANSFERS; i++) {
    const wrong = runAdversarial(i < TRANSFERS - FRESH ? i : first + i - (TRANSFERS - FRESH), tally)
    if (wrong !== '') t.fail(wrong)
  }
  t.comment(JSON.stringify(tally))
  t.equal(tally.transfers, TRANSFERS)
  t.ok(tally.joined > 0.3 * TRANSFERS && tally.plain > 0.02 * TRANSFERS, 'with two subflows, and fallen back')
  t.ok(tally.sparse > TRANSFERS / 10, `${tally.sparse} mappings over several bursts`)
  t.ok(tally.failed < 0.02 * TRANSFERS, `${tally.failed} failed`)
  for (const [name, n] of [...Object.entries(tally.faults), ...Object.entries(tally.troubles)]) {
    t.ok(n > TRANSFERS / 1000, `${name}: ${n}`)
  }
})
