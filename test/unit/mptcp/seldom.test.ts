import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { isDialable } from '../../../src/mptcp/dialable.js'
import { FB_NONE, FB_SYN_BOTH } from '../../../src/mptcp/fallback.js'
import { refusalOfSyn } from '../../../src/mptcp/handshake.js'
import { path } from '../../../src/pathmgr/path.js'
import { CAUSE_TIMEOUT } from '../../../src/tcp/state.js'
import {
  CAPABLE_HMAC_SHA256,
  HAS_ADD_ADDR,
  HAS_CAPABLE,
  HAS_JOIN,
  MP_ADD_ADDR,
  MP_DSS,
  MP_JOIN,
  MPTCP_VERSION,
  MptcpOptions,
  RST_MIDDLEBOX,
} from '../../../src/wire/mptcp-options.js'
import { RST, SYN } from '../../../src/wire/tcp.js'
import { CLIENT_2, DROP, Link, type LinkOptions, optionAt, PASS, PORT, pattern, type Seen, SERVER, strip } from './harness.js'

// Rules that take part in few exchanges; each was found by a mutation that nothing else noticed (scripts/mutations/mptcp.json).

const SECOND = path({ id: 3, label: 'second', source: CLIENT_2 })

/** Established, a byte exchanged each way. */
function open(o: LinkOptions = {}): Link {
  const link = new Link(o).establish()
  link.client.write(pattern(1))
  link.run(100_000)
  link.server.write(pattern(1))
  link.run(100_000)
  return link
}

const isSynAckOfJoin = (p: Seen): boolean => p.flow === 1 && !p.fromClient && (p.pkt.flags & SYN) !== 0

t.test('rfc8684 3.1: MP_CAPABLE and MP_JOIN in one SYN are plain TCP', async (tt) => {
  const m = new MptcpOptions()
  m.present = HAS_CAPABLE
  m.capableLen = 4
  m.capableVersion = MPTCP_VERSION
  m.capableFlags = CAPABLE_HMAC_SHA256
  tt.equal(refusalOfSyn(m), FB_NONE)
  m.present |= HAS_JOIN
  tt.equal(refusalOfSyn(m), FB_SYN_BOTH)
})

t.test('rfc8684 3.2: a SYN/ACK without MP_JOIN is no wrong HMAC', async (tt) => {
  const link = open()
  let stripped = 0
  link.filter = (p) => {
    if (isSynAckOfJoin(p)) stripped += strip(p.bytes)
    return PASS
  }
  link.client.c.addPath(SECOND, link.now)
  link.run(100_000)
  tt.equal(stripped, 1)
  tt.equal(link.client.c.subflows.length, 1)
  tt.equal(link.client.counters.MPJoinSynAckHMacFailure, 0)
})

t.test('rfc8684 3.2: flag B in the SYN/ACK of a join makes the subflow a backup', async (tt) => {
  for (const bit of [0, 1]) {
    const link = open()
    link.filter = (p) => {
      if (isSynAckOfJoin(p)) {
        const at = optionAt(p, MP_JOIN) + 2
        p.bytes[at] = (p.bytes[at] as number) | bit
      }
      return PASS
    }
    link.client.c.addPath(SECOND, link.now)
    link.run(100_000)
    tt.equal(link.client.c.subflows.length, 2)
    tt.equal(link.client.c.subflows[1]?.isBackup, bit === 1)
    tt.equal(link.client.counters.MPJoinSynAckBackupRx, bit)
  }
})

t.test('rfc8684 3.4.1: an echo of another address or port does not end the repetitions', async (tt) => {
  for (const [byte, what] of [
    [7, 'address'],
    [9, 'port'],
  ] as const) {
    const link = open()
    let changed = 0
    link.filter = (p) => {
      if ((p.opts.mptcp.present & HAS_ADD_ADDR) === 0 || !p.opts.mptcp.addEcho) return PASS
      const at = optionAt(p, MP_ADD_ADDR) + byte
      p.bytes[at] = (p.bytes[at] as number) ^ 1
      changed++
      return PASS
    }
    link.server.c.announce(5, IpAddress.v4(0xcb007102), PORT)
    link.run(1_500_000)
    tt.equal(changed, 2, `${what}: announced twice, echoed twice`)
    tt.equal(link.server.counters.EchoAdd, 0)
  }
})

t.test('what is never dialled: port 0, own and special addresses, another family', async (tt) => {
  const { c } = open().client
  tt.ok(isDialable(c, SERVER, PORT))
  tt.notOk(isDialable(c, SERVER, 0))
  tt.notOk(isDialable(c, IpAddress.v4(0xc6120001), PORT), 'our own')
  for (const word of [0x7f000001, 0xe0000001, 0xffffffff, 0xa9fe0101, 0]) tt.notOk(isDialable(c, IpAddress.v4(word), PORT), `${word}`)
  tt.notOk(isDialable(c, new IpAddress(0x20010db8, 0, 0, 7), PORT), 'IPv6 beside IPv4')
})

