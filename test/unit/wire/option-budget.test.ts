import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { dssLen } from '../../../src/wire/mptcp-options.js'
import * as mp from '../../../src/wire/mptcp-options.js'
import {
  ACK_BUDGET,
  BARE_TIMESTAMPS_LEN,
  type MptcpPart,
  NO_FAST_OPEN,
  OPTION_SPACE,
  PART_LEN,
  paddedLen,
  SYN_BARE_BASE_LEN,
  SYN_BASE_LEN,
  SYN_BUDGET,
  sackBlocksIn,
  TIMESTAMPS_LEN,
} from '../../../src/wire/option-budget.js'
import { Packet } from '../../../src/wire/packet.js'
import * as tcp from '../../../src/wire/tcp-options.js'
import { ACK, SYN } from '../../../src/wire/tcp.js'
import { toHex } from '../../oracle/wire-bytes.js'

const V4 = IpAddress.v4(1)
const V6 = new IpAddress(1, 2, 3, 4)
const BYTES = new Uint8Array(64)
const IDS = Uint8Array.from({ length: 37 }, (_, i) => i)
const EDGES = Int32Array.of(1, 2, 3, 4)

type Write = (mem: Uint8Array, off: number) => number

const dss =
  (ackLen: 0 | 4 | 8, dsnLen: 0 | 4 | 8, checksum: number): Write =>
  (m, o) =>
    mp.writeDss(m, o, ackLen, 1, 2, dsnLen, 3, 4, 5, 6, checksum, true)
const capable =
  (len: 4 | 12 | 20 | 22 | 24): Write =>
  (m, o) =>
    mp.writeCapable(m, o, len, 1, 1, 1, 2, 3, 4, 5, 6)
const addAddr =
  (address: IpAddress, port: number, hmac: Uint8Array | null): Write =>
  (m, o) =>
    mp.writeAddAddr(m, o, 1, address, port, hmac, 0)

const WRITERS: Record<MptcpPart, Write> = {
  'capable-syn': capable(4),
  'capable-synack': capable(12),
  'capable-ack': capable(20),
  'capable-data': capable(22),
  'capable-data-c': capable(24),
  'join-syn': (m, o) => mp.writeJoinSyn(m, o, false, 1, 2, 3),
  'join-synack': (m, o) => mp.writeJoinSynAck(m, o, false, 1, BYTES, 0, 3),
  'join-ack': (m, o) => mp.writeJoinAck(m, o, BYTES, 0),
  'dss-a4': dss(4, 0, -1),
  'dss-a8': dss(8, 0, -1),
  'dss-m4': dss(0, 4, -1),
  'dss-m4-c': dss(0, 4, 0),
  'dss-m8': dss(0, 8, -1),
  'dss-m8-c': dss(0, 8, 0),
  'dss-a4-m4': dss(4, 4, -1),
  'dss-a4-m4-c': dss(4, 4, 0),
  'dss-a4-m8': dss(4, 8, -1),
  'dss-a4-m8-c': dss(4, 8, 0),
  'dss-a8-m4': dss(8, 4, -1),
  'dss-a8-m4-c': dss(8, 4, 0),
  'dss-a8-m8': dss(8, 8, -1),
  'dss-a8-m8-c': dss(8, 8, 0),
  'add-v4': addAddr(V4, 0, BYTES),
  'add-v4-port': addAddr(V4, 1, BYTES),
  'add-v6': addAddr(V6, 0, BYTES),
  'add-v6-port': addAddr(V6, 1, BYTES),
  'echo-v4': addAddr(V4, 0, null),
  'echo-v4-port': addAddr(V4, 1, null),
  'echo-v6': addAddr(V6, 0, null),
  'echo-v6-port': addAddr(V6, 1, null),
  'remove-1': (m, o) => mp.writeRemoveAddr(m, o, IDS, 1),
  'remove-13': (m, o) => mp.writeRemoveAddr(m, o, IDS, 13),
  prio: (m, o) => mp.writePrio(m, o, true),
  fail: (m, o) => mp.writeFail(m, o, 1, 2),
  fastclose: (m, o) => mp.writeFastclose(m, o, 1, 2),
  tcprst: (m, o) => mp.writeTcpRst(m, o, 1, false),
}

const BITS: [string, number][] = [
  ['capable', mp.HAS_CAPABLE],
  ['join', mp.HAS_JOIN],
  ['dss', mp.HAS_DSS],
  ['add', mp.HAS_ADD_ADDR],
  ['echo', mp.HAS_ADD_ADDR],
  ['remove', mp.HAS_REMOVE_ADDR],
  ['prio', mp.HAS_PRIO],
  ['fail', mp.HAS_FAIL],
  ['fastclose', mp.HAS_FASTCLOSE],
  ['tcprst', mp.HAS_RST],
]
const bitOf = (part: MptcpPart): number => (BITS.find(([name]) => part.split('-')[0] === name) as [string, number])[1]

t.test('the lengths in the table are those that the writers write', async (t) => {
  for (const part of Object.keys(PART_LEN) as MptcpPart[]) t.equal(WRITERS[part](new Uint8Array(64), 0), PART_LEN[part], part)
  for (const a of [0, 4, 8] as const) {
    for (const m of [0, 4, 8] as const) {
      for (const c of [false, true]) t.equal(dss(a, m, c ? 0 : -1)(new Uint8Array(64), 0), dssLen(a, m, c), `dssLen ${a} ${m} ${c}`)
    }
  }
  t.equal(tcp.writeTimestamps(BYTES, 0, 1, 2), TIMESTAMPS_LEN)
  t.equal(tcp.writeBareTimestamps(BYTES, 0, 1, 2), BARE_TIMESTAMPS_LEN)
  t.equal(synBase(new Uint8Array(64), true), SYN_BASE_LEN)
  t.equal(synBase(new Uint8Array(64), false), SYN_BARE_BASE_LEN)
})

