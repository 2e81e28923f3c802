import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { scriptsIn } from '../../packet/main.js'

/** An entry of docs/rules.json: what the stack obeys, and what shows it. */
interface Rule {
  readonly id: string
  readonly part: string
  readonly source: string
  readonly section?: string
  readonly text: string
  readonly scripts?: readonly string[]
  readonly tests?: readonly { readonly file: string; readonly name: string }[]
}

const root = new URL('../../../', import.meta.url)
const scripts = fileURLToPath(new URL('test/packet/scripts/', root))
const rules = JSON.parse(readFileSync(new URL('docs/rules.json', root), 'utf8')) as readonly Rule[]

const KEYS = ['id', 'part', 'source', 'section', 'text', 'scripts', 'tests']
/** A number with dots, a letter of an appendix, or a figure. */
const SECTION = /^(?:\d+(?:\.\d+)*|[A-Z](?:\.\d+)*|figure \d+)$/

t.test('each rule has an id, a source with its section, one line of text, and something that shows it', async (t) => {
  t.ok(rules.length >= 100, `${rules.length} rules`)
  t.equal(new Set(rules.map((r) => r.id)).size, rules.length, 'ids are unique')
  for (const r of rules) {
    t.match(r.id, /^[a-z0-9][a-z0-9.-]+$/)
    t.same(
      Object.keys(r).filter((key) => !KEYS.includes(key)),
      [],
      `${r.id}: keys`,
    )
    t.ok(r.part === 'tcp' || r.part === 'mptcp', `${r.id}: part`)
    if (r.source === 'Linux') t.equal(r.section, undefined, `${r.id}: Linux has no sections`)
    else {
      t.match(r.source, /^RFC \d{3,4}$/, r.id)
      t.match(r.section ?? '', SECTION, r.id)
    }
    t.ok(r.text.length > 10 && !r.text.includes('\n'), `${r.id}: text`)
    t.ok((r.scripts?.length ?? 0) + (r.tests?.length ?? 0) > 0, `${r.id} is shown by something`)
  }
})

t.test('what a rule refers to exists', async (t) => {
  const texts = new Map<string, string>()
  const textOf = (file: string): string => {
    const known = texts.get(file)
    if (known !== undefined) return known
    const url = new URL(file, root)
    const text = existsSync(url) ? readFileSync(url, 'utf8') : ''
    texts.set(file, text)
    return text
  }
  for (const r of rules) {
    for (const script of r.scripts ?? []) t.not(textOf(`test/packet/scripts/${script}`), '', `${r.id}: ${script}`)
    for (const { file, name } of r.tests ?? []) t.ok(textOf(file).includes(`'${name}'`), `${r.id}: "${name}" in ${file}`)
  }
})

t.test('each packet script shows a rule', async (t) => {
  const shown = new Set(rules.flatMap((r) => r.scripts ?? []))
  const all = scriptsIn(scripts)
    .map((path) => path.slice(scripts.length))
    .filter((name) => !name.startsWith('differences/'))
  t.ok(all.length >= 100, `${all.length} scripts`)
  for (const name of all) t.ok(shown.has(name), `${name} is in docs/rules.json`)
})
