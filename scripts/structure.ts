import ts from 'typescript'

/** One broken rule of the code's structure. */
export interface Violation {
  /** Path from the project's root, with slashes. */
  readonly file: string
  /** 1-based. */
  readonly line: number
  readonly message: string
}

/**
 * Who may import whom among the folders of src: the picture in ARCHITECTURE.md as data. A folder may always import itself.
 * An entry `folder/file` admits that one file only.
 */
export const ALLOWED_IMPORTS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  wire: ['base'],
  tcp: ['base', 'wire'],
  scheduler: ['base'],
  pathmgr: ['base'],
  mptcp: ['base', 'wire', 'tcp', 'scheduler', 'pathmgr'],
  tun: ['base'],
  host: ['base'],
  config: ['base'],
  detour: ['base', 'tun', 'host', 'config', 'pathmgr/path', 'pathmgr/demand'],
  engine: ['base', 'wire', 'tcp', 'scheduler', 'pathmgr', 'mptcp', 'tun', 'host', 'config', 'detour'],
  cli: ['base', 'wire', 'tcp', 'scheduler', 'pathmgr', 'mptcp', 'tun', 'host', 'config', 'detour', 'engine'],
  index: ['base', 'wire', 'tcp', 'scheduler', 'pathmgr', 'mptcp', 'tun', 'host', 'config', 'detour', 'engine'],
}

/** Folders that are pure: packets, events and `now` go in; packets, commands and deadlines come out. */
export const CORE: readonly string[] = ['base', 'wire', 'tcp', 'mptcp', 'scheduler', 'pathmgr']

/** Free names that the core must not mention, with the reason. */
const IMPURE_NAMES: Readonly<Record<string, string>> = {
  Date: 'the core reads no clock; `now` is handed in',
  performance: 'the core reads no clock; `now` is handed in',
  setTimeout: 'deadlines are returned, not scheduled',
  setInterval: 'deadlines are returned, not scheduled',
  setImmediate: 'deadlines are returned, not scheduled',
  clearTimeout: 'deadlines are returned, not scheduled',
  clearInterval: 'deadlines are returned, not scheduled',
  queueMicrotask: 'the core is synchronous',
  Promise: 'the core is synchronous',
  process: 'the core knows no operating system',
  console: 'the core reports by counters, events and the trace',
  crypto: 'hashing and randomness come from Host',
  Buffer: 'the core uses Uint8Array with offsets',
  EventEmitter: 'nothing calls upward inside a turn; use dirty bits and event rings',
  BigInt: 'BigInt never enters the hot path; use the helpers of wire/dsn',
  BigInt64Array: 'BigInt never enters the hot path; use the helpers of wire/dsn',
  BigUint64Array: 'BigInt never enters the hot path; use the helpers of wire/dsn',
  globalThis: 'a way around the other rules',
  fetch: 'no I/O in the core',
  require: 'ESM only',
}

const BIGINT_MESSAGE = `bigint: ${IMPURE_NAMES.BigInt}`

/** The top folder of a path under src/ (`src/wire/tcp.ts` -> `wire`, `src/index.ts` -> `index`), or null when it is not under src/. */
export function folderOf(file: string): string | null {
  const match = /^src\/([^/]+?)(?:\.ts)?(?:\/|$)/.exec(file)
  return match?.[1] ?? null
}

/**
 * Checks one source file of src/.
 * @param file path from the project's root, with slashes
 * @param text its contents
 * @param packages names of the runtime dependencies that src may import
 */
export function checkFile(file: string, text: string, packages: readonly string[]): Violation[] {
  const folder = folderOf(file)
  if (folder === null) return []
  const violations: Violation[] = []
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2023, true)
  const report = (node: ts.Node, message: string): void => {
    violations.push({ file, line: source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1, message })
  }
  if (!(folder in ALLOWED_IMPORTS)) report(source, `src/${folder} is no known folder; give it a place in scripts/structure.ts`)
  for (const specifier of importsOf(source)) {
    const message = checkImport(file, folder, specifier.text, packages)
    if (message !== null) report(specifier, message)
  }
  if (CORE.includes(folder)) checkPurity(source, report)
  return violations
}

