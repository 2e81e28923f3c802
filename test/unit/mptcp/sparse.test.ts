import t from 'tap'
import type { Tuple } from '../../../src/base/address.js'
import { FB_NONE } from '../../../src/mptcp/fallback.js'
import { isBare, SPARSE_ALWAYS, SPARSE_AUTO, SPARSE_OFF } from '../../../src/mptcp/sparse.js'
import type { Subflow } from '../../../src/mptcp/subflow.js'
import { path } from '../../../src/pathmgr/path.js'
import { redundant } from '../../../src/scheduler/redundant.js'
import { unwrap } from '../../../src/wire/seq.js'
import { RST, SYN } from '../../../src/wire/tcp.js'
import { CLIENT_2, DROP, Link, type LinkOptions, PASS, pattern, type Seen, strip } from './harness.js'
import { WireRules } from './wire-rules.js'

const TAIL_US = 60_000_000

/** Data segments of the client on the subflows as an onlooker sees them: which are bare, and whether they may be. */
class Onlooker {
  /** Data segments without any MPTCP option. */
  bare = 0
  /** Of the flow, end of everything sent once; end of what a mapping declares. */
  private readonly sent: number[] = []
  private readonly declared: number[] = []
  private readonly isn: number[] = []
  readonly broken: string[] = []
  /** Payload of bare segments, by how often. */
  readonly sizes = new Map<number, number>()

  observe(p: Seen): void {
    if (!p.fromClient) return
    if ((p.pkt.flags & SYN) !== 0) this.isn[p.flow] = p.pkt.seq
    if (p.pkt.payLen === 0) return
    const seq = unwrap(1, this.isn[p.flow] ?? 0, p.pkt.seq)
    const end = seq + p.pkt.payLen
    const { mptcp } = p.opts
    if (mptcp.present !== 0 && mptcp.dataLen > 0) {
      this.declared[p.flow] = Math.max(this.declared[p.flow] ?? 0, (mptcp.ssn >>> 0) + mptcp.dataLen)
    } else if (mptcp.present === 0) {
      this.bare++
      this.sizes.set(p.pkt.payLen, (this.sizes.get(p.pkt.payLen) ?? 0) + 1)
      if (seq < (this.sent[p.flow] ?? 0)) this.broken.push(`${p.flow}: ${seq} is sent again without its mapping`)
      if (end > (this.declared[p.flow] ?? 0)) this.broken.push(`${p.flow}: nothing maps ${seq}..${end}`)
    }
    this.sent[p.flow] = Math.max(this.sent[p.flow] ?? 0, end)
  }
}

function watched(o: LinkOptions): { link: Link; eyes: Onlooker; rules: WireRules } {
  const link = new Link(o)
  const eyes = new Onlooker()
  const rules = new WireRules()
  link.filter = (p) => {
    eyes.observe(p)
    rules.observe(p)
    return PASS
  }
  return { link: link.establish(), eyes, rules }
}

t.test('rfc8684 3.3.1: once 64 KiB are acknowledged at both levels, only the first segment of a mapping tells it', async (tt) => {
  const { link, eyes, rules } = watched({ isCut: true, client: { sparse: { ...SPARSE_AUTO, maxBurst: Infinity } } })
  link.client.write(pattern(60_000))
  link.run(500_000)
  tt.equal(eyes.bare, 0, 'not in a short exchange')
  link.client.write(pattern(500_000, 60_000))
  tt.ok(link.run(TAIL_US, () => link.server.hasReceived(pattern(560_000))))
  const data = link.seen.filter((p) => p.fromClient && p.pkt.payLen > 0)
  tt.ok(eyes.bare > data.length * 0.7, `${eyes.bare} of ${data.length} bare`)
  tt.ok((eyes.sizes.get(1448) ?? 0) > eyes.bare * 0.9, 'which carry as much as those of plain TCP')
  tt.same([...eyes.broken, ...rules.broken], [])
  tt.equal(link.server.c.fallbackReason, FB_NONE)
  tt.equal(link.server.counters.ImpliedMappings + link.server.counters.StagedBytes, 0, 'and are placed at once')
})

