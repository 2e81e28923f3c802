import t, { type Test } from 'tap'
import { C_ESTABLISHED } from '../../../src/mptcp/connection.js'
import {
  FALLBACK_NAMES,
  FB_ACK_INVALID,
  FB_ACK_WITHOUT,
  FB_EXTENSIBILITY,
  FB_NO_HMAC,
  FB_NONE,
  FB_PLAIN_SYN,
  FB_SIMULTANEOUS_OPEN,
  FB_SYN_WITHOUT,
  FB_SYNACK_WITHOUT,
  FB_VERSION,
} from '../../../src/mptcp/fallback.js'
import { HAS_CAPABLE, HAS_DSS, MP_CAPABLE } from '../../../src/wire/mptcp-options.js'
import { ACK, SYN } from '../../../src/wire/tcp.js'
import { DROP, Link, optionAt, PASS, pattern, type Seen, strip } from './harness.js'

/** A receive buffer that the SYN/ACK's unscaled window covers: the server has no reason to announce more at once. */
const SMALL = 60_000

function isSyn(p: Seen): boolean {
  return (p.pkt.flags & SYN) !== 0
}

function bothWays(tt: Test, link: Link, upLen = 100_000, downLen = 70_000): void {
  const up = pattern(upLen)
  const down = pattern(downLen, 7)
  link.client.write(up)
  link.server.write(down)
  tt.ok(
    link.run(30_000_000, () => link.server.hasReceived(up) && link.client.hasReceived(down)),
    'all bytes arrive, both ways',
  )
  link.run(100_000) // the last ACKs
}

t.test('rfc8684 3.1: SYN 4, SYN/ACK 12, third ACK 20 bytes, first data 22', async (tt) => {
  const link = new Link({ capacity: SMALL }).establish()
  tt.same(
    link.seen.map((p) => [p.fromClient, p.opts.mptcp.capableLen]),
    [
      [true, 4],
      [false, 12],
      [true, 20],
    ],
  )
  const { client, server } = link
  tt.ok(client.c.isMptcp && server.c.isMptcp)
  tt.equal(client.c.localKey?.token, server.c.remoteKey?.token)
  tt.equal(client.c.remoteKey?.idsnLo, server.c.localKey?.idsnLo)
  tt.ok((client.events & C_ESTABLISHED) !== 0 && (server.events & C_ESTABLISHED) !== 0)
  const from = link.seen.length
  client.write(pattern(10))
  link.run(100_000)
  const first = link.seen[from] as Seen
  tt.equal(first.opts.mptcp.capableLen, 22)
  tt.equal(first.opts.mptcp.capableDataLen, 10)
  const answer = link.seen[from + 1] as Seen
  tt.equal(answer.opts.mptcp.present, HAS_DSS)
  tt.equal(answer.opts.mptcp.dataAckLen, 8, 'MP_CAPABLE with data counts as a 64-bit DSN')
  tt.ok(server.hasReceived(pattern(10)))
  tt.equal(client.counters.MPCapableSYNTX, 1)
  tt.equal(client.counters.MPCapableSYNACKRX, 1)
  tt.equal(client.counters.MPCapableACKTX, 1)
  tt.equal(server.counters.MPCapableSYNRX, 1)
  tt.equal(server.counters.MPCapableACKRX, 1)
  tt.equal(client.counters.MPCurrEstab, 1)
})

t.test('rfc8684 3.1: data flows both ways after the exchange', async (tt) => {
  for (const isCut of [false, true]) {
    const link = new Link({ isCut }).establish()
    bothWays(tt, link)
    tt.ok(link.client.c.isMptcp && link.server.c.isMptcp)
    tt.equal(link.client.c.sendQueue.ready, 0, 'all freed')
    tt.equal(link.server.c.sendQueue.ready, 0, 'all freed')
    for (const n of [link.client.counters, link.server.counters])
      tt.equal(n.DSSNotMatching + n.DSSNoMatchTCP + n.BadOption + n.NoDSSInWindow, 0)
  }
})

t.test('rfc8684 3.1: the server may send first', async (tt) => {
  const link = new Link().establish()
  const down = pattern(200_000)
  link.server.write(down)
  tt.ok(link.run(10_000_000, () => link.client.hasReceived(down)))
  // a DSS was received: no MP_CAPABLE with data is needed
  const from = link.seen.length
  link.client.write(pattern(5))
  link.run(100_000)
  const data = link.seen.slice(from).find((p) => p.pkt.payLen > 0) as Seen
  tt.equal(data.opts.mptcp.present, HAS_DSS)
  tt.equal(data.opts.mptcp.dsnLen, 8)
  tt.ok(link.server.hasReceived(pattern(5)))
})

