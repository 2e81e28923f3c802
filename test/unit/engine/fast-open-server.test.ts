import t, { type Test } from 'tap'
import { MptcpServer, type ServerOptions } from '../../../src/engine/server.js'
import { MptcpStream } from '../../../src/engine/stream.js'
import { mptcpConfig } from '../../../src/mptcp/env.js'
import { tcpConfig } from '../../../src/tcp/config.js'
import { HOST, StackPair } from './stack-pair.js'

// Both ends of TCP Fast Open (RFC 7413), and with MPTCP (RFC 8684 appendix B), each in a stack of its own.

const S = 1_000_000
const KEY = 'a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4'
const OTHER_KEY = '1-2-3-4'
const REQUEST = 'hello'
const REPLY = 'HELLO'

class World {
  readonly pair: StackPair
  readonly server: MptcpServer
  readonly streams: MptcpStream[] = []
  /** What each of `streams` has received. */
  readonly received: string[] = []
  readonly errors: string[] = []

  /** The server answers each piece by its capitals, at once. */
  constructor(over: ConstructorParameters<typeof StackPair>[0] = {}, options: ServerOptions = { fastOpen: true }, backlog = 8) {
    this.pair = new StackPair(over)
    this.server = new MptcpServer(this.pair.server.engine, options)
    this.server.on('connection', (stream) => {
      const i = this.streams.push(stream as MptcpStream) - 1
      this.received.push('')
      stream.on('error', (error: NodeJS.ErrnoException) => this.errors.push(error.code ?? ''))
      stream.on('data', (piece: Buffer) => {
        this.received[i] += piece.toString()
        stream.write(piece.toString().toUpperCase())
      })
      stream.on('end', () => stream.end())
    })
    this.server.listen({ port: 80, backlog })
  }

  get counters() {
    return this.pair.server.engine.counters
  }

  /** A connection that has something to say before it is there. */
  open(request = REQUEST): { stream: MptcpStream; got: () => string } {
    const stream = new MptcpStream(this.pair.client.engine)
    let text = ''
    stream.on('error', () => {})
    stream.on('data', (piece: Buffer) => {
      text += piece.toString()
    })
    stream.write(request)
    stream.open(HOST, 80, this.pair.now, true)
    return { stream, got: () => text }
  }

  /** A first connection, which gets the cookie, from its SYN to its end. Returns its packets. */
  async meet(t: Test): Promise<string[]> {
    const { stream, got } = this.open()
    await this.pair.settle()
    t.equal(got(), REPLY)
    stream.end()
    await this.pair.advance(S)
    return this.pair.take()
  }
}

const isSyn = (text: string) => text.includes('Flags [S]')
const isSynAck = (text: string) => text.includes('Flags [S.]')

t.test('rfc7413 4.2, rfc8684 B.1, B.2: a request, then data in the SYN; over MPTCP with and without checksums, and over TCP', async (t) => {
  for (const [name, over] of Object.entries({ mptcp: {}, checksum: { checksum: true }, tcp: { isEnabled: false } })) {
    const world = new World({ server: { mptcp: mptcpConfig(over) } })
    const { pair, counters } = world
    const isPlain = name === 'tcp'
    const first = await world.meet(t)
    t.match(first.find(isSyn), 'tfo cookiereq', name)
    t.match(first.find(isSynAck), 'tfo cookie 0x')
    t.equal(/TS val/.test(first.find(isSynAck) ?? ''), isPlain, 'rfc8684 B.1: beside MP_CAPABLE it leaves no room for timestamps')
    t.equal(/capable/.test(first.find(isSynAck) ?? ''), !isPlain)
    const { stream, got } = world.open()
    await pair.settle()
    t.equal(got(), REPLY)
    const log = pair.take()
    t.match(log.find(isSyn), /tfo cookie 0x.*length 5/, 'the SYN has cookie and data')
    t.notMatch(log.find(isSynAck), 'tfo', 'nothing to give')
    t.match(log.find(isSynAck), /TS val/)
    stream.write('more')
    await pair.settle()
    stream.end()
    await pair.settle()
    t.same([got(), world.received], [`${REPLY}MORE`, [REQUEST, `${REQUEST}more`]])
    t.same(
      [stream, ...world.streams].map((s) => s.conn.fallbackReason !== 0),
      [isPlain, isPlain, isPlain],
    )
    t.equal(counters.TcpExtTCPFastOpenCookieReqd, 1)
    t.equal(counters.TcpExtTCPFastOpenPassive, 1)
    t.equal(counters.TcpExtTCPFastOpenPassiveFail + counters.TcpExtTCPFastOpenListenOverflow, 0)
    t.equal(pair.client.engine.counters.TcpExtTCPFastOpenActive, 1)
    for (const { engine } of [pair.client, pair.server]) {
      const n = engine.mptcpCounters
      t.same(
        [n.DSSNotMatching, n.DSSNoMatchTCP, n.DataCsumErr, n.DssFallback, n.MPCapableDataFallback, n.MPCapableFallbackACK],
        [0, 0, 0, 0, 0, 0],
      )
    }
    await pair.advance(70 * S)
    t.equal(pair.server.engine.connections.size, 0)
  }
})

