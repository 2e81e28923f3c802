import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { path } from '../../../src/pathmgr/path.js'
import {
  HAS_DSS,
  HAS_JOIN,
  MP_JOIN,
  RST_BAD_PERFORMANCE,
  RST_MIDDLEBOX,
  RST_MPTCP_ERROR,
  RST_NO_RESOURCES,
  RST_PROHIBITED,
} from '../../../src/wire/mptcp-options.js'
import { ACK, RST, SYN } from '../../../src/wire/tcp.js'
import { CLIENT_2, DROP, Link, type LinkOptions, optionAt, PASS, pattern, type Seen, strip } from './harness.js'

const SECOND = path({ id: 3, label: 'second', source: CLIENT_2 })

function joinSyn(p: Seen): boolean {
  return p.flow === 1 && (p.pkt.flags & (SYN | ACK)) === SYN
}

/** Established, a byte exchanged, the second path asked for; not yet run. */
function ready(o: LinkOptions = {}): Link {
  const link = new Link(o).establish()
  link.client.write(pattern(1))
  link.run(100_000)
  return link
}

function joined(o: LinkOptions = {}): Link {
  const link = ready(o)
  link.client.c.addPath(SECOND, link.now)
  link.run(100_000)
  return link
}

t.test('rfc8684 3.2: SYN 12, SYN/ACK 16, third ACK 24, fourth ACK with DATA_ACK', async (tt) => {
  const link = joined()
  const flow = link.seen.filter((p) => p.flow === 1)
  tt.same(
    flow.map((p) => [p.fromClient, p.opts.mptcp.present, p.opts.mptcp.joinLen, p.opts.mptcp.dataAckLen]),
    [
      [true, HAS_JOIN, 12, 0],
      [false, HAS_JOIN, 16, 0],
      [true, HAS_JOIN, 24, 0],
      [false, HAS_DSS, 0, 8],
    ],
  )
  const syn = (flow[0] as Seen).opts.mptcp
  tt.equal(syn.joinAddrId, 3)
  tt.equal(syn.joinToken, link.server.c.localKey?.token)
  tt.equal(link.client.c.subflows.length, 2)
  tt.equal(link.server.c.subflows.length, 2)
  for (const [n, v] of [
    [link.client.counters.MPJoinSynTx, 1],
    [link.client.counters.MPJoinSynAckRx, 1],
    [link.client.counters.MPJoinAckTx, 1],
    [link.server.counters.MPJoinSynRx, 1],
    [link.server.counters.MPJoinAckRx, 1],
  ] as const) {
    tt.equal(n, v)
  }
})

t.test('rfc8684 3.1: no join before a DATA_ACK was received', async (tt) => {
  const link = new Link({ capacity: 60_000 }).establish()
  tt.equal(typeof link.client.c.openSubflow(SECOND, link.now), 'string', 'refused when asked for at once')
  tt.ok(link.client.c.addPath(SECOND, link.now))
  link.run(1_000_000)
  tt.notOk(link.seen.some(joinSyn))
  link.client.write(pattern(1))
  link.run(1_000_000)
  tt.ok(link.seen.some(joinSyn))
  tt.equal(link.client.c.subflows.length, 2)
})

t.test('rfc8684 3.3: both subflows carry bytes, both ways', async (tt) => {
  const link = joined({ isCut: true })
  const up = pattern(600_000)
  const down = pattern(600_000, 99)
  link.client.write(up)
  link.server.write(down)
  const head = pattern(1)
  const all = new Uint8Array(600_001)
  all.set(head)
  all.set(up, 1)
  tt.ok(link.run(30_000_000, () => link.server.hasReceived(all) && link.client.hasReceived(down)))
  link.run(200_000)
  for (const h of [link.client, link.server]) {
    for (const s of h.c.subflows) tt.ok(s.ep.bytesAcked > 10_000, `subflow ${s.id} carried ${s.ep.bytesAcked}`)
    tt.equal(h.c.sendQueue.ready, 0)
    const n = h.counters
    tt.equal(n.DSSNotMatching + n.DSSNoMatchTCP + n.BadOption + n.NoDSSInWindow + n.UnmappedReset, 0)
  }
})