t.test('rfc8684 3.1: a lost third ACK is made up for by the first data', async (tt) => {
  const link = new Link()
  link.filter = (p) => (p.fromClient && p.n === 1 ? DROP : PASS)
  link.establish()
  tt.equal(link.dropped, 1)
  bothWays(tt, link)
  tt.ok(link.client.c.isMptcp && link.server.c.isMptcp)
})

t.test('rfc8684 3.1: third ACK and first data lost, a later DSS arrives first: it waits for the key', async (tt) => {
  const link = new Link({ isCut: true, capacity: SMALL })
  link.filter = (p) => (p.fromClient && p.n >= 1 && p.n <= 2 ? DROP : PASS)
  link.client.connect(link.now)
  link.run(11_000, () => link.client.c.isMptcp)
  const up = pattern(50_000)
  link.client.write(up.subarray(0, 1000))
  link.run(1000)
  link.client.write(up.subarray(1000))
  tt.ok(link.run(10_000_000, () => link.server.hasReceived(up)))
  tt.equal(link.dropped, 2)
  tt.ok(link.client.c.isMptcp && link.server.c.isMptcp)
})

t.test('rfc8684 3.1: three SYNs with MP_CAPABLE, then plain ones', async (tt) => {
  const link = new Link()
  link.filter = (p) => (p.fromClient && isSyn(p) && p.opts.mptcp.present !== 0 ? DROP : PASS)
  link.client.connect(link.now)
  link.run(20_000_000, () => link.client.c.fallbackReason !== FB_NONE)
  const syns = link.seen.filter((p) => p.fromClient && isSyn(p)).map((p) => p.opts.mptcp.capableLen)
  tt.same(syns, [4, 4, 4, 0])
  tt.equal(link.client.c.fallbackReason, FB_PLAIN_SYN)
  tt.equal(link.client.counters.MPCapableSYNTXDrop, 1)
  tt.equal(link.server.c.fallbackReason, FB_SYN_WITHOUT)
  bothWays(tt, link)
  tt.notOk(
    link.seen.slice(4).some((p) => p.opts.mptcp.present !== 0),
    'no option after the fallback',
  )
})

t.test('rfc8684 3.1: after a plain SYN the third ACK has no MP_CAPABLE, whatever the SYN/ACK says', async (tt) => {
  const link = new Link()
  // the SYN/ACKs to the SYNs with the option come after the plain SYN has left
  link.filter = (p) => (!p.fromClient && isSyn(p) ? 7_500_000 - (p.at - 1_000_000) : PASS)
  link.client.connect(link.now)
  link.run(9_000_000)
  tt.equal(link.client.c.fallbackReason, FB_PLAIN_SYN)
  tt.equal(link.server.c.fallbackReason, FB_ACK_WITHOUT)
  bothWays(tt, link)
})

t.test('rfc8684 3.7: MP_CAPABLE stripped from the SYN/ACK, the SYN, the third ACK: plain TCP on both sides', async (tt) => {
  const cases: [string, (p: Seen) => boolean, number, number][] = [
    ['SYN/ACK', (p) => !p.fromClient && isSyn(p), FB_SYNACK_WITHOUT, FB_ACK_WITHOUT],
    ['SYN', (p) => p.fromClient && isSyn(p), FB_SYNACK_WITHOUT, FB_SYN_WITHOUT],
    ['everything', () => true, FB_SYNACK_WITHOUT, FB_SYN_WITHOUT],
  ]
  for (const [name, isHit, client, server] of cases) {
    const link = new Link()
    let hits = 0
    link.filter = (p) => {
      if (isHit(p)) hits += strip(p.bytes)
      return PASS
    }
    link.establish()
    tt.ok(hits > 0, `${name}: stripped`)
    tt.equal(FALLBACK_NAMES[link.client.c.fallbackReason], FALLBACK_NAMES[client], name)
    tt.equal(FALLBACK_NAMES[link.server.c.fallbackReason], FALLBACK_NAMES[server], name)
    bothWays(tt, link)
    tt.equal(link.client.counters.MPCapableFallbackSYNACK, 1)
  }
})

t.test('rfc8684 3.7: options stripped from the third ACK on: both sides find out and fall back', async (tt) => {
  for (const mode of ['client sends', 'server sends', 'both']) {
    const link = new Link({ isCut: true })
    let hits = 0
    link.filter = (p) => {
      if (!isSyn(p)) hits += strip(p.bytes)
      return PASS
    }
    link.establish()
    tt.equal(link.server.c.fallbackReason, FB_ACK_WITHOUT)
    bothWays(tt, link, mode === 'server sends' ? 0 : 60_000, mode === 'client sends' ? 0 : 60_000)
    tt.ok(hits > 0)
    link.client.end()
    link.server.end()
    tt.ok(
      link.run(5_000_000, () => link.client.c.isClosed && link.server.c.isClosed),
      `${mode}: closed in order`,
    )
  }
})

