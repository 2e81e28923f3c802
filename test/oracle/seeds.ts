import { Rng } from '../../src/base/rng.js'

/**
 * Seeds of a random test: the fixed ones and a fresh one, which is printed, so that `SEED=n` repeats exactly that run.
 * With SEED set it is the only one.
 */
export function seeds(fixed: readonly number[]): number[] {
  const wanted = process.env.SEED
  if (wanted !== undefined && wanted !== '') return [Number(wanted)]
  return [...fixed, freshSeed()]
}

/** A seed that no run had before. */
export function freshSeed(): number {
  return (Date.now() ^ (process.pid << 16)) >>> 0
}

/** Runs `body` once a seed; a failure tells the seed. */
export async function forSeeds(
  t: { comment(text: string): void },
  fixed: readonly number[],
  body: (rng: Rng, seed: number) => void | Promise<void>,
): Promise<void> {
  for (const seed of seeds(fixed)) {
    t.comment(`SEED=${seed}`)
    try {
      await body(new Rng(seed), seed)
    } catch (error) {
      throw new Error(`failed with SEED=${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
  }
}