t.test('rfc8684 3.2: each flipped bit of an HMAC resets that subflow only, reason 1', async (tt) => {
  for (const [fromClient, len] of [
    [false, 64],
    [true, 160],
  ] as const) {
    for (let bit = 0; bit < len; bit += 7) {
      const link = ready({ seed: bit + 1 })
      let flipped = 0
      link.filter = (p) => {
        const at = p.flow === 1 && p.fromClient === fromClient && p.opts.mptcp.joinHmacOff >= 0 ? optionAt(p, MP_JOIN) + 4 + (bit >> 3) : -1
        if (at >= 0) {
          p.bytes[at] = (p.bytes[at] as number) ^ (1 << (bit & 7))
          flipped++
        }
        return PASS
      }
      link.client.c.addPath(SECOND, link.now)
      link.run(100_000)
      const n = fromClient ? link.server.counters.MPJoinAckHMacFailure : link.client.counters.MPJoinSynAckHMacFailure
      const rst = link.seen.find((p) => p.flow === 1 && p.fromClient !== fromClient && (p.pkt.flags & RST) !== 0)
      const isGood = flipped > 0 && n === 1 && rst?.opts.mptcp.rstReason === RST_MPTCP_ERROR && link.client.c.subflows.length === 1
      if (!isGood)
        tt.fail(
          `bit ${bit} of the ${fromClient ? 'third ACK' : 'SYN/ACK'}: flipped ${flipped}, failures ${n}, reason ${rst?.opts.mptcp.rstReason}`,
        )
      link.client.write(pattern(100, 1))
      link.run(1_000_000)
      if (!link.server.hasReceived(pattern(101))) tt.fail('the connection goes on')
    }
  }
  tt.pass('every bit tried is checked')
})

t.test('rfc8684 3.2: SYN/ACK without MP_JOIN resets that subflow only', async (tt) => {
  const link = ready()
  link.filter = (p) => {
    if (p.flow === 1 && !p.fromClient) tt.equal(strip(p.bytes), 1)
    return PASS
  }
  link.client.c.addPath(SECOND, link.now)
  link.run(20_000)
  const rst = link.seen.find((p) => p.flow === 1 && p.fromClient && (p.pkt.flags & RST) !== 0) as Seen
  tt.equal(rst.opts.mptcp.rstReason, RST_MPTCP_ERROR)
  tt.equal(link.client.c.subflows.length, 1)
  tt.ok(link.client.c.isMptcp)
})

t.test('rfc8684 3.2: third ACK without MP_JOIN resets that subflow', async (tt) => {
  const link = ready()
  link.filter = (p) => {
    if (p.flow === 1 && p.fromClient && (p.pkt.flags & SYN) === 0) strip(p.bytes)
    return PASS
  }
  link.client.c.addPath(SECOND, link.now)
  link.run(1_000_000)
  const rst = link.seen.find((p) => p.flow === 1 && !p.fromClient && (p.pkt.flags & RST) !== 0) as Seen
  tt.equal(rst.opts.mptcp.rstReason, RST_MPTCP_ERROR)
  tt.equal(link.server.c.subflows.length, 1)
  tt.notOk(link.client.c.opening.everJoined, 'a join that was refused is none: a fallback is possible still')
})

t.test('rfc8684 3.2: the third ACK is repeated until the fourth came, and each one is answered', async (tt) => {
  const link = ready()
  let lost = 0
  link.filter = (p) => (p.flow === 1 && !p.fromClient && (p.pkt.flags & SYN) === 0 && lost++ < 2 ? DROP : PASS)
  link.client.c.addPath(SECOND, link.now)
  link.run(3_000_000)
  tt.equal(link.dropped, 2)
  const third = link.seen.filter((p) => p.flow === 1 && p.opts.mptcp.joinLen === 24)
  tt.equal(third.length, 3)
  const fourth = link.seen.filter((p) => p.flow === 1 && !p.fromClient && p.opts.mptcp.present === HAS_DSS && p.opts.mptcp.dataAckLen > 0)
  tt.equal(fourth.length, 3)
  tt.ok(link.client.c.subflows[1]?.isUsable)
})

t.test('rfc8684 3.2: no data before the fourth ACK', async (tt) => {
  const link = ready()
  link.filter = (p) => (p.flow === 1 && !p.fromClient && (p.pkt.flags & SYN) === 0 ? 2_000_000 : PASS)
  link.client.c.addPath(SECOND, link.now)
  link.run(50_000)
  link.client.write(pattern(500_000, 1))
  link.run(1_000_000)
  tt.notOk(link.seen.some((p) => p.flow === 1 && p.fromClient && p.pkt.payLen > 0))
  tt.ok(link.seen.some((p) => p.flow === 0 && p.fromClient && p.pkt.payLen > 1))
})

t.test('features 12: a fourth ACK without DSS is accepted', async (tt) => {
  const link = ready()
  link.filter = (p) => {
    if (p.flow === 1 && !p.fromClient && (p.pkt.flags & SYN) === 0 && p.pkt.payLen === 0 && p.n === 1) strip(p.bytes)
    return PASS
  }
  link.client.c.addPath(SECOND, link.now)
  link.run(300_000)
  tt.ok(link.client.c.subflows[1]?.isUsable)
})

