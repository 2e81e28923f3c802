/** `npm run packet -- [OPTIONS] FILE|DIR...`: runs packet scripts. Exit code 1 unless all passed, 2 for a wrong call. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import type { FileReader } from './language/shell.js'
import { runScript, totalText, type Verdict, verdictText } from './run/verdict.js'

const USAGE = `usage: npm run packet -- [OPTIONS] FILE|DIR...
  --strict            a packet that the script does not mention is a failure at its end too
  --seed=N            other random numbers (sequence numbers, keys)
  --notes             print commands of the scripts that set nothing here
  --tolerance_usecs=N, --ip_version=ipv6, ... options of the script language, instead of the scripts' own
`

/** Scripts of a file or folder, sorted. */
export function scriptsIn(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path]
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.pkt'))
    .sort()
    .map((name) => join(path, name))
}

/** Reads what commands of the script at `path` run, for the settings in it; relative paths count from the script's folder, as there. */
function filesBeside(path: string): FileReader {
  return (name) => {
    try {
      return readFileSync(resolve(dirname(path), name), 'utf8')
    } catch {
      return null
    }
  }
}

function main(args: readonly string[]): number {
  const given = new Map<string, string>()
  const paths: string[] = []
  for (const arg of args) {
    const [, name, value = ''] = /^--([a-z_0-9]+)(?:=(.*))?$/.exec(arg) ?? []
    if (name === undefined) paths.push(arg)
    else given.set(name, value)
  }
  const isStrict = given.delete('strict')
  const isNoting = given.delete('notes')
  const seed = Number(given.get('seed') ?? 1)
  given.delete('seed')
  if (paths.length === 0) {
    process.stderr.write(USAGE)
    return 2
  }
  const verdicts: Verdict[] = []
  for (const path of paths.flatMap(scriptsIn)) {
    const verdict = runScript(readFileSync(path, 'utf8'), { given, seed, isStrict, read: filesBeside(path) })
    verdicts.push(verdict)
    process.stdout.write(`${verdictText(path, verdict)}\n`)
    if (isNoting) for (const note of verdict.noted) process.stdout.write(`    noted: ${note}\n`)
  }
  process.stdout.write(`${totalText(verdicts)}\n`)
  return verdicts.length > 0 && verdicts.every((v) => v.outcome === 'passed') ? 0 : 1
}

if (process.argv[1]?.endsWith('main.ts') === true) process.exitCode = main(process.argv.slice(2))
