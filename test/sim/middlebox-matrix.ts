import type { Rng } from '../../src/base/rng.js'
import { CAUSE_FIN } from '../../src/tcp/state.js'
import type { Box } from './box.js'
import { Odds } from './links.js'
import type { Loop } from './loop.js'
import { OPTION_MPTCP, OptionStripper, PayloadRewriter } from './middlebox.js'
import type { MptcpSocket } from './mptcp-host.js'
import { MptcpPair } from './mptcp-pair.js'
import * as pk from './packet.js'
import { Coalescer, IsnRewriter, Splitter, UnknownOptions } from './segment-boxes.js'
import { complaint, type TransferResult } from './transfer.js'

/*
 * One middlebox at one place of one connection, for every kind of middlebox and every place: what becomes of it is written as one letter.
 *
 *     M  MPTCP to the end, no subflow lost          P  both sides have fallen back
 *     R  MPTCP to the end, a subflow was reset      X  one side has fallen back, the other did not come to notice
 */
export const OUTCOMES = 'MRPX'

/** Where the box is: on the path of the only subflow, on that of the initial one of two, or on that of the join. */
export type Place = 'sole' | 'first of two' | 'join'
export const PLACES: readonly Place[] = ['sole', 'first of two', 'join']
export type Way = 'up' | 'down' | 'both'
export const WAYS: readonly Way[] = ['up', 'down', 'both']

export interface Kind {
  readonly name: string
  readonly make: (loop: Loop, rng: Rng, way: Way) => { box: Box; hits: () => number }
  /** Outcomes that features.md allows, by place. */
  readonly allowed: Readonly<Record<Place, string>>
  /** Checksums are on, and what a sole subflow brings is what the box made of it (RFC 8684 §3.7). */
  readonly isCorrupting?: boolean
  /** Directions in which it can do anything; default all. */
  readonly ways?: readonly Way[]
}

export interface Verdict {
  readonly outcome: string
  /** Empty: as it must be. */
  readonly complaint: string
}

type Meant = (packet: Uint8Array) => boolean

const isSyn: Meant = (p) => (pk.flagsOf(p) & (pk.SYN | pk.ACK)) === pk.SYN
const isSynAck: Meant = (p) => (pk.flagsOf(p) & (pk.SYN | pk.ACK)) === (pk.SYN | pk.ACK)
const isData: Meant = (p) => pk.payLen(p) > 0

/** Strips what `meant` says of each direction's own packets; a new `meant` per direction, since it may count. */
function strip(name: string, meant: () => Meant, allowed: Kind['allowed'], ways?: readonly Way[]): Kind {
  return {
    name,
    allowed,
    ...(ways === undefined ? {} : { ways }),
    make: (loop, _rng, way) => {
      const up = way === 'down' ? null : new OptionStripper(loop, OPTION_MPTCP, meant())
      const down = way === 'up' ? null : new OptionStripper(loop, OPTION_MPTCP, meant())
      return { box: { up, down }, hits: () => (up?.stripped ?? 0) + (down?.stripped ?? 0) }
    },
  }
}

function nth(is: Meant, hits: (n: number) => boolean): () => Meant {
  return () => {
    let n = 0
    return (p) => is(p) && hits(++n)
  }
}

const only =
  (k: number) =>
  (n: number): boolean =>
    n === k
const from =
  (k: number) =>
  (n: number): boolean =>
    n >= k

/** Data segments per direction after which the join is up. */
const JOIN_BY = 10

/** Options taken from the k-th data segment only, or from that on, acknowledgements included: RFC 8684 §3.7. */
export function stripOnly(k: number): Kind {
  // a server may say nothing at the data level before its first data, and without a DSS of its there is no join yet: a fallback still
  return strip(`only data ${k}`, nth(isData, only(k)), { sole: 'MPX', 'first of two': k === 1 ? 'MRP' : 'MR', join: 'MR' })
}

export function stripFrom(k: number): Kind {
  const meant = (): Meant => {
    let n = 0
    return (p) => {
      if (isData(p)) n++
      return n >= k
    }
  }
  // the first few go before a join is up: then it is a fallback still
  return strip(`from data ${k}`, meant, { sole: 'PX', 'first of two': k <= JOIN_BY ? 'MRP' : 'MR', join: 'MR' })
}

