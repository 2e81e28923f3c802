import { Unsupported } from '../errors.js'
import { ERRNO } from '../stack/errno.js'
import type { Socket } from '../stack/socket.js'
import type { Arguments } from './arguments.js'
import type { Call } from './calls.js'

/** Options whose value is a structure or a name rather than a number. */
export function setsockopt(s: Socket, args: Arguments, line: number): number {
  const name = args.word(2)
  const value = args.at(3)
  if (name === 'SO_LINGER') {
    s.linger = args.value(args.field(value, 'onoff')) === 0 ? null : args.value(args.field(value, 'linger'))
  } else if (name === 'TCP_CONGESTION') {
    if (value.kind !== 'string' || !s.setCongestion(value.text)) throw new Unsupported(line, 'congestion control of another name')
  } else if (name === 'TCP_FASTOPEN_KEY') {
    if (value.kind !== 'string') throw new Unsupported(line, 'a key that is no string')
    s.setFastOpenKey(bytesOf(value.text).subarray(0, args.int(4)))
  } else if (!s.setOption(name, args.single(3))) throw new Unsupported(line, `socket option ${args.word(1)} ${name}`)
  return 0
}

/** What a string of C stands for: `\\xa1` is one byte. */
function bytesOf(text: string): Buffer {
  return Buffer.from(
    text.replace(/\\x([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  )
}

/** `getsockopt`, whose value is compared with the one that the script shows. */
export function getsockopt(s: Socket, args: Arguments, line: number): Call {
  const name = args.word(2)
  const expr = args.at(3)
  const item = expr.kind === 'list' ? expr.items[0] : undefined
  let actual = ''
  if (name === 'SO_ERROR') {
    const wanted = item?.kind === 'word' ? String(ERRNO[item.name] ?? item.name) : item === undefined ? '' : String(args.value(item))
    return {
      attempt: () => {
        const error = s.takeError()
        actual = String(ERRNO[error] ?? 0)
        return 0
      },
      wouldBlock: null,
      check: () => (wanted === '' || wanted === actual ? '' : `SO_ERROR is ${actual}, not ${wanted}`),
    }
  }
  if (name === 'TCP_FASTOPEN_KEY') {
    const wanted = expr.kind === 'string' ? expr.text : ''
    return { attempt: () => 0, wouldBlock: null, check: () => (bytesOf(wanted).equals(s.fastOpenKey) ? '' : `${name} is another key`) }
  }
  if (name === 'SO_LINGER' || s.getOption(name) === null) throw new Unsupported(line, `getsockopt ${name}`)
  return {
    attempt: () => {
      actual = String(s.getOption(name))
      return 0
    },
    wouldBlock: null,
    check: () =>
      item === undefined || item.kind === 'any' || String(args.value(item)) === actual
        ? ''
        : `${name} is ${actual}, not ${args.value(item)}`,
  }
}
