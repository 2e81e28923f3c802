/** `ok`: as it should be; `warn`: works, but worse than it could; `fail`: the daemon cannot work like that. */
export type Level = 'ok' | 'warn' | 'fail'

/** What one check of the doctor found. */
export interface Finding {
  /** Name of the check, stable. */
  readonly check: string
  readonly level: Level
  readonly message: string
  /** What to do about it, null when there is nothing to do. */
  readonly remedy: string | null
}

export function ok(check: string, message: string): Finding {
  return { check, level: 'ok', message, remedy: null }
}

export function warn(check: string, message: string, remedy: string): Finding {
  return { check, level: 'warn', message, remedy }
}

export function fail(check: string, message: string, remedy: string): Finding {
  return { check, level: 'fail', message, remedy }
}

/** Findings for people, a line each, the remedy below. */
export function formatFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map((finding) => finding.check.length))
  const lines = findings.flatMap(({ check, level, message, remedy }) => [
    `${level.padEnd(4)}  ${check.padEnd(width)}  ${message}`,
    ...(remedy === null ? [] : [`${' '.repeat(width + 6)}  -> ${remedy}`]),
  ])
  const count = (level: Level) => findings.filter((finding) => finding.level === level).length
  return `${lines.join('\n')}\n\n${count('ok')} ok, ${count('warn')} to improve, ${count('fail')} in the way\n`
}
