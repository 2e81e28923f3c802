import { readFileSync, statSync } from 'node:fs'
import { parse, TomlError } from 'smol-toml'
import * as v from 'valibot'
import { MptcpError } from '../base/errors.js'
import { isMissing, issueText, keyPath, unknownKeyText } from './issues.js'
import { fileName, keyInfo, type KeySchema, propertyName } from './key.js'
import { type KeyPath, locate } from './locate.js'

/** A configuration larger than this is not one. */
const MAX_LEN = 1 << 20

/** Keys as given, by their property names; defaults are not filled in. */
export type Given = Readonly<Record<string, unknown>>

/**
 * The keys that a TOML file sets, each checked alone.
 * @throws {MptcpError} ERR_CONFIG naming file, line and remedy, a line for everything that is wrong; ERR_CONFIG_FILE when it cannot
 *   be read; ERR_CONFIG_SECRET when it holds secrets that others may read.
 */
export function readTomlFile(schema: KeySchema, path: string): Given {
  const given = parseToml(schema, readText(path), path)
  const secrets = Object.keys(given).filter((name) => keyInfo(schema, name).isSecret?.(given[name]) === true)
  if (secrets.length > 0) assertPrivate(path, `it holds a secret (${secrets.map(fileName).join(', ')})`)
  return given
}

/** The same from text. @param path names the text in messages. @throws {MptcpError} ERR_CONFIG */
export function parseToml(schema: KeySchema, toml: string, path: string): Given {
  const entries = Object.entries(parseSyntax(toml, path))
  // Only the way in which files write a key is known: `sendBuffer` is none, though it is a property.
  const isKnown = (name: string) => Object.hasOwn(schema.entries, propertyName(name)) && fileName(propertyName(name)) === name
  const given = Object.fromEntries(entries.flatMap(([name, value]) => (isKnown(name) ? [[propertyName(name), value]] : [])))
  const wrong: { readonly path: KeyPath; readonly text: string }[] = entries
    .filter(([name]) => !isKnown(name))
    .map(([name]) => ({ path: [name], text: unknownKeyText(Object.keys(schema.entries), name) }))
  const result = v.safeParse(schema, given, { abortPipeEarly: true })
  for (const issue of result.issues ?? []) {
    const path = asWritten(keyPath(issue))
    wrong.push({ path: isMissing(issue) ? path.slice(0, -1) : path, text: issueText(schema, issue) })
  }
  if (wrong.length === 0) return given
  const where = locate(
    toml,
    wrong.map((one) => one.path),
  )
  const lines = wrong.map(({ text }, i) => ({ line: where[i] ?? null, text })).sort((x, y) => (x.line ?? 0) - (y.line ?? 0))
  throw new MptcpError('ERR_CONFIG', lines.map(({ line, text }) => `${path}:${line === null ? '' : `${line}:`} ${text}`).join('\n'))
}

/** A file that keeps a secret must not be readable by others. @throws {MptcpError} ERR_CONFIG_SECRET with the chmod that mends it. */
export function assertPrivate(path: string, why: string): void {
  const mode = statSync(path).mode & 0o777
  if ((mode & 0o007) === 0) return
  throw new MptcpError(
    'ERR_CONFIG_SECRET',
    `${path} is open to every user (mode ${mode.toString(8).padStart(4, '0')}), and ${why}: chmod ${(mode & 0o770).toString(8).padStart(4, '0')} ${path}`,
  )
}

function readText(path: string): string {
  try {
    const { size } = statSync(path)
    if (size > MAX_LEN) throw new MptcpError('ERR_CONFIG_FILE', `${path} has ${size} bytes, more than ${MAX_LEN}: it is no configuration`)
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof MptcpError) throw error
    const code = (error as NodeJS.ErrnoException).code
    const remedy =
      code === 'ENOENT'
        ? 'there is no such file: create it, or name another by --config'
        : code === 'EACCES'
          ? 'this user may not read it: run as root, or chown it to this user'
          : code === 'EISDIR'
            ? 'it is a directory: name the file in it'
            : (error as Error).message
    throw new MptcpError('ERR_CONFIG_FILE', `${path}: ${remedy}`, { cause: error })
  }
}

function parseSyntax(toml: string, path: string): Record<string, unknown> {
  try {
    return parse(toml)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const [what = ''] = error.message.split('\n')
    // Without the value: it may be a secret.
    const line = toml.split(/\r?\n/)[error.line - 1]?.replace(/=.*/, '= ...').trim() ?? ''
    const hint = what.includes('invalid value') ? ' (text stands in quotes, true, false and numbers do not)' : ''
    const text = `${path}:${error.line}:${error.column}: ${what.replace(/^Invalid TOML document: /, '')}${hint}${line === '' ? '' : `, at: ${line}`}`
    throw new MptcpError('ERR_CONFIG', text, { cause: error })
  }
}

function asWritten(path: KeyPath): KeyPath {
  return path.map((part) => (typeof part === 'number' ? part : fileName(part)))
}
