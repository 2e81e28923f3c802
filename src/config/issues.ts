import type * as v from 'valibot'
import { fileName, keyInfo, type KeySchema } from './key.js'

type Issue = v.BaseIssue<unknown>

/** A value longer than this is not repeated in a message. */
const MAX_SHOWN = 60

/** One line about one bad or unknown key: its name as files have it, what was given, what is expected. */
export function issueText(schema: KeySchema, issue: Issue): string {
  const path = keyPath(issue)
  const name = nameOf(path)
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    if (path.length <= 1) return unknownKeyText(Object.keys(schema.entries), name)
    return unknownKeyText(keysBeside(schema, issue), String(path.at(-1)), `${nameOf(path.slice(0, -1))}: `)
  }
  if (isMissing(issue)) return `${nameOf(path.slice(0, -1))} needs ${String(path.at(-1))}`
  const top = path[0]
  // Only a key's own single value is shown of keys that can hold a secret, and only when it is none.
  const isSecret = typeof top === 'string' && Object.hasOwn(schema.entries, top) && keyInfo(schema, top).isSecret !== undefined
  const isShown = !isSecret || (path.length > 1 && typeof issue.input !== 'object' && path.at(-1) !== 'token')
  const given = JSON.stringify(issue.input) ?? String(issue.input)
  return `${name}${isShown && given.length <= MAX_SHOWN ? ` = ${given}` : ''}: ${issue.message}`
}

/** Whether it is about a key that must be given and is not. */
export function isMissing(issue: Issue): boolean {
  return issue.type === 'strict_object' && issue.expected !== 'never'
}

function nameOf(path: readonly (string | number)[]): string {
  return path
    .map((part) => (typeof part === 'number' ? `[${part}]` : fileName(part)))
    .join('.')
    .replaceAll('.[', '[')
}

/** The keys that could have stood where an unknown one stands within a table. */
function keysBeside(schema: KeySchema, issue: Issue): string[] {
  const type = (issue.path?.at(-1)?.input as { readonly type?: unknown } | undefined)?.type
  const { tables } = keyInfo(schema, String(keyPath(issue)[0]))
  const table = tables?.find((one) => one.name === type)
  return table === undefined ? [] : Object.keys(table.entries)
}

/** The path of an issue's key: names and indices. */
export function keyPath(issue: Issue): (string | number)[] {
  return (issue.path ?? []).map((item) => (typeof item.key === 'number' ? item.key : String(item.key)))
}

/** One line about a key that there is not, with the one that was probably meant. */
export function unknownKeyText(properties: readonly string[], name: string, where = ''): string {
  const known = properties.map(fileName)
  const [nearest = ''] = known.toSorted((a, b) => distance(name, a) - distance(name, b))
  const isNear = distance(name, nearest) <= Math.max(1, Math.floor(name.length / 3))
  return `${where}unknown key '${name}': ${isNear ? `did you mean '${nearest}'?` : `the keys are ${known.join(', ')}`}`
}

/** Levenshtein's distance, blind to case and to the kind of separator. */
function distance(a: string, b: string): number {
  const [x, y] = [a, b].map((text) => text.toLowerCase().replaceAll('_', '-')) as [string, string]
  let row = Array.from({ length: y.length + 1 }, (_, j) => j)
  for (let i = 1; i <= x.length; i++) {
    const next = [i]
    for (let j = 1; j <= y.length; j++) {
      const change = (row[j - 1] as number) + (x[i - 1] === y[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1))
    }
    row = next
  }
  return row[y.length] as number
}
