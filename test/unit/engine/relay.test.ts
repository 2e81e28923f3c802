import t from 'tap'
import { VNET_HDR_LEN } from '../../../src/base/rings.js'
import { US_PER_S } from '../../../src/base/time.js'
import { EngineConfig } from '../../../src/engine/config.js'
import * as st from '../../../src/tcp/state.js'
import { buildIcmpUnreachable, UNREACH_NET } from '../../../src/wire/icmp.js'
import { SYN } from '../../../src/wire/tcp.js'
import { A, type Peer, SERVER, segment, World } from './world.js'

type Checker = Pick<typeof t, 'equal'>

const bytes = (n: number, seed = 1) => Uint8Array.from({ length: n }, (_, i) => (i * 31 + seed * 7 + (i >> 8)) & 255)

/** The server's end of the connection that was opened last. */
function serverOf(world: World): Peer {
  return world.servers.at(-1) as Peer
}

function isIdle(t: Checker, world: World): void {
  t.equal(world.engine.connections.size, 0, 'no connection is left')
  t.equal(world.engine.flowCount, 0, 'no flow is left')
  t.equal(world.engine.budget.inUse, 0, 'no page is left')
  t.equal(world.engine.interceptor.held, 0)
  t.equal(world.engine.counters.EngineInternalErrors, 0)
}

t.test('the application is answered only after the server', (t) => {
  const world = new World()
  const app = world.connect(5000)
  world.settle()
  const log = world.take()
  const toServer = log.findIndex((line) => line.includes('> 203.0.113.5.80: Flags [S]'))
  const toApp = log.findIndex((line) => line.includes('> 198.18.0.1.5000: Flags [S.]'))
  t.ok(toServer >= 0 && toServer < toApp, log.join('\n'))
  t.equal(app.ep.state, st.ESTABLISHED)
  t.equal(serverOf(world).ep.state, st.ESTABLISHED)
  t.equal(world.engine.counters.EngineHeldAccepted, 1)
  t.end()
})

t.test('bytes pass in both directions, and each half closes by itself', (t) => {
  const world = new World()
  const app = world.connect(5000)
  world.settle()
  const server = serverOf(world)
  app.send(bytes(100_000))
  app.end()
  world.advance(US_PER_S)
  t.same(server.received, [...bytes(100_000)])
  t.equal(server.ep.state, st.CLOSE_WAIT, 'the end of the request has arrived')
  t.equal(app.ep.state, st.FIN_WAIT_2, 'the answer is still to come')
  world.advance(200 * US_PER_S)
  server.send(bytes(200_000, 2))
  world.advance(US_PER_S)
  t.same(app.received, [...bytes(200_000, 2)], 'also after minutes of silence')
  server.end()
  world.advance(300 * US_PER_S)
  t.equal(app.ep.cause, st.CAUSE_FIN)
  t.equal(server.ep.cause, st.CAUSE_FIN)
  isIdle(t, world)
  t.end()
})

t.test('a refused connect is refused: ECONNREFUSED', (t) => {
  const world = new World()
  world.mode = 'refuse'
  const app = world.connect(5000)
  world.advance(US_PER_S)
  t.equal(app.ep.cause, st.CAUSE_REFUSED)
  t.equal(world.engine.counters.EngineHeldRefused, 1)
  isIdle(t, world)
  t.end()
})

t.test('an unreachable destination is unreachable for the application too, with the same code', (t) => {
  const world = new World()
  world.mode = 'silent'
  const app = world.connect(5000)
  world.settle()
  const line = world.take().find((l) => l.includes('203.0.113.5.80: Flags [S]'))
  const sent = world.strays.length
  t.ok(line, 'positive control: the remote leg was begun')
  const icmp = new Uint8Array(320)
  const syn = world.lastToServer as Uint8Array
  const len = buildIcmpUnreachable(icmp, 0, UNREACH_NET, SERVER, syn, VNET_HDR_LEN, syn.length - VNET_HDR_LEN)
  world.inject(icmp.slice(0, len))
  world.settle()
  t.match(world.take().join('\n'), /203\.0\.113\.5 > 198\.18\.0\.1: ICMP type 3 code 0/)
  t.equal(world.strays.length, sent + 1)
  t.equal(world.engine.counters.IcmpOutDestUnreachs, 1)
  t.equal(app.ep.state, st.SYN_SENT, 'this application does not read ICMP')
  world.peers.clear()
  world.advance(US_PER_S)
  isIdle(t, world)
  t.end()
})

