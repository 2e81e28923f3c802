import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import {
  dssLen,
  FORM_ACK,
  FORM_SYN,
  FORM_SYNACK,
  MptcpOptions,
  type OptionForm,
  parseMptcpOption,
  writeAddAddr,
  writeCapable,
  writeDss,
  writeFail,
  writeFastclose,
  writeJoinAck,
  writeJoinSyn,
  writeJoinSynAck,
  writePrio,
  writeRemoveAddr,
  writeTcpRst,
} from '../../../src/wire/mptcp-options.js'
import { Packet } from '../../../src/wire/packet.js'
import { parseOptionsOf, TcpOptions } from '../../../src/wire/tcp-options.js'
import { ACK, SYN } from '../../../src/wire/tcp.js'
import { forSeeds } from '../../oracle/seeds.js'
import { fieldsOf, hasFields, hex, NO_OPTIONS, toHex } from '../../oracle/wire-bytes.js'
import { type Fields, type Form, naiveOptions } from '../../oracle/wire-options.js'

const FLAGS_OF: Record<Form, number> = { ACK, SYN, 'SYN/ACK': SYN | ACK }
const FORM_OF: Record<Form, OptionForm> = { ACK: FORM_ACK, SYN: FORM_SYN, 'SYN/ACK': FORM_SYNACK }
const FORMS: readonly Form[] = ['ACK', 'SYN', 'SYN/ACK']
const HMAC = hex('a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3')
const V4 = IpAddress.v4(0xc0000201 | 0)
const V6 = new IpAddress(0x20010db8, 0, 0, 0x7)

function parseInto(out: TcpOptions, bytes: Uint8Array, form: Form, off: number, len: number): void {
  const pkt = new Packet()
  pkt.mem = bytes
  pkt.optOff = off
  pkt.optLen = len
  pkt.flags = FLAGS_OF[form]
  parseOptionsOf(pkt, out)
}

function parse(bytes: Uint8Array, form: Form): Fields {
  const out = new TcpOptions()
  parseInto(out, bytes, form, 0, bytes.length)
  return fieldsOf(out)
}

