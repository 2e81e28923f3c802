import type { Family } from './numbers.js'
import type { Switch } from './forwarding.js'

/**
 * One change of the host, as data: it can be printed, applied and written down. What undoes it is not in the step: what is ours on
 * the host can be read back (by protocol number, table, preference), and the state file has the rest.
 */
export type Step =
  | {
      /** `ip rule` or `ip route`; the words behind the object, the command first (`add`, `del`, `replace`, `flush`). */
      readonly kind: 'rule' | 'route'
      readonly family: Family
      readonly words: readonly string[]
      /** A failure costs what this step is for, not the whole. */
      readonly mayFail?: boolean
    }
  | { readonly kind: 'exec'; readonly argv: readonly string[]; readonly mayFail?: boolean }
  | ({ readonly kind: 'sysctl' } & Switch)
  /** Feeds the standing nft child, whose table goes when the child ends. */
  | { readonly kind: 'nft'; readonly lines: readonly string[] }

/** Changes in the order of application. */
export type Plan = readonly Step[]

/** A step that could not be done. */
export interface Failure {
  readonly step: Step
  readonly message: string
}

/** What carries out steps. The daemon's runner changes the host, tests record. */
export interface PlanRunner {
  /** Runs `ip` lines of one family in their order, going on after failures; returns the failures by index. */
  ipBatch(family: Family, lines: readonly string[]): Promise<ReadonlyMap<number, string>>
  /** @throws {MptcpError} ERR_HOST_COMMAND */
  exec(argv: readonly string[]): Promise<void>
  /** @throws {MptcpError} ERR_HOST_COMMAND */
  writeSysctl(key: string, value: string): Promise<void>
  /** @throws {MptcpError} ERR_NFT */
  nft(lines: readonly string[]): Promise<void>
}

/** `ip` lines that go into one process at once. */
const MAX_BATCH = 500

/** Applies a plan. @returns what could not be done; with `isStrict` the first failure that matters ends it. */
export async function applyPlan(plan: Plan, runner: PlanRunner, isStrict = false): Promise<Failure[]> {
  const failures: Failure[] = []
  for (let i = 0; i < plan.length; ) {
    const n = batchLen(plan, i)
    const failed = n > 0 ? await applyBatch(plan.slice(i, i + n), runner) : await applyOne(plan[i] as Step, runner)
    failures.push(...failed)
    if (isStrict && failed.some((failure) => !mayFail(failure.step))) return failures
    i += Math.max(1, n)
  }
  return failures
}

/** Whether the failure of a step is of no consequence for the others. */
export function mayFail(step: Step): boolean {
  return 'mayFail' in step && step.mayFail === true
}

/** Steps from `at` on that one `ip` process takes; 0: the step is of another kind. */
function batchLen(plan: Plan, at: number): number {
  const first = plan[at] as Step
  if (first.kind !== 'rule' && first.kind !== 'route') return 0
  let n = 1
  for (; n < MAX_BATCH; n++) {
    const next = plan[at + n]
    if (next === undefined || (next.kind !== 'rule' && next.kind !== 'route') || next.family !== first.family) break
  }
  return n
}

async function applyBatch(steps: Plan, runner: PlanRunner): Promise<Failure[]> {
  const lines = steps.map(lineOf)
  const failed = await runner.ipBatch((steps[0] as { family: Family }).family, lines)
  return [...failed].flatMap(([i, message]) => {
    const step = steps[i] as Step
    return isDone(step, message) ? [] : [{ step, message: `${commandOf(step)}: ${message}` }]
  })
}

async function applyOne(step: Step, runner: PlanRunner): Promise<Failure[]> {
  try {
    if (step.kind === 'exec') await runner.exec(step.argv)
    else if (step.kind === 'sysctl') await runner.writeSysctl(step.key, step.value)
    else if (step.kind === 'nft') await runner.nft(step.lines)
    return []
  } catch (error) {
    return [{ step, message: error instanceof Error ? error.message : String(error) }]
  }
}

/** What was to be made is there already, or what was to go is gone: somebody was quicker. */
function isDone(step: Step, message: string): boolean {
  if (step.kind !== 'rule' && step.kind !== 'route') return false
  if (step.words[0] === 'add') return message.includes('File exists')
  return step.words[0] === 'del' && /No such (process|file or directory)|Cannot find device/.test(message)
}

function lineOf(step: Step): string {
  return step.kind === 'rule' || step.kind === 'route' ? [step.kind, ...step.words].join(' ') : ''
}

function commandOf(step: Step): string {
  return step.kind === 'rule' || step.kind === 'route' ? `ip -${step.family} ${lineOf(step)}` : ''
}

/** The plan as shell commands, one a line: what `--dry-run` shows. */
export function formatPlan(plan: Plan): string[] {
  return plan.flatMap((step) => {
    if (step.kind === 'exec') return [commandText(step.argv)]
    if (step.kind === 'sysctl') return [`sysctl -w ${sysctlName(step.key)}=${step.value}`]
    if (step.kind === 'nft') return step.lines.map((line) => `nft ${quote(line)}`)
    return [`ip -${step.family} ${[step.kind, ...step.words].map(quote).join(' ')}`]
  })
}

/** A command as one would type it. */
export function commandText(argv: readonly string[]): string {
  return argv.map(quote).join(' ')
}

/** Dots for slashes, and the other way round: interface names may contain dots. */
function sysctlName(key: string): string {
  return key.replaceAll(/[./]/g, (c) => (c === '/' ? '.' : '/'))
}

function quote(word: string): string {
  return /^[\w./:@=,+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
