import { Mismatch, Unsupported } from '../errors.js'
import { parseScript } from '../language/parser.js'
import type { FileReader } from '../language/shell.js'
import { Runtime } from './runtime.js'

export type Outcome = 'passed' | 'failed' | 'unsupported'

/** What became of one script. */
export interface Verdict {
  readonly outcome: Outcome
  /** 0 when it passed. */
  readonly line: number
  readonly why: string
  /** Expected and actual, one below the other. */
  readonly detail: readonly string[]
  /** Commands that set nothing of ours. */
  readonly noted: readonly string[]
}

export interface RunOptions {
  /** Options of the command line, without dashes. */
  readonly given?: ReadonlyMap<string, string>
  readonly seed?: number
  /** A packet left over at the end is a failure. */
  readonly isStrict?: boolean
  /** Files that commands of the script run; none, when it is left out. */
  readonly read?: FileReader
}

/** Runs the text of one script. Never throws for what a script or the stack does. */
export function runScript(source: string, { given, seed = 1, isStrict = false, read = () => null }: RunOptions = {}): Verdict {
  let runtime: Runtime | null = null
  const verdict = (outcome: Outcome, line: number, why: string, detail: readonly string[]): Verdict => ({
    outcome,
    line,
    why,
    detail,
    noted: runtime?.settings.noted ?? [],
  })
  try {
    runtime = new Runtime(parseScript(source, given), seed, isStrict, read)
    runtime.run()
    return verdict('passed', 0, '', [])
  } catch (error) {
    if (error instanceof Unsupported) return verdict('unsupported', error.line, error.message, [])
    if (error instanceof Mismatch) return verdict('failed', error.line, error.message, error.detail)
    return verdict('failed', 0, error instanceof Error ? (error.stack ?? error.message) : String(error), [])
  }
}

/** One line, and below it why the script failed. */
export function verdictText(name: string, v: Verdict): string {
  if (v.outcome === 'passed') return `passed ${name}`
  const at = v.line > 0 ? `${name}:${v.line}` : name
  return [`${v.outcome} ${at}: ${v.why}`, ...v.detail.map((line) => `    ${line}`)].join('\n')
}

/** The last line of a report. */
export function totalText(verdicts: readonly Verdict[]): string {
  const count = (outcome: Outcome): number => verdicts.filter((v) => v.outcome === outcome).length
  return `${count('passed')} passed, ${count('failed')} failed, ${count('unsupported')} unsupported`
}
