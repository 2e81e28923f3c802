import type { Rng } from '../../src/base/rng.js'
import { TcpOptions } from '../../src/wire/tcp-options.js'
import type { Fields } from './wire-options.js'

/** Bytes of a hex text; spaces and line ends do not count. */
export function hex(text: string): Uint8Array {
  const digits = text.replace(/\s+/g, '')
  return Uint8Array.from({ length: digits.length / 2 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16))
}

/** Hex text of mem[off, off + len). */
export function toHex(mem: Uint8Array, off = 0, len = mem.length - off): string {
  return Array.from(mem.subarray(off, off + len), (b) => b.toString(16).padStart(2, '0')).join('')
}

/** All fields of parsed options in one flat object, as `naiveOptions` gives them. */
export function fieldsOf(o: TcpOptions): Fields {
  const { mptcp, sackLeft, sackRight, ...tcp } = o
  const { removeIds, ...rest } = mptcp
  return {
    ...tcp,
    ...rest,
    sackLeft: Array.from(sackLeft.subarray(0, o.sackCount)),
    sackRight: Array.from(sackRight.subarray(0, o.sackCount)),
    removeIds: Array.from(removeIds.subarray(0, mptcp.removeCount)),
  }
}

/** The fields of a segment without options. */
export const NO_OPTIONS: Fields = fieldsOf(new TcpOptions())

const TCP_NAMES = Object.keys(new TcpOptions()).filter((n) => n !== 'mptcp' && !n.startsWith('sackL') && !n.startsWith('sackR'))
const MPTCP_NAMES = Object.keys(new TcpOptions().mptcp).filter((n) => n !== 'removeIds')

/** Whether `fieldsOf(o)` would equal `want`; quick, for loops over many thousand cases. */
export function hasFields(o: TcpOptions, want: Fields): boolean {
  const tcp = o as unknown as Fields
  const mptcp = o.mptcp as unknown as Fields
  for (const name of TCP_NAMES) if (tcp[name] !== want[name]) return false
  for (const name of MPTCP_NAMES) if (mptcp[name] !== want[name]) return false
  return (
    isPrefix(want.sackLeft, o.sackLeft, o.sackCount) &&
    isPrefix(want.sackRight, o.sackRight, o.sackCount) &&
    isPrefix(want.removeIds, o.mptcp.removeIds, o.mptcp.removeCount)
  )
}

function isPrefix(want: Fields[string] | undefined, got: ArrayLike<number>, count: number): boolean {
  return Array.isArray(want) && want.length === count && want.every((v, i) => v === got[i])
}

/** Beginnings of legal options: kind, length, subtype with flags, DSS flags. */
const BEGINNINGS: readonly (readonly number[])[] = [
  [2, 4],
  [3, 3],
  [4, 2],
  [5, 10],
  [5, 18],
  [8, 10],
  [34, 2],
  [34, 10],
  [30, 4, 0x01],
  [30, 12, 0x01],
  [30, 20, 0x01],
  [30, 22, 0x01],
  [30, 24, 0x01],
  [30, 12, 0x10],
  [30, 16, 0x10],
  [30, 24, 0x10],
  [30, 8, 0x20, 0x01],
  [30, 12, 0x20, 0x03],
  [30, 18, 0x20, 0x0c],
  [30, 20, 0x20, 0x0c],
  [30, 26, 0x20, 0x0f],
  [30, 28, 0x20, 0x1f],
  [30, 16, 0x30],
  [30, 18, 0x30],
  [30, 28, 0x30],
  [30, 8, 0x31],
  [30, 20, 0x31],
  [30, 5, 0x40],
  [30, 3, 0x50],
  [30, 12, 0x60],
  [30, 12, 0x70],
  [30, 4, 0x80],
]

/** Random bytes that look like a list of options: mostly legal beginnings, now and then a wrong length, a NOP, an EOL, or noise. */
export function optionLikeBytes(rng: Rng, len: number): Uint8Array {
  const out = new Uint8Array(len)
  rng.fill(out, 0, len)
  for (let at = 0; at < len; ) {
    if (rng.chance(0.2)) {
      out[at++] = rng.chance(0.9) ? 1 : rng.below(256)
      continue
    }
    const head = BEGINNINGS[rng.below(BEGINNINGS.length)] as readonly number[]
    for (let i = 0; i < head.length && at + i < len; i++) out[at + i] = head[i] as number
    if (rng.chance(0.1) && at + 1 < len) out[at + 1] = rng.below(rng.chance(0.5) ? 42 : 256)
    at += Math.max(2, at + 1 < len ? (out[at + 1] as number) : 2)
  }
  return out
}