t.test('rfc7413 4.2.2: the program has the data before the third ACK, and over TCP its answer leaves before', async (t) => {
  for (const [isEnabled, isAnswerEarly] of [
    [false, false],
    [true, false],
    [true, true],
  ] as const) {
    const world = new World({ server: { mptcp: mptcpConfig({ isEnabled, isAnswerEarly }) } })
    const { pair } = world
    await world.meet(t)
    let held = 0
    pair.isPassing = (text, isFromClient) => {
      if (!isFromClient || isSyn(text)) return true
      held++
      return false
    }
    const { stream, got } = world.open()
    await pair.settle()
    t.ok(held > 0, 'the third ACK was lost')
    t.equal(world.received[1], REQUEST, 'the server has the request')
    t.equal(world.server.connections, 1)
    t.equal(got(), !isEnabled || isAnswerEarly ? REPLY : '', 'figure 19, or as Linux does')
    pair.isPassing = () => true
    await pair.advance(4 * S)
    t.equal(got(), REPLY)
    stream.write('x'.repeat(50_000))
    await pair.settle()
    t.equal(got().length, REPLY.length + 50_000)
    t.equal(stream.conn.isMptcp, isEnabled)
    t.equal(world.streams[1]?.conn.isMptcp, isEnabled)
    t.equal(stream.conn.isFullyEstablished, isEnabled, 'joins are allowed')
    for (const { engine } of [pair.client, pair.server])
      t.same([engine.mptcpCounters.DssFallback, engine.mptcpCounters.DSSNotMatching, engine.mptcpCounters.MPCapableDataFallback], [0, 0, 0])
  }
})

t.test('rfc7413 4.1.2: a wrong cookie: the data is ignored, a fresh cookie comes, and the handshake is a plain one', async (t) => {
  const world = new World({}, { fastOpen: true, fastOpenKeys: [KEY] })
  const { pair, counters } = world
  await world.meet(t)
  world.server.setFastOpenKeys([OTHER_KEY])
  const { got } = world.open()
  await pair.settle()
  t.equal(got(), REPLY)
  const log = pair.take()
  t.match(log.find(isSyn), /tfo cookie 0x.*length 5/)
  t.match(log.find(isSynAck), /ack 1,.*tfo cookie 0x|tfo cookie 0x/, 'a fresh one')
  t.equal(counters.TcpExtTCPFastOpenPassiveFail, 1)
  t.equal(pair.client.engine.counters.TcpExtTCPFastOpenActiveFail, 1)
  world.open()
  await pair.settle()
  t.equal(counters.TcpExtTCPFastOpenPassive, 1, 'and is good')

  world.server.setFastOpenKeys([KEY, OTHER_KEY])
  pair.take()
  const renewed = world.open()
  await pair.settle()
  t.equal(renewed.got(), REPLY)
  t.match(pair.take().find(isSynAck), 'tfo cookie 0x', 'the previous key is good for the data, and brings a cookie of the present one')
  t.equal(counters.TcpExtTCPFastOpenPassiveAltKey, 1)
  t.equal(counters.TcpExtTCPFastOpenPassive, 2)
  t.equal(counters.TcpExtTCPFastOpenPassiveFail, 1)
})

