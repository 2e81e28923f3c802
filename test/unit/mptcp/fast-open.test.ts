import t, { type Test } from 'tap'
import { forSeeds } from '../../oracle/seeds.js'
import { readI32, writeI32 } from '../../../src/base/bytes.js'
import { MptcpConnection } from '../../../src/mptcp/connection.js'
import { StreamQueue } from '../../../src/base/stream-queue.js'
import { path } from '../../../src/pathmgr/path.js'
import { HAS_CAPABLE, HAS_DSS } from '../../../src/wire/mptcp-options.js'
import { SYN } from '../../../src/wire/tcp.js'
import { DROP, Link, type LinkOptions, PASS, PORT, pattern, type Seen, SERVER, strip } from './harness.js'

const COOKIE = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
const SEQ = 4
const ACK_FIELD = 8

/** Adds to a sequence number of the packet's TCP header. */
function shiftNumber(p: Seen, field: number, by: number): void {
  const at = p.pkt.l4Off + field
  writeI32(p.bytes, at, (readI32(p.bytes, at) + by) | 0)
}

/** A client whose SYN has the first bytes of `data` with it, of which the server takes `taken`: the box keeps those from our own server. */
function open(data: Uint8Array, taken: number, checksum: boolean, isEnabled = true): Link {
  const link = begin(data, { client: { checksum }, server: { isEnabled } })
  link.filter = (seen) => {
    if (!seen.fromClient) shiftNumber(seen, ACK_FIELD, taken)
    else if ((seen.pkt.flags & SYN) === 0) shiftNumber(seen, SEQ, -taken)
    return PASS
  }
  return link
}

/** The same without a box. */
function begin(data: Uint8Array, options: LinkOptions): Link {
  const link = new Link(options)
  const { client } = link
  const c = new MptcpConnection(
    client,
    client.cfg,
    new StreamQueue(client.arena, client.capacity),
    new StreamQueue(client.arena, client.capacity),
  )
  client.conn = c
  client.write(data)
  const p = path()
  const tuple = client.openFlow(p, SERVER, PORT)
  if (tuple === null) throw new Error('no flow')
  c.connect(p, tuple, link.now, 3, COOKIE)
  return link
}

t.test(
  'rfc8684 B.2, B.3: what a SYN brought is outside of the data sequence space, what was not taken is mapped from its start',
  async (t) => {
    const data = pattern(5_000)
    for (const checksum of [false, true]) {
      for (const taken of [0, 1, 500, 1_400]) {
        const link = open(data, taken, checksum)
        t.ok(
          link.run(5_000_000, () => link.client.c.sendQueue.isEmpty),
          'everything is acknowledged at both levels',
        )
        const [syn] = link.seen as [Seen]
        t.ok(syn.pkt.payLen >= 1_400 && syn.opts.fastOpenLen === COOKIE.length, 'the SYN has cookie and data')
        t.equal(syn.opts.mptcp.present, HAS_CAPABLE)
        t.ok(link.client.c.isMptcp && link.server.c.isMptcp)
        t.equal(link.server.c.recvQueue.readyEnd, data.length - taken, 'the rest has come by mappings')
        link.client.write(pattern(3_000, data.length))
        t.ok(link.run(5_000_000, () => link.client.c.sendQueue.isEmpty))
        link.server.write(pattern(100))
        t.ok(link.run(1_000_000, () => link.client.hasReceived(pattern(100))))
        const later = link.seen.find((p) => p.fromClient && p.pkt.payLen > 0 && (p.opts.mptcp.present & HAS_DSS) !== 0)
        const first = link.seen.find((p) => p.fromClient && p.pkt.payLen > 0 && (p.pkt.flags & SYN) === 0)
        t.equal((first?.opts.mptcp.present ?? 0) & HAS_CAPABLE, HAS_CAPABLE, 'the first data shows the keys')
        t.ok(later !== undefined && later.opts.mptcp.ssn >= 1)
        link.client.c.sendQueue.setFin(link.client.c.sendQueue.readyEnd)
        t.ok(
          link.run(2_000_000, () => link.server.c.recvQueue.finAt === data.length + 3_000 - taken),
          'and DATA_FIN',
        )
        for (const n of [link.client.counters, link.server.counters])
          t.same([n.DSSNotMatching, n.DSSNoMatchTCP, n.DataCsumErr, n.DssFallback, n.MPCapableDataFallback], [0, 0, 0, 0, 0])
      }
    }
  },
)

t.test(
  'rfc7413 4.1.3, rfc8684 3.7: a SYN whose data is swallowed goes again without, and a plain server takes data all the same',
  async (t) => {
    const data = pattern(3_000)
    const link = open(data, 0, false)
    link.filter = (p) => ((p.pkt.flags & SYN) !== 0 && p.pkt.payLen > 0 ? DROP : PASS)
    t.ok(link.run(10_000_000, () => link.server.hasReceived(data)))
    t.equal(link.dropped, 1)
    t.ok(link.client.c.isMptcp)

    const plain = open(data, 700, false, false)
    t.ok(plain.run(10_000_000, () => plain.client.c.sendQueue.isEmpty))
    t.notOk(plain.client.c.isMptcp)
    t.equal(plain.server.c.recvQueue.readyEnd, data.length - 700)
  },
)

