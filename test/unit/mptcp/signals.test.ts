import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { C_ADDRESSES, C_CLOSED, C_DONE } from '../../../src/mptcp/connection.js'
import type { Subflow } from '../../../src/mptcp/subflow.js'
import { path } from '../../../src/pathmgr/path.js'
import { CAUSE_ABORTED, CAUSE_RESET } from '../../../src/tcp/state.js'
import {
  CAPABLE_DENY_JOIN,
  HAS_ADD_ADDR,
  HAS_DSS,
  HAS_FASTCLOSE,
  HAS_PRIO,
  HAS_REMOVE_ADDR,
  MP_ADD_ADDR,
  RST_UNSPECIFIED,
} from '../../../src/wire/mptcp-options.js'
import { ACK, RST, SYN } from '../../../src/wire/tcp.js'
import { CLIENT, CLIENT_2, DROP, Link, type LinkOptions, optionAt, PASS, PORT, pattern, type Seen, SERVER } from './harness.js'

const OTHER = IpAddress.v4(0xcb007102)
const OTHER_6 = new IpAddress(0x20010db8, 0, 0, 7)

/** Established both ways, with `subflows` of them. */
function open(subflows = 1, o: LinkOptions = {}): Link {
  const link = new Link(o).establish()
  link.client.write(pattern(1))
  link.run(100_000)
  link.server.write(pattern(1))
  link.run(100_000)
  if (subflows > 1) link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(100_000)
  link.client.events = link.server.events = 0
  return link
}

function withAdd(p: Seen): boolean {
  return (p.opts.mptcp.present & HAS_ADD_ADDR) !== 0
}

function subflow(link: Link, side: 'client' | 'server', i: number): Subflow {
  return link[side].c.subflows[i] as Subflow
}

t.test('rfc8684 3.4.1: announced, echoed exactly, told once, never repeated', async (tt) => {
  for (const [address, port, len] of [
    [OTHER, 0, 16],
    [OTHER, 8080, 18],
    [OTHER_6, 0, 28],
    [OTHER_6, 8080, 30],
  ] as const) {
    for (const side of ['server', 'client'] as const) {
      const link = open()
      const [from, to] = side === 'server' ? [link.server, link.client] : [link.client, link.server]
      tt.ok(from.c.announce(5, address, port))
      link.run(20_000_000)
      const adds = link.seen.filter(withAdd)
      tt.equal(adds.length, 2, 'one announcement, one echo')
      const [add, echo] = adds as [Seen, Seen]
      tt.same([add.opts.mptcp.present, add.pkt.payLen, add.opts.hasTs], [HAS_ADD_ADDR, 0, true], 'alone on a pure ACK, with timestamps')
      tt.same([echo.opts.mptcp.present, echo.pkt.payLen, echo.opts.mptcp.addEcho], [HAS_ADD_ADDR, 0, true])
      tt.equal(add.bytes[optionAt(add, MP_ADD_ADDR) + 1], len)
      tt.equal(add.pkt.optLen, Math.min(40, (12 + len + 3) & ~3), 'timestamps behind NOPs, unless there is no room for them')
      for (const f of ['addAddrId', 'add0', 'add1', 'add2', 'add3', 'addPort'] as const) tt.equal(echo.opts.mptcp[f], add.opts.mptcp[f])
      tt.same([from.counters.AddAddrTx, to.counters.AddAddr, to.counters.EchoAddTx, from.counters.EchoAdd], [1, 1, 1, 1])
      const isUsable = address.isV4 && (side === 'server' || port !== 0)
      if (address.isV4 && side === 'server') {
        tt.ok((to.events & C_ADDRESSES) !== 0)
        tt.same(
          to.c.addressing.takeFresh().map((a) => [a.id, `${a.address}`, a.port]),
          [[5, `${address}`, port === 0 ? PORT : port]],
          'without a port it is that of the subflow',
        )
        tt.same(to.c.addressing.takeFresh(), [])
      }
      if (!isUsable && !address.isV4)
        tt.same([to.counters.AddAddrDrop, to.c.addressing.peer.length], [1, 0], 'of the other family: never dialled')
    }
  }
})