t.test('rfc7413 5.1: over the limit of pending ones, and with a full backlog, handshakes are plain', async (t) => {
  const world = new World({}, { fastOpen: 1 }, 2)
  const { pair, counters } = world
  await world.meet(t)
  pair.isPassing = (text, isFromClient) => !isFromClient || isSyn(text)
  for (let i = 0; i < 4; i++) world.open()
  await pair.settle()
  t.equal(counters.TcpExtTCPFastOpenPassive, 1, 'one is let in')
  t.equal(counters.TcpExtTCPFastOpenListenOverflow, 1, 'one gets a plain handshake')
  t.equal(counters.TcpExtTCPReqQFullDoCookies, 2, 'the others SYN cookies')
  t.same(world.received, [REQUEST, REQUEST])
  pair.isPassing = () => true
  await pair.advance(4 * S)
  t.same(
    world.received,
    Array.from({ length: 5 }, () => REQUEST),
    'all of them get through in the end',
  )
})

t.test('rfc7413 5.1: resets before the third ACK count as pending for a minute, and end the connection', async (t) => {
  const world = new World({}, { fastOpen: 1 })
  const { pair, counters } = world
  await world.meet(t)
  pair.isPassing = (text, isFromClient) => !isFromClient || isSyn(text)
  const { stream } = world.open()
  await pair.settle()
  pair.isPassing = (text, isFromClient) => !isFromClient || text.includes('Flags [R')
  stream.resetAndDestroy()
  await pair.settle()
  t.same(world.errors, ['ECONNRESET'], 'the program is told')
  pair.isPassing = () => true
  world.open()
  await pair.settle()
  t.equal(counters.TcpExtTCPFastOpenListenOverflow, 1)
  t.equal(counters.TcpExtTCPFastOpenPassive, 1)
  await pair.advance(61 * S)
  await world.meet(t) // asks for another cookie, having found the last one of no use
  world.open()
  await pair.settle()
  t.equal(counters.TcpExtTCPFastOpenPassive, 2, 'after a minute')
})

t.test('rfc7413 4.1.2: drawn keys are replaced every day, and their cookies are good for another one', async (t) => {
  const world = new World()
  const { pair, counters } = world
  await world.meet(t)
  await pair.advance(25 * 3600 * S)
  world.open()
  await pair.settle()
  t.equal(counters.TcpExtTCPFastOpenPassiveAltKey, 1)
  await pair.advance(49 * 3600 * S)
  world.open()
  await pair.settle()
  t.equal(counters.TcpExtTCPFastOpenPassiveFail, 1)
})

t.test('rfc7413 4.2.2: a SYN carries as much as the MSS that the server had leaves room for', async (t) => {
  const world = new World({ server: { mptcp: mptcpConfig({ tcp: tcpConfig({ mss4: 940 }) }) } })
  const { pair } = world
  await world.meet(t)
  const { got } = world.open('y'.repeat(5000))
  await pair.settle()
  t.match(pair.take().find(isSyn), /tfo cookie 0x.*length 900/, 'less 40 for options, which a box may add')
  t.equal(got(), 'Y'.repeat(5000))
})

t.test('Fast Open is off unless a server asks for it', async (t) => {
  const world = new World({}, {})
  t.notMatch((await world.meet(t)).find(isSynAck), 'tfo')
  t.equal(world.counters.TcpExtTCPFastOpenCookieReqd, 0)
  const { engine } = world.pair.server
  for (const options of [
    { fastOpen: -1 },
    { fastOpen: 1.5 },
    { fastOpenKeys: ['1-2-3'] },
    { fastOpenKeys: ['1-1-1-1', '2-2-2-2', '3-3-3-3'] },
  ])
    t.throws(() => new MptcpServer(engine, options), { code: 'ERR_FAST_OPEN' }, JSON.stringify(options))
  t.throws(() => world.server.setFastOpenKeys([]), { code: 'ERR_FAST_OPEN' })
})
