import t from 'tap'
import { parseAddress } from '../../../src/config/address-text.js'
import { MS, PEER, portOf, S, server, upPair } from './nat-harness.js'

t.test('a mapping is asked for as the SYN leaves: tentative at the expected port, confirmed by the answer', async (tt) => {
  const pair = upPair()
  tt.equal(pair.client.state, 'up')
  const before = pair.sentAt.length
  pair.connect(1)
  tt.equal(pair.sentAt.length, before + 1, 'in the same turn')
  const [path] = pair.paths.values()
  tt.match(path, { kind: 'nat', source: null, destination: PEER, isTentative: true, remote: { address: server(1), port: 443 } })
  pair.run(25 * MS)
  const port = portOf(pair.daemon.maps()[0])
  tt.ok(port >= 20_000 && port <= 29_999)
  tt.same(pair.events, [`+2 ${port}?`, `+2 ${port}`])
  tt.equal(pair.client.leases, 1)
  tt.equal(pair.client.rttUs, 20 * MS)
})

t.test('another port than the expected one: the path keeps its number', async (tt) => {
  const pair = upPair()
  pair.daemon.override = (op) => ({ leaseS: op.leaseS, detourPort: 25_000 })
  pair.connect(1)
  pair.run(25 * MS)
  tt.match(pair.events[0], /^\+2 \d+\?$/)
  tt.same(pair.events.slice(1), ['+2 25000'])
})

t.test('connections to one destination share a mapping', async (tt) => {
  const pair = upPair()
  pair.connect(1)
  pair.connect(1)
  pair.run(25 * MS)
  pair.connect(1)
  pair.run(25 * MS)
  tt.equal(pair.daemon.maps().length, 1)
  pair.connect(1, 80)
  pair.run(25 * MS)
  tt.equal(pair.daemon.live(), 2, 'another port is another destination')
})

t.test('used: renewed at half its lease; 30 s after its last subflow: deleted', async (tt) => {
  const pair = upPair()
  pair.connect(1)
  pair.run(25 * MS)
  const [id] = pair.paths.keys()
  pair.use(id as number, 1)
  pair.use(id as number, 1)
  pair.run(301 * S)
  const maps = pair.daemon.maps()
  tt.equal(maps.length, 6, 'at 60, 120, ... 300 s')
  tt.equal(new Set(maps.map((op) => op.mapId)).size, 1)
  tt.same(pair.events.length, 2, 'and nobody notices')
  pair.use(id as number, -1)
  pair.run(100 * S)
  tt.equal(pair.daemon.live(), 1)
  pair.use(id as number, -1)
  pair.run(29 * S)
  tt.equal(pair.daemon.live(), 1)
  pair.run(2 * S)
  tt.equal(pair.daemon.live(), 0)
  tt.equal(pair.daemon.maps().at(-1)?.leaseS, 0)
  tt.equal(pair.events.at(-1), `-${id}`)
  tt.ok(pair.client.isQuiet)
})

t.test('a server without MPTCP: deleted at once, not asked for again for 10 minutes, then 20', async (tt) => {
  const pair = upPair()
  pair.connect(1)
  pair.run(25 * MS)
  pair.plain(1)
  pair.run(25 * MS)
  tt.equal(pair.daemon.live(), 0)
  tt.equal(pair.paths.size, 0)
  const asked = () => pair.daemon.maps().filter((op) => op.leaseS > 0).length
  pair.connect(1)
  pair.run(500 * S)
  pair.connect(1)
  tt.equal(asked(), 1)
  tt.equal(pair.client.counters.skipped, 2)
  pair.run(101 * S)
  pair.connect(1)
  pair.run(25 * MS)
  tt.equal(asked(), 2)
  pair.plain(1)
  pair.run(1000 * S)
  pair.connect(1)
  pair.run(25 * MS)
  tt.equal(asked(), 2)
})

