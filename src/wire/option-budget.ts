import { MAX_SACK_BLOCKS } from './tcp-options.js'

/**
 * What may stand together in the 40 bytes of TCP options (RFC 9293 §3.1: the data offset has four bits). The tables below list
 * every combination that we send; a test writes each of them and finds them to fit, and to be exhausted where they say so.
 */
export const OPTION_SPACE = 40

/** NOP NOP and timestamps. */
export const TIMESTAMPS_LEN = 12
/** Timestamps without padding. */
export const BARE_TIMESTAMPS_LEN = 10
/** MSS, SACK permitted, timestamps, NOP and window scale: the options of a SYN before MPTCP comes. */
export const SYN_BASE_LEN = 20
/** The same without timestamps: MSS, NOP NOP SACK permitted, NOP window scale. */
export const SYN_BARE_BASE_LEN = 12

/** Bytes of MPTCP options, unpadded. `a` DATA_ACK, `m` mapping with the bytes of the DSN, `c` checksum. */
export const PART_LEN = {
  'capable-syn': 4,
  'capable-synack': 12,
  'capable-ack': 20,
  'capable-data': 22,
  'capable-data-c': 24,
  'join-syn': 12,
  'join-synack': 16,
  'join-ack': 24,
  'dss-a4': 8,
  'dss-a8': 12,
  'dss-m4': 14,
  'dss-m4-c': 16,
  'dss-m8': 18,
  'dss-m8-c': 20,
  'dss-a4-m4': 18,
  'dss-a4-m4-c': 20,
  'dss-a4-m8': 22,
  'dss-a4-m8-c': 24,
  'dss-a8-m4': 22,
  'dss-a8-m4-c': 24,
  'dss-a8-m8': 26,
  'dss-a8-m8-c': 28,
  'add-v4': 16,
  'add-v4-port': 18,
  'add-v6': 28,
  'add-v6-port': 30,
  'echo-v4': 8,
  'echo-v4-port': 10,
  'echo-v6': 20,
  'echo-v6-port': 22,
  'remove-1': 4,
  'remove-13': 16,
  prio: 3,
  fail: 12,
  fastclose: 12,
  tcprst: 4,
} as const
export type MptcpPart = keyof typeof PART_LEN

/** Fits, and no Fast Open option beside it. */
export const NO_FAST_OPEN = -1

/** A SYN or SYN/ACK: the longest Fast Open cookie (bytes; 0: a request only) beside these parts, with timestamps and without. */
export interface SynBudget {
  readonly segment: 'SYN' | 'SYN/ACK'
  readonly parts: readonly MptcpPart[]
  readonly withTimestamps: number
  readonly without: number
}

/** Any other segment: the most SACK blocks beside these parts, with timestamps and without. */
export interface AckBudget {
  readonly segment: 'ACK3' | 'DATA' | 'PURE_ACK' | 'FIN' | 'RST'
  readonly parts: readonly MptcpPart[]
  readonly withTimestamps: number
  readonly without: number
  /** Timestamps are written without their NOPs. */
  readonly isBare?: true
}

/** A join carries no data, so no Fast Open; RFC 8684 appendix B for the others. */
export const SYN_BUDGET: readonly SynBudget[] = [
  { segment: 'SYN', parts: [], withTimestamps: 16, without: 16 },
  { segment: 'SYN', parts: ['capable-syn'], withTimestamps: 14, without: 16 },
  { segment: 'SYN', parts: ['join-syn'], withTimestamps: NO_FAST_OPEN, without: NO_FAST_OPEN },
  { segment: 'SYN/ACK', parts: [], withTimestamps: 16, without: 16 },
  // the 8-byte cookie of Linux does not fit beside timestamps: those go, not MP_CAPABLE
  { segment: 'SYN/ACK', parts: ['capable-synack'], withTimestamps: 6, without: 14 },
  { segment: 'SYN/ACK', parts: ['join-synack'], withTimestamps: NO_FAST_OPEN, without: NO_FAST_OPEN },
]

const MAPPINGS: readonly (readonly [MptcpPart, number, number])[] = [
  ['dss-m4', 1, 2],
  ['dss-m4-c', 1, 2],
  ['dss-m8', 0, 2],
  ['dss-m8-c', 0, 2],
  ['dss-a4-m4', 0, 2],
  ['dss-a4-m4-c', 0, 2],
  ['dss-a4-m8', 0, 1],
  ['dss-a4-m8-c', 0, 1],
  ['dss-a8-m4', 0, 1],
  ['dss-a8-m4-c', 0, 1],
  ['dss-a8-m8', 0, 1],
  ['dss-a8-m8-c', 0, 1],
]

