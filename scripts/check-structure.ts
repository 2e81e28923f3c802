/** Checks the direction of dependencies in src and the purity of the core; exit code 1 when a rule is broken. */
import { readdirSync, readFileSync } from 'node:fs'
import { checkFile, packagesOf, type Violation } from './structure.js'

const root = new URL('..', import.meta.url)
const manifest = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { dependencies?: Record<string, string> }
const dependencies = Object.keys(manifest.dependencies ?? {})
const files = readdirSync(new URL('src', root), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))

const violations: Violation[] = []
const used = new Set<string>()
for (const name of files.sort()) {
  const file = `src/${name}`
  const text = readFileSync(new URL(file, root), 'utf8')
  violations.push(...checkFile(file, text, dependencies))
  for (const dependency of packagesOf(text)) used.add(dependency)
}
for (const dependency of dependencies) {
  if (!used.has(dependency))
    violations.push({ file: 'package.json', line: 1, message: `dependency ${dependency} is imported nowhere in src` })
}

for (const { file, line, message } of violations) process.stderr.write(`${file}:${line}: ${message}\n`)
process.stdout.write(`structure: ${files.length} files, ${violations.length} violations\n`)
process.exitCode = violations.length === 0 ? 0 : 1