type Counted = Splitter | Coalescer | UnknownOptions | PayloadRewriter

function countOf(box: Counted | null): number {
  if (box === null) return 0
  if (box instanceof Splitter) return box.split
  if (box instanceof Coalescer) return box.merged
  return box instanceof PayloadRewriter ? box.rewritten : box.blanked + box.dropped
}

/** One box per direction that is meant. */
function twoWay(name: string, make: (loop: Loop, rng: Rng) => Counted, allowed: Kind['allowed']): Kind {
  return {
    name,
    allowed,
    make: (loop, rng, way) => {
      const up = way === 'down' ? null : make(loop, rng)
      const down = way === 'up' ? null : make(loop, rng)
      return { box: { up, down }, hits: () => countOf(up) + countOf(down) }
    },
  }
}

const BOTH_PLACES = { 'first of two': 'M', join: 'M' } as const

export const KINDS: readonly Kind[] = [
  // without MPTCP on the initial subflow there is no join either
  strip('strip SYN', nth(isSyn, from(1)), { sole: 'P', 'first of two': 'P', join: 'MR' }, ['up']),
  strip('strip SYN/ACK', nth(isSynAck, from(1)), { sole: 'P', 'first of two': 'P', join: 'MR' }, ['down']),
  strip(
    'strip third ACK',
    nth((p) => (pk.flagsOf(p) & pk.SYN) === 0, only(1)),
    { sole: 'MP', 'first of two': 'MRP', join: 'MR' },
    ['up'],
  ),
  strip(
    'strip all but SYN',
    nth((p) => (pk.flagsOf(p) & pk.SYN) === 0, from(1)),
    { sole: 'P', 'first of two': 'P', join: 'MR' },
  ),
  strip('strip everything', () => () => true, { sole: 'P', 'first of two': 'P', join: 'MR' }),
  {
    name: 'rewrite ISN',
    allowed: { sole: 'M', ...BOTH_PLACES },
    ways: ['both'],
    make: (loop) => {
      const box = new IsnRewriter(loop)
      return { box, hits: () => box.rewritten }
    },
  },
  twoWay('split', (loop, rng) => new Splitter(loop, new Odds(rng.fork(), 0.5)), { sole: 'M', ...BOTH_PLACES }),
  twoWay('split, first keeps options', (loop, rng) => new Splitter(loop, new Odds(rng.fork(), 0.5), (len) => len >> 1, true), {
    sole: 'M',
    ...BOTH_PLACES,
  }),
  twoWay('coalesce', (loop, rng) => new Coalescer(loop, new Odds(rng.fork(), 0.5), 2000, 9000), {
    sole: 'MPX',
    'first of two': 'MR',
    join: 'MR',
  }),
  twoWay('blank unknown options', (loop) => new UnknownOptions(loop, 'blank'), { sole: 'P', 'first of two': 'P', join: 'MR' }),
  twoWay('drop unknown options', (loop) => new UnknownOptions(loop, 'drop'), { sole: 'P', 'first of two': 'P', join: 'MR' }),
  {
    ...twoWay('rewrite payload', (loop, rng) => new PayloadRewriter(loop, new Odds(rng, 0, [7]), rng.fork()), {
      sole: 'P',
      'first of two': 'R',
      join: 'R',
    }),
    isCorrupting: true,
  },
]

/** Bytes each way: some 70 data segments, while joins come and go. */
const LEN = 60_000
const PACE = { chunk: 900, pauseUs: 2000 }
const RATE = { bitsPerSecond: 100_000_000, queuePackets: 500 }

