import { parse } from 'smol-toml'

/** Names and indices from the top of a document to one value. */
export type KeyPath = readonly (string | number)[]

/** What may stand open at the end of a line inside of a value. */
const CLOSERS = ['', ']', ']]', ']]]', '}', '}]'] as const

/** More lines than this are not searched. */
const MAX_LINES = 5000

/**
 * The 1-based line on which each value begins, null: not found. The parser keeps no positions, but its own verdict on the
 * document's first n lines does: the line after which a path exists for the first time is where that value ends, and it begins
 * behind the last line before that after which the document could have ended.
 * @param toml a document that parses as a whole
 */
export function locate(toml: string, paths: readonly KeyPath[]): (number | null)[] {
  const found: (number | null)[] = paths.map(() => null)
  const lines = toml.split(/\r?\n/)
  let begin = 1
  for (let n = 1; n <= Math.min(lines.length, MAX_LINES) && found.includes(null); n++) {
    const head = parseHead(lines.slice(0, n).join('\n'))
    if (head === null) continue
    paths.forEach((path, i) => {
      if (found[i] === null && has(head, path)) found[i] = begin
    })
    begin = n + 1
  }
  return found
}

/** The beginning of a document, with an open list or inline table closed; null when it ends in the middle of something else. */
function parseHead(head: string): unknown {
  for (const closer of CLOSERS) {
    try {
      return parse(`${head}${closer === '' ? '' : `\n${closer}`}`)
    } catch {
      // It does not end here, or not so.
    }
  }
  return null
}

function has(value: unknown, path: KeyPath): boolean {
  let at = value
  for (const part of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, part)) return false
    at = (at as Record<string | number, unknown>)[part]
  }
  return true
}