t.test('a silent destination: repeated SYNs are absorbed, the application runs into its own timeout', (t) => {
  const world = new World()
  world.mode = 'silent'
  const app = world.connect(5000)
  world.advance(30 * US_PER_S)
  t.equal(app.ep.state, st.SYN_SENT)
  t.ok(world.engine.counters.EngineHeldRepeats >= 3)
  t.equal(world.engine.counters.EngineHeldSyns, 1)
  t.notOk(
    world.take().some((line) => line.includes('> 198.18.0.1')),
    'nothing was said to it',
  )
  world.advance(300 * US_PER_S)
  t.equal(app.ep.cause, st.CAUSE_TIMEOUT)
  isIdle(t, world)
  t.end()
})

t.test('an application that gave up does not keep its place', (t) => {
  const world = new World()
  world.mode = 'silent'
  world.connect(5000)
  world.settle()
  world.peers.clear() // its socket is gone without a word
  world.advance(20 * US_PER_S)
  t.equal(world.engine.counters.EngineHeldAbandoned, 1)
  world.advance(US_PER_S)
  isIdle(t, world)
  t.end()
})

t.test('held SYNs are limited in all and per destination', (t) => {
  const world = new World({ heldMax: 8, heldPerDestination: 5 })
  world.mode = 'silent'
  for (let i = 0; i < 10; i++) world.connect(5000 + i)
  world.settle()
  t.equal(world.engine.interceptor.held, 5)
  t.equal(world.engine.counters.EngineHeldDestinationOverflow, 5)
  for (let i = 0; i < 10; i++) world.connect(6000 + i, 443)
  world.settle()
  t.equal(world.engine.interceptor.held, 8)
  t.ok(world.engine.counters.EngineHeldOverflow > 0)
  world.peers.clear()
  world.advance(60 * US_PER_S)
  isIdle(t, world)
  t.end()
})

t.test('a reset by the application resets the server', (t) => {
  const world = new World()
  const app = world.connect(5000)
  world.settle()
  app.ep.abort()
  world.advance(US_PER_S)
  t.equal(serverOf(world).ep.cause, st.CAUSE_RESET)
  t.equal(world.engine.counters.EngineRelayResetByApplication, 1)
  isIdle(t, world)
  t.end()
})

t.test('a reset by the server resets the application, after what had arrived before', (t) => {
  const world = new World()
  const app = world.connect(5000)
  world.settle()
  app.isReading = false
  const server = serverOf(world)
  server.send(bytes(200_000))
  world.advance(US_PER_S)
  server.ep.abort()
  world.settle()
  t.equal(app.ep.cause, st.CAUSE_NONE, 'not yet')
  app.isReading = true
  world.advance(US_PER_S)
  t.same(app.received, [...bytes(200_000)])
  t.equal(app.ep.cause, st.CAUSE_RESET)
  t.equal(world.engine.counters.EngineRelayResetByServer, 1)
  isIdle(t, world)
  t.end()
})

t.test('an application that does not read closes the window towards the server; then all arrives', (t) => {
  const world = new World({ receiveBuffer: 256 << 10 })
  const app = world.connect(5000)
  world.settle()
  const server = serverOf(world)
  app.isReading = false
  const all = bytes(1 << 20)
  server.send(all)
  world.advance(10 * US_PER_S)
  const left = server.out.readyEnd - server.out.base
  t.ok(left > (1 << 20) - 600_000, `positive control: ${left} bytes wait at the server`)
  t.ok(world.engine.budget.inUse < 400_000, 'and the relay holds its queue, no more')
  app.isReading = true
  world.advance(60 * US_PER_S)
  server.end()
  app.end()
  world.advance(120 * US_PER_S)
  t.equal(Buffer.compare(Uint8Array.from(app.received), all), 0)
  isIdle(t, world)
  t.end()
})

t.test('what an application left when it ended is brought to a server that was slow', (t) => {
  const world = new World({ sendBuffer: 512 << 10 })
  const app = world.connect(5000)
  world.settle()
  const server = serverOf(world)
  server.isReading = false
  app.send(bytes(300_000))
  app.end()
  server.end()
  world.advance(50 * US_PER_S)
  t.equal(app.ep.cause, st.CAUSE_FIN, 'the application is done')
  t.equal(world.engine.connections.size, 1, 'positive control: the server has not taken all')
  server.isReading = true
  world.advance(200 * US_PER_S)
  t.equal(Buffer.compare(Uint8Array.from(server.received), bytes(300_000)), 0)
  t.equal(world.engine.counters.EngineRelayOrphans, 0)
  isIdle(t, world)
  t.end()
})

