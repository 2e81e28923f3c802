import t, { type Test } from 'tap'
import { C_CLOSED, C_DONE, C_PEER_FIN } from '../../../src/mptcp/connection.js'
import { path } from '../../../src/pathmgr/path.js'
import { CAUSE_ABORTED, CAUSE_FIN, CAUSE_REFUSED, CAUSE_RESET, CAUSE_TIMEOUT } from '../../../src/tcp/state.js'
import { HAS_FASTCLOSE, MP_FASTCLOSE } from '../../../src/wire/mptcp-options.js'
import { FIN, RST } from '../../../src/wire/tcp.js'
import { CLIENT_2, DROP, Link, type LinkOptions, optionAt, PASS, pattern, type Seen } from './harness.js'

function open(subflows: number, o: LinkOptions = {}): Link {
  const link = new Link(o).establish()
  link.client.write(pattern(1))
  link.run(100_000)
  if (subflows > 1) link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(100_000)
  return link
}

function isFin(p: Seen): boolean {
  return (p.pkt.flags & FIN) !== 0
}

/** Both sides are through, nothing is left but TIME-WAIT; afterwards nothing at all. */
function expectClosed(tt: Test, link: Link): void {
  for (const [name, h] of [
    ['client', link.client],
    ['server', link.server],
  ] as const) {
    tt.equal(h.c.cause, CAUSE_FIN, `${name}: orderly`)
    tt.ok((h.events & C_PEER_FIN) !== 0 && (h.events & C_CLOSED) !== 0, `${name}: told`)
    tt.equal(h.tokens.size, 0, `${name}: token free`)
    tt.equal(h.counters.MPCurrEstab, 0)
  }
  link.run(130_000_000)
  for (const h of [link.client, link.server]) {
    tt.equal(h.flows.size, 0, 'no flow left')
    tt.ok((h.events & C_DONE) !== 0)
    tt.equal(h.arena.pagesInUse, 0, 'no page left')
  }
  tt.notOk(
    link.seen.some((p) => (p.pkt.flags & RST) !== 0),
    'no RST',
  )
}

t.test('rfc8684 3.3.3: DATA_FIN in every order, with one and two subflows', async (tt) => {
  for (const subflows of [1, 2]) {
    for (const order of ['client', 'server', 'both']) {
      const link = open(subflows)
      const finAt = link.seen.length
      if (order !== 'server') link.client.end()
      if (order !== 'client') link.server.end()
      link.run(300_000)
      tt.equal((order === 'client' ? link.server : link.client).events & C_PEER_FIN, C_PEER_FIN)
      if (order !== 'both') {
        tt.notOk(link.seen.slice(finAt).some(isFin), 'half-closed: the subflows stay')
        // the other direction still carries
        const h = order === 'client' ? link.server : link.client
        h.write(pattern(5000, 1))
        link.run(200_000)
        h.end()
      }
      link.run(2_000_000)
      const fins = link.seen.filter((p) => isFin(p))
      tt.equal(fins.length, 2 * subflows, 'each subflow is closed by FIN on both sides')
      const dataFin = link.seen.find((p) => p.opts.mptcp.dataFin) as Seen
      tt.same([dataFin.opts.mptcp.ssn, dataFin.opts.mptcp.dataLen, dataFin.pkt.payLen], [0, 1, 0], 'DATA_FIN alone')
      expectClosed(tt, link)
    }
  }
})

t.test('rfc8684 3.3.3: DATA_FIN behind data waits for the data', async (tt) => {
  const link = open(2, { isCut: true })
  const up = pattern(500_000, 1)
  link.client.write(up)
  link.client.end()
  link.server.end()
  const all = pattern(500_001)
  tt.ok(link.run(20_000_000, () => link.server.hasReceived(all)))
  link.run(2_000_000)
  expectClosed(tt, link)
})

t.test('rfc8684 3.3.3: a DATA_FIN lost n times is sent again', async (tt) => {
  for (const n of [1, 2, 5]) {
    const link = open(1)
    let lost = 0
    link.filter = (p) => (p.fromClient && p.opts.mptcp.dataFin && lost++ < n ? DROP : PASS)
    link.client.end()
    tt.ok(link.run(60_000_000, () => (link.server.events & C_PEER_FIN) !== 0))
    tt.equal(link.dropped, n)
    link.server.end()
    link.run(2_000_000)
    expectClosed(tt, link)
  }
})