t.test('a mapping that others use survives a connection that fell back', async (tt) => {
  const pair = upPair()
  pair.connect(1)
  pair.run(25 * MS)
  const [id] = pair.paths.keys()
  pair.use(id as number, 1)
  pair.plain(1)
  pair.run(25 * MS)
  tt.equal(pair.daemon.live(), 1)
})

t.test('quiet: measured every 15 s or so, and told how it is seen; seen otherwise: everything is asked for again', async (tt) => {
  const pair = upPair()
  pair.connect(1)
  pair.run(25 * MS)
  pair.use([...pair.paths.keys()][0] as number, 1)
  const before = pair.daemon.asked.length
  pair.run(50 * S)
  const pings = pair.daemon.asked.slice(before).filter((op) => op.op === 'ping').length
  tt.ok(pings >= 2 && pings <= 5, `${pings}`)
  tt.equal(pair.client.seenAddress?.toString(), '203.0.113.5')
  tt.equal(pair.client.loss, 0)
  pair.daemon.client = parseAddress('203.0.113.99')
  pair.run(20 * S)
  tt.equal(pair.client.seenAddress?.toString(), '203.0.113.99')
  const [lease] = pair.daemon.leases.leasesOf(pair.daemon.owner)
  tt.equal(lease?.client.toString(), '203.0.113.99')
})

t.test('mappings are bounded: idle ones make room, used ones do not', async (tt) => {
  const pair = upPair()
  for (let n = 0; n < 300; n++) {
    pair.connect(n)
    pair.run(1 * MS)
  }
  pair.run(1 * S)
  tt.equal(pair.paths.size, 256)
  tt.equal(pair.daemon.live(), 256)
  for (const id of pair.paths.keys()) pair.use(id, 1)
  pair.connect(400)
  tt.equal(pair.paths.size, 256)
  tt.equal(pair.client.counters.skipped, 1)
  tt.ok(pair.sentLens.every((len) => len <= 1200))
})

t.test('the end: all paths go, all mappings are deleted by as few datagrams as can be', async (tt) => {
  const pair = upPair()
  for (let n = 0; n < 45; n++) pair.connect(n)
  pair.run(50 * MS)
  const sent = pair.sentAt.length
  pair.client.stop(pair.now)
  tt.equal(pair.sentAt.length - sent, 2)
  tt.equal(pair.paths.size, 0)
  tt.notOk(pair.client.isQuiet)
  pair.run(25 * MS)
  tt.equal(pair.daemon.live(), 0)
  tt.ok(pair.client.isQuiet)
  pair.connect(1)
  pair.run(100 * S)
  tt.equal(pair.sentAt.length - sent, 2, 'and then silence')
})

t.test('v1: the port of the server is proposed, idempotently repeated, and there is nothing but requests', async (tt) => {
  const pair = upPair({ isV1: true })
  tt.equal(pair.sentAt.length, 0)
  let n = 0
  pair.drop = () => n++ < 1
  pair.daemon.leases = new (pair.daemon.leases.constructor as typeof import('../../../src/detour/daemon/leases.js').LeaseTable)(
    { maxLeases: 9, rate: pair.daemon.owner.rate, firstPort: 1, lastPort: 65_535 },
    1,
  )
  pair.connect(1)
  tt.same(pair.events, ['+2 443?'])
  pair.run(1 * S)
  tt.equal(pair.dropped, 1)
  tt.same(pair.events, ['+2 443?', '+2 443'])
  pair.connect(2)
  tt.equal(pair.paths.size, 1, 'the port is ours already: no guess')
  pair.run(1 * S)
  tt.equal(pair.paths.size, 2)
  tt.ok(pair.sentLens.every((len) => len === 12))
  pair.use(2, 1)
  const sent = pair.sentAt.length
  pair.run(1000 * S)
  tt.equal(pair.sentAt.length, sent, 'it never ends by itself')
  tt.same([...pair.paths.keys()], [2], 'what nobody uses is no path any more')
  pair.client.stop(pair.now)
  tt.ok(pair.client.isQuiet)
  tt.equal(pair.paths.size, 0)
})