t.test('rfc8684 3.3.1: the segment with the DSS is no part of a super-segment, for its options would be in all of them', async (tt) => {
  const { link, rules } = watched({ client: { sparse: SPARSE_ALWAYS } })
  link.client.write(pattern(500_000))
  tt.ok(link.run(TAIL_US, () => link.server.hasReceived(pattern(500_000))))
  const wide = link.seen.filter((p) => p.fromClient && p.opts.mptcp.dataLen > p.pkt.payLen && p.pkt.payLen > 0)
  tt.ok(wide.length > 3)
  tt.ok(wide.every((p) => p.pkt.payLen <= 1448))
  tt.ok(link.seen.some((p) => p.fromClient && p.opts.mptcp.present === 0 && p.pkt.payLen > 2 * 1448))
  tt.same(rules.broken, [])
})

t.test('every segment carries its DSS: sparse DSS off, with checksums, redundant, large bursts', async (tt) => {
  for (const client of [{ sparse: null }, { checksum: true }, { scheduler: redundant }, { sparse: { after: 0, maxBurst: 0 } }]) {
    const { link, eyes } = watched({ isCut: true, client: { sparse: SPARSE_ALWAYS, ...client } })
    link.client.write(pattern(250_000))
    tt.ok(
      link.run(TAIL_US, () => link.server.hasReceived(pattern(250_000))),
      JSON.stringify(client),
    )
    tt.equal(eyes.bare, 0)
  }
})

t.test('rfc8684 3.3.2: a segment that acknowledges new data, and the first one after a pause, carry the mapping again', async (tt) => {
  const { link, eyes, rules } = watched({ isCut: true, capacity: 300_000, client: { sparse: SPARSE_ALWAYS } })
  link.client.write(pattern(300_000))
  for (let done = 0, at = 300_000; done < 40; done++) {
    link.run(3000)
    link.server.write(pattern(500, done * 500))
    if (at < 600_000) at += link.client.write(pattern(10_000, at))
    if (done === 20) {
      link.server.isReading = false // the window closes with a part of a mapping still to send
      link.run(3_000_000)
      link.server.isReading = true
    }
  }
  tt.ok(link.run(TAIL_US, () => link.client.received === 20_000 && link.client.c.snd.una === link.client.c.snd.nxt))
  const again = link.seen.filter((p) => p.fromClient && p.opts.mptcp.dsnLen === 8 && p.pkt.payLen > 0)
  tt.ok(eyes.bare > 50 && again.length > 10, `${eyes.bare} bare, ${again.length} not`)
  tt.ok(again.some((p) => p.opts.mptcp.dataAckLen > 0))
  tt.same([...eyes.broken, ...rules.broken], [])
})

t.test('what is left of a mapping goes without a DSS, but for these reasons', async (tt) => {
  const { link } = watched({ isCut: true, client: { sparse: SPARSE_ALWAYS } })
  link.client.write(pattern(500_000))
  const s = link.client.c.subflows[0] as Subflow
  const ready = (): boolean => s.reserved > 0 && isBare(s)
  tt.ok(link.run(TAIL_US, ready))
  const { snd } = s.ep
  const { flight } = snd
  snd.flight = null
  tt.notOk(isBare(s), 'nothing is in flight: it is the first one after a pause')
  snd.flight = flight
  s.isAnswerDue = true
  tt.notOk(isBare(s), 'a DATA_ACK is due')
  s.isAnswerDue = false
  tt.ok(isBare(s))
  s.sparse = SPARSE_OFF
  tt.notOk(isBare(s), 'something went wrong')
})

