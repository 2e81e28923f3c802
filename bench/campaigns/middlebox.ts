import { runMatrix } from '../../test/sim/middlebox-matrix.js'
import type { Campaign } from './campaign.js'

const DATA_SEGMENTS = 50

/** Every middlebox at every place of a connection, and options taken from each of the first 50 data segments. */
export const campaign: Campaign = {
  summary: 'the middlebox matrix in full, as a table (a minute)',
  async run() {
    let bad = 0
    const rows = runMatrix(
      Array.from({ length: DATA_SEGMENTS }, (_, i) => i + 1),
      (what, verdict) => {
        if (verdict.complaint === '') return
        bad++
        process.stdout.write(`${what}: ${verdict.complaint}\n`)
      },
    )
    process.stdout.write('M MPTCP to the end, R a subflow was reset, P both plain TCP, X one side plain, ! wrong\n')
    for (const row of rows) process.stdout.write(`${row.trimEnd()}\n`)
    return bad === 0
  },
}
