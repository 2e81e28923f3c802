import t from 'tap'
import type { Rng } from '../../../src/base/rng.js'
import {
  PARSE_BAD_CHECKSUM,
  PARSE_BAD_HEADER,
  PARSE_FRAGMENT,
  PARSE_OK,
  PARSE_OTHER,
  PARSE_RESULT_NAMES,
  PARSE_SHORT,
  Packet,
  parsePacket,
} from '../../../src/wire/packet.js'
import { forSeeds } from '../../oracle/seeds.js'
import { hex, toHex } from '../../oracle/wire-bytes.js'
import { naiveChecksum, naivePacket, naivePseudoHeader } from '../../oracle/wire-packet.js'
import { A4, A6, B4, B6, segment } from './packet-support.js'

const NO_VNET = '00000000000000000000'

function parse(bytes: Uint8Array): Packet & { result: number } {
  const pkt = new Packet()
  const result = parsePacket(bytes, 0, bytes.length, pkt)
  return Object.assign(pkt, { result })
}

// By the pictures of RFC 791 §3.1 and RFC 9293 §3.1
const SYN4 = `${NO_VNET}
  4500 002c 1c46 4000 40 06 5283 0a000001 c0000202
  0fa0 0050 00000001 00000000 60 02 ffff bc32 0000  020405b4`

t.test('a SYN over IPv4, field by field', async (t) => {
  const bytes = hex(SYN4)
  const ip = bytes.subarray(10)
  t.equal(naiveChecksum(ip.subarray(0, 20)), 0, 'header checksum of the vector')
  t.equal(naiveChecksum(naivePseudoHeader(ip, 6, 24), ip.subarray(20)), 0, 'TCP checksum of the vector')
  const p = parse(bytes)
  t.equal(p.result, PARSE_OK)
  t.match(
    p,
    {
      off: 10,
      len: 44,
      family: 4,
      proto: 6,
      ttl: 64,
      tclass: 0,
      src0: 0,
      src1: 0,
      src2: 0xffff,
      src3: 0x0a000001,
      dst0: 0,
      dst1: 0,
      dst2: 0xffff,
      dst3: 0xc0000202 | 0,
      l4Off: 30,
      l4Len: 24,
      srcPort: 4000,
      dstPort: 80,
      seq: 1,
      ack: 0,
      flags: 2,
      window: 65535,
      urgent: 0,
      optOff: 50,
      optLen: 4,
      payOff: 54,
      payLen: 0,
      needsCsum: false,
      gsoType: 0,
      gsoSize: 0,
      isFragment: false,
    },
    'fields',
  )
})

t.test('IPv6 with payload, GSO and ECN', async (t) => {
  const payload = Uint8Array.from({ length: 3000 }, (_, i) => i)
  const bytes = segment({ src: A6, dst: B6, flags: 0x98, tclass: 0x2a, ttl: 7, payload, gsoSize: 1440, seq: -5, ack: -0x80000000 })
  const p = parse(bytes)
  t.equal(p.result, PARSE_OK)
  t.match(p, { family: 6, tclass: 0x2a, ttl: 7, seq: -5, ack: -0x80000000, flags: 0x98, payLen: 3000, payOff: 10 + 60, len: 3060 })
  t.match(p, { gsoType: 0x84, gsoSize: 1440, needsCsum: true, src0: 0x20010db8, src3: 1, dst1: 0xffff, dst2: 0x80000000 | 0, dst3: 2 })
})

t.test('checksums are verified unless the device vouches for them', async (t) => {
  for (const [src, dst] of [
    [A4, B4],
    [A6, B6],
  ] as const) {
    const bytes = segment({ src, dst, payload: hex('0102030405'), isSummed: true })
    t.equal(parse(bytes).result, PARSE_OK)
    bytes[bytes.length - 1] = 6
    t.equal(parse(bytes).result, PARSE_BAD_CHECKSUM)
    bytes[0] = 1
    t.equal(parse(bytes).result, PARSE_OK, 'NEEDS_CSUM')
    t.equal(parse(bytes).needsCsum, true)
    bytes[0] = 2
    t.equal(parse(bytes).result, PARSE_OK, 'DATA_VALID')
    t.equal(parse(bytes).needsCsum, false)
  }
})