t.test('rfc8684 3.3.3: a lost DATA_ACK of the DATA_FIN: the peer gets another', async (tt) => {
  const link = open(1)
  link.client.end()
  link.run(200_000)
  let lost = 0
  link.filter = (p) => (p.fromClient && lost++ < 3 ? DROP : PASS)
  link.server.end()
  link.run(60_000_000, () => link.server.c.isClosed)
  tt.ok(lost >= 3)
  link.filter = () => PASS
  link.run(2_000_000)
  tt.equal(link.server.c.cause, CAUSE_FIN)
  tt.equal(link.client.c.cause, CAUSE_FIN)
})

t.test('rfc8684 3.3.3: nothing was ever sent: the DATA_FIN and the keys still get through', async (tt) => {
  const link = new Link({ capacity: 60_000 })
  // third ACK lost: only the ACKs that take turns with the DATA_FIN bring the key
  link.filter = (p) => (p.fromClient && p.n === 1 ? DROP : PASS)
  link.client.connect(link.now)
  link.run(50_000)
  link.client.end()
  tt.ok(link.run(30_000_000, () => link.server.conn !== null && (link.server.events & C_PEER_FIN) !== 0))
  tt.ok(link.server.c.isMptcp)
  link.server.end()
  link.run(3_000_000)
  expectClosed(tt, link)
})

t.test('rfc8684 3.5: abort sends MP_FASTCLOSE with the peer key on every subflow; the peer resets all', async (tt) => {
  const link = open(2)
  link.client.c.abort(link.now)
  link.run(100_000)
  const rsts = link.seen.filter((p) => p.fromClient && (p.pkt.flags & RST) !== 0)
  tt.equal(rsts.length, 2)
  for (const p of rsts) {
    tt.ok((p.opts.mptcp.present & HAS_FASTCLOSE) !== 0)
    tt.equal(p.opts.mptcp.rstReason, 0)
  }
  tt.equal(link.client.c.cause, CAUSE_ABORTED)
  tt.equal(link.server.c.cause, CAUSE_RESET)
  tt.equal(link.server.counters.MPFastcloseRx, 1)
  tt.ok((link.server.events & C_DONE) !== 0 && (link.client.events & C_DONE) !== 0)
  tt.equal(link.server.flows.size + link.client.flows.size, 0)
})

t.test('rfc8684 3.5: FASTCLOSE with a wrong key is a RST of one subflow', async (tt) => {
  const link = open(2)
  link.filter = (p) => {
    const at = optionAt(p, MP_FASTCLOSE)
    if (at >= 0 && p.flow === 0) p.bytes[at + 11] = (p.bytes[at + 11] as number) ^ 1
    return at >= 0 && p.flow === 1 ? DROP : PASS
  }
  link.client.c.abort(link.now)
  link.run(100_000)
  tt.equal(link.server.counters.MPFastcloseRx, 0)
  tt.notOk(link.server.c.isClosed)
  tt.equal(link.server.c.subflows.length, 1)
})

t.test('honest connect: refused, timed out', async (tt) => {
  const refused = new Link()
  refused.server.isListening = false
  refused.filter = (p) => {
    if (!p.fromClient) return PASS
    // what a closed port answers
    const rst = new Uint8Array(p.bytes.subarray(0, p.pkt.l4Off + 20))
    rst.set([0, 80, ...p.bytes.subarray(p.pkt.l4Off, p.pkt.l4Off + 2)], p.pkt.l4Off)
    rst.set(p.bytes.subarray(p.pkt.off + 16, p.pkt.off + 20), p.pkt.off + 12)
    rst.set(p.bytes.subarray(p.pkt.off + 12, p.pkt.off + 16), p.pkt.off + 16)
    const view = new DataView(rst.buffer)
    view.setUint32(p.pkt.l4Off + 4, 0)
    view.setInt32(p.pkt.l4Off + 8, (p.pkt.seq + 1) | 0)
    rst[p.pkt.l4Off + 12] = 0x50
    rst[p.pkt.l4Off + 13] = 0x14
    view.setUint16(p.pkt.off + 2, 40)
    view.setUint16(p.pkt.off + 10, 0)
    let sum = 0
    for (let i = 0; i < 20; i += 2) sum += view.getUint16(p.pkt.off + i)
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
    view.setUint16(p.pkt.off + 10, ~sum & 0xffff)
    refused.deliver(rst, false)
    return DROP
  }
  refused.client.connect(refused.now)
  refused.run(100_000)
  tt.equal(refused.client.c.cause, CAUSE_REFUSED)
  tt.ok((refused.client.events & C_DONE) !== 0)

  const dead = new Link()
  dead.filter = () => DROP
  dead.client.connect(dead.now)
  dead.run(400_000_000)
  tt.equal(dead.client.c.cause, CAUSE_TIMEOUT)
})