t.test('features 7: options vanish on a join: RST of that subflow, reason 6, the data goes on', async (tt) => {
  const link = joined({ isCut: true })
  let hits = 0
  link.filter = (p) => {
    if (p.flow === 1) hits += strip(p.bytes)
    return PASS
  }
  link.client.write(pattern(300_000, 1))
  tt.ok(link.run(60_000_000, () => link.server.hasReceived(pattern(300_001))))
  tt.ok(hits > 0)
  tt.ok(link.client.c.isMptcp)
  const rst = link.seen.find((p) => p.flow === 1 && (p.pkt.flags & RST) !== 0) as Seen
  tt.ok(rst !== undefined)
})

t.test('rfc8684 3.6: the RST of a join without DATA_ACK says middlebox', async (tt) => {
  const link = joined({ isCut: true })
  link.filter = (p) => {
    if (p.flow === 1 && !p.fromClient) strip(p.bytes)
    return PASS
  }
  // every DATA_ACK so far on this subflow came with the fourth ACK: forget it, as if that one had been bare
  for (const s of link.client.c.subflows) if (s.isJoin) s.hasDataAck = false
  link.client.write(pattern(300_000, 1))
  tt.ok(link.run(60_000_000, () => link.server.hasReceived(pattern(300_001))))
  const rst = link.seen.find((p) => p.flow === 1 && p.fromClient && (p.pkt.flags & RST) !== 0) as Seen
  tt.equal(rst.opts.mptcp.rstReason, RST_MIDDLEBOX)
})

t.test('rfc8684 3.1: flag C forbids joins to the initial address and port', async (tt) => {
  const link = ready({ server: { denyJoinInitial: true } })
  tt.notOk(link.client.c.addPath(SECOND, link.now))
  tt.notOk(link.client.c.addPath(path({ id: 4, destination: IpAddress.v4(0xc0000207), destinationPort: 9 }), link.now))
  link.run(100_000)
  tt.notOk(link.seen.some(joinSyn))
})

t.test('features 23: a connection that has fallen back opens and accepts no joins', async (tt) => {
  const link = new Link()
  link.filter = (p) => {
    if (!p.fromClient && (p.pkt.flags & SYN) !== 0) strip(p.bytes)
    return PASS
  }
  link.establish()
  tt.notOk(link.client.c.addPath(SECOND, link.now))
  tt.equal(link.server.tokens.size, 0)
  tt.equal(link.client.tokens.size, 0)
})

t.test('rfc8684 3.3.8: a backup subflow carries data only when the other is gone', async (tt) => {
  const link = ready({ isCut: true })
  link.client.c.addPath(path({ id: 3, label: 'b', source: CLIENT_2, isBackup: true }), link.now)
  link.run(100_000)
  tt.ok(link.server.c.subflows[1]?.isPeerBackup)
  link.client.write(pattern(200_000, 1))
  link.server.write(pattern(200_000, 1))
  link.run(5_000_000)
  tt.ok(link.server.hasReceived(pattern(200_001)))
  tt.notOk(link.seen.some((p) => p.flow === 1 && p.pkt.payLen > 0))
  // positive control
  link.filter = (p) => (p.flow === 0 ? DROP : PASS)
  link.client.write(pattern(100_000, 200_001))
  tt.ok(link.run(30_000_000, () => link.server.hasReceived(pattern(300_001))))
  tt.ok(link.seen.some((p) => p.flow === 1 && p.pkt.payLen > 0))
})

t.test('rfc8684 3.3.6: a silent path: its bytes go elsewhere at the first timeout', async (tt) => {
  const link = joined({ isCut: true })
  link.filter = (p) => (p.flow === 1 ? DROP : PASS)
  link.client.write(pattern(400_000, 1))
  const cutAt = link.now
  tt.ok(link.run(30_000_000, () => link.server.hasReceived(pattern(400_001))))
  tt.ok(link.dropped > 0)
  tt.ok(link.client.counters.ReinjectedBytes > 0)
  tt.ok(link.now - cutAt < 1_000_000, `took ${link.now - cutAt} us`)
})