/** Packages that src imports anywhere; to compare with the dependencies of package.json. */
export function packagesOf(text: string): string[] {
  const source = ts.createSourceFile('x.ts', text, ts.ScriptTarget.ES2023, true)
  return importsOf(source)
    .map((specifier) => specifier.text)
    .filter((name) => !name.startsWith('.') && !name.startsWith('node:'))
    .map(packageName)
}

function importsOf(source: ts.SourceFile): ts.StringLiteralLike[] {
  const found: ts.StringLiteralLike[] = []
  const visit = (node: ts.Node): void => {
    if (
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) &&
      node.moduleSpecifier &&
      ts.isStringLiteralLike(node.moduleSpecifier)
    ) {
      found.push(node.moduleSpecifier)
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [argument] = node.arguments
      if (argument && ts.isStringLiteralLike(argument)) found.push(argument)
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteralLike(node.argument.literal)) {
      found.push(node.argument.literal)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

function checkImport(file: string, folder: string, specifier: string, packages: readonly string[]): string | null {
  if (specifier.startsWith('node:')) return CORE.includes(folder) ? `${specifier}: the core imports nothing of Node.js` : null
  if (!specifier.startsWith('.')) {
    if (CORE.includes(folder)) return `${specifier}: the core imports no package`
    return packages.includes(packageName(specifier)) ? null : `${specifier} is not among the runtime dependencies`
  }
  const target = resolve(file, specifier)
  const targetFolder = folderOf(target)
  if (targetFolder === null) return `${specifier}: src must not import what lies outside of it`
  if (targetFolder === folder) return null
  const allowed = ALLOWED_IMPORTS[folder] ?? []
  const targetModule = target.replace(/^src\//, '').replace(/\.[jt]s$/, '')
  if (allowed.includes(targetFolder) || allowed.includes(targetModule)) return null
  return `src/${folder} must not import src/${targetFolder} (allowed: ${allowed.join(', ') || 'nothing'})`
}

function checkPurity(source: ts.SourceFile, report: (node: ts.Node, message: string) => void): void {
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node) && isFreeUse(node)) {
      const why = Object.hasOwn(IMPURE_NAMES, node.text) ? IMPURE_NAMES[node.text] : undefined
      if (why !== undefined) report(node, `${node.text}: ${why}`)
    } else if (ts.isPropertyAccessExpression(node) && node.name.text === 'random' && node.expression.getText(source) === 'Math') {
      report(node, 'Math.random: randomness comes from Host')
    } else if (node.kind === ts.SyntaxKind.AsyncKeyword || ts.isAwaitExpression(node)) {
      report(node, 'async: the core is synchronous')
    } else if (ts.isBigIntLiteral(node) || node.kind === ts.SyntaxKind.BigIntKeyword) {
      report(node, BIGINT_MESSAGE)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
}

/** Whether an identifier names a variable or type, rather than a member (`host.process`, `{ process: 1 }`). */
function isFreeUse(node: ts.Identifier): boolean {
  const parent = node.parent
  if (ts.isPropertyAccessExpression(parent) && parent.name === node) return false
  if (ts.isQualifiedName(parent) && parent.right === node) return false
  const isMember =
    ts.isPropertyAssignment(parent) ||
    ts.isPropertyDeclaration(parent) ||
    ts.isPropertySignature(parent) ||
    ts.isMethodDeclaration(parent) ||
    ts.isMethodSignature(parent) ||
    ts.isGetAccessorDeclaration(parent) ||
    ts.isSetAccessorDeclaration(parent)
  return !(isMember && parent.name === node)
}

function packageName(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

function resolve(file: string, specifier: string): string {
  const parts = file.split('/').slice(0, -1)
  for (const part of specifier.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '.') parts.push(part)
  }
  return parts.join('/')
}
