import { Unsupported } from '../errors.js'
import { isCookieName } from '../stack/fast-open.js'
import type { Checksum, DataSeq, KeyRef, MptcpSpec, OptionSpec } from './ast.js'
import type { Cursor } from './cursor.js'

const CAPABLE_FLAGS = 'abcdefgh'

/** One option of the list between `<` and `>`. */
export function parseTcpOption(cursor: Cursor): OptionSpec {
  const { text: name, line } = cursor.expect('word')
  switch (name) {
    case 'nop':
    case 'eol':
    case 'sackOK':
      return { kind: name }
    case 'mss':
    case 'wscale':
      return { kind: name, value: cursor.int() }
    case 'sack':
      return parseSack(cursor)
    case 'TS': {
      cursor.expectWord('val')
      const val = cursor.int()
      cursor.expectWord('ecr')
      return { kind: 'TS', val, ecr: cursor.int() }
    }
    case 'FO':
      return { kind: 'FO', cookie: cursor.isKind('word') || cursor.isKind('int') ? cookieOf(cursor) : '' }
  }
  const mptcp = parseMptcp(cursor, name)
  if (mptcp === null) throw new Unsupported(line, `TCP option ${name}`)
  return mptcp
}

function cookieOf(cursor: Cursor): string {
  const { text, line } = cursor.next()
  if (isCookieName(text)) return text
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(text)) throw new Unsupported(line, `cookie ${text}`)
  return text.toLowerCase()
}

function parseSack(cursor: Cursor): OptionSpec {
  const blocks: (readonly [number, number])[] = []
  do {
    const left = cursor.int()
    cursor.expectChar(':')
    blocks.push([left, cursor.int()])
  } while (cursor.isKind('int'))
  return { kind: 'sack', blocks }
}

function parseMptcp(cursor: Cursor, name: string): MptcpSpec | null {
  switch (name) {
    case 'mpcapable':
    case 'mp_capable':
      return parseCapable(cursor)
    case 'dss':
      return parseDss(cursor)
    case 'mp_join_syn': {
      const fields = parseFields(cursor)
      return {
        kind: name,
        backup: fields.flag('backup'),
        id: fields.int('address_id', -1),
        token: fields.text('token'),
        nonce: fields.int('rand', -1),
      }
    }
    case 'mp_join_syn_ack': {
      const fields = parseFields(cursor)
      return { kind: name, backup: fields.flag('backup'), id: fields.int('address_id', -1), nonce: fields.int('rand', -1) }
    }
    case 'mp_join_ack':
      parseFields(cursor)
      return { kind: name }
    case 'add_address':
      return parseAddAddress(cursor)
    case 'remove_address':
      return parseRemoveAddress(cursor)
    case 'mp_prio': {
      const fields = parseFields(cursor)
      return { kind: name, backup: fields.flag('backup'), id: fields.int('address_id', -1) }
    }
    case 'mp_fail': {
      const dsn = parseDataSeq(cursor, 'dsn')
      if (dsn === null) cursor.fail('dsn8')
      return { kind: name, dsn }
    }
    case 'mp_fastclose': {
      const key = cursor.isKind('word') ? parseKey(cursor) : null
      return { kind: name, key, add: cursor.takeChar('+') ? cursor.bigint() : 0n }
    }
    case 'mp_reset':
    case 'mp_tcprst':
      return { kind: 'mp_tcprst', reason: cursor.int(), isTransient: parseFlagSet(cursor, 't') !== 0 }
  }
  return null
}

function parseCapable(cursor: Cursor): MptcpSpec {
  const version = cursor.takeWord('v0') ? 0 : 1
  cursor.takeWord('v1')
  const flags = parseFlagSet(cursor, CAPABLE_FLAGS)
  const keys: KeyRef[] = []
  if (!cursor.takeWord('nokey')) {
    cursor.expectWord('key')
    cursor.expectChar('[')
    do keys.push(parseKey(cursor))
    while (cursor.takeChar(','))
    cursor.expectChar(']')
  }
  const dataLen = cursor.takeWord('mpcdatalen') ? cursor.int() : -1
  const checksum = parseChecksum(cursor, 'none')
  return { kind: 'mp_capable', version, flags, keys, dataLen, checksum }
}

/** `flags[flag_a, flag_h]` or `flags 0x81`; for MP_CAPABLE A is the highest bit. */
function parseFlagSet(cursor: Cursor, letters: string): number {
  if (!cursor.takeWord('flags') && !cursor.takeWord('Flags')) return 0
  if (!cursor.takeChar('[')) return cursor.int()
  let flags = 0
  do {
    const { text, line } = cursor.expect('word')
    if (text === 'no_flags') continue
    const at = text.startsWith('flag_') && text.length === 6 ? letters.indexOf(text[5] as string) : -1
    if (at < 0) throw new Unsupported(line, `flag ${text}`)
    flags |= 1 << (letters.length - 1 - at)
  } while (cursor.takeChar(','))
  cursor.expectChar(']')
  return flags
}

function parseKey(cursor: Cursor): KeyRef {
  const name = cursor.expect('word').text
  return { name, value: cursor.takeChar('=') ? cursor.bigint() : null }
}

