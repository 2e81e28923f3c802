import { Unsupported } from '../errors.js'

/** Value of a name, or null when there is none. */
export type Lookup = (name: string) => number | null

/** An assertion that does not hold, with the values of its names. */
export interface Failed {
  readonly text: string
  readonly values: string
}

const TOKEN = /\s*(?:(0x[0-9a-fA-F]+|\d+)|([A-Za-z_]\w*)|(==|!=|<=|>=|<|>|\(|\)|-))/y

/**
 * Assertions of a `%{ }%` block: `assert EXPRESSION[, MESSAGE]`, one a line or parted by semicolons. An expression has comparisons,
 * `and`, `or`, `not`, parentheses, integers and names. @returns the first that fails, or null.
 */
export function runCode(text: string, line: number, lookup: Lookup): Failed | null {
  for (const statement of text.split(/[\n;]/)) {
    const bare = statement.replace(/#.*/, '').trim()
    if (bare === '') continue
    const [, expression] = /^assert\b\s*\(?(.*)$/.exec(bare) ?? []
    if (expression === undefined) throw new Unsupported(line, `code '${bare}'`)
    const isWrapped = /^assert\b\s*\(/.test(bare)
    const source = (isWrapped ? `(${expression}` : expression).replace(/,[^,]*$/, '')
    const evaluation = new Evaluation(source, line, lookup)
    if (evaluation.run() === 0) return { text: source, values: evaluation.seen.join(', ') }
  }
  return null
}

class Evaluation {
  readonly seen: string[] = []
  private readonly tokens: string[] = []
  private at = 0
  private readonly line: number
  private readonly source: string
  private readonly lookup: Lookup

  constructor(source: string, line: number, lookup: Lookup) {
    this.source = source
    this.line = line
    this.lookup = lookup
    TOKEN.lastIndex = 0
    while (TOKEN.lastIndex < source.trimEnd().length) {
      const found = TOKEN.exec(source)
      if (found === null) this.fail()
      this.tokens.push(found[0].trim())
    }
  }

  run(): number {
    const value = this.or()
    if (this.at < this.tokens.length) this.fail()
    return value
  }

  private fail(): never {
    throw new Unsupported(this.line, `expression '${this.source.trim()}'`)
  }

  private take(token: string): boolean {
    if (this.tokens[this.at] !== token) return false
    this.at++
    return true
  }

  private or(): number {
    let value = this.and()
    while (this.take('or')) {
      const right = this.and()
      value = value !== 0 ? value : right
    }
    return value
  }

  private and(): number {
    let value = this.not()
    while (this.take('and')) {
      const right = this.not()
      value = value === 0 ? value : right
    }
    return value
  }

  private not(): number {
    if (this.take('not')) return this.not() === 0 ? 1 : 0
    return this.comparison()
  }

  /** As in Python: `a < b <= c` is `a < b and b <= c`. */
  private comparison(): number {
    let left = this.primary()
    let result = -1
    for (;;) {
      const operator = this.tokens[this.at] ?? ''
      const compare = COMPARE[operator]
      if (compare === undefined) return result < 0 ? left : result
      this.at++
      const right = this.primary()
      result = result !== 0 && compare(left, right) ? 1 : 0
      left = right
    }
  }

  private primary(): number {
    if (this.take('(')) {
      const value = this.or()
      if (!this.take(')')) this.fail()
      return value
    }
    if (this.take('-')) return -this.primary()
    const token = this.tokens[this.at++]
    if (token === undefined) return this.fail()
    if (/^\d/.test(token)) return Number(token)
    const value = this.lookup(token)
    if (value === null) throw new Unsupported(this.line, `value ${token}`)
    this.seen.push(`${token} = ${value}`)
    return value
  }
}

const COMPARE: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
}
