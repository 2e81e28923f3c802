import { Unsupported } from '../errors.js'

export type TokenKind =
  | 'int'
  | 'float'
  | 'word'
  | 'string'
  | 'backquoted'
  | 'code'
  | 'ipv4'
  | 'ipv6'
  | 'option'
  | 'ellipsis'
  | 'char'
  | 'end'

export interface Token {
  readonly kind: TokenKind
  /** Without quotes, backquotes, `--` and `%{ }%`. */
  readonly text: string
  /** Of integers, decimal or hexadecimal, and floats. */
  readonly value: number
  readonly line: number
  /** Where it begins and ends in the source. */
  readonly at: number
  readonly end: number
}

const SEG = '[0-9a-fA-F]{1,4}'
const V4 = '[0-9]+\\.[0-9]+\\.[0-9]+\\.[0-9]+'
/** A sequence range like 1:1001 must not look like an address: without `::` all eight groups are needed. */
const V6 = [
  `(?:${SEG}:){7}${SEG}`,
  `::ffff:(?:0{1,4}:)?${V4}`,
  `(?:${SEG}:){1,4}:${V4}`,
  `(?:${SEG}:)*${SEG}::(?:${SEG}(?::${SEG})*)?`,
  `::(?:${SEG}(?::${SEG})*)?`,
]

/** Alternatives of which the longest wins, the earlier one at a tie. */
const COMPETING: readonly (readonly [TokenKind, RegExp])[] = [
  ['option', /--[a-zA-Z0-9_]+/y],
  ['float', /-?[0-9]*\.[0-9]+/y],
  ['int', /-?[0-9]+/y],
  ['int', /0x[0-9a-fA-F]+/y],
  ['word', /[a-zA-Z0-9_]+/y],
  ['ipv4', new RegExp(V4, 'y')],
  ...V6.map((source): readonly [TokenKind, RegExp] => ['ipv6', new RegExp(source, 'y')]),
]

const SKIPPED = /(?:[ \t\r\n]+|\/\/[^\n]*|\/\*[\s\S]*?\*\/)+/y
const QUOTED: readonly (readonly [TokenKind, RegExp, number])[] = [
  ['ellipsis', /\.\.\./y, 0],
  ['code', /%\{[\s\S]*?\}%/y, 2],
  ['string', /"(?:\\[\s\S]|[^"\\])*"/y, 1],
  ['backquoted', /`(?:\\[\s\S]|[^`\\])*`/y, 1],
]

/** Cuts a script into tokens; the last one is of kind `end`. Any character of its own is a `char`. @throws Unsupported at an open quotation. */
export function tokenize(source: string): Token[] {
  const tokens: Token[] = []
  let at = 0
  let line = 1
  for (;;) {
    const skipped = matchAt(SKIPPED, source, at)
    line += newlines(skipped)
    at += skipped.length
    if (at >= source.length) break
    const token = quotedAt(source, at, line) ?? longestAt(source, at, line)
    tokens.push(token)
    line += newlines(source.slice(at, token.end))
    at = token.end
  }
  tokens.push({ kind: 'end', text: 'end of script', value: 0, line, at, end: at })
  return tokens
}

function quotedAt(source: string, at: number, line: number): Token | null {
  for (const [kind, pattern, edge] of QUOTED) {
    const text = matchAt(pattern, source, at)
    if (text === '') continue
    return { kind, text: text.slice(edge, text.length - edge), value: 0, line, at, end: at + text.length }
  }
  for (const opening of ['"', '`', '%{', '/*'])
    if (source.startsWith(opening, at)) throw new Unsupported(line, `${opening} without its end`)
  return null
}

function longestAt(source: string, at: number, line: number): Token {
  let best: TokenKind = 'char'
  let text = ''
  for (const [kind, pattern] of COMPETING) {
    const found = matchAt(pattern, source, at)
    if (found.length > text.length) {
      best = kind
      text = found
    }
  }
  if (text === '') text = source[at] as string
  const value = best === 'int' || best === 'float' ? Number(text) : 0
  return { kind: best, text: best === 'option' ? text.slice(2) : text, value, line, at, end: at + text.length }
}

function matchAt(pattern: RegExp, source: string, at: number): string {
  pattern.lastIndex = at
  return pattern.exec(source)?.[0] ?? ''
}

function newlines(text: string): number {
  let n = 0
  for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) n++
  return n
}
