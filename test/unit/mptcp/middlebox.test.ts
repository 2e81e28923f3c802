import t from 'tap'
import { path } from '../../../src/pathmgr/path.js'
import { HAS_CAPABLE, HAS_FAIL, RST_MIDDLEBOX, RST_MPTCP_ERROR } from '../../../src/wire/mptcp-options.js'
import { RST, SYN } from '../../../src/wire/tcp.js'
import { FALLBACK_NAMES, FB_FAIL_RECEIVED, FB_INFINITE_RECEIVED, FB_NONE } from '../../../src/mptcp/fallback.js'
import { CLIENT_2, DROP, Link, optionAt, PASS, pattern, type Seen, strip } from './harness.js'
import { writeI32, writeU16 } from '../../../src/base/bytes.js'
import { MP_DSS } from '../../../src/wire/mptcp-options.js'

function isSyn(p: Seen): boolean {
  return (p.pkt.flags & SYN) !== 0
}

t.test('rfc8684 3.7: a corrupted byte on the only subflow: MP_FAIL, infinite mapping, plain TCP', async (tt) => {
  const link = new Link({ isCut: true, client: { checksum: true } }).establish()
  link.client.write(pattern(5000))
  link.run(300_000)
  let hit = 0
  link.filter = (p) => {
    if (p.fromClient && p.pkt.payLen > 500 && hit === 0) {
      p.bytes[p.pkt.payOff + 100] = (p.bytes[p.pkt.payOff + 100] as number) ^ 0x20
      hit++
    }
    return PASS
  }
  link.client.write(pattern(40_000, 5000))
  link.run(500_000)
  link.client.write(pattern(10_000, 45_000))
  link.run(3_000_000)
  tt.equal(hit, 1)
  tt.equal(link.server.counters.DataCsumErr, 1)
  tt.ok(
    link.seen.some((p) => !p.fromClient && (p.opts.mptcp.present & HAS_FAIL) !== 0),
    'MP_FAIL from the receiver',
  )
  tt.ok(
    link.seen.some((p) => p.fromClient && (p.opts.mptcp.present & HAS_FAIL) !== 0),
    'MP_FAIL in answer',
  )
  tt.ok(
    link.seen.some((p) => p.fromClient && p.opts.mptcp.dsnLen === 8 && p.opts.mptcp.dataLen === 0),
    'infinite mapping',
  )
  tt.equal(FALLBACK_NAMES[link.client.c.fallbackReason], FALLBACK_NAMES[FB_FAIL_RECEIVED])
  tt.equal(link.client.counters.MPFailTx, 1, 'one answer')
  tt.equal(FALLBACK_NAMES[link.server.c.fallbackReason], FALLBACK_NAMES[FB_INFINITE_RECEIVED])
  tt.equal(link.server.received, 55_000, 'the stream goes on, with the byte that the middlebox changed')
  const last = link.seen[link.seen.length - 1] as Seen
  tt.equal(last.opts.mptcp.present, 0)
})

t.test(
  'rfc8684 3.7: nothing of the answer to MP_FAIL gets through: data without options shows it, and nobody talks on and on',
  async (tt) => {
    const link = new Link({ isCut: true, client: { checksum: true } }).establish()
    link.client.write(pattern(5000))
    link.run(300_000)
    let hit = 0
    let stripped = 0
    link.filter = (p) => {
      if (!p.fromClient) return PASS
      if (p.pkt.payLen > 500 && hit === 0) {
        p.bytes[p.pkt.payOff + 100] = (p.bytes[p.pkt.payOff + 100] as number) ^ 0x20
        hit++
      } else if (link.client.c.fallbackReason !== FB_NONE) stripped += strip(p.bytes)
      return PASS
    }
    link.client.write(pattern(40_000, 5000))
    link.run(500_000)
    tt.equal(FALLBACK_NAMES[link.client.c.fallbackReason], FALLBACK_NAMES[FB_FAIL_RECEIVED])
    link.client.write(pattern(10_000, 45_000))
    link.run(500_000)
    tt.ok(stripped >= 2, 'MP_FAIL and the infinite mapping were taken away')
    tt.equal(link.server.counters.InfiniteMapRx, 0)
    tt.equal(FALLBACK_NAMES[link.server.c.fallbackReason], FALLBACK_NAMES[FB_INFINITE_RECEIVED])
    tt.equal(link.server.received, 55_000)
    const packets = link.seen.length
    link.server.c.subflows[0]?.answer() // a wish that the fallback overtook
    link.run(10_000_000)
    tt.equal(link.seen.length, packets)
  },
)

