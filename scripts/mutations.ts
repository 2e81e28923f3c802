/** The lists of mutations, and what one of them does to a text. */
import { readFileSync } from 'node:fs'

export const AREAS = ['tcp', 'mptcp'] as const
export type Area = (typeof AREAS)[number]

/** One change of one line that breaks a rule, and so has to break a test. */
export interface Mutation {
  readonly id: string
  /** Path from the root of the project. */
  readonly file: string
  /** Occurs exactly once in the file. */
  readonly find: string
  readonly replace: string
  /** The rule that is broken. */
  readonly why: string
  /** Test files beside the packet scripts, the likeliest killer first. */
  readonly tests: readonly string[]
  /** Why nothing can tell the difference; only where that is so. */
  readonly survives?: string
}

export function mutationsOf(area: Area): Mutation[] {
  return JSON.parse(readFileSync(new URL(`mutations/${area}.json`, import.meta.url), 'utf8')) as Mutation[]
}

/** How often what the mutation looks for stands in `text`. */
export function occurrences(mutation: Mutation, text: string): number {
  return text.split(mutation.find).length - 1
}

/** `text` with the mutation. Throws when it does not fit, since then the list is older than the source. */
export function mutated(mutation: Mutation, text: string): string {
  const n = occurrences(mutation, text)
  if (n !== 1)
    throw new Error(`mutation ${mutation.id}: "${mutation.find}" occurs ${n} times in ${mutation.file}, not once; correct its entry`)
  return text.replace(mutation.find, () => mutation.replace)
}
