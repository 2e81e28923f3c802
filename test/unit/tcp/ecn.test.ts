import t from 'tap'
import type { TcpConfig } from '../../../src/tcp/config.js'
import { Packet, parsePacket } from '../../../src/wire/packet.js'
import { ACK, CWR, ECE, SYN } from '../../../src/wire/tcp.js'
import { Pair, pattern } from './harness.js'

const S = 1_000_000
const pkt = new Packet()

function parse(bytes: Uint8Array): Packet {
  parsePacket(bytes, 0, bytes.length, pkt)
  return pkt
}

/** Sets CE in the IPv4 header; the checksum of the header is mended (RFC 1624). */
function mark(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const before = view.getUint16(10)
  view.setUint16(10, before | 3)
  let sum = (~view.getUint16(20) & 0xffff) + (~before & 0xffff) + (before | 3)
  sum = (sum & 0xffff) + (sum >>> 16)
  sum = (sum & 0xffff) + (sum >>> 16)
  view.setUint16(20, ~sum & 0xffff)
}

function run(ecn: TcpConfig['ecn'], marks: number) {
  const p = Pair.of({ ecn, gso: false })
  const seen = { synFlags: -1, synAckFlags: -1, ect: 0, pureEct: 0, ece: 0, cwr: 0, marked: 0 }
  let left = marks
  p.filter = (fromA, bytes) => {
    const seg = parse(bytes)
    if ((seg.flags & SYN) !== 0) {
      if (fromA) seen.synFlags = seg.flags
      else seen.synAckFlags = seg.flags
      return 0
    }
    if (seg.payLen > 0 && (seg.tclass & 3) === 2) {
      seen.ect++
      if (fromA && left > 0 && seen.ect > 20) {
        left--
        seen.marked++
        mark(bytes)
      }
    }
    if (seg.payLen === 0 && (seg.tclass & 3) !== 0) seen.pureEct++
    if (!fromA && (seg.flags & ECE) !== 0) seen.ece++
    if (fromA && (seg.flags & CWR) !== 0) seen.cwr++
    return 0
  }
  const data = pattern(300_000)
  p.a.connect(p.now)
  p.a.write(data)
  t.ok(
    p.run(30 * S, () => p.b.receivedLen === data.length),
    'all arrives',
  )
  return { p, seen }
}

t.test('rfc3168 6.1.1: asked for and agreed on', (t) => {
  const { seen } = run('request', 0)
  t.equal(seen.synFlags, SYN | ECE | CWR)
  t.equal(seen.synAckFlags, SYN | ACK | ECE)
  t.ok(seen.ect > 100, 'data is ECN-capable')
  t.equal(seen.pureEct, 0, '6.1.4: pure ACKs are not')
  t.equal(seen.ece + seen.cwr, 0)
  t.end()
})

t.test('not asked for: nothing is marked as capable', (t) => {
  for (const ecn of ['accept', 'off'] as const) {
    const { seen } = run(ecn, 0)
    t.equal(seen.synFlags, SYN)
    t.equal(seen.synAckFlags, SYN | ACK)
    t.equal(seen.ect, 0)
  }
  t.end()
})

t.test('rfc3168 6.1.2, 6.1.3: a mark is echoed until CWR, the window is reduced once, nothing is retransmitted', (t) => {
  const { p, seen } = run('request', 3)
  t.equal(seen.marked, 3)
  t.ok(seen.ece > 0, 'echoed')
  t.equal(seen.cwr, 1, 'one reduction for marks of one window')
  t.ok((p.a.ep?.ssthresh ?? 0) < 300_000, `ssthresh ${p.a.ep?.ssthresh}`)
  t.equal(p.a.ep?.retransSegs, 0)
  t.end()
})
