import type { Micros } from '../../../src/base/time.js'
import type { CallSpec, Expr } from './ast.js'
import type { Cursor } from './cursor.js'

/** A system call with its expected result, behind time and end time. */
export function parseCall(cursor: Cursor, endUs: Micros | null): CallSpec {
  const name = cursor.expect('word').text
  cursor.expectChar('(')
  const args: Expr[] = []
  if (!cursor.takeChar(')')) {
    do args.push(parseExpr(cursor))
    while (cursor.takeChar(','))
    cursor.expectChar(')')
  }
  cursor.expectChar('=')
  const result = parseExpr(cursor)
  let errno = ''
  if (cursor.isKind('word')) errno = cursor.next().text
  // a note in parentheses: strerror text, or the names of flags
  if (cursor.takeChar('(')) {
    while (!cursor.isChar(')')) if (cursor.next().kind === 'end') cursor.fail("')'")
    cursor.expectChar(')')
  }
  return { kind: 'call', endUs, name, args, result, errno }
}

function parseExpr(cursor: Cursor): Expr {
  let left = parsePrimary(cursor)
  while (cursor.takeChar('|')) left = { kind: 'or', left, right: parsePrimary(cursor) }
  return left
}

function parsePrimary(cursor: Cursor): Expr {
  switch (cursor.peek().kind) {
    case 'ellipsis':
      cursor.next()
      return { kind: 'any' }
    case 'int':
      return { kind: 'int', value: cursor.int() }
    case 'string':
      return parseString(cursor)
    case 'word':
      return parseWord(cursor)
  }
  if (cursor.takeChar('[')) return parseList(cursor)
  if (cursor.takeChar('{')) return parseStruct(cursor)
  return cursor.fail('an expression')
}

function parseString(cursor: Cursor): Expr {
  let text = ''
  while (cursor.isKind('string')) text += bytesOf(cursor.next().text)
  if (cursor.isKind('ellipsis')) {
    cursor.next()
    return { kind: 'any' }
  }
  return { kind: 'string', text }
}

/** Escapes as in C; every character of the result is a byte. */
function bytesOf(text: string): string {
  return text.replace(/\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|[\s\S])/g, (_, e: string) => {
    if (e[0] === 'x' && e.length > 1) return String.fromCharCode(Number.parseInt(e.slice(1), 16))
    if (/^[0-7]+$/.test(e)) return String.fromCharCode(Number.parseInt(e, 8) & 255)
    return { n: '\n', t: '\t', r: '\r' }[e] ?? e
  })
}

function parseWord(cursor: Cursor): Expr {
  const name = cursor.next().text
  if (!cursor.isChar('(')) return { kind: 'word', name }
  // htons(80), inet_addr("192.0.2.1"): the value is that of the argument
  cursor.expectChar('(')
  const inner = parseExpr(cursor)
  cursor.expectChar(')')
  return inner
}

function parseList(cursor: Cursor): Expr {
  const items: Expr[] = []
  if (!cursor.takeChar(']')) {
    do items.push(parseExpr(cursor))
    while (cursor.takeChar(','))
    cursor.expectChar(']')
  }
  return { kind: 'list', items }
}

function parseStruct(cursor: Cursor): Expr {
  const fields = new Map<string, Expr>()
  do {
    if (cursor.isKind('word') && cursor.isChar('=', 1)) {
      const name = cursor.next().text
      cursor.next()
      fields.set(name, parseExpr(cursor))
    } else if (cursor.isKind('word') && cursor.isChar('(', 1) && cursor.isChar(')', 3) && cursor.isChar('=', 4)) {
      // msg_iov(1)=...
      const name = cursor.next().text
      for (let i = 0; i < 4; i++) cursor.next()
      fields.set(name, parseExpr(cursor))
    } else fields.set(String(fields.size), parseExpr(cursor))
  } while (cursor.takeChar(','))
  cursor.expectChar('}')
  return { kind: 'struct', fields }
}
