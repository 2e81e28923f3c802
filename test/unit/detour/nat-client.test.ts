import t from 'tap'
import { parseAddress } from '../../../src/config/address-text.js'
import type { MapOp } from '../../../src/detour/protocol/ops.js'
import { MS, NatPair, PEER, S, server } from './nat-harness.js'

/** A pair whose detour is up and idle. */
function upPair(options?: ConstructorParameters<typeof NatPair>[0]): NatPair {
  const pair = new NatPair(options)
  if (options?.isV1 !== true) pair.client.onTimeout(0)
  pair.run(100 * MS)
  return pair
}

const portOf = (op: MapOp | undefined): number => op?.detourPort ?? -1

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

for (let lost = 1; lost <= 4; lost++) {
  t.test(`${lost} lost datagrams: asked again with a new nonce after 1.5 round trips, doubling`, async (tt) => {
    const pair = upPair()
    let n = 0
    pair.drop = (direction) => direction === 'up' && n++ < lost
    const from = pair.now
    pair.connect(1)
    const sent = pair.sentAt.length - 1
    pair.run(2 * S)
    tt.equal(pair.dropped, lost)
    const gaps = pair.sentAt.slice(sent).map((at) => (at - from) / MS)
    tt.same(gaps, [0, 30, 90, 210, 450].slice(0, lost + 1))
    tt.equal(pair.client.state, 'up')
    tt.equal(pair.daemon.live(), 1)
    tt.equal(pair.daemon.replays, 0)
    tt.equal(pair.client.counters.retransmitted, lost)
    pair.run(30 * S)
    tt.ok((pair.client.loss ?? 0) > 0, 'and told as loss')
  })
}

t.test('while no round trip is known the first repetition comes after 200 ms', async (tt) => {
  const pair = new NatPair()
  pair.drop = () => true
  pair.connect(1)
  pair.run(1 * S)
  const maps = pair.sentAt.map((at) => at / MS)
  tt.ok(maps.includes(200) && maps.includes(600) && !maps.includes(100))
  tt.ok(pair.dropped > 0)
})

t.test('five attempts without answer: down, probed from 1 s to 60 s, asked again when it is back', async (tt) => {
  const pair = upPair()
  pair.daemon.isRunning = false
  pair.connect(1)
  pair.run(2 * S)
  tt.equal(pair.client.state, 'down')
  tt.equal(pair.paths.size, 0, 'the tentative path is gone')
  tt.match(pair.client.lastError, /cannot be reached by UDP.*does not run.*does not know the key/)
  const from = pair.sentAt.length
  pair.run(400 * S)
  const gaps = pair.sentAt.slice(from).map((at, i, all) => (at - (all[i - 1] ?? at)) / S)
  tt.ok(gaps.length >= 8 && gaps.length <= 16, `${gaps.length} probes`)
  tt.ok(Math.max(...gaps) <= 75.1 && Math.max(...gaps) > 40)
  tt.ok(gaps.slice(1).every((gap) => gap >= 0.7))
  pair.connect(2)
  tt.equal(pair.client.counters.skipped, 1, 'nothing is asked of it meanwhile')
  pair.daemon.isRunning = true
  pair.run(80 * S)
  tt.equal(pair.client.state, 'up')
  tt.equal(pair.client.lastError, null)
  tt.ok(pair.daemon.maps().some((op) => op.remote.equals(server(1))) && pair.daemon.maps().some((op) => op.remote.equals(server(2))))
  tt.equal(pair.client.counters.downs, 1)
})

