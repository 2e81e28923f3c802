import { MptcpError } from '../../src/base/errors.js'
import type { Micros } from '../../src/base/time.js'

const BITS: Readonly<Record<string, number>> = { bit: 1, kbit: 1e3, mbit: 1e6, gbit: 1e9 }
const TIMES: Readonly<Record<string, number>> = { us: 1, ms: 1e3, s: 1e6 }

/** `10mbit`, `1.5gbit`, or `unlimited`, in bits a second. @throws {MptcpError} ERR_LAB_VALUE */
export function parseRate(text: string): number {
  if (text === 'unlimited') return Number.POSITIVE_INFINITY
  const rate = withUnit(text, BITS)
  if (rate === null || rate === 0) throw new MptcpError('ERR_LAB_VALUE', `'${text}' is no rate: 500kbit, 10mbit, 1gbit or unlimited`)
  return rate
}

/** `200us`, `5ms`, `1s`. @throws {MptcpError} ERR_LAB_VALUE */
export function parseTime(text: string): Micros {
  const us = withUnit(text, TIMES)
  if (us === null) throw new MptcpError('ERR_LAB_VALUE', `'${text}' is no time: 200us, 5ms or 1s`)
  return Math.round(us)
}

/** `0.5%`, as a number in [0, 1]. @throws {MptcpError} ERR_LAB_VALUE */
export function parseShare(text: string): number {
  const percent = withUnit(text, { '%': 1 })
  if (percent === null || percent > 100) throw new MptcpError('ERR_LAB_VALUE', `'${text}' is no share: 0.5% (up to 100%)`)
  return percent / 100
}

/** `1000` or `unlimited`. @throws {MptcpError} ERR_LAB_VALUE */
export function parseCount(text: string): number {
  if (text === 'unlimited') return Number.POSITIVE_INFINITY
  if (!/^\d{1,12}$/.test(text)) throw new MptcpError('ERR_LAB_VALUE', `'${text}' is no count: a whole number or unlimited`)
  return Number(text)
}

/** @throws {MptcpError} ERR_LAB_VALUE */
export function parseSwitch(text: string): boolean {
  if (text !== 'true' && text !== 'false') throw new MptcpError('ERR_LAB_VALUE', `'${text}' is neither true nor false`)
  return text === 'true'
}

function withUnit(text: string, units: Readonly<Record<string, number>>): number | null {
  const match = /^(\d+(?:\.\d+)?)([a-z%]+)$/.exec(text)
  const unit = units[match?.[2] ?? '']
  if (text === '0') return 0
  return match === null || unit === undefined ? null : Number(match[1]) * unit
}
