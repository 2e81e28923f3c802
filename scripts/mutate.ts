/**
 * `npm run mutate -- [tcp|mptcp] [--only ID|N] [--jobs N]`: applies each listed one-line mutation (scripts/mutations/*.json) to a private
 * copy of the tree, runs all packet scripts and the tests named for it, and tells whether one of them failed. Exit code 1 when a
 * mutation survives that is not listed as a survivor, or one that is listed is killed; 2 for a wrong call or a tree that fails unchanged.
 */
import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AREAS, type Area, mutationsOf, type Mutation, mutated } from './mutations.js'

const USAGE = `usage: npm run mutate -- [tcp|mptcp] [OPTIONS]
  --only ID|N   one mutation, by its id or its number in the list
  --jobs N      so many at a time (2)
`
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const COPIED = ['src', 'test', 'package.json', 'tsconfig.json']
/** Not copied: they are large, or belong to the machine, and no mutation touches them. */
const LINKED = ['node_modules', 'build', 'prebuilds']
/** A mutation may make a test run for ever: that kills it too. */
const TIMEOUT_MS = 120_000

interface Outcome {
  readonly mutation: Mutation
  /** What failed: a test file, or the packet scripts; null: nothing, it survived. */
  readonly killer: string | null
  readonly seconds: number
}

/** A copy of the tree that mutations may be written to; the caller removes it. */
function copyTree(): string {
  const dir = mkdtempSync(join(tmpdir(), 'mutate-'))
  for (const name of COPIED) cpSync(join(ROOT, name), join(dir, name), { recursive: true })
  for (const name of LINKED) if (existsSync(join(ROOT, name))) symlinkSync(join(ROOT, name), join(dir, name))
  mkdirSync(join(dir, '.tap'), { recursive: true })
  return dir
}

/** Runs one program of the copy; whether it ended well. */
function passes(dir: string, args: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn('nice', [process.execPath, '--expose-gc', '--import', 'tsx', ...args], {
      cwd: dir,
      stdio: 'ignore',
      env: { ...process.env, TAP_BAIL: '1', SEED: '' },
    })
    const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS)
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve(code === 0)
    })
  })
}

/** What fails in the copy as it is: the packet scripts first, since they take a second in all. */
async function killerIn(dir: string, tests: readonly string[]): Promise<string | null> {
  const scripts = ['tcp', 'mptcp'].map((area) => `test/packet/scripts/${area}`)
  if (!(await passes(dir, ['test/packet/main.ts', '--strict', ...scripts]))) return 'packet scripts'
  for (const test of tests) if (!(await passes(dir, [test]))) return test
  return null
}

async function run(dir: string, mutation: Mutation): Promise<Outcome> {
  const path = join(dir, mutation.file)
  const original = readFileSync(path, 'utf8')
  const start = Date.now()
  writeFileSync(path, mutated(mutation, original))
  try {
    const killer = await killerIn(dir, mutation.tests)
    return { mutation, killer, seconds: (Date.now() - start) / 1000 }
  } finally {
    writeFileSync(path, original)
  }
}

function lineOf({ mutation, killer, seconds }: Outcome): string {
  const verdict = killer === null ? (mutation.survives === undefined ? 'SURVIVED' : 'survives') : 'killed'
  return `${verdict.padEnd(9)}${seconds.toFixed(1).padStart(6)} s  ${mutation.id.padEnd(30)} ${killer ?? mutation.why}`
}

function report(outcomes: readonly Outcome[]): boolean {
  const survivors = outcomes.filter((o) => o.killer === null)
  const stale = outcomes.filter((o) => o.killer !== null && o.mutation.survives !== undefined)
  process.stdout.write(`\n${outcomes.length} mutations, ${outcomes.length - survivors.length} killed, ${survivors.length} survived\n`)
  for (const { mutation } of survivors) {
    process.stdout.write(`  ${mutation.id} (${mutation.file}): ${mutation.survives ?? `NOT EXPECTED: ${mutation.why}`}\n`)
  }
  for (const { mutation } of stale) process.stdout.write(`  ${mutation.id} is killed: take "survives" out of its entry\n`)
  return stale.length === 0 && survivors.every((o) => o.mutation.survives !== undefined)
}

async function main(args: string[]): Promise<number> {
  let areas: readonly Area[] = AREAS
  let only = ''
  let jobs = 2
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string
    if (arg === '--only' && i + 1 < args.length) only = args[++i] as string
    else if (arg === '--jobs' && Number(args[i + 1]) >= 1) jobs = Number(args[++i])
    else if (arg === 'tcp' || arg === 'mptcp') areas = [arg]
    else {
      process.stderr.write(USAGE)
      return 2
    }
  }
  const all = areas.flatMap(mutationsOf)
  const chosen = only === '' ? all : all.filter((m, i) => m.id === only || String(i + 1) === only)
  if (chosen.length === 0) {
    process.stderr.write(`no mutation is called ${only}; the ids are in scripts/mutations\n`)
    return 2
  }
  const dirs: string[] = []
  try {
    const first = copyTree()
    dirs.push(first)
    const broken = await killerIn(first, [...new Set(chosen.flatMap((m) => m.tests))])
    if (broken !== null) {
      process.stderr.write(`the tree fails unchanged: ${broken}; make that pass first\n`)
      return 2
    }
    while (dirs.length < Math.min(jobs, chosen.length)) dirs.push(copyTree())
    const queue = [...chosen]
    const outcomes: Outcome[] = []
    await Promise.all(
      dirs.map(async (dir) => {
        for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
          const outcome = await run(dir, next)
          outcomes.push(outcome)
          process.stdout.write(`${lineOf(outcome)}\n`)
        }
      }),
    )
    return report(outcomes) ? 0 : 1
  } finally {
    for (const dir of dirs) rmSync(dir, { recursive: true, force: true })
  }
}

process.exitCode = await main(process.argv.slice(2))