t.test('rfc8684 3.3.6: the first timeout of a subflow, not that of the connection, sends its bytes elsewhere', async (tt) => {
  const link = new Link({ isCut: true })
  link.filter = (p) => (p.flow === 0 ? 300_000 : PASS) // a slow path beside a fast one: the data-level timer follows the slow one
  link.client.connect(link.now)
  link.run(2_000_000)
  link.client.write(pattern(3_001))
  link.run(2_000_000)
  link.client.c.addPath(SECOND, link.now)
  link.run(2_000_000)
  tt.equal(link.client.c.subflows.length, 2)
  link.filter = (p) => (p.flow === 1 ? DROP : 300_000)
  const cutAt = link.now
  const timeouts = link.client.counters.DataRtx
  link.client.write(pattern(2_000, 3_001))
  tt.ok(link.run(5_000_000, () => link.client.counters.ReinjectedBytes > 0))
  tt.ok(link.dropped > 0)
  tt.ok(link.now - cutAt < 600_000, `after ${link.now - cutAt} us`)
  tt.equal(link.client.counters.DataRtx, timeouts, 'before the data-level timeout')
  tt.ok(link.run(10_000_000, () => link.server.hasReceived(pattern(5_001))))
})

t.test('a silent subflow that alone needs many bytes is reset after eight timeouts', async (tt) => {
  const link = open({ capacity: 40_000 })
  link.client.c.addPath(SECOND, link.now)
  link.filter = (p) => (p.flow === 0 ? 50_000 : PASS) // so that the other one is preferred
  link.run(1_000_000)
  link.client.write(pattern(1_000, 1))
  link.run(1_000_000)
  link.filter = (p) => (p.flow === 1 ? DROP : 50_000)
  link.client.write(pattern(2_000, 1_001))
  link.run(20_000_000, () => link.server.received === 3_001)
  tt.ok(link.server.hasReceived(pattern(3_001)), 'they came by the other path')
  link.run(3_000_000)
  tt.ok(link.dropped >= 4, `${link.dropped} segments were lost`)
  tt.equal(link.client.write(pattern(38_000, 3_001)), 38_000)
  link.run(5_000_000, () => link.server.received === 41_001)
  tt.ok(link.server.hasReceived(pattern(41_001)))
  tt.equal(link.client.counters.PinnedReset, 0, 'its bytes are out of the buffer')
  tt.ok(link.run(60_000_000, () => link.client.counters.PinnedReset > 0))
  tt.ok(link.dropped >= 8)
})

t.test('rfc9293 3.8.3: data that every subflow acknowledges and none delivers ends the connection', async (tt) => {
  const link = open()
  const { c } = link.client
  c.addPath(SECOND, link.now)
  link.run(200_000)
  tt.equal(c.subflows.length, 2)
  let moved = 0
  link.filter = (p) => {
    if (!p.fromClient || p.opts.mptcp.dsnLen === 0) return PASS
    const at = optionAt(p, MP_DSS) + 7 + p.opts.mptcp.dataAckLen
    p.bytes[at] = (p.bytes[at] as number) + 1 // 4 GB on, beyond every window: acknowledged on the subflow, and dropped (RFC 8684 §3.8)
    moved++
    return PASS
  }
  link.client.write(pattern(1000, 1))
  let reopened = 0
  const isOver = () => {
    if (!c.isClosed && c.subflows.length < 2 && c.addPath(SECOND, link.now)) reopened++
    return c.isClosed
  }
  tt.ok(link.run(1_300_000_000, isOver), 'after 1200 s')
  tt.ok(reopened > 2, `although there are always subflows: ${reopened} opened anew`)
  tt.equal(c.cause, CAUSE_TIMEOUT)
  tt.ok(moved >= 2)
  tt.ok(link.server.counters.NoDSSInWindow >= 2)
  tt.equal(link.server.received, 1)
})

t.test(
  'rfc8684 3.7: once joined, a connection that is down to one subflow resets it for want of options, and does not fall back',
  async (tt) => {
    const link = open()
    link.client.c.addPath(SECOND, link.now)
    link.run(200_000)
    tt.equal(link.client.c.subflows.length, 2)
    link.client.c.subflows[1]?.reset(0)
    link.run(200_000)
    tt.equal(link.client.c.subflows.length, 1)
    tt.equal(link.server.c.subflows.length, 1)
    let stripped = 0
    link.filter = (p) => {
      if (!p.fromClient && (p.pkt.flags & RST) === 0) stripped += strip(p.bytes)
      return PASS
    }
    for (let i = 0; i < 20; i++) {
      link.client.write(pattern(1, 1 + i))
      link.run(50_000)
    }
    tt.ok(stripped > 3)
    tt.equal(link.client.c.fallbackReason, FB_NONE)
    const rst = link.seen.find((p) => p.flow === 0 && p.fromClient && (p.pkt.flags & RST) !== 0)
    tt.equal(rst?.opts.mptcp.rstReason, RST_MIDDLEBOX)
  },
)