t.test('rfc8684 3.3.6: a subflow that is reset: its bytes go elsewhere at once', async (tt) => {
  const link = joined({ isCut: true })
  link.filter = (p) => (p.flow === 1 && p.pkt.payLen > 0 ? DROP : PASS)
  link.client.write(pattern(400_000, 1))
  link.run(12_000)
  tt.ok(link.dropped > 0)
  const s = link.client.c.subflows[1]
  tt.ok(s?.tx !== null)
  s?.reset(5)
  const at = link.now
  tt.ok(link.run(30_000_000, () => link.server.hasReceived(pattern(400_001))))
  tt.ok(link.now - at < 300_000, `took ${link.now - at} us`)
  tt.equal(link.client.c.subflows.length, 1)
})

t.test('rfc8684 3.3.3: break before make: all subflows lost, a new one takes over', async (tt) => {
  const link = joined({ isCut: true })
  link.client.write(pattern(100_000, 1))
  link.run(6_000)
  for (const s of link.client.c.subflows) s.reset(5)
  link.run(2_000_000)
  tt.equal(link.client.c.subflows.length, 0)
  tt.notOk(link.client.c.isClosed)
  tt.ok(link.client.c.addPath(SECOND, link.now))
  tt.ok(link.run(5_000_000, () => link.server.hasReceived(pattern(100_001))))
  // and without a new one the connection is given up after a minute
  for (const s of link.client.c.subflows) s.reset(5)
  link.run(61_000_000)
  tt.ok(link.client.c.isClosed)
  tt.equal(link.client.counters.BreakBeforeMakeTimeout, 1)
})

t.test('rfc8684 3.2: a window that opens while the fourth ACK is awaited does not repeat the third for ever', async (tt) => {
  const link = ready({ capacity: 29_000 })
  let withheld = 0
  link.filter = (p) => {
    if (p.flow !== 1 || p.fromClient || (p.pkt.flags & SYN) !== 0) return PASS
    withheld++
    return DROP
  }
  link.client.isReading = false
  link.server.write(pattern(29_000))
  link.run(100_000)
  link.client.c.addPath(SECOND, link.now)
  link.run(12_000)
  const before = link.seen.length
  // a step that is due for a subflow that has seen no full segment yet, and not for the other one
  const queue = link.client.c.recvQueue
  tt.ok(queue.edge() - queue.readyEnd < 1000, 'nearly full')
  queue.release(queue.base + 600)
  link.run(100_000)
  tt.ok(withheld > 0)
  tt.ok(link.seen.length - before < 20, `${link.seen.length - before} segments`)
})

t.test('rfc8684 3.6: too many half-open joins in the stack: reason 2; one that is answered makes room', async (tt) => {
  const link = ready({ server: { maxPendingJoins: 1 } })
  const { c } = link.client
  link.filter = (p) => (p.fromClient && p.opts.mptcp.joinLen === 24 ? DROP : PASS)
  tt.ok(c.addPath(SECOND, link.now) && c.addPath(SECOND, link.now))
  link.run(100_000)
  tt.equal(link.dropped, 1)
  tt.same(link.server.refusals, [RST_NO_RESOURCES])
  tt.equal(link.server.counters.MPJoinPending, 1)
  link.filter = () => PASS
  link.run(3_000_000)
  tt.equal(link.server.counters.MPJoinAckRx, 2, 'the SYN that was refused is repeated')
  tt.equal(link.server.counters.MPJoinPending, 0)
})

t.test(
  'rfc8684 3.6: at the limit a mute subflow makes room for one from the same address; one that was heard lately does not',
  async (tt) => {
    const link = ready({ server: { maxSubflows: 2 } })
    const { c } = link.client
    c.addPath(SECOND, link.now)
    link.run(1_000_000)
    tt.equal(link.server.c.subflows.length, 2)
    c.addPath(SECOND, link.now)
    link.run(100_000)
    tt.same(link.server.refusals, [RST_PROHIBITED])
    // a NAT forgets the second subflow: what the client gives up there, the server never learns
    link.filter = (p) => (p.flow === 1 ? DROP : PASS)
    for (const s of c.subflows.slice(1)) s.reset(RST_MIDDLEBOX)
    link.run(12_000_000)
    tt.ok(link.dropped > 0)
    tt.equal(link.server.c.subflows.length, 2)
    c.addPath(SECOND, link.now)
    link.run(100_000)
    tt.equal(link.server.counters.SilentReset, 1)
    const rst = link.seen.find((p) => !p.fromClient && (p.pkt.flags & RST) !== 0) as Seen
    tt.same([rst.flow, rst.opts.mptcp.rstReason, rst.opts.mptcp.rstTransient], [1, RST_BAD_PERFORMANCE, true])
    tt.equal(link.server.c.subflows.length, 2)
    tt.ok(link.server.c.subflows.every((s) => s.isUsable) && c.subflows[1]?.isUsable)
  },
)