function withMapping(segment: 'DATA' | 'PURE_ACK' | 'FIN'): AckBudget[] {
  return MAPPINGS.map(([part, withTimestamps, without]) => ({ segment, parts: [part], withTimestamps, without }))
}

/** RFC 8684 §3.4.1: ADD_ADDR goes on an ACK of its own. A reset acknowledges nothing selectively: no SACK on it. */
export const ACK_BUDGET: readonly AckBudget[] = [
  { segment: 'ACK3', parts: [], withTimestamps: 3, without: 4 },
  { segment: 'ACK3', parts: ['capable-ack'], withTimestamps: 0, without: 2 },
  { segment: 'ACK3', parts: ['join-ack'], withTimestamps: 0, without: 1 },
  { segment: 'DATA', parts: [], withTimestamps: 3, without: 4 },
  { segment: 'DATA', parts: ['capable-data'], withTimestamps: 0, without: 1 },
  { segment: 'DATA', parts: ['capable-data-c'], withTimestamps: 0, without: 1 },
  ...withMapping('DATA'),
  { segment: 'PURE_ACK', parts: [], withTimestamps: 3, without: 4 },
  { segment: 'PURE_ACK', parts: ['capable-ack'], withTimestamps: 0, without: 2 },
  { segment: 'PURE_ACK', parts: ['dss-a4'], withTimestamps: 2, without: 3 },
  { segment: 'PURE_ACK', parts: ['dss-a8'], withTimestamps: 1, without: 3 },
  // DATA_FIN alone
  ...withMapping('PURE_ACK'),
  { segment: 'PURE_ACK', parts: ['add-v4'], withTimestamps: 1, without: 2 },
  { segment: 'PURE_ACK', parts: ['add-v4-port'], withTimestamps: 0, without: 2 },
  { segment: 'PURE_ACK', parts: ['add-v6'], withTimestamps: 0, without: 1 },
  { segment: 'PURE_ACK', parts: ['add-v6-port'], withTimestamps: 0, without: 0, isBare: true },
  { segment: 'PURE_ACK', parts: ['echo-v4'], withTimestamps: 2, without: 3 },
  { segment: 'PURE_ACK', parts: ['echo-v4-port'], withTimestamps: 1, without: 3 },
  { segment: 'PURE_ACK', parts: ['echo-v6'], withTimestamps: 0, without: 2 },
  { segment: 'PURE_ACK', parts: ['echo-v6-port'], withTimestamps: 0, without: 1 },
  { segment: 'PURE_ACK', parts: ['dss-a8', 'remove-1'], withTimestamps: 1, without: 2 },
  { segment: 'PURE_ACK', parts: ['dss-a8', 'remove-13'], withTimestamps: 0, without: 1 },
  { segment: 'PURE_ACK', parts: ['dss-a8', 'prio'], withTimestamps: 1, without: 2 },
  { segment: 'PURE_ACK', parts: ['prio'], withTimestamps: 2, without: 4 },
  { segment: 'PURE_ACK', parts: ['dss-a8', 'fail'], withTimestamps: 0, without: 1 },
  { segment: 'PURE_ACK', parts: ['dss-a8', 'fastclose'], withTimestamps: 0, without: 1 },
  { segment: 'PURE_ACK', parts: ['fastclose'], withTimestamps: 1, without: 3 },
  { segment: 'FIN', parts: [], withTimestamps: 3, without: 4 },
  { segment: 'FIN', parts: ['dss-a4'], withTimestamps: 2, without: 3 },
  { segment: 'FIN', parts: ['dss-a8'], withTimestamps: 1, without: 3 },
  ...withMapping('FIN'),
  { segment: 'RST', parts: [], withTimestamps: 0, without: 0 },
  { segment: 'RST', parts: ['tcprst'], withTimestamps: 0, without: 0 },
  { segment: 'RST', parts: ['fastclose'], withTimestamps: 0, without: 0 },
  { segment: 'RST', parts: ['fastclose', 'tcprst'], withTimestamps: 0, without: 0 },
  { segment: 'RST', parts: ['fail', 'tcprst'], withTimestamps: 0, without: 0 },
]

/** Length with NOPs up to a multiple of 4. */
export function paddedLen(len: number): number {
  return (len + 3) & ~3
}

/** SACK blocks that fit into `room` bytes of options beside their NOP NOP, 0..4. */
export function sackBlocksIn(room: number): number {
  return room < 12 ? 0 : Math.min(MAX_SACK_BLOCKS, (room - 4) >> 3)
}
