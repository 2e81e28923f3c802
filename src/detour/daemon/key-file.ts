import { randomBytes } from 'node:crypto'
import {
  appendFileSync,
  chmodSync,
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import * as v from 'valibot'
import { MptcpError } from '../../base/errors.js'
import { parseDestination } from '../../config/detour-config.js'
import { number, parsable } from '../../config/value.js'
import type { DestinationRules, PortRange } from './destination.js'

/** Where keys are when nothing else is said. */
export const DEFAULT_KEY_FILE = '/etc/mptcpd-user/detour-keys'

const HEAD = `# Clients of mptcpd-user detour, one JSON object a line. Add: mptcpd-user detour keygen; remove: mptcpd-user detour revoke.
# Whoever reads this can use the detour in their names: mode 0600.
`

/** What one key may have at the same time or per second; absent: as the daemon's configuration says. */
export interface KeyQuota {
  readonly leases?: number | undefined
  /** New mappings a second. */
  readonly rate?: number | undefined
  /** Concurrent flows. */
  readonly flows?: number | undefined
}

/** One client of the detour, as it stands in the key file. */
export interface ClientKey extends KeyQuota {
  /** 8 bytes in base64url. */
  readonly id: string
  /** 32 bytes. */
  readonly secret: Uint8Array
  readonly name: string
  /** Milliseconds since 1970; null: never. */
  readonly expiresAt: number | null
  readonly rules: DestinationRules
}

export const ALL_PORTS: readonly PortRange[] = [{ from: 1, to: 65_535 }]

/** `443` or `8000-8100`. @throws {MptcpError} ERR_PORTS */
export function parsePorts(text: string): PortRange {
  const [, from = '', to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? []
  const range = { from: Number(from), to: Number(to) }
  if (from === '' || range.from < 1 || range.to > 65_535 || range.from > range.to)
    throw new MptcpError('ERR_PORTS', `'${text}' is no port or range of ports like 443 or 8000-8100`)
  return range
}

const prefixes = v.array(v.pipe(v.string(), parsable(parseDestination)))
/** One line of the file. */
const LineSchema = v.strictObject({
  id: v.pipe(v.string(), v.regex(/^[\w-]{11}$/, 'must be 8 bytes in base64url')),
  secret: v.pipe(v.string(), v.regex(/^[\w-]{43}$/, 'must be 32 bytes in base64url')),
  name: v.pipe(v.string(), v.regex(/^[\w.@-]{1,64}$/, 'must be 1-64 letters, digits and ._@-')),
  created: v.optional(v.string()),
  expires: v.optional(
    v.pipe(
      v.string(),
      v.check((text) => !Number.isNaN(Date.parse(text)), 'must be a date like 2030-01-31'),
    ),
  ),
  allow: v.optional(prefixes),
  only: v.optional(prefixes),
  ports: v.optional(v.array(v.pipe(v.string(), parsable(parsePorts)))),
  leases: v.optional(number(0, 65_536)),
  rate: v.optional(number(0, 10_000)),
  flows: v.optional(number(0, 1_000_000)),
})

/** What `keygen` is told. */
export type KeyLine = v.InferInput<typeof LineSchema>

/** A new client with a fresh secret. @throws {MptcpError} ERR_KEY_FILE naming what is wrong with what was given */
export function newKeyLine(given: Omit<KeyLine, 'id' | 'secret' | 'created'>): KeyLine {
  const line = {
    id: randomBytes(8).toString('base64url'),
    secret: randomBytes(32).toString('base64url'),
    created: new Date().toISOString(),
    ...given,
  }
  const result = v.safeParse(LineSchema, line)
  if (!result.success) throw new MptcpError('ERR_KEY_FILE', issueLine(result.issues[0]))
  return line
}

/** The clients that a text names. @param path names it in messages. @throws {MptcpError} ERR_KEY_FILE by line, never with a secret */
export function parseKeys(text: string, path: string): ClientKey[] {
  const keys: ClientKey[] = []
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue
    const fail = (why: string): never => {
      throw new MptcpError('ERR_KEY_FILE', `${path}:${i + 1}: ${why}`)
    }
    let json: unknown
    try {
      json = JSON.parse(line)
    } catch {
      fail('this is no JSON object: lines are made by `mptcpd-user detour keygen`')
    }
    const result = v.safeParse(LineSchema, json)
    if (!result.success) throw new MptcpError('ERR_KEY_FILE', `${path}:${i + 1}: ${issueLine(result.issues[0])}`)
    const key = clientKey(result.output)
    if (keys.some((other) => other.id === key.id)) fail(`key id ${key.id} stands here twice: remove one of the lines`)
    keys.push(key)
  }
  return keys
}

function issueLine(issue: v.BaseIssue<unknown>): string {
  const name = String(issue.path?.[0]?.key ?? 'line')
  if (issue.type === 'strict_object') return issue.expected === 'never' ? `unknown field '${name}'` : `field '${name}' is missing`
  return `${name}: ${issue.message}`
}

function clientKey(line: v.InferOutput<typeof LineSchema>): ClientKey {
  return {
    id: line.id,
    secret: Buffer.from(line.secret, 'base64url'),
    name: line.name,
    expiresAt: line.expires === undefined ? null : Date.parse(line.expires),
    leases: line.leases,
    rate: line.rate,
    flows: line.flows,
    rules: {
      allow: (line.allow ?? []).map(parseDestination),
      only: (line.only ?? []).map(parseDestination),
      ports: line.ports === undefined ? ALL_PORTS : line.ports.map(parsePorts),
    },
  }
}

/** Reads the key file. @throws {MptcpError} ERR_KEY_FILE, ERR_KEY_FILE_MODE with the chmod that mends it */
export function readKeys(path: string): ClientKey[] {
  return parseKeys(readPrivate(path), path)
}

/** What tells one state of the file from another, for who polls; '' when there is none. */
export function keyFileStamp(path: string): string {
  try {
    const { ino, size, mtimeMs, ctimeMs } = statSync(path)
    return `${ino} ${size} ${mtimeMs} ${ctimeMs}`
  } catch {
    return ''
  }
}

/** Appends a client; makes the file, mode 0600, when there is none. @throws {MptcpError} ERR_KEY_FILE, ERR_KEY_FILE_MODE */
export function appendKey(path: string, line: KeyLine): void {
  if (keyFileStamp(path) === '') {
    mkdirSync(dirname(path), { recursive: true, mode: 0o750 })
    writeFileSync(path, HEAD, { mode: 0o600, flag: 'ax' })
    chmodSync(path, 0o600)
  }
  const text = readPrivate(path)
  const isNameTaken = parseKeys(text, path).some((key) => key.name === line.name)
  appendFileSync(path, `${text === '' || text.endsWith('\n') ? '' : '\n'}${JSON.stringify(line)}\n`, { mode: 0o600 })
  // Rotation wants two keys of one name for a while; that is why it is only said.
  if (isNameTaken)
    process.stderr.write(`mptcpd-user: ${path} has another key of ${line.name}: revoke it by its id once the client has this one\n`)
}

/** Takes out the clients of that name or key id, comments stay. @returns how many. @throws {MptcpError} ERR_KEY_FILE, ERR_KEY_FILE_MODE */
export function removeKeys(path: string, nameOrId: string): ClientKey[] {
  const text = readPrivate(path)
  const removed = parseKeys(text, path).filter((key) => key.name === nameOrId || key.id === nameOrId)
  if (removed.length === 0) return []
  const ids = new Set(removed.map((key) => key.id))
  const kept = text.split('\n').filter((line) => line.trim() === '' || line.startsWith('#') || !ids.has((JSON.parse(line) as KeyLine).id))
  writeFileSync(`${path}.new`, kept.join('\n'), { mode: 0o600 })
  renameSync(`${path}.new`, path)
  return removed
}

function readPrivate(path: string): string {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const why = code === 'ENOENT' ? 'there is no such file: `mptcpd-user detour keygen --name NAME` makes it' : `${code}: run as its owner`
    throw new MptcpError('ERR_KEY_FILE', `${path}: ${why}`, { cause: error })
  }
  try {
    const mode = fstatSync(fd).mode & 0o777
    if ((mode & 0o077) !== 0) {
      const shown = mode.toString(8).padStart(4, '0')
      throw new MptcpError('ERR_KEY_FILE_MODE', `${path} holds secrets and is open to others (mode ${shown}): chmod 0600 ${path}`)
    }
    return readFileSync(fd, 'utf8')
  } finally {
    closeSync(fd)
  }
}
