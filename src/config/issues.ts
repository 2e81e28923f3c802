import type * as v from 'valibot'
import { fileName, keyInfo, type KeySchema } from './key.js'

type Issue = v.BaseIssue<unknown>

/** A value longer than this is not repeated in a message. */
const MAX_SHOWN = 60

/** One line about one bad or unknown key: its name as files have it, what was given, what is expected. */
export function issueText(schema: KeySchema, issue: Issue): string {
  const name = keyPath(issue)
    .map((part) => (typeof part === 'number' ? `[${part}]` : fileName(part)))
    .join('.')
    .replaceAll('.[', '[')
  if (issue.type === 'strict_object' && issue.expected === 'never') return unknownKeyText(schema, name)
  const top = keyPath(issue)[0]
  if (typeof top === 'string' && keyInfo(schema, top).isSecret === true) return `${name}: ${issue.message}`
  const given = JSON.stringify(issue.input) ?? String(issue.input)
  return `${name}${given.length <= MAX_SHOWN ? ` = ${given}` : ''}: ${issue.message}`
}

/** The path of an issue's key: names and indices. */
export function keyPath(issue: Issue): (string | number)[] {
  return (issue.path ?? []).map((item) => (typeof item.key === 'number' ? item.key : String(item.key)))
}

/** One line about a key that there is not, with the one that was probably meant. */
export function unknownKeyText(schema: KeySchema, name: string): string {
  const known = Object.keys(schema.entries).map(fileName)
  const [nearest = ''] = known.toSorted((a, b) => distance(name, a) - distance(name, b))
  const isNear = distance(name, nearest) <= Math.max(1, Math.floor(name.length / 3))
  return `unknown key '${name}': ${isNear ? `did you mean '${nearest}'?` : `the keys are ${known.join(', ')}`}`
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