t.test('rfc8684 3.4.1: repeated on a timer, at most three times; one dead address does not block others', async (tt) => {
  const link = open()
  link.filter = (p) => (!p.fromClient && withAdd(p) && p.opts.mptcp.addAddrId === 7 ? DROP : PASS)
  link.server.c.announce(7, OTHER_6, 0)
  link.server.c.announce(8, OTHER, 0)
  const since = link.now
  link.run(60_000_000)
  const dead = link.seen.filter((p) => withAdd(p) && p.opts.mptcp.addAddrId === 7)
  tt.same(
    dead.map((p) => Math.round((p.at - since) / 1e6)),
    [0, 1, 3, 7],
  )
  tt.equal(link.dropped, 4)
  const live = link.seen.filter((p) => withAdd(p) && p.opts.mptcp.addAddrId === 8)
  tt.equal(live.length, 2)
  tt.ok((live[1] as Seen).at - since < 100_000)
})

t.test('rfc8684 3.4.1: each flipped bit of the HMAC or of what it covers: no echo, no trace', async (tt) => {
  for (let bit = 24; bit < 16 * 8; bit += 5) {
    const link = open(1, { seed: bit })
    let flipped = 0
    link.filter = (p) => {
      if (!withAdd(p)) return PASS
      const at = optionAt(p, MP_ADD_ADDR) + (bit >> 3)
      p.bytes[at] = (p.bytes[at] as number) ^ (1 << (bit & 7))
      flipped++
      return PASS
    }
    link.server.c.announce(5, OTHER, 0)
    link.run(500_000)
    const n = link.client.counters
    if (flipped !== 1 || n.AddAddrHMacFailure !== 1 || n.AddAddr !== 0 || n.EchoAddTx !== 0 || link.client.c.addressing.peer.length !== 0)
      tt.fail(`bit ${bit}: flipped ${flipped}, failures ${n.AddAddrHMacFailure}`)
  }
  tt.pass('every bit tried is checked')
})

t.test('an address that must not be dialled is echoed and dropped', async (tt) => {
  const bad: [string, IpAddress][] = [
    ['loopback', IpAddress.v4(0x7f000001)],
    ['unspecified', IpAddress.v4(0)],
    ['multicast', IpAddress.v4(0xe0000001 | 0)],
    ['broadcast', IpAddress.v4(-1)],
    ['link-local', IpAddress.v4(0xa9fe0001 | 0)],
    ['own', CLIENT],
    ['other family', OTHER_6],
    ['::1', new IpAddress(0, 0, 0, 1)],
    ['ff02::1', new IpAddress(0xff020000 | 0, 0, 0, 1)],
    ['fe80::1', new IpAddress(0xfe800000 | 0, 0, 0, 1)],
  ]
  for (const [name, address] of bad) {
    const link = open()
    link.server.c.announce(3, address, 0)
    link.run(500_000)
    const n = link.client.counters
    tt.same(
      [n.AddAddr, n.AddAddrDrop, n.EchoAddTx, link.client.c.addressing.peer.length, link.client.events & C_ADDRESSES],
      [1, 1, 1, 0, 0],
      name,
    )
  }
})

t.test('many announcements: bounded store, at most two signals in a row, all echoed in the end', async (tt) => {
  const link = open()
  for (let i = 1; i <= 40; i++) link.server.c.announce(i, IpAddress.v4(0xcb007200 + i), 0)
  tt.notOk(link.server.c.announce(1, OTHER, 0), 'an id keeps its address')
  link.run(60_000_000)
  tt.equal(link.client.counters.AddAddr >= 40, true)
  tt.equal(link.client.c.addressing.peer.length, 16)
  tt.equal(link.server.counters.EchoAdd, 40)
  let run = 0
  let longest = 0
  let last = -1
  for (const p of link.seen.filter((q) => !q.fromClient)) {
    run = withAdd(p) && p.at === last ? run + 1 : 1
    last = p.at
    if (withAdd(p)) longest = Math.max(longest, run)
  }
  tt.ok(longest <= 2, `${longest} in a row`)
})

