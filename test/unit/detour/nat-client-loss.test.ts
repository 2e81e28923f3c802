import t from 'tap'
import { MS, NatPair, S, server, upPair } from './nat-harness.js'

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

t.test('a join before the first repetition takes its place, unless no answer could be there yet', async (tt) => {
  const pair = upPair()
  let n = 0
  pair.drop = (direction) => direction === 'up' && n++ < 3
  const from = pair.now
  pair.connect(1)
  const sent = pair.sentAt.length - 1
  const [id] = pair.paths.keys()
  for (const at of [19, 25, 26]) {
    pair.run(from + at * MS - pair.now)
    pair.use(id as number, 1)
  }
  const rejoined: number[] = []
  pair.onRejoin = (path) => rejoined.push(path, (pair.now - from) / MS)
  pair.run(300 * MS)
  tt.equal(pair.dropped, 3)
  tt.equal(pair.client.leases, 1)
  tt.same(rejoined, [id, 35], 'the SYN may have overtaken what was asked for it')
  tt.same(
    pair.sentAt.slice(sent).map((at) => (at - from) / MS),
    [0, 25, 25, 55],
  )
})

t.test('the first repetition goes by the shortest of the last round trips, the later ones by what is usual', async (tt) => {
  const pair = upPair()
  for (let n = 1; n <= 20; n++) {
    pair.copies = () => [(n % 4 === 0 ? 0 : 40) * MS]
    pair.connect(n)
    pair.run(200 * MS)
  }
  tt.ok((pair.client.rttUs as number) > 50 * MS, 'most are late')
  pair.drop = () => true
  const from = pair.now
  pair.connect(21)
  const sent = pair.sentAt.length - 1
  pair.run(1 * S)
  const [, first, second] = pair.sentAt.slice(sent).map((at) => at - from)
  tt.equal(first, 30 * MS)
  tt.ok((second as number) > 180 * MS, `${second} us`)
  tt.ok(pair.dropped > 0)
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

t.test('BYE: all paths go at once, also used ones; back when it answers', async (tt) => {
  const pair = upPair()
  pair.connect(1)
  pair.run(25 * MS)
  const [id] = pair.paths.keys()
  pair.use(id as number, 1)
  const { wallUs } = pair.daemon
  pair.daemon.wallUs = () => pair.daemon.lastTimeUs
  pair.down(pair.daemon.bye(pair.now))
  pair.daemon.wallUs = wallUs
  pair.run(11 * MS)
  tt.equal(pair.client.state, 'up', 'under the nonce of a request of ours it is none')
  tt.equal(pair.client.counters.forged, 1)
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
  tt.equal(pair.client.counters.forged, 2)
  pair.run(3600 * S)
  pair.down(pair.daemon.bye(pair.now - 60 * S))
  pair.run(11 * MS)
  tt.equal(pair.client.state, 'up', 'nor one of another time')
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