function synBase(mem: Uint8Array, hasTs: boolean): number {
  let n = tcp.writeMss(mem, 0, 1460)
  n += tcp.writeSackPermitted(mem, n)
  if (hasTs) n += tcp.writeBareTimestamps(mem, n, 1, 2)
  else n = tcp.pad(mem, 0, n)
  return n + tcp.writeWscale(mem, n, 7)
}

/** Parses the first `len` bytes as the options of a segment. */
function parse(mem: Uint8Array, len: number, flags: number): tcp.TcpOptions {
  const pkt = new Packet()
  pkt.mem = mem
  pkt.optLen = len
  pkt.flags = flags
  const out = new tcp.TcpOptions()
  tcp.parseOptionsOf(pkt, out)
  return out
}

function writeParts(mem: Uint8Array, at: number, parts: readonly MptcpPart[]): number {
  let n = at
  for (const part of parts) n += WRITERS[part](mem, n)
  return n
}

t.test('every SYN and SYN/ACK that we send fits, and one more pair of cookie bytes would not', async (t) => {
  for (const row of SYN_BUDGET) {
    for (const hasTs of [true, false]) {
      const most = hasTs ? row.withTimestamps : row.without
      const name = `${row.segment} ${row.parts.join(' ')} ${hasTs ? 'with' : 'without'} timestamps`
      for (const cookie of most === NO_FAST_OPEN ? [-1] : [-1, 0, 4, 6, 8, 10, 12, 14, 16].filter((n) => n <= most)) {
        const mem = new Uint8Array(80)
        let n = writeParts(mem, synBase(mem, hasTs), row.parts)
        if (cookie >= 0) n += tcp.writeFastOpen(mem, n, BYTES, 0, cookie)
        n = tcp.pad(mem, 0, n)
        t.ok(n <= OPTION_SPACE && n % 4 === 0, `${name}, cookie ${cookie}: ${n}`)
        const o = parse(mem, n, row.segment === 'SYN' ? SYN : SYN | ACK)
        const present = row.parts.reduce((bits, p) => bits | bitOf(p), 0)
        t.match(
          o,
          { mss: 1460, wscale: 7, sackPermitted: true, hasTs, fastOpenLen: cookie, ignored: 0, malformed: false, mptcp: { present } },
          name,
        )
      }
      if (most >= 0 && most < 16) {
        const used = (hasTs ? SYN_BASE_LEN : SYN_BARE_BASE_LEN) + row.parts.reduce((sum, p) => sum + PART_LEN[p], 0)
        t.ok(paddedLen(used + 2 + most + 2) > OPTION_SPACE, `${name}: no longer cookie fits`)
      }
    }
  }
})

t.test('every other combination that we send fits, and one more SACK block would not', async (t) => {
  const seen = new Set<MptcpPart>(SYN_BUDGET.flatMap((r) => r.parts))
  for (const row of ACK_BUDGET) {
    for (const part of row.parts) seen.add(part)
    for (const hasTs of [true, false]) {
      const most = hasTs ? row.withTimestamps : row.without
      const name = `${row.segment} ${row.parts.join(' ')} ${hasTs ? 'with' : 'without'} timestamps`
      let used = 0
      for (let blocks = 0; blocks <= most; blocks++) {
        const mem = new Uint8Array(80)
        let n = 0
        if (hasTs) n = row.isBare === true ? tcp.writeBareTimestamps(mem, 0, 1, 2) : tcp.writeTimestamps(mem, 0, 1, 2)
        n = tcp.pad(mem, 0, writeParts(mem, n, row.parts))
        if (blocks === 0) used = n
        if (blocks > 0) n += tcp.writeSack(mem, n, blocks, EDGES, EDGES)
        t.ok(n <= OPTION_SPACE && n % 4 === 0, `${name}, ${blocks} SACK blocks: ${n}`)
        const present = row.parts.reduce((bits, p) => bits | bitOf(p), 0)
        t.match(parse(mem, n, ACK), { hasTs, sackCount: blocks, ignored: 0, malformed: false, mptcp: { present } }, toHex(mem, 0, n))
      }
      if (row.segment !== 'RST') t.equal(sackBlocksIn(OPTION_SPACE - used), most, `${name}: no more blocks fit`)
    }
  }
  t.strictSame([...seen].sort(), Object.keys(PART_LEN).sort(), 'every part is used somewhere')
})

t.test('features 24: ADD_ADDR for IPv6 with port fills a pure ACK beside unpadded timestamps, and not beside padded ones', async (t) => {
  t.equal(BARE_TIMESTAMPS_LEN + PART_LEN['add-v6-port'], OPTION_SPACE)
  t.ok(TIMESTAMPS_LEN + PART_LEN['add-v6-port'] > OPTION_SPACE)
})

t.test('padding goes up to a multiple of 4', async (t) => {
  for (let len = 0; len <= 40; len++) t.equal(paddedLen(len), Math.ceil(len / 4) * 4)
})

t.test('room for SACK blocks', async (t) => {
  const expected = [
    [0, 0],
    [11, 0],
    [12, 1],
    [19, 1],
    [20, 2],
    [28, 3],
    [35, 3],
    [36, 4],
    [40, 4],
  ] as const
  for (const [room, blocks] of expected) t.equal(sackBlocksIn(room), blocks, `${room}`)
})