t.test('rfc8684 3.7: bytes without a mapping behind a copy of older ones are not taken for the next ones of the stream', async (tt) => {
  const link = new Link({ isCut: true }).establish()
  link.client.write(pattern(5000))
  link.run(300_000)
  tt.equal(link.server.received, 5000)
  let rewritten = 0
  link.filter = (p) => {
    if (!p.fromClient || p.pkt.payLen < 1000 || p.opts.mptcp.dsnLen !== 8) return PASS
    // as a box leaves two copies that it has joined: only the first half has a mapping
    const at = optionAt(p, MP_DSS) + 8 + p.opts.mptcp.dataAckLen
    writeI32(p.bytes, at, p.opts.mptcp.dsnLo - 4000)
    writeU16(p.bytes, at + 8, 500)
    rewritten++
    return PASS
  }
  link.client.write(pattern(4000, 5000))
  link.run(30_000)
  tt.ok(rewritten >= 2)
  tt.ok(link.server.counters.DuplicateData > 0, 'copies')
  tt.equal(link.server.counters.ImpliedMappings, 0)
  tt.equal(link.server.received, 5000)
})

t.test('rfc8684 3.7: a corrupted byte with two subflows: RST with MP_FAIL and reason 6, byte-exact', async (tt) => {
  const link = new Link({ isCut: true, client: { checksum: true } }).establish()
  link.client.write(pattern(1))
  link.run(200_000)
  link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(200_000)
  let hit = 0
  link.filter = (p) => {
    if (p.fromClient && p.flow === 1 && p.pkt.payLen > 500 && hit === 0) {
      p.bytes[p.pkt.payOff + 100] = (p.bytes[p.pkt.payOff + 100] as number) ^ 0x20
      hit++
    }
    return PASS
  }
  link.client.write(pattern(300_000, 1))
  tt.ok(link.run(20_000_000, () => link.server.hasReceived(pattern(300_001))))
  tt.equal(hit, 1)
  const rst = link.seen.find((p) => p.flow === 1 && !p.fromClient && (p.pkt.flags & RST) !== 0) as Seen
  tt.ok((rst.opts.mptcp.present & HAS_FAIL) !== 0)
  tt.equal(link.client.counters.MPFailRx, 1)
  tt.equal(rst.opts.mptcp.rstReason, RST_MIDDLEBOX)
})

t.test('rfc8684 3.3: a checksum that was not negotiated, or is missing: RST with reason 1', async (tt) => {
  const link = new Link({ isCut: true, client: { checksum: true } }).establish()
  link.client.write(pattern(10))
  link.run(200_000)
  let hit = 0
  link.filter = (p) => {
    const at = p.fromClient && p.opts.mptcp.dssChecksum >= 0 ? optionAt(p, MP_DSS) : -1
    if (at < 0) return PASS
    // shorten the option by its checksum
    const len = p.bytes[at + 1] as number
    p.bytes[at + 1] = len - 2
    p.bytes.fill(1, at + len - 2, at + len)
    hit++
    return PASS
  }
  link.client.write(pattern(10, 10))
  link.run(200_000)
  tt.ok(hit > 0)
  const rst = link.seen.find((p) => !p.fromClient && (p.pkt.flags & RST) !== 0) as Seen
  tt.equal(rst.opts.mptcp.rstReason, RST_MPTCP_ERROR)
})

