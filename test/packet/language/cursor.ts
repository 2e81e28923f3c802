import { Unsupported } from '../errors.js'
import type { Token, TokenKind } from './lexer.js'

/** Reads tokens one by one; words that the script defined stand for their values. */
export class Cursor {
  private readonly tokens: readonly Token[]
  private at = 0
  private readonly defines: ReadonlyMap<string, string>

  /** @param defines grows while options are read; a value in quotes is a string, in backquotes a command, else a word. */
  constructor(tokens: readonly Token[], defines: ReadonlyMap<string, string>) {
    this.tokens = tokens
    this.defines = defines
  }

  peek(ahead = 0): Token {
    const token = this.tokens[Math.min(this.at + ahead, this.tokens.length - 1)] as Token
    if (token.kind !== 'word') return token
    const value = this.defines.get(token.text)
    if (value === undefined) return token
    if (value.startsWith('"')) return { ...token, kind: 'string', text: value.slice(1, -1) }
    if (value.startsWith('`')) return { ...token, kind: 'backquoted', text: value.slice(1, -1) }
    return { ...token, text: value }
  }

  next(): Token {
    const token = this.peek()
    this.at++
    return token
  }

  get line(): number {
    return this.peek().line
  }

  isChar(char: string, ahead = 0): boolean {
    const token = this.peek(ahead)
    return token.kind === 'char' && token.text === char
  }

  isWord(word: string, ahead = 0): boolean {
    const token = this.peek(ahead)
    return token.kind === 'word' && token.text === word
  }

  isKind(kind: TokenKind, ahead = 0): boolean {
    return this.peek(ahead).kind === kind
  }

  /** Takes the character if it is next. */
  takeChar(char: string): boolean {
    if (!this.isChar(char)) return false
    this.at++
    return true
  }

  takeWord(word: string): boolean {
    if (!this.isWord(word)) return false
    this.at++
    return true
  }

  expectChar(char: string): void {
    if (!this.takeChar(char)) this.fail(`'${char}'`)
  }

  expectWord(word: string): void {
    if (!this.takeWord(word)) this.fail(`'${word}'`)
  }

  expect(kind: TokenKind): Token {
    if (!this.isKind(kind)) this.fail(kind)
    return this.next()
  }

  int(): number {
    return this.expect('int').value
  }

  bigint(): bigint {
    const { text } = this.expect('int')
    return text.startsWith('-') ? -BigInt(text.slice(1)) : BigInt(text)
  }

  fail(wanted: string): never {
    const token = this.peek()
    throw new Unsupported(token.line, `expected ${wanted}, found ${token.kind === 'end' ? token.text : `'${token.text}'`}`)
  }
}
