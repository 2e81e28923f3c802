import { ACK, CWR, ECE, FIN, PSH, RST, SYN, URG } from '../../../src/wire/tcp.js'
import { Unsupported } from '../errors.js'
import type { EndSpec, IcmpSpec, IpSpec, OptionSpec, TcpSpec, TupleSpec } from './ast.js'
import type { Cursor } from './cursor.js'
import { parseTcpOption } from './option-parser.js'

const FLAGS: Readonly<Record<string, number>> = { F: FIN, S: SYN, R: RST, P: PSH, U: URG, E: ECE, W: CWR }
const ECN: Readonly<Record<string, number>> = { noecn: 0, ect1: 1, ect0: 2, ce: 3, ect01: 4 }
/** Encapsulations and protocols that no stack of ours has. */
const FOREIGN = new Set(['gre', 'GREv0', 'mpls', 'udp', 'ipv4', 'ipv6'])

export function isPacket(cursor: Cursor): boolean {
  return cursor.isChar('<') || cursor.isChar('>')
}

export function parsePacketSpec(cursor: Cursor): TcpSpec | IcmpSpec {
  const isInbound = cursor.next().text === '<'
  const before = cursor.isChar('[') && cursor.isKind('int', 1) ? parseQuoted(cursor) : null
  const ip = parseIpInfo(cursor)
  const word = cursor.peek()
  if (word.kind === 'word' && FOREIGN.has(word.text)) throw new Unsupported(word.line, `packets with ${word.text}`)
  if (cursor.isWord('icmp')) return parseIcmp(cursor, isInbound, before)
  const tuple = parseTuple(cursor)
  const flags = parseFlags(cursor)
  const seq = cursor.int()
  cursor.expectChar(':')
  const end = cursor.int()
  const len = parseLen(cursor)
  if (((end - seq) | 0) !== len) throw new Unsupported(word.line, `${seq}:${end} are not ${len} bytes`)
  return {
    kind: 'tcp',
    isInbound,
    ip,
    tuple,
    flags,
    seq,
    len,
    ack: cursor.takeWord('ack') ? cursor.int() : null,
    window: cursor.takeWord('win') ? cursor.int() : null,
    urgent: cursor.takeWord('urg') ? cursor.int() : 0,
    options: parseOptions(cursor),
  }
}

function parseLen(cursor: Cursor): number {
  cursor.expectChar('(')
  const len = cursor.int()
  cursor.expectChar(')')
  return len
}

function parseIpInfo(cursor: Cursor): IpSpec | null {
  const close = cursor.isChar('[') ? ']' : cursor.isChar('(') ? ')' : ''
  if (close === '') return null
  cursor.next()
  let [ecn, tos, ttl] = [-1, -1, -1]
  do {
    const { text, line } = cursor.expect('word')
    if (text === 'tos') tos = cursor.int()
    else if (text === 'ttl') ttl = cursor.int()
    else if (ECN[text] !== undefined) ecn = ECN[text]
    else throw new Unsupported(line, text)
  } while (cursor.takeChar(','))
  cursor.expectChar(close)
  return { ecn, tos, ttl }
}

function parseTuple(cursor: Cursor): TupleSpec | null {
  if (!isEnd(cursor)) return null
  const source = parseEnd(cursor)
  cursor.expectChar('>')
  return { source, destination: parseEnd(cursor) }
}

function isEnd(cursor: Cursor): boolean {
  // the first end may be left out: `> addr[name]`
  if (cursor.isChar('>') || cursor.isKind('ipv4') || cursor.isKind('ipv6')) return true
  return cursor.isKind('int') ? cursor.isChar('>', 1) : cursor.isWord('addr') && cursor.isChar('[', 1)
}

function parseEnd(cursor: Cursor): EndSpec {
  if (cursor.isKind('int')) return { address: null, port: cursor.int(), name: null }
  if (cursor.takeWord('addr')) {
    cursor.expectChar('[')
    const name = cursor.expect('word').text
    cursor.expectChar(']')
    return { address: null, port: 0, name }
  }
  if (!cursor.isKind('ipv4') && !cursor.isKind('ipv6')) return { address: null, port: 0, name: null }
  const address = cursor.next().text
  cursor.expectChar(':')
  return { address, port: cursor.int(), name: null }
}

function parseFlags(cursor: Cursor): number {
  if (cursor.takeChar('-')) return 0
  if (cursor.takeChar('.')) return ACK
  const { text, line } = cursor.expect('word')
  let flags = 0
  for (const letter of text) {
    const bit = FLAGS[letter]
    if (bit === undefined) throw new Unsupported(line, `flag ${letter}`)
    flags |= bit
  }
  return cursor.takeChar('.') ? flags | ACK : flags
}

function parseOptions(cursor: Cursor): OptionSpec[] | null {
  // `>` or `<` behind a packet can only begin its options: the next event starts with a time
  if (!cursor.takeChar('<')) return []
  if (cursor.isKind('ellipsis')) {
    cursor.next()
    cursor.expectChar('>')
    return null
  }
  const options: OptionSpec[] = []
  do options.push(parseTcpOption(cursor))
  while (cursor.takeChar(','))
  cursor.expectChar('>')
  return options
}

/** What an ICMP error quotes; older scripts have it in front. */
function parseQuoted(cursor: Cursor): IcmpSpec['quoted'] {
  cursor.expectChar('[')
  if (!cursor.isKind('int')) throw new Unsupported(cursor.line, `ICMP errors that quote ${cursor.peek().text}`)
  const seq = cursor.int()
  cursor.expectChar(':')
  cursor.int()
  const quoted = { seq, len: parseLen(cursor) }
  cursor.expectChar(']')
  return quoted
}

function parseIcmp(cursor: Cursor, isInbound: boolean, before: IcmpSpec['quoted']): IcmpSpec {
  cursor.expectWord('icmp')
  const type = cursor.expect('word').text
  const isCode = cursor.isKind('word') && !cursor.isWord('mtu') && !cursor.isWord('id')
  const code = isCode ? cursor.next().text : ''
  const mtu = cursor.takeWord('mtu') ? cursor.int() : -1
  if (cursor.isWord('id')) throw new Unsupported(cursor.line, 'ICMP echo')
  const quoted = cursor.isChar('[') ? parseQuoted(cursor) : before
  return { kind: 'icmp', isInbound, tuple: null, type, code, mtu, quoted }
}