t.test('rfc8684 3.3.1: the first segment of a mapping is lost, or overtaken: what came without its DSS waits for it', async (tt) => {
  for (const way of ['lost', 'late'] as const) {
    const { link, eyes } = watched({ isCut: true, client: { sparse: SPARSE_ALWAYS } })
    let hits = 0
    link.filter = (p) => {
      eyes.observe(p)
      if (!p.fromClient || p.opts.mptcp.dataLen <= p.pkt.payLen || p.pkt.payLen === 0 || hits > 12) return PASS
      hits++
      return way === 'lost' ? DROP : 3000
    }
    link.client.write(pattern(250_000))
    tt.ok(
      link.run(TAIL_US, () => link.server.hasReceived(pattern(250_000))),
      way,
    )
    tt.ok(hits > 1, `${hits} ${way}`)
    tt.ok(link.server.counters.StagedBytes > 0)
    tt.equal(link.server.counters.ImpliedMappings, 0)
    tt.same([link.server.c.fallbackReason, link.client.c.fallbackReason], [FB_NONE, FB_NONE])
    tt.notOk(link.seen.some((p) => (p.pkt.flags & RST) !== 0))
    tt.same(eyes.broken, [])
  }
})

t.test(
  'a box takes away the only DSS of a mapping: the bytes go again by the other subflow, and this path gets all of them from now on',
  async (tt) => {
    const { link, eyes } = watched({ isCut: true, client: { sparse: SPARSE_ALWAYS } })
    const noted: Tuple[] = []
    link.client.noteSparseOff = (tuple) => noted.push(tuple)
    link.client.write(pattern(1))
    link.run(200_000)
    link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
    link.run(200_000)
    let hits = 0
    link.filter = (p) => {
      if (p.flow === 1 && p.fromClient && p.pkt.payLen > 0 && p.opts.mptcp.dataLen > 2 * p.pkt.payLen && hits === 0) hits = strip(p.bytes)
      eyes.observe(p)
      return PASS
    }
    link.client.write(pattern(400_000, 1))
    tt.ok(link.run(TAIL_US, () => link.server.hasReceived(pattern(400_001))))
    tt.equal(hits, 1)
    tt.ok(link.client.counters.ReinjectedBytes > 0)
    tt.equal(link.client.counters.SparseOff, 1)
    const join = link.client.c.subflows[1]
    tt.equal(join?.sparse, SPARSE_OFF, 'the subflow lives')
    tt.same(
      noted.map((tuple) => tuple.local.toString()),
      [CLIENT_2.toString()],
    )
  },
)

t.test('a path of which that is known gets a DSS on every segment', async (tt) => {
  const { link, eyes } = watched({ isCut: true, client: { sparse: SPARSE_ALWAYS } })
  let asked = 0
  link.client.isSparseOff = () => ++asked > 0
  link.client.write(pattern(250_000))
  tt.ok(link.run(TAIL_US, () => link.server.hasReceived(pattern(250_000))))
  tt.same([eyes.bare, asked], [0, 1], 'asked once')
})

t.test('rfc8684 3.7: options vanish while a part of a mapping is still to be sent: plain TCP, byte-exact', async (tt) => {
  const { link } = watched({ isCut: true, client: { sparse: SPARSE_ALWAYS } })
  link.client.write(pattern(400_000))
  tt.ok(link.run(TAIL_US, () => (link.client.c.subflows[0]?.reserved ?? 0) > 0))
  let hits = 0
  link.filter = (p) => {
    hits += strip(p.bytes)
    return PASS
  }
  tt.ok(link.run(TAIL_US, () => link.server.hasReceived(pattern(400_000))))
  tt.ok(hits > 0)
  link.run(2_000_000)
  tt.not(link.client.c.fallbackReason, FB_NONE)
  tt.equal(link.client.counters.SparseOff, 1)
})

t.test('a subflow that ends leaves nothing behind of what it had reserved', async (tt) => {
  const { link } = watched({ isCut: true, client: { sparse: SPARSE_ALWAYS } })
  link.client.write(pattern(1))
  link.run(200_000)
  link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(200_000)
  link.client.write(pattern(300_000, 1))
  const join = link.client.c.subflows[1]
  tt.ok(link.run(TAIL_US, () => (join?.reserved ?? 0) > 5000))
  join?.ep.abort()
  tt.ok(link.run(TAIL_US, () => link.server.hasReceived(pattern(300_001))))
  link.client.end()
  link.server.end()
  link.run(TAIL_US)
  tt.same([link.client.arena.pagesInUse, link.server.arena.pagesInUse], [0, 0])
})
