import t from 'tap'
import { TX_HEADER_ROOM } from '../../../src/base/rings.js'
import {
  buildIcmpUnreachable,
  buildPacketTooBig,
  ICMP_ERROR_MAX,
  ICMP_QUOTE_MAX,
  UNREACH_ADMIN,
  UNREACH_HOST,
  UNREACH_NET,
  UNREACH_PORT,
} from '../../../src/wire/icmp.js'
import { PARSE_OK, Packet, parsePacket } from '../../../src/wire/packet.js'
import { toHex } from '../../oracle/wire-bytes.js'
import { naivePacket } from '../../oracle/wire-packet.js'
import { A4, A6, B4, B6, segment } from './packet-support.js'

const mem = new Uint8Array(400)

function parse(len: number): Packet {
  const pkt = new Packet()
  t.equal(parsePacket(mem, 3, len, pkt), PARSE_OK)
  t.equal(naivePacket(mem, 3, len).result, 'ok', 'checksums by definition')
  return pkt
}

t.test('rfc792: unreachable in answer to IPv4', async (t) => {
  const orig = segment({ flags: 2, seq: -9 })
  const codes = [
    [UNREACH_NET, 0],
    [UNREACH_HOST, 1],
    [UNREACH_PORT, 3],
    [UNREACH_ADMIN, 13],
  ] as const
  for (const [reason, icmpCode] of codes) {
    const before = toHex(orig)
    const len = buildIcmpUnreachable(mem, 3, reason, null, orig, 10, orig.length - 10)
    t.equal(toHex(orig), before, 'the packet is left alone')
    t.equal(len, 10 + 20 + 8 + 40)
    const quote = { qFamily: 4, qProto: 6, qSrcPort: 4000, qDstPort: 80, qSeq: -9, qSrc3: A4.w3, qDst3: B4.w3 }
    t.match(parse(len), { proto: 1, icmpType: 3, icmpCode, icmpMtu: -1, src3: B4.w3, dst3: A4.w3, ...quote })
    t.equal(toHex(mem, 3, 10), '00'.repeat(10), 'a complete packet: plain vnet header')
  }
  t.match(parse(buildIcmpUnreachable(mem, 3, UNREACH_HOST, A4, orig, 10, orig.length - 10)), { src3: A4.w3, dst3: A4.w3 }, 'source given')
})

t.test('rfc4443: unreachable in answer to IPv6', async (t) => {
  const orig = segment({ src: A6, dst: B6, flags: 2, seq: 77 })
  const codes = [
    [UNREACH_NET, 0],
    [UNREACH_HOST, 3],
    [UNREACH_PORT, 4],
    [UNREACH_ADMIN, 1],
  ] as const
  for (const [reason, icmpCode] of codes) {
    const len = buildIcmpUnreachable(mem, 3, reason, null, orig, 10, orig.length - 10)
    const quote = { qFamily: 6, qProto: 6, qSrcPort: 4000, qDstPort: 80, qSeq: 77, qSrc3: A6.w3, qDst1: B6.w1 }
    t.match(parse(len), { proto: 58, icmpType: 1, icmpCode, src1: B6.w1, src3: B6.w3, dst0: A6.w0, dst3: A6.w3, ...quote })
  }
  t.match(parse(buildIcmpUnreachable(mem, 3, UNREACH_HOST, A6, orig, 10, orig.length - 10)), { src3: A6.w3 }, 'source given')
})

t.test('rfc1191, rfc8201: packet too big', async (t) => {
  const payload = new Uint8Array(1400)
  const orig4 = segment({ payload })
  t.match(parse(buildPacketTooBig(mem, 3, 1300, null, orig4, 10, orig4.length - 10)), {
    icmpType: 3,
    icmpCode: 4,
    icmpMtu: 1300,
    qFamily: 4,
  })
  t.match(parse(buildPacketTooBig(mem, 3, 70000, null, orig4, 10, orig4.length - 10)), { icmpMtu: 65535 }, 'a 16-bit field')
  const orig6 = segment({ src: A6, dst: B6, payload })
  t.match(parse(buildPacketTooBig(mem, 3, 70000, null, orig6, 10, orig6.length - 10)), {
    icmpType: 2,
    icmpCode: 0,
    icmpMtu: 70000,
    qFamily: 6,
  })
})

t.test('the quotation is bounded and fits into the header room of a tx entry', async (t) => {
  t.ok(ICMP_ERROR_MAX <= TX_HEADER_ROOM)
  t.ok(ICMP_QUOTE_MAX >= 40 + 60, 'IPv6 header and the longest TCP header')
  const orig = segment({ src: A6, dst: B6, payload: new Uint8Array(1000) })
  mem.fill(0xee)
  const len = buildIcmpUnreachable(mem, 3, UNREACH_HOST, null, orig, 10, orig.length - 10)
  t.equal(len, ICMP_ERROR_MAX)
  t.equal(toHex(mem, 3 + len), 'ee'.repeat(mem.length - 3 - len))
  const at = 3 + 10 + 40 + 8
  t.equal(toHex(mem, at, ICMP_QUOTE_MAX), toHex(orig, 10, ICMP_QUOTE_MAX))
})