t.test('broken headers', async (t) => {
  const good = hex(SYN4)
  const change = (at: number, ...values: number[]): Uint8Array => {
    const bytes = good.slice()
    bytes.set(values, 10 + at)
    bytes.set([0, 0], 20)
    const sum = naiveChecksum(bytes.subarray(10, 30))
    bytes.set([sum >> 8, sum & 255], 20)
    return bytes
  }
  const cases: [string, Uint8Array, number][] = [
    ['nothing at all', new Uint8Array(0), PARSE_SHORT],
    ['a vnet header only', new Uint8Array(10), PARSE_SHORT],
    ['version 5', change(0, 0x55), PARSE_BAD_HEADER],
    ['IHL 4', change(0, 0x44), PARSE_BAD_HEADER],
    ['total length below the header', change(2, 0, 19), PARSE_BAD_HEADER],
    ['total length beyond the packet', change(2, 0, 45), PARSE_SHORT],
    ['no room for a TCP header', change(2, 0, 39), PARSE_SHORT],
    ['TCP data offset 4', change(32, 0x40), PARSE_BAD_HEADER],
    ['TCP data offset beyond the segment', change(32, 0x70), PARSE_BAD_HEADER],
    ['wrong header checksum', good.map((b, i) => (i === 21 ? b ^ 1 : b)), PARSE_BAD_HEADER],
    ['another protocol', change(9, 132), PARSE_OTHER],
    ['ICMPv6 in IPv4', change(9, 58), PARSE_OTHER],
    ['more fragments', change(6, 0x20, 0), PARSE_FRAGMENT],
    ['a later fragment', change(6, 0, 1), PARSE_FRAGMENT],
    ["don't fragment", change(6, 0x40, 0), PARSE_OK],
  ]
  for (const [name, bytes, result] of cases) {
    const p = parse(bytes)
    t.equal(PARSE_RESULT_NAMES[p.result], PARSE_RESULT_NAMES[result], name)
    t.equal(p.isFragment, result === PARSE_FRAGMENT, `${name}: isFragment`)
  }
})

t.test('padding behind the IP length is no payload', async (t) => {
  const p = parse(hex(`${SYN4} 000000000000`))
  t.match(p, { result: PARSE_OK, len: 44, payLen: 0 })
})

t.test('IPv4 options are stepped over', async (t) => {
  const bytes = hex(`${NO_VNET}
    4600 0030 0000 4000 40 06 0000 0a000001 c0000202 01010100
    0fa0 0050 00000001 00000000 60 02 ffff bc32 0000  020405b4`)
  const sum = naiveChecksum(bytes.subarray(10, 34))
  bytes.set([sum >> 8, sum & 255], 20)
  t.match(parse(bytes), { result: PARSE_OK, l4Off: 34, srcPort: 4000, optOff: 54, optLen: 4 })
})

/** IPv6 header with `next`, then these bytes. */
function ipv6(next: number, rest: Uint8Array): Uint8Array {
  const head = hex(`${NO_VNET} 60000000 0000 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002`)
  head.set([rest.length >> 8, rest.length & 255, next], 14)
  return Uint8Array.of(1, ...head.subarray(1), ...rest)
}

const TCP20 = '0fa0 0050 00000001 00000000 50 02 ffff 0000 0000'

