/**
 * Instants and spans are integer microseconds in plain numbers, counted from the start of the engine.
 * The core never reads a clock: `now` is handed in, once per turn.
 */
export type Micros = number

/** No deadline. Larger than any instant, so that `Math.min` works on deadlines. */
export const NEVER = Number.MAX_SAFE_INTEGER

export const US_PER_MS = 1_000
export const US_PER_S = 1_000_000
