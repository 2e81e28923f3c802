import t from 'tap'
import { runMatrix } from './middlebox-matrix.js'

/** `npm run campaign -- middlebox` has all from 1 to 50. */
const DATA_SEGMENTS = [1, 2, 3, 5, 8, 13, 21, 34, 50]

t.test(
  'features 7: every middlebox at every place: as the rules say, byte-exact, and both ends are told',
  { timeout: 120_000 },
  async (t) => {
    let cells = 0
    const outcomes = new Set<string>()
    const rows = runMatrix(DATA_SEGMENTS, (what, verdict) => {
      cells++
      outcomes.add(verdict.outcome)
      if (verdict.complaint !== '') t.fail(`${what}: ${verdict.complaint}`)
    })
    for (const row of rows) t.comment(row)
    t.ok(cells > 200, `${cells} cells`)
    t.ok(['M', 'R', 'P'].every((outcome) => outcomes.has(outcome)))
  },
)