t.test('rfc8200 4: extension headers', async (t) => {
  const cases: [string, number, string, number, object][] = [
    ['hop-by-hop', 0, `06 00 010400000000 ${TCP20}`, PARSE_OK, { proto: 6, l4Off: 58, srcPort: 4000 }],
    ['destination options of 16 bytes', 60, `06 01 ${'00'.repeat(14)} ${TCP20}`, PARSE_OK, { l4Off: 66, l4Len: 20 }],
    ['authentication header of 24 bytes', 51, `06 04 ${'00'.repeat(22)} ${TCP20}`, PARSE_OK, { l4Off: 74, srcPort: 4000 }],
    ['routing header at its last stop', 43, `06 00 00 00 00000000 ${TCP20}`, PARSE_OK, { srcPort: 4000 }],
    ['routing header with segments left', 43, `06 00 00 01 00000000 ${TCP20}`, PARSE_OTHER, { proto: 43 }],
    ['rfc6946: an atomic fragment is a packet', 44, `06 00 0000 00000001 ${TCP20}`, PARSE_OK, { isFragment: false, srcPort: 4000 }],
    ['first fragment', 44, `06 00 0001 00000001 ${TCP20}`, PARSE_FRAGMENT, { isFragment: true, proto: 6, l4Len: 20 }],
    ['later fragment', 44, `06 00 0008 00000001 ${TCP20}`, PARSE_FRAGMENT, { isFragment: true }],
    ['eight headers', 0, `${'0000010400000000'.repeat(7)} 06 00 010400000000 ${TCP20}`, PARSE_OK, { srcPort: 4000 }],
    ['nine headers', 0, `${'0000010400000000'.repeat(8)} 06 00 010400000000 ${TCP20}`, PARSE_BAD_HEADER, {}],
    ['a header that is cut', 0, '06 00 0104', PARSE_SHORT, {}],
    ['a header longer than the packet', 0, '06 02 010400000000', PARSE_SHORT, {}],
    ['no next header', 59, '', PARSE_OTHER, { proto: 59 }],
    ['ESP', 50, '00000001', PARSE_OTHER, { proto: 50 }],
  ]
  for (const [name, next, text, result, fields] of cases) {
    const p = parse(ipv6(next, hex(text)))
    t.equal(PARSE_RESULT_NAMES[p.result], PARSE_RESULT_NAMES[result], name)
    t.match(p, fields, `${name}: fields`)
  }
  t.equal(parse(ipv6(6, hex(TCP20)).subarray(0, 49)).result, PARSE_SHORT, 'half a header')
})

t.test('UDP gets its ports', async (t) => {
  t.match(parse(ipv6(17, hex('0035 1234 0008 0000'))), { result: PARSE_OTHER, proto: 17, srcPort: 53, dstPort: 0x1234, l4Len: 8 })
})

const QUOTED4 = '4500 05dc 0000 4000 3f 06 0000 0a000001 c0000202 0fa0 0050 fffffff0'
const QUOTED6 = '60000000 0578 06 3f 20010db8000000000000000000000001 20010db8000000000000000000000002 0fa0 0050 00000007 00000000'

function icmp4(text: string): Uint8Array {
  const body = hex(text)
  const sum = naiveChecksum(body)
  body.set([sum >> 8, sum & 255], 2)
  const head = hex(`${NO_VNET} 4500 0000 0000 4000 40 01 0000 c0a80001 0a000001`)
  head.set([(20 + body.length) >> 8, (20 + body.length) & 255], 12)
  const headSum = naiveChecksum(head.subarray(10, 30))
  head.set([headSum >> 8, headSum & 255], 20)
  return Uint8Array.of(...head, ...body)
}

function icmp6(text: string): Uint8Array {
  const body = hex(text)
  const bytes = ipv6(58, body)
  bytes[0] = 0
  const sum = naiveChecksum(naivePseudoHeader(bytes.subarray(10), 58, body.length), body)
  bytes.set([sum >> 8, sum & 255], 52)
  return bytes
}