/** The server answers what the SYN brings by 2000 bytes. Everything that is said later goes both ways, and each side's stream is whole. */
function exchange(t: Test, options: LinkOptions, filter: (p: Seen) => typeof PASS | typeof DROP): Link {
  const data = pattern(5_000)
  const link = begin(data, options)
  const { client, server } = link
  server.isFastOpen = true
  link.filter = filter
  const answer = pattern(2_000)
  t.ok(
    link.run(20_000_000, () => server.conn !== null && server.received > 0),
    'the SYN brings data',
  )
  t.ok(server.received < data.length && client.c.subflows[0]?.phase === 0, 'before the handshake is complete')
  server.write(answer)
  t.ok(link.run(20_000_000, () => server.hasReceived(data) && client.hasReceived(answer)))
  client.write(pattern(3_000, data.length))
  server.write(pattern(4_000, answer.length))
  t.ok(link.run(20_000_000, () => server.hasReceived(pattern(8_000)) && client.hasReceived(pattern(6_000))))
  client.c.sendQueue.setFin(8_000)
  server.c.sendQueue.setFin(6_000)
  t.ok(
    link.run(20_000_000, () => client.c.isClosed && server.c.isClosed),
    'and the end',
  )
  t.same([client.c.cause, server.c.cause], [1, 1])
  return link
}

/** Both sides, each with checksums and without, and with both times of answering. */
const VARIANTS = [false, true].flatMap((checksum) => [false, true].map((isAnswerEarly) => ({ server: { checksum, isAnswerEarly } })))

t.test('rfc8684 B.2, B.3: as a server, what the SYN brought is outside of the data sequence space', async (t) => {
  for (const options of VARIANTS) {
    const link = exchange(t, options, () => PASS)
    t.ok(link.client.c.fallbackReason === 0 && link.server.c.fallbackReason === 0, JSON.stringify(options))
    const early = link.seen.filter((p) => !p.fromClient && p.pkt.payLen > 0 && p.opts.mptcp.dataAckLen === 0 && p.opts.mptcp.ssn === 1)
    t.equal(early.length > 0, options.server.isAnswerEarly, 'figure 19: a mapping without DATA_ACK')
    const first = link.seen.find((p) => p.fromClient && p.pkt.payLen > 0 && (p.pkt.flags & SYN) === 0)
    t.equal((first?.opts.mptcp.present ?? 0) & HAS_CAPABLE, HAS_CAPABLE, 'the first data shows the keys')
    for (const n of [link.client.counters, link.server.counters])
      t.same([n.DSSNotMatching, n.DSSNoMatchTCP, n.DataCsumErr, n.DssFallback, n.MPCapableDataFallback], [0, 0, 0, 0, 0])
  }
})

t.test(
  'rfc8684 B.3: third ACKs that are lost are repeated also after data of the server came, which may have left before them',
  async (t) => {
    for (const options of VARIANTS) {
      let lost = 0
      const link = exchange(t, options, (p) => {
        if (!p.fromClient || (p.pkt.flags & SYN) !== 0 || lost === 3) return PASS
        lost++
        return DROP
      })
      t.equal(lost, 3)
      t.ok(link.client.c.fallbackReason === 0 && link.server.c.fallbackReason === 0, JSON.stringify(options))
    }
  },
)

t.test('rfc8684 B.2, 3.7: a fallback after Fast Open leaves no byte out and none twice', async (t) => {
  const isSyn = (p: Seen) => (p.pkt.flags & SYN) !== 0
  const cases: Record<string, (p: Seen) => boolean> = {
    'SYN/ACK': (p) => isSyn(p) && !p.fromClient,
    'from the third ACK on, client': (p) => !isSyn(p) && p.fromClient,
    'behind the handshake, both': (p) => !isSyn(p),
  }
  for (const options of VARIANTS) {
    for (const [name, isHit] of Object.entries(cases)) {
      let hits = 0
      const link = exchange(t, options, (p) => {
        if (isHit(p)) hits += strip(p.bytes)
        return PASS
      })
      t.ok(hits > 0 && !link.server.c.isMptcp && !link.client.c.isMptcp, `${name}: ${JSON.stringify(options)}`)
    }
  }
})

t.test('a third of all segments lost, others late, options of a few stripped: both streams come through after a Fast Open', async (t) => {
  let [early, plain, lost] = [0, 0, 0]
  await forSeeds(t, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], (rng, seed) => {
    const isStripping = seed % 3 === 0
    const link = begin(pattern(5_000), { seed, tcp: { synRetries: 20 }, server: { checksum: seed % 2 === 0, isAnswerEarly: seed % 4 > 1 } })
    const { client, server } = link
    server.isFastOpen = true
    server.capacity = seed % 5 === 0 ? 700 : 1 << 20
    link.filter = (p) => {
      if (isStripping && (p.pkt.flags & SYN) === 0) strip(p.bytes)
      const dice = rng.below(12)
      return dice < 4 ? DROP : dice < 7 ? 40_000 * dice : PASS
    }
    const isBoth = () => server.conn !== null && server.hasReceived(pattern(5_000)) && client.hasReceived(pattern(3_000))
    let answered = -1
    const step = () => {
      if (server.conn === null) return false
      if (answered < 0 && server.received > 0) early++
      answered = Math.max(0, answered)
      answered += server.write(pattern(3_000 - answered, answered))
      return isBoth()
    }
    t.ok(link.run(7_200_000_000, step), `seed ${seed}`)
    lost += link.dropped
    if (server.conn?.isMptcp === false) plain++
  })
  if (process.env.SEED === undefined)
    t.ok(early > 2 && plain > 2 && lost > 50, `${early} opened by data in the SYN, ${plain} fell back, ${lost} lost`)
})
