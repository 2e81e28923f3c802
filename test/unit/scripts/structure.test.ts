import t from 'tap'
import { ALLOWED_IMPORTS, CORE, checkFile, folderOf, packagesOf } from '../../../scripts/structure.js'

const messages = (file: string, text: string, packages: readonly string[] = []): string[] =>
  checkFile(file, text, packages).map((violation) => `${violation.line}: ${violation.message}`)

t.test('the folder of a file is the first one under src', async (t) => {
  t.equal(folderOf('src/wire/tcp.ts'), 'wire')
  t.equal(folderOf('src/tcp/cc/cubic.ts'), 'tcp')
  t.equal(folderOf('src/index.ts'), 'index')
  t.equal(folderOf('test/unit/wire/tcp.test.ts'), null)
})

t.test('imports along the allowed direction pass', async (t) => {
  t.same(messages('src/tcp/cc/cubic.ts', "import { A } from '../../base/time.js'\nimport type { B } from './controller.js'\n"), [])
  t.same(messages('src/detour/nat.ts', "import type { Path } from '../pathmgr/path.js'\nimport { readFileSync } from 'node:fs'\n"), [])
  t.same(messages('src/cli/main.ts', "import { Command } from 'commander'\nimport { x } from '../engine/engine.js'\n", ['commander']), [])
})

t.test('imports against the direction are caught in every syntactic form', async (t) => {
  const forms = [
    "import { x } from '../engine/turn.js'",
    "import type { X } from '../engine/turn.js'",
    "export * from '../engine/turn.js'",
    "export { x } from '../engine/turn.js'",
    "const x = import('../engine/turn.js')",
    "type X = import('../engine/turn.js').X",
  ]
  for (const form of forms) t.match(messages('src/mptcp/subflow.ts', `\n${form}\n`), [/^2: src\/mptcp must not import src\/engine/], form)
  t.match(messages('src/wire/tcp.ts', "import '../tcp/endpoint.js'"), [/must not import src\/tcp/])
  t.match(messages('src/detour/nat.ts', "import '../pathmgr/detour.js'"), [/must not import src\/pathmgr/])
  t.match(messages('src/base/x.ts', "import '../../test/sim/link.js'"), [/outside/])
  t.match(messages('src/novel/x.ts', ''), [/no known folder/])
})

t.test('engine is imported by cli and index only', async (t) => {
  for (const [folder, allowed] of Object.entries(ALLOWED_IMPORTS)) {
    t.equal(allowed.includes('engine'), folder === 'cli' || folder === 'index', folder)
  }
})

t.test('the direction has no cycle', async (t) => {
  const seen = new Map<string, 'open' | 'done'>()
  const walk = (folder: string): boolean => {
    const state = seen.get(folder)
    if (state !== undefined) return state === 'done'
    seen.set(folder, 'open')
    const fine = (ALLOWED_IMPORTS[folder] ?? []).every((entry) => walk(entry.split('/')[0] ?? ''))
    seen.set(folder, 'done')
    return fine
  }
  for (const folder of Object.keys(ALLOWED_IMPORTS)) t.ok(walk(folder), folder)
})

t.test('packages must be runtime dependencies, and never enter the core', async (t) => {
  t.match(messages('src/cli/main.ts', "import x from 'left-pad'", ['commander']), [/not among the runtime dependencies/])
  t.match(messages('src/wire/x.ts', "import x from 'ip-address'", ['ip-address']), [/the core imports no package/])
  t.same(packagesOf("import a from '@x/y/z'\nimport b from 'c/d'\nimport e from 'node:fs'\nimport f from './f.js'"), ['@x/y', 'c'])
})

t.test('impure code is caught in every folder of the core, and only there', async (t) => {
  const impure = [
    "import { hrtime } from 'node:process'",
    'const a = Date.now()',
    'const a = new Date()',
    'const a = performance.now()',
    'const a = Math.random()',
    'setTimeout(f, 1)',
    'setInterval(f, 1)',
    'setImmediate(f)',
    'queueMicrotask(f)',
    'let p: Promise<void>',
    'const p = Promise.resolve()',
    'const f = async () => 1',
    'async function f() {}',
    'class A { async f() {} }',
    'const e = process.env',
    "console.log('x')",
    'class A extends EventEmitter {}',
    'const b = BigInt(1)',
    'const b = 1n',
    'let b: bigint',
    'const b = new BigInt64Array(1)',
    "const b = Buffer.from('')",
    'globalThis.x = 1',
  ]
  for (const folder of CORE) for (const code of impure) t.ok(messages(`src/${folder}/x.ts`, code).length > 0, `${folder}: ${code}`)
  for (const code of impure) t.same(messages('src/engine/x.ts', code), [], `engine: ${code}`)
})

t.test('comments, strings and members that merely share a name are fine', async (t) => {
  const code = [
    '// Date.now() and setTimeout are forbidden here, and so is 1n',
    "const text = 'process.env console Promise'",
    'interface Node { process(now: number): void; readonly crypto: number }',
    'const random = host.random()',
    'node.process(1)',
    'const object = { console: 1 }',
  ]
  t.same(messages('src/tcp/x.ts', code.join('\n')), [])
})