t.test('rfc792, rfc1191: ICMP errors and what they quote', async (t) => {
  const quote = {
    qFamily: 4,
    qProto: 6,
    qSrc3: 0x0a000001,
    qDst3: 0xc0000202 | 0,
    qSrcPort: 4000,
    qDstPort: 80,
    qSeq: -16,
    qOff: 38,
    qL4Off: 58,
  }
  const cases: [string, string, object][] = [
    ['host unreachable', `0301 0000 00000000 ${QUOTED4}`, { icmpType: 3, icmpCode: 1, icmpMtu: -1, ...quote }],
    ['fragmentation needed', `0304 0000 0000 0514 ${QUOTED4}`, { icmpMtu: 1300, ...quote }],
    ['rfc1191 5: an old router leaves the MTU out', `0304 0000 0000 0000 ${QUOTED4}`, { icmpMtu: 0, ...quote }],
    ['time exceeded', `0b00 0000 00000000 ${QUOTED4}`, { icmpType: 11, ...quote }],
    ['source quench', `0400 0000 00000000 ${QUOTED4}`, { icmpType: 4, ...quote }],
    ['redirect', `0501 0000 c0a80001 ${QUOTED4}`, { icmpType: 5, ...quote }],
    ['parameter problem', `0c00 0000 14000000 ${QUOTED4}`, { icmpType: 12, ...quote }],
    ['a type that nobody knows quotes nothing', `0600 0000 00000000 ${QUOTED4}`, { icmpType: 6, qFamily: 0 }],
    ['code 4 of another type carries no MTU', `0b04 0000 0000 0514 ${QUOTED4}`, { icmpMtu: -1 }],
    ['a quotation of less than 8 bytes of TCP', `0301 0000 00000000 ${QUOTED4.slice(0, -2)}`, { icmpType: 3, qFamily: 0 }],
    ['a quoted fragment', `0301 0000 00000000 ${QUOTED4.replace('4000 3f', '0001 3f')}`, { qFamily: 0 }],
    ['a quoted header of 16 bytes', `0301 0000 00000000 ${QUOTED4.replace('4500', '4400')}`, { qFamily: 0 }],
    ['the other family quoted', `0301 0000 00000000 ${QUOTED6}`, { qFamily: 0 }],
    ['nothing quoted', '0301 0000 00000000', { qFamily: 0 }],
    ['echo quotes nothing', `0800 0000 00010001 ${QUOTED4}`, { icmpType: 8, qFamily: 0, payLen: 28 }],
    ['UDP quoted', `0303 0000 00000000 ${QUOTED4.replace('3f 06', '3f 11')}`, { qProto: 17, qSrcPort: 4000, qSeq: 0 }],
    [
      'ICMP quoted has no ports',
      `0303 0000 00000000 ${QUOTED4.replace('3f 06', '3f 01')}`,
      { qFamily: 4, qProto: 1, qSrcPort: 0, qDstPort: 0 },
    ],
  ]
  for (const [name, text, fields] of cases) t.match(parse(icmp4(text)), { result: PARSE_OK, ...fields }, name)
  const broken = icmp4(`0301 0000 00000000 ${QUOTED4}`)
  broken[40] = (broken[40] as number) ^ 1
  t.equal(parse(broken).result, PARSE_BAD_CHECKSUM)
  t.equal(parse(icmp4('0301 0000 000000')).result, PARSE_SHORT)
})

t.test('rfc4443: ICMPv6 errors and what they quote', async (t) => {
  const quote = {
    qFamily: 6,
    qProto: 6,
    qSrc0: 0x20010db8,
    qSrc3: 1,
    qDst3: 2,
    qSrcPort: 4000,
    qDstPort: 80,
    qSeq: 7,
    qOff: 58,
    qL4Off: 98,
  }
  const withHeaders = (n: number): string =>
    QUOTED6.replace('0578 06', '0578 00').replace('0fa0', `${'0000010400000000'.repeat(n - 1)} 0600010400000000 0fa0`)
  const withHopByHop = QUOTED6.replace('0578 06', '0578 00').replace('0fa0', '0600010400000000 0fa0')
  const cases: [string, string, object][] = [
    ['no route', `0100 0000 00000000 ${QUOTED6}`, { icmpType: 1, icmpCode: 0, icmpMtu: -1, ...quote }],
    ['packet too big', `0200 0000 00000500 ${QUOTED6}`, { icmpMtu: 1280, ...quote }],
    ['an MTU beyond belief', `0200 0000 ffffffff ${QUOTED6}`, { icmpMtu: 0x7fffffff }],
    ['quoted extension header', `0100 0000 00000000 ${withHopByHop}`, { ...quote, qL4Off: 106 }],
    ['eight quoted extension headers', `0100 0000 00000000 ${withHeaders(8)}`, { ...quote, qL4Off: 162 }],
    ['nine quoted extension headers', `0100 0000 00000000 ${withHeaders(9)}`, { qFamily: 0 }],
    [
      'a quoted fragment, not the first',
      `0100 0000 00000000 ${withHopByHop.replace('78 00', '78 2c').replace('06000104', '06000008')}`,
      { qFamily: 0 },
    ],
    [
      'a quoted first fragment',
      `0100 0000 00000000 ${withHopByHop.replace('78 00', '78 2c').replace('06000104', '06000001')}`,
      { ...quote, qL4Off: 106 },
    ],
    ['time exceeded', `0300 0000 00000000 ${QUOTED6}`, { icmpType: 3, ...quote }],
    ['echo', '8000 0000 00010001', { icmpType: 128, qFamily: 0 }],
    ['the other family quoted', `0100 0000 00000000 ${QUOTED4}`, { qFamily: 0 }],
    ['a quotation that ends in the IPv6 header', `0100 0000 00000000 ${QUOTED6.slice(0, 40)}`, { qFamily: 0 }],
  ]
  for (const [name, text, fields] of cases) t.match(parse(icmp6(text)), { result: PARSE_OK, ...fields }, name)
  const broken = icmp6(`0100 0000 00000000 ${QUOTED6}`)
  broken[60] = (broken[60] as number) ^ 1
  t.equal(parse(broken).result, PARSE_BAD_CHECKSUM)
})

