import { Unsupported } from '../errors.js'

/** Value of a name, or null when there is none. */
export type Lookup = (name: string) => number | null

/** An assertion that does not hold, with the values of its names. */
export interface Failed {
  readonly text: string
  readonly values: string
}

const TOKEN =
  /[ \t]*(?:#[^\n]*|\\\n|(0x[0-9a-fA-F]+|\d*\.\d+|\d+)|([A-Za-z_]\w*)|("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(\/\/=?|<<|>>|[-+*/%&|<>=!]=|[-+*/%&|^~<>=(),;:[\].\n]))?/y

/** What a word or number ends with is a token; strings count only as messages. */
interface Token {
  readonly text: string
  readonly kind: 'number' | 'word' | 'string' | 'sign'
}

/**
 * The code of a script: blocks of `%{ }%` with `assert EXPRESSION[, MESSAGE]`, assignments of numbers and `print`, parted by lines or
 * semicolons. An expression has comparisons (chains as in Python), `and`, `or`, `not`, arithmetic, parentheses, numbers, and names: of
 * what was assigned in this block or an earlier one, then of `lookup`.
 */
export class Code {
  private readonly variables = new Map<string, number>()

  /** Runs one block. @returns the first assertion that fails, or null. @throws Unsupported */
  run(text: string, line: number, lookup: Lookup): Failed | null {
    const names: Lookup = (name) => this.variables.get(name) ?? CONSTANTS[name] ?? lookup(name)
    for (const tokens of statementsOf(text, line)) {
      const [first, second] = tokens
      if (first?.text === 'print' || first?.kind === 'string') continue
      if (first?.text === 'assert') {
        const evaluation = new Evaluation(tokens.slice(1), line, names)
        if (evaluation.run() === 0) return { text: evaluation.text, values: evaluation.seen.join(', ') }
        continue
      }
      if (first?.kind !== 'word' || !/^(?:[-+*]|\/\/)?=$/.test(second?.text ?? '')) throw unknown(tokens, line)
      const evaluation = new Evaluation(tokens.slice(2), line, names)
      const value = evaluation.run()
      this.variables.set(
        first.text,
        second?.text === '=' ? value : evaluation.binary(second?.text.slice(0, -1) ?? '', names(first.text) ?? 0, value),
      )
    }
    return null
  }
}

const CONSTANTS: Readonly<Record<string, number>> = { True: 1, False: 0 }

function unknown(tokens: readonly Token[], line: number): Unsupported {
  return new Unsupported(line, `code '${tokens.map((t) => t.text).join(' ')}'`)
}

/** Statements of a block; inside parentheses and brackets a line may end. */
function statementsOf(text: string, line: number): Token[][] {
  const statements: Token[][] = [[]]
  let depth = 0
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex
    const [whole = '', number, word, string, sign] = TOKEN.exec(text) ?? []
    if (TOKEN.lastIndex === at) {
      if (text[at] !== '\r') throw new Unsupported(line, `code '${text.slice(at).trim().split('\n')[0] ?? ''}'`)
      TOKEN.lastIndex = at + 1
    }
    if (sign === '(' || sign === '[') depth++
    if (sign === ')' || sign === ']') depth--
    const last = statements.at(-1) as Token[]
    if ((sign === '\n' || sign === ';') && depth <= 0) {
      if (last.length > 0) statements.push([])
    } else if (number !== undefined) last.push({ text: number, kind: 'number' })
    else if (word !== undefined) last.push({ text: word, kind: 'word' })
    else if (string !== undefined) last.push({ text: string, kind: 'string' })
    else if (sign !== undefined && sign !== '\n') last.push({ text: sign, kind: 'sign' })
    if (whole === '') break
  }
  return statements.filter((tokens) => tokens.length > 0)
}

/** Operators by precedence, the weakest first, as Python has them. */
const BINARY: readonly (readonly string[])[] = [['|'], ['^'], ['&'], ['<<', '>>'], ['+', '-'], ['*', '/', '//', '%']]

class Evaluation {
  readonly seen: string[] = []
  private at = 0
  private readonly tokens: readonly Token[]
  private readonly line: number
  private readonly lookup: Lookup

  constructor(tokens: readonly Token[], line: number, lookup: Lookup) {
    this.tokens = tokens
    this.line = line
    this.lookup = lookup
  }

  /** The expression that was evaluated. */
  get text(): string {
    return this.tokens
      .slice(0, this.at)
      .map((t) => t.text)
      .join(' ')
  }

  /** Value of the expression; what follows behind a comma is a message. */
  run(): number {
    const value = this.or()
    if (this.at < this.tokens.length && this.tokens[this.at]?.text !== ',') this.fail()
    return value
  }

  private fail(): never {
    throw unknown(this.tokens, this.line)
  }

  private take(text: string): boolean {
    if (this.tokens[this.at]?.text !== text) return false
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
    let left = this.arithmetic(0)
    let result = -1
    for (;;) {
      const compare = COMPARE[this.tokens[this.at]?.text ?? '']
      if (compare === undefined) return result < 0 ? left : result
      this.at++
      const right = this.arithmetic(0)
      result = result !== 0 && compare(left, right) ? 1 : 0
      left = right
    }
  }

  private arithmetic(level: number): number {
    const operators = BINARY[level]
    if (operators === undefined) return this.unary()
    let left = this.arithmetic(level + 1)
    for (;;) {
      const operator = this.tokens[this.at]?.text ?? ''
      if (!operators.includes(operator)) return left
      this.at++
      left = this.binary(operator, left, this.arithmetic(level + 1))
    }
  }

  /** One operation on two numbers. */
  binary(operator: string, left: number, right: number): number {
    switch (operator) {
      case '+':
        return left + right
      case '-':
        return left - right
      case '*':
        return left * right
      case '/':
        return left / right
      case '//':
        return Math.floor(left / right)
      case '%':
        return left - right * Math.floor(left / right)
      case '&':
        return Number(BigInt(left) & BigInt(right))
      case '|':
        return Number(BigInt(left) | BigInt(right))
      case '^':
        return Number(BigInt(left) ^ BigInt(right))
      case '<<':
        return left * 2 ** right
      case '>>':
        return Math.floor(left / 2 ** right)
    }
    return this.fail()
  }

  private unary(): number {
    if (this.take('-')) return -this.unary()
    if (this.take('+')) return this.unary()
    if (this.take('~')) return -this.unary() - 1
    if (this.take('(')) {
      const value = this.or()
      if (!this.take(')')) this.fail()
      return value
    }
    const token = this.tokens[this.at++]
    if (token?.kind === 'number') return Number(token.text)
    if (token?.kind !== 'word') return this.fail()
    const call = FUNCTIONS[token.text]
    if (call !== undefined && this.take('(')) {
      const args = [this.or()]
      while (this.take(',')) args.push(this.or())
      if (!this.take(')')) this.fail()
      return call(args)
    }
    const value = this.lookup(token.text)
    if (value === null) throw new Unsupported(this.line, `value ${token.text}`)
    this.seen.push(`${token.text} = ${value}`)
    return value
  }
}

const FUNCTIONS: Readonly<Record<string, (args: readonly number[]) => number>> = {
  abs: (args) => Math.abs(args[0] as number),
  int: (args) => Math.trunc(args[0] as number),
  min: (args) => Math.min(...args),
  max: (args) => Math.max(...args),
}

const COMPARE: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
}
