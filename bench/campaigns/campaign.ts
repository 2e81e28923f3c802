/** A long run with a verdict; `bench/campaigns/NAME.ts` exports one as `campaign`. */
export interface Campaign {
  /** One line: what it measures or hunts, and about how long it takes. */
  readonly summary: string
  /** Runs it, printing figures (and the seed, where there is one); true when all of its claims held. */
  run(args: readonly string[]): Promise<boolean>
}