/** Something like a packet: valid ones, mutated, cut, with extension headers, or noise with a version nibble. */
function packetLike(rng: Rng): Uint8Array {
  const payload = new Uint8Array(rng.below(100))
  rng.fill(payload, 0, payload.length)
  const options = new Uint8Array(4 * rng.below(11))
  rng.fill(options, 0, options.length)
  const isV4 = rng.chance(0.5)
  const kinds: (() => Uint8Array)[] = [
    () => segment({ src: isV4 ? A4 : A6, dst: isV4 ? B4 : B6, options, payload, isSummed: rng.chance(0.5), seq: rng.int32() }),
    () => (isV4 ? icmp4(`0304 0000 00000000 ${QUOTED4}`) : icmp6(`0200 0000 00000500 ${QUOTED6}`)),
    () =>
      ipv6([0, 43, 44, 51, 60, 135, 58, 17, 6][rng.below(9)] as number, Uint8Array.of(rng.below(2) * 6, 0, 0, 0, 0, 0, 0, 0, ...payload)),
    () => Uint8Array.of(rng.below(4), 0, 0, 0, 0, 0, 0, 0, 0, 0, rng.chance(0.5) ? 0x45 : 0x60, ...payload),
  ]
  let bytes = (kinds[rng.below(kinds.length)] as () => Uint8Array)()
  for (let n = rng.chance(0.5) ? 0 : rng.between(1, 3); n > 0; n--) bytes[rng.below(bytes.length)] = rng.int32()
  if (rng.chance(0.2)) bytes = bytes.slice(0, rng.between(0, bytes.length))
  if (bytes.length >= 30 && (bytes[10] as number) >> 4 === 4 && rng.chance(0.9)) fixIpv4(bytes)
  return bytes
}

function fixIpv4(bytes: Uint8Array): void {
  const end = 10 + ((bytes[10] as number) & 15) * 4
  if (end > bytes.length) return
  bytes.set([0, 0], 20)
  const sum = naiveChecksum(bytes.subarray(10, end))
  bytes.set([sum >> 8, sum & 255], 20)
}

t.test('agrees with the naive parser on packets, mutated packets and noise, and reads nothing outside of them', async (t) => {
  await forSeeds(t, [1, 2, 3], (rng) => {
    const pkt = new Packet()
    const results = new Map<string, number>()
    for (let i = 0; i < 4_000; i++) {
      const bytes = packetLike(rng)
      const off = rng.below(20)
      const mem = new Uint8Array(off + bytes.length + 20)
      rng.fill(mem, 0, mem.length)
      mem.set(bytes, off)
      const want = naivePacket(mem, off, bytes.length)
      const result = PARSE_RESULT_NAMES[parsePacket(mem, off, bytes.length, pkt)] as string
      results.set(result, (results.get(result) ?? 0) + 1)
      const got = pkt as unknown as Record<string, unknown>
      const wrong = Object.keys(want.fields).filter((name) => got[name] !== want.fields[name])
      if (result !== want.result || wrong.length > 0) {
        t.strictSame({ result, ...Object.fromEntries(wrong.map((n) => [n, got[n]])) }, want, toHex(bytes))
        return
      }
    }
    for (const name of PARSE_RESULT_NAMES) t.ok((results.get(name) ?? 0) > 0, `${name}: ${results.get(name)} times`)
  })
})

t.test('one scratch object: nothing of an ICMP error is left for the next packet', async (t) => {
  const pkt = new Packet()
  const error = icmp4(`0304 0000 0000 0514 ${QUOTED4}`)
  parsePacket(error, 0, error.length, pkt)
  const syn = hex(SYN4)
  parsePacket(syn, 0, syn.length, pkt)
  t.match(pkt, { icmpType: -1, icmpCode: -1, icmpMtu: -1, qFamily: 0, isFragment: false })
})