t.test('rfc8684 3.3.1: a mapping that contradicts an earlier one resets the subflow', async (tt) => {
  const link = new Link({ isCut: true, capacity: 60_000 }).establish()
  link.server.write(pattern(10))
  link.run(200_000)
  const seen = link.seen.length
  let n = 0
  // two segments of one mapping: the first is held back, the DSN of the second is moved
  link.filter = (p) => {
    if (!p.fromClient || p.pkt.payLen === 0) return PASS
    n++
    if (n === 1) return 30_000
    const at = optionAt(p, MP_DSS)
    if (n === 3) p.bytes[at + 11] = ((p.bytes[at + 11] as number) + 1) & 255
    return PASS
  }
  link.client.write(pattern(5000))
  link.run(100_000)
  tt.ok(n >= 3)
  tt.equal(link.server.counters.DSSNotMatching, 1)
  const rst = link.seen.slice(seen).find((p) => !p.fromClient && (p.pkt.flags & RST) !== 0) as Seen
  tt.equal(rst.opts.mptcp.rstReason, RST_MPTCP_ERROR)
})

t.test('rfc8684 3.3.1: unmapped bytes on one of two subflows are staged; no mapping within a window: RST, reason 6', async (tt) => {
  const link = new Link({ isCut: true, capacity: 300_000 }).establish()
  link.client.write(pattern(1))
  link.run(200_000)
  link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(200_000)
  // only the mapping is lost, DATA_ACKs pass: the sender has no reason to suspect anything
  let hits = 0
  link.filter = (p) => {
    if (p.flow !== 1 || !p.fromClient || p.pkt.payLen === 0) return PASS
    hits += strip(p.bytes)
    return PASS
  }
  let sent = 1
  for (let i = 0; i < 300 && link.server.counters.UnmappedReset === 0; i++) {
    sent += link.client.write(pattern(20_000, sent))
    link.run(100_000)
  }
  tt.ok(hits > 0)
  tt.ok(link.server.counters.StagedBytes > 0)
  tt.ok(
    link.run(60_000_000, () => link.server.hasReceived(pattern(sent))),
    `${link.server.received} of ${sent}`,
  )
  if (link.server.counters.UnmappedReset > 0) {
    const rst = link.seen.find((p) => p.flow === 1 && !p.fromClient && (p.pkt.flags & RST) !== 0) as Seen
    tt.equal(rst.opts.mptcp.rstReason, RST_MIDDLEBOX)
  }
})

t.test('rfc8684 3.3.1: a mapping may come with a later segment than the first byte it covers', async (tt) => {
  const link = new Link({ isCut: true, client: { sparse: null } }).establish()
  link.client.write(pattern(1))
  link.run(200_000)
  link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(200_000)
  // of each mapping on the join the first segment loses its DSS, the others keep it
  let hits = 0
  let last = -1
  link.filter = (p) => {
    if (p.flow !== 1 || !p.fromClient || p.pkt.payLen === 0) return PASS
    const ssn = p.opts.mptcp.ssn
    if (ssn !== last && p.opts.mptcp.dataLen > p.pkt.payLen) hits += strip(p.bytes)
    last = ssn
    return PASS
  }
  const up = pattern(400_000, 1)
  link.client.write(up)
  tt.ok(link.run(20_000_000, () => link.server.hasReceived(pattern(400_001))))
  tt.ok(hits > 0)
  tt.ok(link.server.counters.StagedBytes > 0)
  tt.notOk(link.seen.some((p) => (p.pkt.flags & RST) !== 0))
  tt.equal(link.client.counters.ReinjectedBytes, 0, 'nothing had to go out twice')
})