t.test('a server that takes nothing more of an application that has ended is reset after a minute', (t) => {
  const world = new World({ sendBuffer: 512 << 10 })
  const app = world.connect(5000)
  world.settle()
  const server = serverOf(world)
  server.isReading = false
  app.send(bytes(300_000))
  app.end()
  server.end()
  world.advance(50 * US_PER_S)
  t.equal(world.engine.connections.size, 1)
  world.advance(80 * US_PER_S)
  t.equal(world.engine.counters.EngineRelayOrphans, 1)
  t.equal(server.ep.cause, st.CAUSE_RESET)
  isIdle(t, world)
  t.end()
})

t.test('a blocked device stops the pump and loses nothing', (t) => {
  const world = new World()
  const app = world.connect(5000)
  world.settle()
  const server = serverOf(world)
  world.device.room = 3
  app.send(bytes(400_000))
  world.advance(100_000)
  t.ok(world.engine.counters.EngineTxBlocked > 0, 'positive control: it was blocked')
  t.ok(world.engine.isBlocked)
  world.device.room = Number.POSITIVE_INFINITY
  for (const port of world.engine.ports) world.engine.onWritable(port)
  world.advance(20 * US_PER_S)
  t.same(server.received, [...bytes(400_000)])
  t.end()
})

t.test('rfc9293 3.10.7.4: a port in TIME-WAIT is used anew by a later SYN', (t) => {
  const world = new World({ app: { ...new EngineConfig().app, timeWaitUs: 60 * US_PER_S } })
  world.connect(5000)
  world.settle()
  serverOf(world).end() // the server closes first: our end towards the application is the one in TIME-WAIT
  world.advance(100_000)
  const first = world.peers.get(`${A} 5000 ${SERVER} 80`) as Peer
  first.end()
  world.advance(100_000)
  t.equal(first.ep.cause, st.CAUSE_FIN)
  t.ok(world.engine.flowCount > 0, 'positive control: something lingers')
  world.peers.delete(`${A} 5000 ${SERVER} 80`)
  const tuple = { local: A, localPort: 5000, remote: SERVER, remotePort: 80 }
  world.inject(segment(tuple, { flags: SYN, seq: (first.ep.iss - 1000) | 0 }))
  world.settle()
  t.equal(world.engine.counters.TcpExtTCPTimeWaitReused, 0, 'an old SYN does not')
  world.inject(segment(tuple, { flags: SYN, seq: (first.ep.iss + 100_000) | 0 }))
  world.settle()
  t.equal(world.engine.counters.TcpExtTCPTimeWaitReused, 1)
  t.match(world.take().join('\n'), /> 198\.18\.0\.1\.5000: Flags \[S\.\]/)
  t.end()
})

t.test('without path for the family the application sees unreachable', (t) => {
  const world = new World({ stackAddresses: [] })
  world.connect(5000)
  world.settle()
  t.equal(world.engine.counters.EngineNoPath, 1)
  t.match(world.take().join('\n'), /ICMP type 3 code 1/)
  world.peers.clear()
  world.settle()
  isIdle(t, world)
  t.end()
})

t.test('a bug in one connection resets that one and no other', (t) => {
  const errors: unknown[] = []
  const world = new World({ onInternalError: (error) => errors.push(error) })
  const good = world.connect(5000)
  const bad = world.connect(5001)
  world.settle()
  const relay = [...world.engine.connections].find((c) => c.id === 2)
  if (relay === undefined) throw new Error('no relay')
  relay.nextTimeout = () => 0
  relay.onTimeout = () => {
    throw new Error('broken on purpose')
  }
  bad.send(bytes(10))
  world.settle()
  world.advance(US_PER_S)
  t.equal(errors.length, 1)
  t.equal(bad.ep.cause, st.CAUSE_RESET)
  t.equal(world.engine.counters.EngineInternalErrors, 1)
  good.send(bytes(1000))
  world.advance(US_PER_S)
  t.equal(world.servers.find((s) => s.received.length > 0)?.received.length, 1000)
  t.equal(world.engine.connections.size, 1)
  t.end()
})