/** Runs one cell. */
export function runCell(kind: Kind, place: Place, way: Way, seed: number): Verdict {
  let hits = (): number => 0
  const boxes = (loop: Loop, rng: Rng): readonly Box[] => {
    const made = kind.make(loop, rng, way)
    hits = made.hits
    return [made.box]
  }
  // the path with the box is the faster one, so that the scheduler prefers it
  const path = (hasBox: boolean) => {
    const delayUs = hasBox ? 4000 : 5000
    return { up: { ...RATE, delayUs }, down: { ...RATE, delayUs }, ...(hasBox ? { boxes } : {}) }
  }
  const paths = place === 'sole' ? [path(true)] : [path(place !== 'join'), path(place === 'join')]
  const checksum = kind.isCorrupting === true
  const host = { pages: 128, slots: 8, gso: false, mptcp: { checksum } }
  const pair = new MptcpPair({ seed, paths, client: host, server: host, reviveUs: 0 })
  const paces = { client: { writing: PACE }, server: { writing: PACE } }
  const result = pair.transfer(LEN, LEN, paces, 600_000_000)
  const outcome = outcomeOf(pair, result)
  return { outcome, complaint: complaintOf(kind, place, pair, result, outcome, hits()) }
}

function outcomeOf(pair: MptcpPair, { remote }: TransferResult): string {
  const server = remote === null ? null : (remote.socket as MptcpSocket).conn
  const isPlain = pair.socket.conn.fallbackReason !== 0
  if (isPlain !== (server !== null && server.fallbackReason !== 0)) return 'X'
  if (isPlain) return 'P'
  return pair.client.counters.MPRstTx + pair.client.counters.MPRstRx > 0 ? 'R' : 'M'
}

function complaintOf(kind: Kind, place: Place, pair: MptcpPair, result: TransferResult, outcome: string, hits: number): string {
  const { local, remote } = result
  const wrongs: string[] = []
  if (hits === 0) wrongs.push('the box did nothing')
  if (!kind.allowed[place].includes(outcome)) wrongs.push(`${outcome} instead of ${kind.allowed[place]}`)
  if (kind.isCorrupting === true && pair.client.counters.DataCsumErr + pair.server.counters.DataCsumErr === 0) wrongs.push('not noticed')
  if (kind.isCorrupting === true && place === 'sole') {
    // the byte that was changed is all that differs: nothing is lost or shifted
    if (local.received !== LEN || remote?.received !== LEN) wrongs.push(`received ${local.received} and ${remote?.received}`)
    return wrongs.join(', ')
  }
  const wrong = complaint(result)
  if (wrong !== '') wrongs.push(wrong)
  const causes = [pair.socket.cause, remote === null ? 0 : (remote.socket as MptcpSocket).cause]
  if (wrong === '' && causes.some((cause) => cause !== CAUSE_FIN)) wrongs.push(`ended by ${causes.join(' and ')}`)
  return wrongs.join(', ')
}

/** All cells: `note` is told each verdict; rows of one table line each. @param ks which data segments are stripped. */
export function runMatrix(ks: readonly number[], note: (what: string, verdict: Verdict) => void): string[] {
  const columns = PLACES.flatMap((place) => WAYS.map((way) => ({ place, way })))
  const head = columns.map(({ place, way }) => `${place} ${way}`.padEnd(18)).join('')
  const rows = [`${''.padEnd(28)}${head}`]
  let seed = 0
  const row = (name: string, cells: readonly ((place: Place, way: Way) => Kind | null)[]): void => {
    const line = columns.map(({ place, way }) => {
      let letters = ''
      for (const cell of cells) {
        const kind = cell(place, way)
        if (kind === null) continue
        const verdict = runCell(kind, place, way, ++seed)
        letters += verdict.complaint === '' ? verdict.outcome : '!'
        note(`${kind.name}, ${place}, ${way}`, verdict)
      }
      return (letters === '' ? '-' : letters).padEnd(18)
    })
    rows.push(`${name.padEnd(28)}${line.join('')}`)
  }
  for (const kind of KINDS) row(kind.name, [(_, way) => (kind.ways === undefined || kind.ways.includes(way) ? kind : null)])
  for (let i = 0; i < ks.length; i += 15) {
    const some = ks.slice(i, i + 15)
    row(
      `strip only data ${some[0]}-${some.at(-1)}`,
      some.map((k) => () => stripOnly(k)),
    )
    row(
      `strip from data ${some[0]}-${some.at(-1)}`,
      some.map((k) => () => stripFrom(k)),
    )
  }
  return rows
}
