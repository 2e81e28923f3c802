import { readFileSync } from 'node:fs'
import t from 'tap'

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')

t.test('every field that is printed is documented in docs/json.md', (t) => {
  const doc = read('docs/json.md')
  for (const file of ['src/engine/status.ts', 'src/cli/json.ts', 'src/cli/doctor/finding.ts', 'src/config/diff.ts']) {
    const names = [...read(file).matchAll(/readonly (\w+)\??:/g)].map((match) => match[1] as string)
    t.ok(names.length > 2, file)
    for (const name of new Set(names)) {
      const isThere = doc.includes(`\`${name}\``) || doc.includes(`"${name}"`) || doc.includes(`\`${name}:`)
      if (!isThere) t.fail(`${file}: ${name} is not documented`)
    }
  }
  t.end()
})
