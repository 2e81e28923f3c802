import t from 'tap'
import { MS, NatPair, portOf, S, server, upPair } from './nat-harness.js'

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
