import { MptcpError } from '../base/errors.js'

/**
 * One change of the host, as data: it can be printed, applied, written down and undone.
 * `exec` runs a program, `sysctl` writes a kernel parameter and knows what stood there before, `nft` feeds the standing
 * nft child, whose table goes when the child ends.
 */
export type Step =
  | {
      readonly kind: 'exec'
      readonly apply: readonly string[]
      /** null: undone by something else, mostly by the end of the TUN device. */
      readonly undo: readonly string[] | null
      /** What stands there already is exactly this (a killed run left it): count it as applied. */
      readonly mayExist?: boolean
      /** A failure of `apply` does not matter. */
      readonly mayFail?: boolean
    }
  | { readonly kind: 'sysctl'; readonly key: string; readonly value: string; readonly old: string }
  | { readonly kind: 'nft'; readonly lines: readonly string[] }

/** Everything that is changed, in the order of application. It is undone in the opposite order. */
export type Plan = readonly Step[]

/** What carries out a step. The daemon's runner changes the host, tests record. */
export interface PlanRunner {
  /** @throws {MptcpError} ERR_HOST_COMMAND */
  exec(argv: readonly string[]): Promise<void>
  writeSysctl(key: string, value: string): Promise<void>
  nft(lines: readonly string[]): Promise<void>
  endNft(): Promise<void>
}

/** An applied plan; `rollback` undoes what was applied, the last first, and reports what could not be undone. */
export class AppliedPlan {
  private readonly runner: PlanRunner
  private readonly done: Step[] = []

  constructor(runner: PlanRunner) {
    this.runner = runner
  }

  /** Applies one more step. @throws {MptcpError} and leaves earlier steps in place. */
  async apply(step: Step): Promise<void> {
    if (step.kind === 'sysctl') {
      if (step.old === step.value) return
      await this.runner.writeSysctl(step.key, step.value)
    } else if (step.kind === 'nft') await this.runner.nft(step.lines)
    else {
      try {
        await this.runner.exec(step.apply)
      } catch (error) {
        const exists = step.mayExist === true && error instanceof Error && error.message.includes('File exists')
        if (!exists && step.mayFail !== true) throw error
      }
    }
    this.done.push(step)
  }

  /** Undoes everything, going on after failures. @returns the failures' messages. */
  async rollback(): Promise<string[]> {
    const failures: string[] = []
    for (let step = this.done.pop(); step !== undefined; step = this.done.pop()) {
      try {
        if (step.kind === 'sysctl') await this.runner.writeSysctl(step.key, step.old)
        else if (step.kind === 'nft') await this.runner.endNft()
        else if (step.undo !== null) await this.runner.exec(step.undo)
      } catch (error) {
        failures.push(error instanceof Error ? error.message : String(error))
      }
    }
    return failures
  }
}

/** Applies all of `plan`, or nothing: a failing step rolls back the earlier ones. @throws {MptcpError} */
export async function applyPlan(plan: Plan, runner: PlanRunner): Promise<AppliedPlan> {
  const applied = new AppliedPlan(runner)
  for (const step of plan) {
    try {
      await applied.apply(step)
    } catch (error) {
      const failures = await applied.rollback()
      const more = failures.length === 0 ? '' : `; undoing what was done failed too: ${failures.join('; ')}`
      const what = error instanceof Error ? error.message : String(error)
      throw new MptcpError('ERR_HOST_SETUP', `host set-up: ${what}${more}`, { cause: error })
    }
  }
  return applied
}

/** The plan as shell commands, one a line: what `--dry-run` shows. */
export function formatPlan(plan: Plan): string[] {
  return plan.flatMap((step) => {
    if (step.kind === 'exec') return [step.apply.map(quote).join(' ')]
    if (step.kind === 'sysctl') return step.old === step.value ? [] : [`sysctl -w ${step.key.replaceAll('/', '.')}=${step.value}`]
    return step.lines.map((line) => `nft ${quote(line)}`)
  })
}

function quote(word: string): string {
  return /^[\w./:@=,+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