t.test('rfc8684 3.4.1: the announced address is joined, also under flag C; nothing else is then', async (tt) => {
  for (const denies of [false, true]) {
    const link = open(1, { server: { denyJoinInitial: denies } })
    tt.equal(link.client.c.peerDeniesJoin, denies)
    tt.equal(((link.seen[1] as Seen).opts.mptcp.capableFlags & CAPABLE_DENY_JOIN) !== 0, denies)
    link.server.c.announce(4, OTHER, 8443)
    link.run(200_000)
    const [a] = link.client.c.addressing.takeFresh()
    tt.ok(link.client.c.addPath(path({ id: 2, destination: a?.address ?? null, destinationPort: a?.port ?? 0 }), link.now))
    link.run(200_000)
    tt.equal(link.client.c.subflows.length, 2)
    tt.same([`${subflow(link, 'client', 1).ep.tuple.remote}`, subflow(link, 'client', 1).ep.tuple.remotePort], [`${OTHER}`, 8443])
    const detour = path({ id: 6, source: CLIENT_2, destination: IpAddress.v4(0xc6336401 | 0), destinationPort: 7000 })
    tt.equal(link.client.c.addPath(detour, link.now), !denies, 'a detour leads to the initial address')
    tt.equal(link.client.c.addPath(path({ id: 7, source: CLIENT_2 }), link.now), !denies)
    // a peer that joins there all the same is refused
    link.client.c.peerDeniesJoin = false
    link.client.c.addPath(path({ id: 8, source: CLIENT_2 }), link.now)
    link.run(200_000)
    tt.equal(link.server.counters.MPJoinRejected, denies ? 1 : 0)
  }
})

t.test('rfc8684 3.4.2: REMOVE_ADDR beside a DSS; a path that answers stays, one that is silent is reset', async (tt) => {
  for (const answers of [true, false]) {
    const link = open(2)
    // the client withdraws the address of its second subflow, id 1
    tt.ok(link.client.c.withdraw(1))
    link.filter = (p) => (p.flow === 1 && p.fromClient && !answers ? DROP : PASS)
    link.run(5_000_000)
    const rm = link.seen.filter((p) => (p.opts.mptcp.present & HAS_REMOVE_ADDR) !== 0)
    tt.equal(rm.length, 1)
    tt.equal((rm[0] as Seen).opts.mptcp.present, HAS_REMOVE_ADDR | HAS_DSS)
    tt.same([link.client.counters.RmAddrTx, link.server.counters.RmAddr], [1, 1])
    tt.equal(link.server.c.subflows.length, answers ? 2 : 1)
    tt.equal(link.server.counters.RmSubflow, answers ? 0 : 1)
    if (!answers) tt.ok(link.dropped >= 1)
  }
})

t.test('rfc8684 3.4.2: unknown ids are ignored, id 0 and ids that come back work', async (tt) => {
  const link = open(2)
  link.client.c.withdraw(200)
  link.run(1_000_000)
  tt.same([link.server.counters.RmAddr, link.server.events & C_ADDRESSES], [0, 0])
  link.server.c.announce(5, OTHER, 0)
  link.run(100_000)
  tt.equal(link.client.c.addressing.takeFresh().length, 1)
  link.server.c.withdraw(5)
  link.run(100_000)
  tt.equal(link.client.c.addressing.peer.length, 0)
  link.server.c.announce(5, OTHER, 9000)
  link.run(100_000)
  tt.same(
    link.client.c.addressing.takeFresh().map((a) => a.port),
    [9000],
    'the id may mean another address now',
  )
  link.client.c.withdraw(0)
  link.filter = (p) => (p.flow === 0 && p.fromClient && (p.opts.mptcp.present & HAS_REMOVE_ADDR) === 0 ? DROP : PASS)
  link.run(5_000_000)
  tt.same([link.server.counters.RmSubflow, link.server.c.subflows.length], [1, 1], 'the initial subflow is no other')
  link.client.write(pattern(5000, 1))
  tt.ok(link.run(10_000_000, () => link.server.hasReceived(pattern(5001))))
})