/** Name, form, bytes of the option, its fields, and the writer that must produce these bytes. */
const VECTORS: [string, Form, string, Fields, ((mem: Uint8Array, off: number) => number) | null][] = [
  [
    'figure 4: MP_CAPABLE of a SYN',
    'SYN',
    '1e04 01 81',
    { present: 1, capableLen: 4, capableVersion: 1, capableFlags: 0x81 },
    (m, o) => writeCapable(m, o, 4, 1, 0x81, 0, 0, 0, 0, 0, 0),
  ],
  [
    'figure 4: MP_CAPABLE of a SYN/ACK',
    'SYN/ACK',
    '1e0c 01 01 0102030405060708',
    { present: 1, capableLen: 12, capableVersion: 1, capableFlags: 1, keyHi: 0x01020304, keyLo: 0x05060708 },
    (m, o) => writeCapable(m, o, 12, 1, 1, 0x01020304, 0x05060708, 0, 0, 0, 0),
  ],
  [
    'figure 4: MP_CAPABLE of the third ACK',
    'ACK',
    '1e14 01 21 0102030405060708 f1f2f3f4f5f6f7f8',
    {
      present: 1,
      capableLen: 20,
      capableVersion: 1,
      capableFlags: 0x21,
      keyHi: 0x01020304,
      keyLo: 0x05060708,
      peerKeyHi: 0xf1f2f3f4 | 0,
      peerKeyLo: 0xf5f6f7f8 | 0,
    },
    (m, o) => writeCapable(m, o, 20, 1, 0x21, 0x01020304, 0x05060708, 0xf1f2f3f4, 0xf5f6f7f8, 0, 0),
  ],
  [
    'figure 4: MP_CAPABLE with data',
    'ACK',
    '1e16 01 01 0000000000000001 0000000000000002 05b4',
    { present: 1, capableLen: 22, capableVersion: 1, capableFlags: 1, keyLo: 1, peerKeyLo: 2, capableDataLen: 1460 },
    (m, o) => writeCapable(m, o, 22, 1, 1, 0, 1, 0, 2, 1460, 0),
  ],
  [
    'figure 4: MP_CAPABLE with data and checksum',
    'ACK',
    '1e18 01 81 0000000000000001 0000000000000002 05b4 ffee',
    {
      present: 1,
      capableLen: 24,
      capableVersion: 1,
      capableFlags: 0x81,
      keyLo: 1,
      peerKeyLo: 2,
      capableDataLen: 1460,
      capableChecksum: 0xffee,
    },
    (m, o) => writeCapable(m, o, 24, 1, 0x81, 0, 1, 0, 2, 1460, 0xffee),
  ],
  [
    'MP_CAPABLE of version 0 is seen as such',
    'SYN/ACK',
    '1e0c 00 01 0000000000000001',
    { present: 1, capableLen: 12, capableFlags: 1, keyLo: 1 },
    null,
  ],
  [
    'figure 5: MP_JOIN of a SYN',
    'SYN',
    '1e0c 11 07 deadbeef 01020304',
    { present: 2, joinLen: 12, joinBackup: true, joinAddrId: 7, joinToken: 0xdeadbeef | 0, joinNonce: 0x01020304 },
    (m, o) => writeJoinSyn(m, o, true, 7, 0xdeadbeef, 0x01020304),
  ],
  [
    'figure 6: MP_JOIN of a SYN/ACK',
    'SYN/ACK',
    '1e10 10 ff a0a1a2a3a4a5a6a7 01020304',
    { present: 2, joinLen: 16, joinAddrId: 255, joinNonce: 0x01020304, joinHmacOff: 4 },
    (m, o) => writeJoinSynAck(m, o, false, 255, HMAC, 0, 0x01020304),
  ],
  [
    'figure 7: MP_JOIN of the third ACK',
    'ACK',
    '1e18 10 00 a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3',
    { present: 2, joinLen: 24, joinHmacOff: 4 },
    (m, o) => writeJoinAck(m, o, HMAC, 0),
  ],
  [
    'figure 9: DATA_ACK of 4 bytes',
    'ACK',
    '1e08 20 01 89abcdef',
    { present: 4, dataAckLen: 4, dataAckLo: 0x89abcdef | 0 },
    (m, o) => writeDss(m, o, 4, -1, 0x89abcdef, 0, 0, 0, 0, 0, -1, false),
  ],
  [
    'figure 9: DATA_ACK of 8 bytes',
    'ACK',
    '1e0c 20 03 01234567 89abcdef',
    { present: 4, dataAckLen: 8, dataAckHi: 0x01234567, dataAckLo: 0x89abcdef | 0 },
    (m, o) => writeDss(m, o, 8, 0x01234567, 0x89abcdef, 0, 0, 0, 0, 0, -1, false),
  ],
  [
    'figure 9: mapping alone, DSN of 8 bytes: what a bulk sender writes',
    'ACK',
    '1e12 20 0c 01234567 89abcdef 00000001 ffff',
    { present: 4, dsnLen: 8, dsnHi: 0x01234567, dsnLo: 0x89abcdef | 0, ssn: 1, dataLen: 65535 },
    (m, o) => writeDss(m, o, 0, 0, 0, 8, 0x01234567, 0x89abcdef, 1, 65535, -1, false),
  ],
  [
    'figure 9: everything, 28 bytes',
    'ACK',
    '1e1c 20 1f 0000000100000002 0000000300000004 80000005 0006 0007',
    {
      present: 4,
      dataAckLen: 8,
      dataAckHi: 1,
      dataAckLo: 2,
      dsnLen: 8,
      dsnHi: 3,
      dsnLo: 4,
      ssn: 0x80000005 | 0,
      dataLen: 6,
      dssChecksum: 7,
      dataFin: true,
    },
    (m, o) => writeDss(m, o, 8, 1, 2, 8, 3, 4, 0x80000005, 6, 7, true),
  ],
  [
    'rfc8684 3.3.3: DATA_FIN alone, subflow sequence 0 and length 1',
    'ACK',
    '1e12 20 15 00000009 00000005 00000000 0001',
    { present: 4, dataAckLen: 4, dataAckLo: 9, dsnLen: 4, dsnLo: 5, dataLen: 1, dataFin: true },
    (m, o) => writeDss(m, o, 4, 0, 9, 4, 0, 5, 0, 1, -1, true),
  ],
  [
    'infinite mapping with its zero checksum',
    'ACK',
    '1e10 20 04 00000005 00000001 0000 0000',
    { present: 4, dsnLen: 4, dsnLo: 5, ssn: 1, dssChecksum: 0 },
    (m, o) => writeDss(m, o, 0, 0, 0, 4, 0, 5, 1, 0, 0, false),
  ],
  ['figure 9: a and m mean nothing without A and M, F nothing without a mapping', 'ACK', '1e04 20 1a', { present: 4 }, null],
  ['reserved bits of DSS are not looked at', 'ACK', '1e08 2f e1 00000001', { present: 4, dataAckLen: 4, dataAckLo: 1 }, null],
  [
    'figure 12: ADD_ADDR for IPv4',
    'ACK',
    '1e10 30 05 c0000201 a0a1a2a3a4a5a6a7',
    { present: 8, addAddrId: 5, addFamily: 4, add2: 0xffff, add3: 0xc0000201 | 0, addHmacOff: 8 },
    (m, o) => writeAddAddr(m, o, 5, V4, 0, HMAC, 0),
  ],
  [
    'figure 12: ADD_ADDR for IPv4 with port',
    'ACK',
    '1e12 30 05 c0000201 1f90 a1a2a3a4a5a6a7a8',
    { present: 8, addAddrId: 5, addFamily: 4, add2: 0xffff, add3: 0xc0000201 | 0, addPort: 8080, addHmacOff: 10 },
    (m, o) => writeAddAddr(m, o, 5, V4, 8080, HMAC, 1),
  ],
  [
    'figure 12: ADD_ADDR for IPv6',
    'ACK',
    '1e1c 30 05 20010db8000000000000000000000007 a0a1a2a3a4a5a6a7',
    { present: 8, addAddrId: 5, addFamily: 6, add0: 0x20010db8, add3: 7, addHmacOff: 20 },
    (m, o) => writeAddAddr(m, o, 5, V6, 0, HMAC, 0),
  ],
  [
    'figure 12: ADD_ADDR for IPv6 with port',
    'ACK',
    '1e1e 30 05 20010db8000000000000000000000007 1f90 a0a1a2a3a4a5a6a7',
    { present: 8, addAddrId: 5, addFamily: 6, add0: 0x20010db8, add3: 7, addPort: 8080, addHmacOff: 22 },
    (m, o) => writeAddAddr(m, o, 5, V6, 8080, HMAC, 0),
  ],
  [
    'echo of ADD_ADDR for IPv4',
    'ACK',
    '1e08 31 05 c0000201',
    { present: 8, addEcho: true, addAddrId: 5, addFamily: 4, add2: 0xffff, add3: 0xc0000201 | 0 },
    (m, o) => writeAddAddr(m, o, 5, V4, 0, null, 0),
  ],
  [
    'echo of ADD_ADDR for IPv4 with port',
    'ACK',
    '1e0a 31 05 c0000201 1f90',
    { present: 8, addEcho: true, addAddrId: 5, addFamily: 4, add2: 0xffff, add3: 0xc0000201 | 0, addPort: 8080 },
    (m, o) => writeAddAddr(m, o, 5, V4, 8080, null, 0),
  ],
  [
    'echo of ADD_ADDR for IPv6',
    'ACK',
    '1e14 31 05 20010db8000000000000000000000007',
    { present: 8, addEcho: true, addAddrId: 5, addFamily: 6, add0: 0x20010db8, add3: 7 },
    (m, o) => writeAddAddr(m, o, 5, V6, 0, null, 0),
  ],
  [
    'echo of ADD_ADDR for IPv6 with port',
    'ACK',
    '1e16 31 05 20010db8000000000000000000000007 1f90',
    { present: 8, addEcho: true, addAddrId: 5, addFamily: 6, add0: 0x20010db8, add3: 7, addPort: 8080 },
    (m, o) => writeAddAddr(m, o, 5, V6, 8080, null, 0),
  ],
  [
    'unassigned flags of ADD_ADDR are not looked at',
    'ACK',
    '1e08 3f 05 c0000201',
    { present: 8, addEcho: true, addAddrId: 5, addFamily: 4, add2: 0xffff, add3: 0xc0000201 | 0 },
    null,
  ],
  [
    'figure 13: REMOVE_ADDR of one',
    'ACK',
    '1e04 40 09',
    { present: 16, removeCount: 1, removeIds: [9] },
    (m, o) => writeRemoveAddr(m, o, Uint8Array.of(9), 1),
  ],
  [
    'figure 13: REMOVE_ADDR of a list, id 0 among them',
    'ACK',
    '1e06 40 090007',
    { present: 16, removeCount: 3, removeIds: [9, 0, 7] },
    (m, o) => writeRemoveAddr(m, o, Uint8Array.of(9, 0, 7), 3),
  ],
  ['figure 11: MP_PRIO, backup', 'ACK', '1e03 51', { present: 32, prioBackup: true }, (m, o) => writePrio(m, o, true)],
  ['figure 11: MP_PRIO, no backup', 'ACK', '1e03 50', { present: 32 }, (m, o) => writePrio(m, o, false)],
  [
    'figure 16: MP_FAIL',
    'ACK',
    '1e0c 60 00 01234567 89abcdef',
    { present: 64, failHi: 0x01234567, failLo: 0x89abcdef | 0 },
    (m, o) => writeFail(m, o, 0x01234567, 0x89abcdef),
  ],
  [
    'figure 14: MP_FASTCLOSE',
    'ACK',
    '1e0c 70 00 01234567 89abcdef',
    { present: 128, fastcloseHi: 0x01234567, fastcloseLo: 0x89abcdef | 0 },
    (m, o) => writeFastclose(m, o, 0x01234567, 0x89abcdef),
  ],
  ['figure 15: MP_TCPRST', 'ACK', '1e04 80 03', { present: 256, rstReason: 3 }, (m, o) => writeTcpRst(m, o, 3, false)],
  [
    'figure 15: MP_TCPRST, transient',
    'ACK',
    '1e04 81 00',
    { present: 256, rstReason: 0, rstTransient: true },
    (m, o) => writeTcpRst(m, o, 0, true),
  ],
  ['figure 15: U, V and W are not looked at', 'ACK', '1e04 8e 06', { present: 256, rstReason: 6 }, null],
]