t.test('rfc8684 3.3.1: 4-byte DSN and DATA_ACK are understood across a wrap', async (tt) => {
  const link = new Link({ isCut: true }).establish()
  link.client.write(pattern(1))
  link.run(200_000)
  let hits = 0
  link.filter = (p) => {
    const m = p.opts.mptcp
    const at = m.dsnLen === 8 ? optionAt(p, MP_DSS) : -1
    if (at < 0 || isSyn(p)) return PASS
    // rewrite the DSN as 4 bytes: flags without 'm', the upper half cut out
    const dsnAt = at + 4 + m.dataAckLen
    const len = p.bytes[at + 1] as number
    p.bytes[at + 3] = (p.bytes[at + 3] as number) & ~8
    p.bytes.copyWithin(dsnAt, dsnAt + 4, at + len)
    p.bytes[at + 1] = len - 4
    p.bytes.fill(1, at + len - 4, at + len)
    hits++
    return PASS
  }
  link.client.write(pattern(100_000, 1))
  link.server.write(pattern(100_000))
  tt.ok(link.run(10_000_000, () => link.server.hasReceived(pattern(100_001)) && link.client.hasReceived(pattern(100_000))))
  tt.ok(hits > 10)
})

t.test('rfc8684 3.8: data far outside of the window is acknowledged on the subflow and dropped', async (tt) => {
  const link = new Link({ capacity: 60_000 }).establish()
  link.server.write(pattern(10))
  link.run(200_000)
  let hit = 0
  link.filter = (p) => {
    const at = p.fromClient && p.pkt.payLen > 0 && hit === 0 ? optionAt(p, MP_DSS) : -1
    if (at < 0) return PASS
    const dsnAt = at + 4 + p.opts.mptcp.dataAckLen
    writeI32(p.bytes, dsnAt + 4, (p.opts.mptcp.dsnLo + 10_000_000) | 0)
    writeU16(p.bytes, dsnAt + 12, p.opts.mptcp.dataLen)
    hit++
    return PASS
  }
  link.client.write(pattern(1000))
  tt.ok(
    link.run(10_000_000, () => link.server.hasReceived(pattern(1000))),
    'the data level brings it again',
  )
  tt.equal(hit, 1)
  tt.equal(link.server.counters.NoDSSInWindow, 1)
  tt.ok(link.client.counters.ReinjectedBytes >= 1000)
})

t.test('rfc8684 3.7: a way back that drops MP_CAPABLE: the repeated SYN/ACK goes without, and the connection is plain', async (tt) => {
  const link = new Link({ isCut: true })
  link.filter = (p) => (!p.fromClient && (p.opts.mptcp.present & HAS_CAPABLE) !== 0 ? DROP : PASS)
  link.client.connect(link.now)
  link.run(20_000_000)
  tt.ok(link.dropped > 0)
  link.client.write(pattern(1000))
  link.server.write(pattern(1000, 7))
  tt.ok(link.run(1_000_000, () => link.server.hasReceived(pattern(1000)) && link.client.hasReceived(pattern(1000, 7))))
  tt.not(link.client.c.fallbackReason, FB_NONE)
  tt.not(link.server.c.fallbackReason, FB_NONE)
})

t.test('rfc8684 3.7: bytes that came out of order with their mapping count in the fallback that the missing ones cause', async (tt) => {
  const link = new Link({ isCut: true }).establish()
  link.client.write(pattern(10))
  link.run(200_000)
  // of seven segments the first is lost, the next two keep their DSS, all others lose it
  let n = 0
  let hits = 0
  link.filter = (p) => {
    if (!p.fromClient || p.pkt.payLen === 0) return PASS
    n++
    if (n === 1) return DROP
    if (n > 3) hits += strip(p.bytes)
    return PASS
  }
  link.client.write(pattern(10_000, 10))
  tt.ok(
    link.run(10_000_000, () => link.server.hasReceived(pattern(10_010))),
    `${link.server.received} bytes`,
  )
  tt.ok(hits > 3)
  tt.equal(link.dropped, 1)
})
