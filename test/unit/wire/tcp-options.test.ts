import t from 'tap'
import { Packet } from '../../../src/wire/packet.js'
import {
  pad,
  parseOptionsOf,
  parseTcpOptions,
  TcpOptions,
  writeBareTimestamps,
  writeFastOpen,
  writeMss,
  writeSack,
  writeSackPermitted,
  writeTimestamps,
  writeWscale,
} from '../../../src/wire/tcp-options.js'
import { ACK, SYN } from '../../../src/wire/tcp.js'
import { forSeeds } from '../../oracle/seeds.js'
import { fieldsOf, hasFields, hex, NO_OPTIONS, optionLikeBytes, toHex } from '../../oracle/wire-bytes.js'
import { type Fields, type Form, naiveOptions } from '../../oracle/wire-options.js'

const FLAGS_OF: Record<Form, number> = { ACK, SYN, 'SYN/ACK': SYN | ACK }
const FORMS: readonly Form[] = ['ACK', 'SYN', 'SYN/ACK']
const scratch = new TcpOptions()

function parseInto(out: TcpOptions, bytes: Uint8Array, form: Form, off: number, len: number): void {
  const pkt = new Packet()
  pkt.mem = bytes
  pkt.optOff = off
  pkt.optLen = len
  pkt.flags = FLAGS_OF[form]
  parseOptionsOf(pkt, out)
}

function parse(bytes: Uint8Array, form: Form): Fields {
  parseInto(scratch, bytes, form, 0, bytes.length)
  return fieldsOf(scratch)
}

t.test('options of RFC 9293, 7323, 2018 and 7413, byte by byte', async (t) => {
  const cases: [string, Form, string, Fields][] = [
    ['none', 'ACK', '', {}],
    ['MSS 1460', 'SYN', '020405b4', { mss: 1460 }],
    ['MSS 0 is a value', 'SYN', '02040000', { mss: 0 }],
    ['MSS outside of a SYN', 'ACK', '020405b4', { ignored: 1 }],
    ['MSS of wrong length', 'SYN', '020305 01', { ignored: 1 }],
    ['window scale', 'SYN', '01030307', { wscale: 7 }],
    ['rfc7323 2.3: a shift above 14 counts as 14', 'SYN', '0303ff', { wscale: 14 }],
    ['window scale outside of a SYN', 'ACK', '030307', { ignored: 1 }],
    ['SACK permitted', 'SYN/ACK', '0402', { sackPermitted: true }],
    ['SACK permitted outside of a SYN', 'ACK', '0402', { ignored: 1 }],
    ['timestamps', 'ACK', '080a 80000001 00000002', { hasTs: true, tsVal: -0x7fffffff, tsEcr: 2 }],
    ['timestamps with NOPs', 'ACK', '0101080a 00000001 ffffffff', { hasTs: true, tsVal: 1, tsEcr: -1 }],
    ['timestamps of wrong length', 'ACK', '0809 000000010000 00', { ignored: 1 }],
    ['one SACK block', 'ACK', '0101050a 00000001 00000005', { sackCount: 1, sackLeft: [1], sackRight: [5] }],
    [
      'four SACK blocks',
      'ACK',
      '0522 00000001 00000002 00000003 00000004 00000005 00000006 00000007 fffffff8',
      { sackCount: 4, sackLeft: [1, 3, 5, 7], sackRight: [2, 4, 6, -8] },
    ],
    ['SACK without a block', 'ACK', '0502', { ignored: 1 }],
    ['SACK with half a block', 'ACK', '0506 00000001', { ignored: 1 }],
    ['SACK on a SYN', 'SYN', '050a 00000001 00000005', { ignored: 1 }],
    ['Fast Open request', 'SYN', '2202', { fastOpenLen: 0, fastOpenOff: 2 }],
    ['Fast Open cookie', 'SYN', '220a 0102030405060708', { fastOpenLen: 8, fastOpenOff: 2 }],
    ['rfc7413 4.1.1: an odd cookie', 'SYN', '2207 0102030405', { ignored: 1 }],
    ['rfc7413 4.1.1: a cookie of 2 bytes', 'SYN', '2204 0102', { ignored: 1 }],
    ['rfc7413 4.1.1: a cookie of 18 bytes', 'SYN', '2214 000000000000000000000000000000000000', { ignored: 1 }],
    ['rfc7413 4.1.1: without SYN', 'ACK', '2202', { ignored: 1 }],
    ['unknown kinds are skipped, also experiments', 'SYN', 'fe04f989 1302 020405b4', { mss: 1460 }],
    ['what follows the end of the list is not read', 'SYN', '00 020405b4', {}],
    ['the first of two counts', 'SYN', '020405b4 02040001', { mss: 1460, ignored: 1 }],
    ['timestamps twice', 'ACK', '0101080a0000000100000002 080a0000000300000004', { hasTs: true, tsVal: 1, tsEcr: 2, ignored: 1 }],
    ['a list that ends after a kind', 'SYN', '020405b4 02', { mss: 1460, malformed: true }],
    ['length 0', 'SYN', '020405b4 0200 0303', { mss: 1460, malformed: true }],
    ['length 1', 'SYN', '0201', { malformed: true }],
    ['a length beyond the header', 'ACK', '080a 00000001 000000', { malformed: true }],
    ['an unknown kind of length 0', 'ACK', 'aa00', { malformed: true }],
  ]
  for (const [name, form, text, expected] of cases) {
    t.strictSame(parse(hex(text), form), { ...NO_OPTIONS, ...expected }, name)
  }
})