t.test('option bytes from the figures of RFC 8684, read and written', async (t) => {
  for (const [name, form, text, fields, write] of VECTORS) {
    const bytes = hex(text)
    t.strictSame(parse(bytes, form), { ...NO_OPTIONS, ...fields }, name)
    if (write === null) continue
    const mem = new Uint8Array(64).fill(0xee)
    const len = write(mem, 5)
    t.equal(toHex(mem, 5, len), toHex(bytes), `${name}: written`)
    t.equal(toHex(mem, 0, 5) + toHex(mem, 5 + len), 'ee'.repeat(64 - len), `${name}: and nothing else`)
  }
})

t.test('rfc8684 3.1, 3.2: the form of a segment decides which lengths are legal', async (t) => {
  const legal: [number, Form, number[]][] = [
    [0, 'SYN', [4]],
    [0, 'SYN/ACK', [12]],
    [0, 'ACK', [20, 22, 24]],
    [1, 'SYN', [12]],
    [1, 'SYN/ACK', [16]],
    [1, 'ACK', [24]],
  ]
  for (const [subtype, form, lens] of legal) {
    const found: number[] = []
    for (let len = 3; len <= 40; len++) {
      const bytes = new Uint8Array(40)
      bytes.set([30, len, (subtype << 4) | 1, 1])
      if (parseMptcpOption(bytes, 0, len, FORM_OF[form], new MptcpOptions())) found.push(len)
    }
    t.strictSame(found, lens, `subtype ${subtype}, ${form}`)
  }
})