function parseDss(cursor: Cursor): MptcpSpec {
  const ack = parseDataSeq(cursor, 'dack')
  const dsn = parseDataSeq(cursor, 'dsn')
  const ssn = cursor.takeWord('ssn') ? equalsInt(cursor) : -1
  const dll = cursor.takeWord('dll') ? equalsInt(cursor) : -1
  const checksum = parseChecksum(cursor, 'computed')
  return { kind: 'dss', ack, dsn, ssn, dll, checksum, fin: cursor.takeWord('fin') }
}

/** `nocs`, `cksum=N`, `cksum`, or nothing. */
function parseChecksum(cursor: Cursor, otherwise: Checksum): Checksum {
  if (cursor.takeWord('nocs')) return 'none'
  if (!cursor.takeWord('cksum')) return otherwise
  return cursor.isChar('=') ? equalsInt(cursor) : 'computed'
}

function equalsInt(cursor: Cursor): number {
  cursor.expectChar('=')
  return cursor.int()
}

/** `dack4=1`, `dsn8`, `dsn8=trunc_r64_hmac(skey)+5`. */
function parseDataSeq(cursor: Cursor, name: 'dack' | 'dsn'): DataSeq | null {
  const len = cursor.takeWord(`${name}4`) ? 4 : cursor.takeWord(`${name}8`) ? 8 : 0
  if (len === 0) return null
  if (!cursor.takeChar('=')) return { len, value: null, key: null }
  if (cursor.isKind('int')) return { len, value: cursor.bigint(), key: null }
  const { text, line } = cursor.expect('word')
  if (text !== 'trunc_r64_hmac' && text !== 'trunc_r64_hmac_sha256') throw new Unsupported(line, text)
  cursor.expectChar('(')
  const key = cursor.expect('word').text
  cursor.expectChar(')')
  return { len, key, value: cursor.takeChar('+') ? cursor.bigint() : 0n }
}

/** `name=value` pairs in any order. */
class Fields {
  private readonly values = new Map<string, string>()
  set(name: string, value: string): void {
    this.values.set(name, value)
  }
  int(name: string, missing: number): number {
    const value = this.values.get(name)
    return value === undefined || value === 'auto' ? missing : Number(value)
  }
  flag(name: string): boolean {
    return this.int(name, 0) !== 0
  }
  /** null: missing or `auto`. */
  text(name: string): string | null {
    const value = this.values.get(name)
    return value === undefined || value === 'auto' ? null : value
  }
}

function parseFields(cursor: Cursor): Fields {
  const fields = new Fields()
  while (cursor.isKind('word') && cursor.isChar('=', 1)) {
    const { text: name, line } = cursor.next()
    cursor.next()
    if (name !== 'backup' && name !== 'address_id' && name !== 'token' && name !== 'rand' && name !== 'sender_hmac') {
      throw new Unsupported(line, `${name} in a join`)
    }
    const value = cursor.next()
    if (!cursor.takeChar('(')) {
      if (value.kind !== 'int' && value.text !== 'auto') throw new Unsupported(line, `${name}=${value.text}`)
      fields.set(name, value.text)
      continue
    }
    // sha256_32(key); for HMACs the keys and nonces are known anyway
    if (name === 'token' && value.text !== 'sha256_32') throw new Unsupported(line, value.text)
    fields.set(name, cursor.expect('word').text)
    while (cursor.isKind('word')) cursor.next()
    cursor.expectChar(')')
  }
  return fields
}

function parseAddAddress(cursor: Cursor): MptcpSpec {
  const id = cursor.takeWord('address_id') ? equalsId(cursor) : -1
  cursor.expectWord('addr')
  cursor.expectChar('[')
  const name = cursor.expect('word').text
  let address: string | null = null
  if (cursor.takeChar('=')) {
    if (!cursor.takeWord('inet_addr')) cursor.expectWord('inet6_addr')
    cursor.expectChar('(')
    address = cursor.expect('string').text
    cursor.expectChar(')')
  }
  cursor.expectChar(']')
  const port = cursor.takeWord('port') ? equalsInt(cursor) : 0
  const what = { kind: 'add_address' as const, id, address, name, port }
  if (cursor.takeWord('addr_echo')) return { ...what, isEcho: true, hmac: null }
  let hmac: bigint | null = null
  if (cursor.takeWord('hmac')) {
    cursor.expectChar('=')
    if (!cursor.takeWord('auto')) hmac = cursor.bigint()
  }
  return { ...what, isEcho: false, hmac }
}

/** `=N` or `=auto`, which leaves it open. */
function equalsId(cursor: Cursor): number {
  cursor.expectChar('=')
  return cursor.takeWord('auto') ? -1 : cursor.int()
}

function parseRemoveAddress(cursor: Cursor): MptcpSpec {
  cursor.expectWord('address_id')
  cursor.expectChar('=')
  cursor.expectChar('[')
  const ids: number[] = []
  do ids.push(cursor.int())
  while (cursor.takeChar(','))
  cursor.expectChar(']')
  return { kind: 'remove_address', ids }
}