t.test('a withdrawn announcement is not repeated', async (tt) => {
  const link = open()
  link.filter = (p) => (withAdd(p) ? DROP : PASS)
  link.server.c.announce(5, OTHER, 0)
  link.run(500_000)
  link.server.c.withdraw(5)
  link.run(20_000_000)
  tt.equal(link.seen.filter(withAdd).length, 1)
})

t.test('rfc8684 3.3.8: MP_PRIO both ways, and what it does to the schedule', async (tt) => {
  for (const side of ['client', 'server'] as const) {
    const link = open(2)
    const other = side === 'client' ? 'server' : 'client'
    link[side].c.setBackup(subflow(link, side, 0), true, link.now)
    link.run(100_000)
    const prio = link.seen.filter((p) => (p.opts.mptcp.present & HAS_PRIO) !== 0)
    tt.equal(prio.length, 1)
    tt.same(
      [(prio[0] as Seen).flow, (prio[0] as Seen).opts.mptcp.prioBackup, (prio[0] as Seen).opts.mptcp.present],
      [0, true, HAS_PRIO | HAS_DSS],
    )
    tt.same([link[side].counters.MPPrioTx, link[other].counters.MPPrioRx], [1, 1])
    tt.ok(subflow(link, other, 0).isPeerBackup)
    const from = link.seen.length
    link[other].write(pattern(100_000, 1))
    tt.ok(link.run(5_000_000, () => link[side].received === 100_001))
    const isUp = other === 'client'
    tt.notOk(
      link.seen.slice(from).some((p) => p.fromClient === isUp && p.pkt.payLen > 0 && p.flow === 0),
      'a backup carries nothing',
    )
    link[side].c.setBackup(subflow(link, side, 0), false, link.now)
    link.run(100_000)
    tt.notOk(subflow(link, other, 0).isBackup)
  }
})

t.test('rfc8684 3.4.2, 3.3.8: REMOVE_ADDR and MP_PRIO whose pure ACK is lost arrive a second time, later, and once', async (tt) => {
  const link = open(2)
  let lost = 0
  link.filter = (p) => (lost < 1 && (p.opts.mptcp.present & HAS_PRIO) !== 0 && ++lost === 1 ? DROP : PASS)
  link.client.c.setBackup(subflow(link, 'client', 1), true, link.now)
  link.run(5_000_000)
  tt.same([lost, link.client.counters.MPPrioTx, link.server.counters.MPPrioRx], [1, 2, 1])
  tt.ok(subflow(link, 'server', 1).isPeerBackup)
  link.filter = (p) => (lost < 2 && (p.opts.mptcp.present & HAS_REMOVE_ADDR) !== 0 && ++lost === 2 ? DROP : p.flow === 1 ? DROP : PASS)
  subflow(link, 'client', 1).reset(RST_UNSPECIFIED) // its RST is lost too
  link.client.c.withdraw(1)
  link.run(10_000_000)
  tt.same([lost, link.client.counters.RmAddrTx, link.server.counters.RmAddr], [2, 2, 1])
  tt.equal(link.server.c.subflows.length, 1, 'the server has learnt that its subflow is dead')
  link.client.write(pattern(5000, 1))
  tt.ok(link.run(10_000_000, () => link.server.hasReceived(pattern(5001))))
})

t.test('rfc8684 3.4.2: a REMOVE_ADDR is not repeated when its id is in use again', async (tt) => {
  const link = open(2)
  const id = subflow(link, 'client', 1).localAddrId
  subflow(link, 'client', 1).reset(RST_UNSPECIFIED)
  link.client.c.withdraw(id)
  link.run(20_000)
  tt.equal(link.client.counters.RmAddrTx, 1)
  tt.ok(link.client.c.addPath(path({ id, source: CLIENT_2 }), link.now))
  link.run(5_000_000)
  tt.equal(link.client.counters.RmAddrTx, 1)
  tt.equal(link.server.c.subflows.filter((s) => s.isUsable).length, 2)
  tt.notOk(link.server.c.subflows.some((s) => s.isBackup))
})