t.test('all subtypes, lengths 2 to 40, flags and forms: as the naive parser says, no trace of the rejected', async (t) => {
  const mem = new Uint8Array(64)
  const out = new TcpOptions()
  const rejected = { ...NO_OPTIONS, ignored: 1 }
  await forSeeds(t, [1], (rng) => {
    let accepted = 0
    for (let subtype = 0; subtype < 16; subtype++) {
      for (let len = 2; len <= 40; len++) {
        rng.fill(mem, 0, 64)
        const isDss = subtype === 2
        for (const low of isDss ? [0] : [0, 1, 6, 15]) {
          for (let flags = 0; flags < 256; flags += isDss ? 1 : 255) {
            mem.set([30, len, (subtype << 4) | low, flags], 8)
            for (const form of isDss ? (['ACK'] as const) : FORMS) {
              parseInto(out, mem, form, 8, len)
              const want = naiveOptions(mem, 8, len, form)
              if (!hasFields(out, want)) {
                t.strictSame(fieldsOf(out), want, `${form} ${toHex(mem, 8, len)}`)
                return
              }
              if (out.mptcp.present !== 0) accepted++
              else if (!hasFields(out, rejected)) t.fail(`trace of ${toHex(mem, 8, len)}`)
            }
          }
        }
      }
    }
    t.ok(accepted > 1_000, `accepted ${accepted}`)
  })
})

