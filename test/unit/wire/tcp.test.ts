import t from 'tap'
import { readU16 } from '../../../src/base/bytes.js'
import { PARSE_OK, Packet, parsePacket } from '../../../src/wire/packet.js'
import { ACK, buildRst, CWR, FIN, RST, segmentLen, SYN, TCP_FLAGS, writeTcpSegment } from '../../../src/wire/tcp.js'
import { parseOptionsOf, TcpOptions } from '../../../src/wire/tcp-options.js'
import { forSeeds } from '../../oracle/seeds.js'
import { hex, toHex } from '../../oracle/wire-bytes.js'
import { naiveChecksum, naivePseudoHeader } from '../../oracle/wire-packet.js'
import { A4, A6, B4, B6, segment, type SegmentSpec } from './packet-support.js'

function parse(bytes: Uint8Array): Packet {
  const pkt = new Packet()
  const result = parsePacket(bytes, 0, bytes.length, pkt)
  if (result !== PARSE_OK) throw new Error(`parse result ${result}`)
  return pkt
}

t.test('rfc9293 3.1: the fixed header, and the bits of the flags', async (t) => {
  const mem = new Uint8Array(24).fill(0xee)
  t.equal(writeTcpSegment(mem, 2, 0x1234, 80, -2, 0x7fffffff, 0xff, 0x8001), 20)
  t.equal(toHex(mem), 'eeee 1234 0050 fffffffe 7fffffff 50ff 8001 0000 0000 eeee'.replace(/ /g, ''))
  t.strictSame(TCP_FLAGS, { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16, URG: 32, ECE: 64, CWR: 128 })
})

t.test('finishTcp: lengths, partial checksum and the kernel sums the rest right', async (t) => {
  for (const [src, dst, ipLen] of [
    [A4, B4, 20],
    [A6, B6, 40],
  ] as const) {
    const payload = hex('0102030405')
    const bytes = segment({ src, dst, options: hex('0101080a0000000100000002'), payload })
    const ip = bytes.subarray(10)
    t.equal(toHex(bytes, 0, 10), `01000000 0000 ${toHex(Uint8Array.of(ipLen))}00 1000`.replace(/ /g, ''), 'vnet header: no GSO')
    t.equal((ip[ipLen + 12] as number) >> 4, 8, 'data offset')
    t.equal(ipLen === 20 ? readU16(ip, 2) : readU16(ip, 4), ipLen === 20 ? 57 : 37, 'IP length')
    // the partial checksum holds the sum of the pseudo-header, so that summing header and payload over it gives the checksum
    t.equal(readU16(ip, ipLen + 16), ~naiveChecksum(naivePseudoHeader(ip, 6, 37)) & 0xffff)
    const sum = naiveChecksum(ip.subarray(ipLen))
    ip.set([sum >> 8, sum & 255], ipLen + 16)
    t.equal(naiveChecksum(naivePseudoHeader(ip, 6, 37), ip.subarray(ipLen)), 0, 'completed')
  }
})

t.test('finishTcp: GSO metadata when the payload is longer than a segment', async (t) => {
  const vnet = (spec: SegmentSpec): string => toHex(segment(spec), 0, 10)
  const payload = new Uint8Array(3000)
  t.equal(vnet({ payload, gsoSize: 1448 }), '01014800a80514001000'.replace('4800', '2800'), 'IPv4: hdr_len 40')
  t.equal(vnet({ payload, gsoSize: 1448, options: new Uint8Array(12).fill(1) }), '01013400a80514001000', 'options count in hdr_len')
  t.equal(vnet({ src: A6, dst: B6, payload, gsoSize: 1428 }), '01043c00940528001000', 'IPv6')
  t.equal(vnet({ payload, gsoSize: 1448, flags: ACK | CWR }), '01812800a80514001000', 'rfc3168: CWR needs the ECN bit')
  t.equal(vnet({ payload, gsoSize: 3000 }), '01000000000014001000', 'one segment: no GSO')
  t.equal(vnet({ payload, gsoSize: 0 }), '01000000000014001000', 'GSO not wanted')
})

t.test('emit, then parse: identity', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    for (let i = 0; i < 1_000; i++) {
      const isV4 = rng.chance(0.5)
      const options = new Uint8Array(4 * rng.below(11)).fill(1)
      const payload = new Uint8Array(rng.below(200))
      rng.fill(payload, 0, payload.length)
      const spec = {
        src: isV4 ? A4 : A6,
        dst: isV4 ? B4 : B6,
        srcPort: rng.below(65536),
        dstPort: rng.below(65536),
        seq: rng.int32(),
        ack: rng.int32(),
        flags: rng.below(256),
        window: rng.below(65536),
        tclass: rng.below(256),
        ttl: rng.below(256),
        options,
        payload,
        isSummed: rng.chance(0.5),
      }
      const p = parse(segment(spec))
      const same =
        p.srcPort === spec.srcPort &&
        p.dstPort === spec.dstPort &&
        p.seq === spec.seq &&
        p.ack === spec.ack &&
        p.flags === spec.flags &&
        p.window === spec.window &&
        p.tclass === spec.tclass &&
        p.ttl === spec.ttl &&
        p.optLen === options.length &&
        p.payLen === payload.length &&
        p.src3 === spec.src.w3 &&
        p.dst3 === spec.dst.w3 &&
        toHex(p.mem, p.payOff, p.payLen) === toHex(payload)
      if (!same) t.match(p, spec)
    }
    t.pass('all cases agree')
  })
})

t.test('rfc9293 3.4: SYN and FIN count in the length of a segment', async (t) => {
  t.equal(segmentLen(parse(segment({ flags: ACK }))), 0)
  t.equal(segmentLen(parse(segment({ flags: SYN }))), 1)
  t.equal(segmentLen(parse(segment({ flags: FIN | ACK, payload: hex('0102') }))), 3)
})

t.test('rfc9293 3.10.7.1: the reset for a segment of no connection', async (t) => {
  const mem = new Uint8Array(120)
  const answer = (spec: SegmentSpec, reason = -1): Packet => parse(mem.slice(0, buildRst(mem, 0, parse(segment(spec)), reason)))
  for (const [src, dst] of [
    [A4, B4],
    [A6, B6],
  ] as const) {
    const swapped = { src0: dst.w0, src1: dst.w1, src2: dst.w2, src3: dst.w3, dst0: src.w0, dst3: src.w3, srcPort: 80, dstPort: 4000 }
    t.match(answer({ src, dst, flags: ACK, ack: -7 }), { ...swapped, flags: RST, seq: -7, ack: 0, payLen: 0, optLen: 0 }, 'with ACK')
    t.match(
      answer({ src, dst, flags: SYN, seq: -1 }),
      { ...swapped, flags: RST | ACK, seq: 0, ack: 0 },
      'SYN: acknowledges it, across the wrap',
    )
    t.match(answer({ src, dst, flags: FIN, seq: 5, payload: hex('010203') }), { flags: RST | ACK, seq: 0, ack: 9 }, 'data and FIN')
    t.equal(buildRst(mem, 0, parse(segment({ src, dst, flags: RST | ACK }))), 0, 'a reset is not answered')
  }
  const opts = new TcpOptions()
  parseOptionsOf(answer({ flags: SYN }, 1), opts)
  t.match(opts.mptcp, { present: 256, rstReason: 1, rstTransient: false }, 'with MP_TCPRST')
  t.ok(buildRst(mem, 0, parse(segment({ src: A6, dst: B6, flags: SYN })), 1) <= 84, 'the bound that it documents')
})