t.test('rfc8684 3.4.2: a path that the peer withdraws carries no new data while another one can', async (tt) => {
  const link = open(2)
  link.client.c.withdraw(1)
  link.run(500_000)
  const from = link.seen.length
  link.server.write(pattern(100_000, 1))
  tt.ok(link.run(5_000_000, () => link.client.received === 100_001))
  tt.equal(link.server.c.subflows.length, 2, 'it answers, so it stays')
  tt.same([...new Set(link.seen.slice(from).flatMap((p) => (!p.fromClient && p.pkt.payLen > 0 ? [p.flow] : [])))], [0])
})

t.test('a working subflow is closed by FIN, the last one is not', async (tt) => {
  const link = open(2)
  tt.ok(link.client.c.closeSubflow(subflow(link, 'client', 1)))
  link.run(1_000_000)
  tt.equal(link.client.c.subflows.filter((s) => s.isUsable).length, 1)
  tt.notOk(link.seen.some((p) => (p.pkt.flags & RST) !== 0))
  tt.notOk(link.client.c.closeSubflow(subflow(link, 'client', 0)))
  link.client.write(pattern(5000, 1))
  tt.ok(link.run(10_000_000, () => link.server.hasReceived(pattern(5001))))
})

t.test('rfc8684 3.5: FASTCLOSE on an ACK, RST on the others; the peer answers by RST', async (tt) => {
  const link = open(2, { client: { isFastcloseAcked: true } })
  const from = link.seen.length
  link.client.c.abort(link.now)
  link.run(1_000_000)
  const fast = link.seen.slice(from).filter((p) => (p.opts.mptcp.present & HAS_FASTCLOSE) !== 0)
  tt.equal(fast.length, 1)
  tt.same([(fast[0] as Seen).pkt.flags & (RST | SYN | ACK), (fast[0] as Seen).opts.mptcp.present], [ACK, HAS_FASTCLOSE | HAS_DSS])
  const resets = link.seen.slice(from).filter((p) => p.fromClient && (p.pkt.flags & RST) !== 0)
  tt.same([resets.length, (resets[0] as Seen).flow], [1, 1 - (fast[0] as Seen).flow])
  tt.same([link.client.c.cause, link.server.c.cause], [CAUSE_ABORTED, CAUSE_RESET])
  for (const h of [link.client, link.server]) tt.ok((h.events & (C_CLOSED | C_DONE)) === (C_CLOSED | C_DONE))
  tt.same([link.client.counters.MPFastcloseTx, link.server.counters.MPFastcloseRx], [1, 1])
})

t.test('rfc8684 3.5: repeated three times, then on a RST', async (tt) => {
  const link = open(1, { client: { isFastcloseAcked: true } })
  link.filter = (p) => (p.fromClient && (p.pkt.flags & RST) === 0 ? DROP : PASS)
  const from = link.seen.length
  link.client.write(pattern(50_000, 1))
  link.client.c.abort(link.now)
  link.run(20_000_000)
  const fast = link.seen.slice(from).filter((p) => (p.opts.mptcp.present & HAS_FASTCLOSE) !== 0)
  tt.same(
    fast.map((p) => (p.pkt.flags & RST) !== 0),
    [false, false, false, false, true],
  )
  tt.equal(link.seen.slice(from).filter((p) => p.fromClient && p.pkt.payLen > 0).length, 0, 'no data any more')
  tt.equal(link.server.c.cause, CAUSE_RESET)
  tt.ok((link.client.events & C_DONE) !== 0)
})

t.test('rfc8684 3.5: a FASTCLOSE with another key is ignored', async (tt) => {
  const link = open(1, { client: { isFastcloseAcked: true } })
  let changed = 0
  link.filter = (p) => {
    if ((p.opts.mptcp.present & HAS_FASTCLOSE) === 0) return PASS
    const at = optionAt(p, 7) + 4 + (changed % 8)
    p.bytes[at] = (p.bytes[at] as number) ^ 0x10
    changed++
    return PASS
  }
  link.client.c.abort(link.now)
  link.run(500_000)
  tt.ok(changed > 0)
  tt.notOk(link.server.c.isClosed)
  tt.same([link.server.counters.MPFastcloseRx, `${SERVER}`], [0, '203.0.113.1'])
})
