import t from 'tap'
import { freshSeed } from '../oracle/seeds.js'
import { noFaults } from './faulty-path.js'
import { randomTransfer } from './random-transfer.js'
import { replay } from './recording.js'

const TRANSFERS = 1000
/** Of them, transfers that no run had before; the others are the same in every run. */
const FRESH = 100

t.setTimeout(600_000)

t.test(
  `${TRANSFERS} transfers through lossy, reordering, duplicating and corrupting networks arrive byte-exact`,
  { timeout: 600_000 },
  async (t) => {
    const wanted = process.env.SEED
    const first = freshSeed()
    t.comment(`fresh seeds SEED=${first} .. SEED=${first + FRESH - 1}`)
    const seeds = Array.from({ length: TRANSFERS }, (_, i) => (i < TRANSFERS - FRESH ? i : first + i - (TRANSFERS - FRESH)))
    const tally = noFaults()
    const kinds = { up: 0, down: 0, both: 0, mptcp: 0, plain: 0, joined: 0, bytes: 0, faultless: 0, small: 0, large: 0 }
    for (const seed of wanted === undefined || wanted === '' ? seeds : [Number(wanted)]) {
      try {
        const { world, complaint, upLen, downLen, isMptcp } = randomTransfer(seed)
        if (complaint !== '') t.fail(`${complaint}; ${replay('transfer', seed, randomTransfer)}`)
        if (world.paths.faults === 0) kinds.faultless++
        world.paths.tally(tally)
        kinds[upLen === 0 ? 'down' : downLen === 0 ? 'up' : 'both']++
        kinds[isMptcp ? 'mptcp' : 'plain']++
        if (world.engine.mptcpCounters.MPJoinSynAckRx > 0) kinds.joined++
        kinds.bytes += upLen + downLen
        if (upLen + downLen < 1000) kinds.small++
        if (upLen + downLen > 1_000_000) kinds.large++
      } catch (error) {
        t.fail(`${error instanceof Error ? error.stack : String(error)}; ${replay('transfer', seed, randomTransfer)}`)
      }
    }
    t.comment(`${JSON.stringify(kinds)} ${JSON.stringify(tally)}`)
    if (wanted !== undefined && wanted !== '') return
    t.equal(kinds.faultless, 0, 'every transfer met a fault')
    t.ok(tally.lost > 1000 && tally.reordered > 300 && tally.duplicated > 1000 && tally.corrupted > 500, 'faults of every kind')
    t.ok(kinds.up > 250 && kinds.down > 250 && kinds.both > 250, 'both directions, alone and mixed')
    t.ok(kinds.mptcp > 500 && kinds.plain > 150 && kinds.joined > 100, 'MPTCP with one and two subflows, and plain TCP')
    t.ok(kinds.small > 250 && kinds.large > 50, 'small and large')
  },
)
