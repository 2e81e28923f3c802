/** The script uses something that this runner does not have: the verdict is `unsupported`, never `passed`. */
export class Unsupported extends Error {
  readonly line: number
  constructor(line: number, what: string) {
    super(what)
    this.line = line
  }
}

/** The stack did something else than the script says. `detail` shows expected and actual side by side. */
export class Mismatch extends Error {
  readonly line: number
  readonly detail: readonly string[]
  constructor(line: number, what: string, detail: readonly string[] = []) {
    super(what)
    this.line = line
    this.detail = detail
  }
}

/** `expected` above `actual`, for `Mismatch`. */
export function sideBySide(expected: string, actual: string): string[] {
  return [`expected: ${expected}`, `actual:   ${actual}`]
}