t.test('a RST before anything proves the connection ends it at once', async (tt) => {
  const link = new Link({ capacity: 60_000 }).establish()
  link.server.c.subflows[0]?.ep.abort()
  link.run(100_000)
  tt.equal(link.client.c.cause, CAUSE_RESET)
})

t.test('plain TCP after a fallback: half-close both ways', async (tt) => {
  for (const first of ['client', 'server'] as const) {
    const link = new Link({ server: { isEnabled: false } }).establish()
    const [a, b] = first === 'client' ? [link.client, link.server] : [link.server, link.client]
    a.write(pattern(1000))
    a.end()
    link.run(200_000)
    tt.ok(b.hasReceived(pattern(1000)))
    tt.equal(b.events & C_PEER_FIN, C_PEER_FIN)
    tt.notOk(a.c.isClosed)
    b.write(pattern(200_000))
    b.end()
    tt.ok(link.run(5_000_000, () => a.hasReceived(pattern(200_000)) && a.c.isClosed && b.c.isClosed))
    expectClosed(tt, link)
  }
})

t.test('rfc8684 3.3.3: a DATA_FIN that nobody answers, with two idle subflows: the connection ends all the same', async (tt) => {
  const link = open(2)
  link.filter = (p) => (p.fromClient ? DROP : PASS)
  link.client.end()
  tt.ok(
    link.run(3_600_000_000, () => link.client.c.isClosed),
    'the client knows',
  )
  tt.ok(link.dropped > 10)
  tt.equal(link.client.c.subflows.filter((s) => s.isLive).length, 0)
})

t.test('rfc8684 3.3.3: break before make ends after its time, though joins are tried all along', async (tt) => {
  const link = open(1)
  link.filter = () => DROP
  const at = link.now
  link.client.c.subflows[0]?.ep.abort()
  let tries = 0
  for (let i = 0; i < 100 && !link.client.c.isClosed; i++) {
    link.run(1_000_000)
    if (link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)) tries++
  }
  tt.ok(tries > 3, `${tries} joins`)
  tt.ok(link.client.c.isClosed && link.now - at <= 62_000_000, `${(link.now - at) / 1e6} s`)
  tt.equal(link.client.counters.BreakBeforeMakeTimeout, 1)
})

t.test('rfc8684 3.3.3: two ends that miss data and have a DATA_FIN out do not answer each other without end', async (tt) => {
  const link = new Link({ isCut: true }).establish()
  link.client.write(pattern(1))
  link.run(200_000)
  link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(200_000)
  link.filter = (p) => (p.pkt.payLen > 0 ? DROP : PASS)
  link.client.write(pattern(1000, 1))
  link.server.write(pattern(1000))
  link.client.end()
  link.server.end()
  const before = link.seen.length
  link.run(200_000)
  tt.ok(link.dropped >= 2)
  tt.ok(link.seen.some((p) => p.opts.mptcp.dataFin))
  tt.ok(link.seen.length - before < 40, `${link.seen.length - before} packets in 20 round trips`)
  link.filter = () => PASS
  tt.ok(link.run(60_000_000, () => link.client.c.isClosed && link.server.c.isClosed))
  tt.ok(link.server.hasReceived(pattern(1001)) && link.client.hasReceived(pattern(1000)))
})