t.test('what Linux sends in a SYN', async (t) => {
  const bytes = hex('020405b4 0402 080a 11223344 00000000 01 030307')
  const expected = { ...NO_OPTIONS, mss: 1460, sackPermitted: true, hasTs: true, tsVal: 0x11223344, wscale: 7 }
  t.strictSame(parse(bytes, 'SYN'), expected)
})

t.test('writers write what the pictures show', async (t) => {
  const mem = new Uint8Array(64)
  const cases: [string, (off: number) => number, string][] = [
    ['MSS', (o) => writeMss(mem, o, 1440), '020405a0'],
    ['window scale', (o) => writeWscale(mem, o, 8), '01030308'],
    ['SACK permitted', (o) => writeSackPermitted(mem, o), '0402'],
    ['timestamps', (o) => writeTimestamps(mem, o, 1, -2), '0101080a00000001fffffffe'],
    ['bare timestamps', (o) => writeBareTimestamps(mem, o, 1, -2), '080a00000001fffffffe'],
    ['SACK', (o) => writeSack(mem, o, 2, Int32Array.of(1, 3), Int32Array.of(2, -4)), '010105120000000100000002000000 03fffffffc'],
    ['Fast Open request', (o) => writeFastOpen(mem, o, mem, 0, 0), '2202'],
    ['Fast Open cookie', (o) => writeFastOpen(mem, o, hex('00aabbccdd'), 1, 4), '2206aabbccdd'],
  ]
  for (const [name, write, text] of cases) {
    mem.fill(0xee)
    const want = text.replace(/\s/g, '')
    const len = write(7)
    t.equal(toHex(mem, 7, len), want, name)
    t.equal(toHex(mem, 0, 7), 'ee'.repeat(7), `${name}: nothing before`)
    t.equal(toHex(mem, 7 + len), 'ee'.repeat(57 - len), `${name}: nothing behind`)
  }
  for (let n = 0; n <= 40; n++) {
    mem.fill(0xee)
    const len = pad(mem, 3, n)
    t.equal(len, Math.ceil(n / 4) * 4)
    t.equal(toHex(mem, 3 + n, len - n), '01'.repeat(len - n))
    t.equal(mem[3 + len], 0xee)
  }
})

t.test('parseTcpOptions takes both forms of a SYN', async (t) => {
  const both: [string, number][] = [
    ['1e04 0181', 4],
    ['1e0c 0181 0000000100000002', 12],
  ]
  for (const [text, len] of both) {
    parseTcpOptions(hex(text), 0, len, true, scratch)
    t.equal(scratch.mptcp.capableLen, len)
    parseTcpOptions(hex(text), 0, len, false, scratch)
    t.strictSame(fieldsOf(scratch), { ...NO_OPTIONS, ignored: 1 })
  }
})

t.test('agrees with the naive parser on random and nearly valid lists, whatever the scratch held before', async (t) => {
  await forSeeds(t, [1, 2, 3], (rng) => {
    const mem = new Uint8Array(80)
    let accepted = 0
    let rejected = 0
    for (let i = 0; i < 10_000; i++) {
      const len = rng.between(0, 40)
      const off = rng.below(40)
      rng.fill(mem, 0, 80)
      mem.set(rng.chance(0.8) ? optionLikeBytes(rng, len) : mem.subarray(off, off + len), off)
      if (rng.chance(0.3) && len >= 12) mem.set([1, 1, 8, 10], off)
      const form = FORMS[rng.below(3)] as Form
      const want = naiveOptions(mem, off, len, form)
      parseInto(scratch, mem, form, off, len)
      if (!hasFields(scratch, want)) {
        t.strictSame(fieldsOf(scratch), want, `${form} ${toHex(mem, off, len)}`)
        return
      }
      if (scratch.mptcp.present !== 0) accepted++
      if (scratch.ignored > 0 || scratch.malformed) rejected++
    }
    // the generator reaches both sides
    t.ok(accepted > 1_000 && rejected > 1_000, `accepted ${accepted}, rejected ${rejected}`)
  })
})

t.test('cost is linear: a list of NOPs and a list of two-byte options take one step an item', async (t) => {
  const reads = { count: 0 }
  const counted = (fill: number[]): Uint8Array => {
    const bytes = Uint8Array.from({ length: 40 }, (_, i) => fill[i % fill.length] as number)
    return new Proxy(bytes, {
      get(target, key) {
        if (typeof key === 'string' && /^\d+$/.test(key)) reads.count++
        return Reflect.get(target, key)
      },
    })
  }
  for (const fill of [[1], [0xfd, 2], [4, 2], [30, 2], [5, 2]]) {
    reads.count = 0
    parseTcpOptions(counted(fill), 0, 40, true, scratch)
    t.ok(reads.count <= 40 * 3 + 4, `[${fill}]: ${reads.count} reads`)
  }
})