t.test('rfc8684 3.1: flag B, no flag H, another version: ignored, plain TCP', async (tt) => {
  const cases: [string, number, number, number][] = [
    ['B', 3, 0x41, FB_EXTENSIBILITY],
    ['no H', 3, 0, FB_NO_HMAC],
    ['version 0', 2, 0, FB_VERSION],
  ]
  for (const [name, at, value, reason] of cases) {
    for (const inSyn of [true, false]) {
      const link = new Link()
      link.filter = (p) => {
        if (isSyn(p) && p.fromClient === inSyn && p.opts.mptcp.capableLen > 0) p.bytes[optionAt(p, MP_CAPABLE) + at] = value
        return PASS
      }
      link.establish()
      const got = inSyn ? link.server.c.fallbackReason : link.client.c.fallbackReason
      tt.equal(FALLBACK_NAMES[got], FALLBACK_NAMES[reason], `${name} in the ${inSyn ? 'SYN' : 'SYN/ACK'}`)
      bothWays(tt, link, 3000, 3000)
    }
  }
})

t.test('rfc8684 3.1: a version above ours in the SYN is answered with ours', async (tt) => {
  const link = new Link()
  link.filter = (p) => {
    if (isSyn(p) && p.fromClient) p.bytes[optionAt(p, MP_CAPABLE) + 2] = 2
    return PASS
  }
  link.establish()
  const synAck = link.seen.find((p) => !p.fromClient) as Seen
  tt.equal(synAck.opts.mptcp.capableVersion, 1)
  tt.ok(link.server.c.isMptcp)
})

t.test('rfc8684 3.1: a third ACK that does not echo our key is plain TCP', async (tt) => {
  const link = new Link()
  link.filter = (p) => {
    const at = p.fromClient && p.opts.mptcp.capableLen >= 20 ? optionAt(p, MP_CAPABLE) : -1
    if (at >= 0) p.bytes[at + 19] = (p.bytes[at + 19] as number) ^ 1
    return PASS
  }
  link.establish()
  tt.equal(link.server.c.fallbackReason, FB_ACK_INVALID)
  bothWays(tt, link, 3000, 3000)
})

t.test('rfc8684 3.1: checksum required is the OR of both SYNs and is echoed', async (tt) => {
  for (const [client, server] of [
    [true, false],
    [false, true],
    [true, true],
  ] as const) {
    const link = new Link({ client: { checksum: client }, server: { checksum: server } }).establish()
    const flags = link.seen.filter((p) => p.opts.mptcp.capableLen > 0).map((p) => p.opts.mptcp.capableFlags >>> 7)
    tt.same(flags, [client ? 1 : 0, 1, 1])
    tt.ok(link.client.c.isChecksummed && link.server.c.isChecksummed)
    bothWays(tt, link)
    tt.ok(link.client.c.isMptcp && link.server.c.isMptcp)
    tt.equal(link.client.counters.DataCsumErr + link.server.counters.DataCsumErr, 0)
    const dss = link.seen.find((p) => p.fromClient && p.opts.mptcp.dsnLen > 0) as Seen
    tt.ok(dss.opts.mptcp.dssChecksum >= 0)
  }
})

t.test('mptcp switched off: no option, plain TCP on both sides', async (tt) => {
  const link = new Link({ client: { isEnabled: false } }).establish()
  bothWays(tt, link)
  tt.notOk(link.seen.some((p) => p.opts.mptcp.present !== 0))
})

t.test('rfc8684 3.1: pure ACKs repeat the third ACK until a DSS came', async (tt) => {
  const link = new Link({ capacity: SMALL })
  link.establish()
  link.client.c.subflows[0]?.ep.wantAck()
  link.run(1000)
  const last = link.seen[link.seen.length - 1] as Seen
  tt.ok(last.fromClient)
  tt.equal(last.opts.mptcp.present, HAS_CAPABLE)
  tt.equal(last.opts.mptcp.capableLen, 20)
  tt.equal(last.pkt.flags, ACK)
})

t.test('features 8: simultaneous open is plain TCP', async (tt) => {
  const link = new Link({ server: { isEnabled: false } })
  // the SYN/ACK loses its ACK flag: to the client it is the peer's own SYN
  let hits = 0
  link.filter = (p) => {
    if (!p.fromClient && isSyn(p) && hits++ === 0) {
      p.bytes[p.pkt.l4Off + 13] = SYN
      p.bytes.fill(0, p.pkt.l4Off + 8, p.pkt.l4Off + 12)
    }
    return PASS
  }
  link.client.connect(link.now)
  link.run(3_000_000)
  tt.ok(hits > 0)
  tt.equal(link.client.c.fallbackReason, FB_SIMULTANEOUS_OPEN)
  tt.equal(link.client.counters.SimultConnectFallback, 1)
  bothWays(tt, link, 3000, 3000)
})
