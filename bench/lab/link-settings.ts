import { MptcpError } from '../../src/base/errors.js'
import type { Micros } from '../../src/base/time.js'
import { parseCount, parseRate, parseShare, parseSwitch, parseTime } from './units.js'

/** What one direction of a link does to packets. */
export interface LinkSettings {
  /** False: the link is cut, everything that enters is dropped. */
  readonly up: boolean
  /** Bits a second, those of `overhead` included; Infinity: no limit. */
  readonly rate: number
  /** Bytes that the link adds to every packet and transmits with it. */
  readonly overhead: number
  /** What may wait for transmission. */
  readonly queue: number
  readonly queueBytes: number
  /** One way, without transmission and queueing. */
  readonly delay: Micros
  /** The delay of a packet is evenly distributed over delay - jitter .. delay + jitter; order is kept. */
  readonly jitter: Micros
  /** Share of packets lost at the entrance: they use none of the rate. */
  readonly loss: number
  /** Share of packets that are held back for `reorderHold`, so that later ones overtake them. */
  readonly reorder: number
  readonly reorderHold: Micros
  /** Only packets from or to this TCP or UDP port are held back, 0: all. */
  readonly reorderPort: number
}

export const DEFAULT_SETTINGS: LinkSettings = {
  up: true,
  rate: Number.POSITIVE_INFINITY,
  overhead: 0,
  queue: 1000,
  queueBytes: Number.POSITIVE_INFINITY,
  delay: 0,
  jitter: 0,
  loss: 0,
  reorder: 0,
  reorderHold: 1_000,
  reorderPort: 0,
}

const PARSERS: Readonly<Record<string, (text: string) => Partial<LinkSettings>>> = {
  up: (text) => ({ up: parseSwitch(text) }),
  rate: (text) => ({ rate: parseRate(text) }),
  overhead: (text) => ({ overhead: parseCount(text) }),
  queue: (text) => ({ queue: parseCount(text) }),
  queue_bytes: (text) => ({ queueBytes: parseCount(text) }),
  delay: (text) => ({ delay: parseTime(text) }),
  jitter: (text) => ({ jitter: parseTime(text) }),
  loss: (text) => ({ loss: parseShare(text) }),
  reorder: (text) => ({ reorder: parseShare(text) }),
  reorder_hold: (text) => ({ reorderHold: parseTime(text) }),
  reorder_port: (text) => ({ reorderPort: parseCount(text) }),
}

/** Names of the settings, as files and `lab set` spell them. */
export const SETTING_NAMES: readonly string[] = Object.keys(PARSERS)

/** One setting by its name in a topology file or on the command line. @throws {MptcpError} ERR_LAB_VALUE */
export function parseSetting(name: string, text: string): Partial<LinkSettings> {
  const parse = Object.hasOwn(PARSERS, name) ? PARSERS[name] : undefined
  if (parse === undefined) throw new MptcpError('ERR_LAB_VALUE', `no setting '${name}': ${SETTING_NAMES.join(', ')}`)
  try {
    return parse(text)
  } catch (error) {
    throw new MptcpError('ERR_LAB_VALUE', `${name}: ${(error as Error).message}`)
  }
}

/** `settings` with `changes`. @throws {MptcpError} ERR_LAB_VALUE when they contradict each other */
export function withSettings(settings: LinkSettings, changes: Partial<LinkSettings>): LinkSettings {
  const result = { ...settings, ...changes }
  if (result.jitter > result.delay) throw new MptcpError('ERR_LAB_VALUE', 'jitter is larger than delay: packets cannot arrive early')
  if (result.overhead > 10_000) throw new MptcpError('ERR_LAB_VALUE', 'overhead is larger than 10000 bytes')
  return result
}
