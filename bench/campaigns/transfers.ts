import { freshSeed } from '../../test/oracle/seeds.js'
import { noFaults } from '../../test/sim/faulty-path.js'
import { randomTransfer } from '../../test/sim/random-transfer.js'
import { replay } from '../../test/sim/recording.js'
import type { Campaign } from './campaign.js'

/** Random transfers through the simulated engine until so many seconds are over. */
export const campaign: Campaign = {
  summary: 'random transfers through the simulator; [seconds], 60 unless told; SEED=n repeats a single one',
  async run(args) {
    const end = performance.now() + Number(args[0] ?? 60) * 1000
    const isSingle = process.env.SEED !== undefined
    let seed = isSingle ? Number(process.env.SEED) : freshSeed()
    process.stdout.write(`from SEED=${seed} on\n`)
    const tally = noFaults()
    let done = 0
    let failed = 0
    let bytes = 0
    do {
      try {
        const { world, complaint, upLen, downLen } = randomTransfer(seed)
        world.paths.tally(tally)
        bytes += upLen + downLen
        if (complaint !== '') throw new Error(complaint)
      } catch (error) {
        failed++
        process.stdout.write(`${error instanceof Error ? error.stack : String(error)}\n${replay('transfer', seed, randomTransfer)}\n`)
      }
      done++
      seed++
    } while (!isSingle && performance.now() < end)
    process.stdout.write(`${done} transfers, ${failed} failed, ${bytes} bytes; faults ${JSON.stringify(tally)}\n`)
    return failed === 0
  },
}