t.test('a daemon that dies: paths with subflows stay, since its kernel carries them; others go', async (tt) => {
  const pair = upPair()
  pair.connect(1)
  pair.connect(2)
  pair.run(50 * MS)
  const [first, second] = [...pair.paths.values()]
  pair.use(first?.id as number, 1)
  const { destinationPort } = first as { destinationPort: number }
  pair.daemon.isRunning = false
  pair.run(29 * S)
  tt.equal(pair.client.state, 'down')
  tt.same([...pair.paths.keys()], [first?.id])
  tt.ok(second)
  pair.daemon.restart()
  pair.run(70 * S)
  tt.equal(pair.client.state, 'up')
  tt.equal(pair.paths.get(first?.id as number)?.destinationPort, destinationPort, 'the same port is asked for')
  tt.ok(pair.daemon.live() >= 1)
  pair.daemon.isRunning = false
  pair.run(80 * S)
  tt.equal(pair.client.state, 'down')
  pair.use(first?.id as number, -1)
  tt.notOk(pair.paths.has(first?.id as number), 'without its last subflow it goes')
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

t.test('used again after a while: asked for once more, so that a mapping that was lost is back before the join is repeated', async (tt) => {
  const pair = upPair()
  pair.connect(1)
  pair.run(25 * MS)
  const [id] = pair.paths.keys()
  pair.use(id as number, 1)
  tt.equal(pair.daemon.maps().length, 1, 'what was just granted is trusted')
  pair.run(5 * S)
  pair.daemon.restart()
  pair.use(id as number, -1)
  pair.use(id as number, 1)
  pair.run(25 * MS)
  tt.equal(pair.daemon.live(), 1)
  pair.daemon.isRunning = false
  pair.run(60 * S)
  tt.equal(pair.client.state, 'down')
  const sent = pair.sentAt.length
  pair.use(id as number, 1)
  tt.equal(pair.sentAt.length, sent, 'nothing is asked of a detour that is down')
})

t.test('a join while the request was repeated in vain: two more go ahead of it, and the row goes on', async (tt) => {
  const pair = upPair()
  let n = 0
  pair.drop = (direction) => direction === 'up' && n++ < 2
  const from = pair.now
  pair.connect(1)
  const sent = pair.sentAt.length - 1
  const [id] = pair.paths.keys()
  pair.run(40 * MS)
  pair.use(id as number, 1)
  pair.run(21 * MS)
  tt.equal(pair.dropped, 2)
  tt.equal(pair.daemon.live(), 1, 'a round trip later it is there')
  pair.run(200 * MS)
  tt.same(
    pair.sentAt.slice(sent).map((at) => (at - from) / MS),
    [0, 30, 40, 40],
  )
})

t.test('a deletion that is lost is repeated', async (tt) => {
  const pair = upPair()
  pair.connect(1)
  pair.run(25 * MS)
  let n = 0
  pair.drop = () => n++ < 2
  pair.plain(1)
  pair.run(1 * S)
  tt.equal(pair.dropped, 2)
  tt.equal(pair.daemon.live(), 0)
  tt.ok(pair.client.isQuiet)
})

t.test('another epoch: all other mappings are asked for again, at once and in one datagram', async (tt) => {
  const pair = upPair()
  for (let n = 1; n <= 20; n++) pair.connect(n)
  pair.run(25 * MS)
  for (const id of pair.paths.keys()) pair.use(id, 1)
  const ports = [...pair.paths.values()].map((path) => path.destinationPort)
  pair.daemon.restart()
  tt.equal(pair.daemon.live(), 0)
  const sent = pair.sentAt.length
  pair.connect(21)
  pair.run(50 * MS)
  tt.equal(pair.client.counters.epochs, 1)
  tt.equal(pair.daemon.live(), 21)
  tt.equal(pair.sentAt.length - sent, 2)
  tt.same(
    [...pair.paths.values()].slice(0, 20).map((path) => path.destinationPort),
    ports,
  )
  pair.run(1 * S)
  tt.equal(pair.client.counters.epochs, 1)
})

for (const aheadS of [3600, -3600, 31]) {
  t.test(`a clock that is ${aheadS} s off: corrected by TIME, and the same asked again at once`, async (tt) => {
    const pair = new NatPair()
    pair.daemon.aheadUs = aheadS * S
    pair.connect(1)
    pair.run(45 * MS)
    tt.equal(pair.daemon.wrongTimes, 2, 'the first PING and the first MAP')
    tt.equal(pair.client.counters.corrections, 1)
    tt.equal(pair.daemon.live(), 1, 'after two round trips')
    tt.equal(pair.client.leases, 1)
    pair.use([...pair.paths.keys()][0] as number, 1)
    pair.run(300 * S)
    tt.equal(pair.daemon.wrongTimes, 2, 'once is enough')
  })
}

t.test('a clock that jumps with each answer does not make a storm', async (tt) => {
  const pair = new NatPair()
  pair.drop = () => {
    pair.daemon.aheadUs += 100 * S
    return false
  }
  pair.connect(1)
  pair.run(60 * S)
  tt.ok(pair.daemon.wrongTimes > 3)
  tt.ok(pair.sentAt.length < 60, `${pair.sentAt.length} datagrams in a minute`)
})

t.test('time of requests increases strictly', async (tt) => {
  const pair = upPair()
  let last = 0
  for (let n = 1; n <= 50; n++) {
    pair.connect(n)
    const time = pair.clock.next()
    tt.ok(time > last)
    last = time
  }
  pair.run(50 * MS)
  tt.equal(pair.daemon.replays, 0)
  tt.equal(pair.daemon.live(), 50)
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

t.test('denied: remembered for that destination alone', async (tt) => {
  const pair = upPair()
  pair.daemon.override = (op) => (op.remote.equals(server(1)) ? { result: 1 } : null)
  pair.connect(1)
  pair.run(25 * MS)
  tt.equal(pair.paths.size, 0)
  tt.match(pair.client.lastError, /denies 198.51.100.1 port 443.*--allow-destination/)
  pair.connect(1)
  pair.connect(2)
  pair.run(25 * MS)
  tt.equal(pair.daemon.maps().length, 2)
  tt.equal(pair.daemon.live(), 1)
  tt.equal(pair.client.counters.refused, 1)
})

for (const [result, name] of [
  [2, 'quota'],
  [6, 'try later'],
] as const) {
  t.test(`${name}: nothing new is asked for a while, then that again`, async (tt) => {
    const pair = upPair()
    let left = 2
    pair.daemon.override = () => (left-- > 0 ? { result } : null)
    pair.connect(1)
    pair.run(25 * MS)
    tt.equal(pair.paths.size, 0)
    pair.connect(2)
    tt.equal(pair.client.counters.skipped, 1)
    pair.run(10 * S)
    tt.equal(pair.client.counters.refused, 2)
    tt.equal(pair.paths.size, 1)
    tt.equal(pair.daemon.live(), 1)
    const gaps = pair.daemon.maps().length
    tt.equal(gaps, 3)
  })
}

t.test('conflict: another id; no port: any port', async (tt) => {
  const pair = upPair()
  const results = [3, 4]
  pair.daemon.override = () => {
    const result = results.shift()
    return result === undefined ? null : { result: result as 3 | 4 }
  }
  pair.connect(1)
  pair.run(100 * MS)
  const [first, second, third] = pair.daemon.maps()
  tt.not(first?.mapId, second?.mapId)
  tt.equal(portOf(third), 0)
  tt.equal(third?.mapId, second?.mapId)
  tt.equal(pair.daemon.live(), 1)
  tt.equal([...pair.paths.values()][0]?.isTentative, false)
})

t.test('conflict without end is given up', async (tt) => {
  const pair = upPair()
  pair.daemon.override = () => ({ result: 3 })
  pair.connect(1)
  pair.run(30 * S)
  tt.equal(pair.daemon.maps().length, 4)
  tt.equal(pair.paths.size, 0)
})

t.test('BYE: all paths go at once, also used ones; back when it answers', async (tt) => {
  const pair = upPair()
  pair.connect(1)
  pair.run(25 * MS)
  const [id] = pair.paths.keys()
  pair.use(id as number, 1)
  const bye = pair.daemon.bye(pair.now)
  pair.daemon.isRunning = false
  pair.down(bye)
  pair.run(11 * MS)
  tt.equal(pair.client.state, 'down')
  tt.equal(pair.paths.size, 0)
  tt.equal(pair.client.counters.byes, 1)
  pair.daemon.restart()
  pair.run(3 * S)
  tt.equal(pair.client.state, 'up')
  tt.equal(pair.paths.size, 1)
  pair.down(bye)
  pair.run(11 * MS)
  tt.equal(pair.client.state, 'up', 'played back it is nothing')
  tt.equal(pair.client.counters.forged, 1)
  pair.run(3600 * S)
  pair.down(pair.daemon.bye(pair.now - 60 * S))
  pair.run(11 * MS)
  tt.equal(pair.client.state, 'up', 'nor one of another time')
})

t.test('forged, repeated and late answers change nothing', async (tt) => {
  const pair = upPair()
  const captured: Uint8Array[] = []
  const deliver = pair.daemon.onDatagram.bind(pair.daemon)
  pair.daemon.onDatagram = (datagram, now) => {
    const reply = deliver(datagram, now)
    if (reply !== null) captured.push(reply)
    return reply
  }
  pair.connect(1)
  pair.run(25 * MS)
  const events = pair.events.length
  tt.ok(captured.length > 0)
  for (const reply of captured) {
    pair.client.onDatagram(reply, pair.now)
    const forged = Buffer.from(reply)
    forged[30] = (forged[30] as number) ^ 1
    pair.client.onDatagram(forged, pair.now)
  }
  pair.client.onDatagram(new Uint8Array(0), pair.now)
  tt.equal(pair.client.counters.stray, captured.length)
  tt.equal(pair.client.counters.forged, captured.length + 1)
  tt.equal(pair.events.length, events)
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

t.test('v1: an old daemon that does not answer is down, and probed by what was wanted last', async (tt) => {
  const pair = upPair({ isV1: true })
  pair.daemon.isRunning = false
  pair.connect(1)
  pair.run(10 * S)
  tt.equal(pair.client.state, 'down')
  tt.match(pair.client.lastError, /version 1/)
  pair.daemon.isRunning = true
  pair.run(20 * S)
  tt.equal(pair.client.state, 'up')
  tt.equal(pair.paths.size, 1)
})
