import type { Micros } from '../../../src/base/time.js'
import { Unsupported } from '../errors.js'
import type { Action, CommandSpec, EventTime, Script, ScriptEvent } from './ast.js'
import { parseCall } from './call-parser.js'
import { Cursor } from './cursor.js'
import { tokenize } from './lexer.js'
import { isPacket, parsePacketSpec } from './packet-parser.js'

/** Options that change what a script means; the rest is named in `Unsupported`. */
const OPTIONS = new Set([
  'ip_version',
  'bind_port',
  'connect_port',
  'remote_ip',
  'local_ip',
  'gateway_ip',
  'netmask_ip',
  'speed',
  'mss',
  'mtu',
  'tolerance_usecs',
  'tolerance_percent',
  'strict_segments',
  'tcp_ts_tick_usecs',
  'tcp_ts_ecr_scaled',
  'non_fatal',
  'define',
  'verbose',
])

/** Parses a whole script. @param given options of the command line, which come after the script's own. @throws Unsupported */
export function parseScript(source: string, given: ReadonlyMap<string, string> = new Map()): Script {
  const defines = new Map<string, string>()
  const cursor = new Cursor(tokenize(source), defines)
  const options = new Map<string, string>()
  while (cursor.isKind('option')) parseOption(cursor, options, defines)
  for (const [name, value] of given) options.set(name, value)
  const init = parseCommand(cursor)
  const events: ScriptEvent[] = []
  let cleanup: CommandSpec | null = null
  while (!cursor.isKind('end')) {
    cleanup = parseCommand(cursor)
    if (cleanup !== null) break
    events.push(parseEvent(cursor))
  }
  if (!cursor.isKind('end')) cursor.fail('the end')
  if (events.length === 0) throw new Unsupported(cursor.line, 'a script without events')
  return { options, init, events, cleanup }
}

function parseOption(cursor: Cursor, options: Map<string, string>, defines: Map<string, string>): void {
  const { text: name, line } = cursor.next()
  if (!OPTIONS.has(name)) throw new Unsupported(line, `option --${name}`)
  if (!cursor.takeChar('=')) {
    options.set(name, '')
    return
  }
  const value = cursor.next()
  if (name !== 'define') {
    options.set(name, value.text)
    return
  }
  cursor.expectChar('=')
  const meaning = cursor.next()
  const quote = meaning.kind === 'string' ? '"' : meaning.kind === 'backquoted' ? '`' : ''
  defines.set(value.text, quote + meaning.text + quote)
}

function parseCommand(cursor: Cursor): CommandSpec | null {
  return cursor.isKind('backquoted') ? { kind: 'command', text: cursor.next().text } : null
}

function parseEvent(cursor: Cursor): ScriptEvent {
  const time = parseTime(cursor)
  return { line: cursor.line, time, action: parseAction(cursor) }
}

function parseTime(cursor: Cursor): EventTime {
  if (cursor.takeChar('*')) return { kind: 'any' }
  const isRelative = cursor.takeChar('+')
  const us = parseSeconds(cursor)
  if (!cursor.takeChar('~')) return { kind: 'at', isRelative, us }
  if (isRelative) cursor.expectChar('+')
  return { kind: 'range', isRelative, fromUs: us, toUs: parseSeconds(cursor) }
}

function parseSeconds(cursor: Cursor): Micros {
  if (!cursor.isKind('int') && !cursor.isKind('float')) cursor.fail('a time')
  return Math.round(cursor.next().value * 1e6)
}

function parseAction(cursor: Cursor): Action {
  const command = parseCommand(cursor)
  if (command !== null) return command
  if (cursor.isKind('code')) return { kind: 'code', text: cursor.next().text }
  if (isPacket(cursor)) return parsePacketSpec(cursor)
  let endUs: Micros | null = null
  if (cursor.isKind('ellipsis')) {
    cursor.next()
    endUs = parseSeconds(cursor)
  }
  return parseCall(cursor, endUs)
}