t.test('an option cut anywhere is malformed or ignored, never half read', async (t) => {
  for (const [name, form, text] of VECTORS) {
    const bytes = hex(text)
    for (let len = 1; len < bytes.length; len++) {
      t.strictSame(parse(bytes.slice(0, len), form), { ...NO_OPTIONS, malformed: true }, `${name}: ${len} bytes`)
      const shorter = bytes.slice(0, len)
      if (len < 2) continue
      shorter[1] = len
      const got = parse(shorter, form)
      t.strictSame(got, naiveOptions(shorter, 0, len, form), `${name}: length field ${len}`)
    }
  }
})

t.test('the first of two options of a subtype counts, different subtypes stand together', async (t) => {
  const both = hex('1e08 20 01 00000001  1e04 40 05  1e08 20 01 00000002  1e03 51 01')
  const expected = {
    ...NO_OPTIONS,
    present: 4 | 16 | 32,
    dataAckLen: 4,
    dataAckLo: 1,
    removeCount: 1,
    removeIds: [5],
    prioBackup: true,
    ignored: 1,
  }
  t.strictSame(parse(both, 'ACK'), expected)
  const late = hex('1e07 20 01 000000  1e08 20 01 00000002')
  t.strictSame(
    parse(late, 'ACK'),
    { ...NO_OPTIONS, present: 4, dataAckLen: 4, dataAckLo: 2, ignored: 1 },
    'a rejected one is not the first',
  )
})

t.test('emit, then parse: DSS of every shape with random numbers', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    const mem = new Uint8Array(64)
    for (let i = 0; i < 5_000; i++) {
      const ackLen = ([0, 4, 8] as const)[rng.below(3)] as 0 | 4 | 8
      const dsnLen = ([0, 4, 8] as const)[rng.below(3)] as 0 | 4 | 8
      const checksum = rng.chance(0.5) ? rng.below(65536) : -1
      const isFin = rng.chance(0.5)
      const n = {
        ackHi: rng.int32(),
        ackLo: rng.int32(),
        dsnHi: rng.int32(),
        dsnLo: rng.int32(),
        ssn: rng.int32(),
        dataLen: rng.below(65536),
      }
      const len = writeDss(mem, 4, ackLen, n.ackHi, n.ackLo, dsnLen, n.dsnHi, n.dsnLo, n.ssn, n.dataLen, checksum, isFin)
      if (len !== dssLen(ackLen, dsnLen, checksum >= 0)) t.fail(`dssLen(${ackLen}, ${dsnLen}, ${checksum >= 0}) is not ${len}`)
      const m = new MptcpOptions()
      if (!parseMptcpOption(mem, 4, len, FORM_ACK, m)) t.fail(`rejected ${toHex(mem, 4, len)}`)
      const want = new MptcpOptions()
      want.present = 4
      want.dataAckLen = ackLen
      if (ackLen === 8) want.dataAckHi = n.ackHi
      if (ackLen > 0) want.dataAckLo = n.ackLo
      want.dsnLen = dsnLen
      if (dsnLen === 8) want.dsnHi = n.dsnHi
      if (dsnLen > 0) {
        want.dsnLo = n.dsnLo
        want.ssn = n.ssn
        want.dataLen = n.dataLen
        want.dssChecksum = checksum
        want.dataFin = isFin
      }
      if (JSON.stringify(m) !== JSON.stringify(want)) t.strictSame(m, want)
    }
    t.pass('all cases agree')
  })
})
