import t from 'tap'
import type { Tuple } from '../../../src/base/address.js'
import { StreamQueue } from '../../../src/base/stream-queue.js'
import { US_PER_S } from '../../../src/base/time.js'
import type { Port } from '../../../src/engine/owner.js'
import { MptcpServer } from '../../../src/engine/server.js'
import type { MptcpStream } from '../../../src/engine/stream.js'
import { TimeWaits } from '../../../src/engine/time-waits.js'
import { mptcpConfig } from '../../../src/mptcp/env.js'
import type { Subflow } from '../../../src/mptcp/subflow.js'
import { tcpConfig } from '../../../src/tcp/config.js'
import { TcpEndpoint } from '../../../src/tcp/endpoint.js'
import { PlainFlow } from '../../../src/tcp/plain.js'
import { TIME_WAIT } from '../../../src/tcp/state.js'
import { ACK, FIN, PSH, RST, SYN } from '../../../src/wire/tcp.js'
import { CLIENT, HOST, read, SECOND, StackPair } from './stack-pair.js'
import { segment } from './world.js'

/** Tuple and places in the tables included. */
const ENTRY_MAX = 450
const LOCAL_PORT = 40_000
const ONE_PORT = { portMin: LOCAL_PORT, portMax: LOCAL_PORT }

/** Accepts on port 80, and ends what it accepted when told or when the client has ended. */
function listen(pair: StackPair): MptcpStream[] {
  const streams: MptcpStream[] = []
  const server = new MptcpServer(pair.server.engine)
  server.on('connection', (stream: MptcpStream) => {
    streams.push(stream)
    stream.on('error', () => {})
    stream.resume()
    stream.on('end', () => stream.end())
  })
  server.listen({ port: 80 })
  return streams
}

/** One connection: up, then closed in order, by the server or the client first. Whether that worked. */
async function once(pair: StackPair, streams: MptcpStream[], isServerFirst: boolean): Promise<boolean> {
  const stream = pair.connect(80)
  let isConnected = false
  let error: unknown = null
  stream.on('connect', () => {
    isConnected = true
  })
  stream.on('error', (e) => {
    error = e
  })
  stream.resume()
  stream.write('x')
  await pair.settle()
  if (isServerFirst) {
    streams.at(-1)?.end()
    await pair.settle()
  }
  stream.end()
  await pair.settle()
  return isConnected && error === null
}

for (const isEnabled of [true, false]) {
  const mptcp = mptcpConfig({ isEnabled })
  const kind = isEnabled ? 'mptcp' : 'plain tcp'

  t.test(`rfc6191: a tuple is used again at once, 500 times, though the peer has it in TIME-WAIT (${kind})`, async (t) => {
    const pair = new StackPair({ client: { ...ONE_PORT, mptcp }, server: { mptcp } })
    const streams = listen(pair)
    const counters = pair.server.engine.counters
    for (let i = 0; i < 500; i++) {
      pair.now += 1_000 // the resolution of timestamps
      if (!(await once(pair, streams, true))) t.fail(`number ${i}`)
      if (pair.server.engine.timeWaits.size !== 1) t.fail('the server waits')
    }
    t.equal(streams.length, 500)
    t.equal(counters.TcpExtTCPTimeWaitReused, 499)
    t.equal(pair.client.engine.timeWaits.size, 0)
    t.equal(pair.client.engine.flowCount, 0)
  })

  t.test(`rfc6191: our own tuple in TIME-WAIT is used again after a second, not before (${kind})`, async (t) => {
    const pair = new StackPair({ client: { ...ONE_PORT, mptcp }, server: { mptcp } })
    const streams = listen(pair)
    for (let i = 0; i < 20; i++) {
      if (!(await once(pair, streams, false))) t.fail(`number ${i}`)
      t.equal(pair.client.engine.timeWaits.size, 1)
      t.throws(() => pair.connect(80), { code: 'ERR_MPTCP_NO_PATH' })
      await pair.advance(2 * US_PER_S)
    }
    t.equal(pair.client.engine.counters.TcpExtTWRecycled, 19)
    t.equal(pair.client.engine.counters.EngineNoPort, 20)
    await pair.advance(60 * US_PER_S)
    t.equal(pair.client.engine.flowCount, 0)
    t.equal(pair.client.engine.counters.TcpExtTW, 1)
  })
}

t.test('without timestamps our own tuple waits for the whole time', async (t) => {
  const pair = new StackPair({ client: { ...ONE_PORT, mptcp: mptcpConfig({ tcp: tcpConfig({ timestamps: false }) }) } })
  const streams = listen(pair)
  t.ok(await once(pair, streams, false))
  await pair.advance(59 * US_PER_S)
  t.throws(() => pair.connect(80))
  await pair.advance(2 * US_PER_S)
  t.ok(await once(pair, streams, false))
})

t.test('the oldest entry goes when there are too many, and that is counted', async (t) => {
  const pair = new StackPair({ client: { timeWaitMax: 3 } })
  const streams = listen(pair)
  for (let i = 0; i < 5; i++) {
    t.ok(await once(pair, streams, false))
    await pair.advance(1_000)
  }
  t.equal(pair.client.engine.timeWaits.size, 3)
  t.equal(pair.client.engine.counters.TcpExtTCPTimeWaitOverflow, 2)
  await pair.advance(61 * US_PER_S)
  t.equal(pair.client.engine.timeWaits.size, 0)
  t.equal(pair.client.engine.counters.TcpExtTW, 3)
})

/** A client whose only connection, plain TCP without timestamps, is in TIME-WAIT. */
async function waiting() {
  const mptcp = mptcpConfig({ isEnabled: false, tcp: tcpConfig({ timestamps: false }) })
  const pair = new StackPair({ client: { ...ONE_PORT, mptcp } })
  let fin = { seq: 0, ack: 0 }
  const streams = listen(pair)
  const stream = pair.connect(80)
  stream.resume()
  await pair.settle()
  stream.end()
  pair.isPassing = () => true
  const inject = pair.client.device.incoming
  const push = inject.push.bind(inject)
  inject.push = (...packets) => {
    for (const packet of packets) {
      const { pkt } = read(packet)
      if ((pkt.flags & FIN) !== 0) fin = { seq: pkt.seq, ack: pkt.ack }
    }
    return push(...packets)
  }
  await pair.settle()
  const tuple: Tuple = { local: HOST, localPort: 80, remote: CLIENT, remotePort: LOCAL_PORT }
  /** What the client answers to a segment of the peer. */
  const hear = async (flags: number, seq: number, ack = fin.ack): Promise<string[]> => {
    pair.take()
    pair.server.device.outgoing.push(segment(tuple, { flags, seq: seq | 0, ack: ack | 0 }))
    await pair.settle()
    return pair.take().slice(1)
  }
  return { pair, fin, streams, hear }
}

t.test('rfc9293 3.10.7.4: the FIN again is acknowledged again and the wait begins anew', async (t) => {
  const { pair, fin, hear } = await waiting()
  await pair.advance(50 * US_PER_S)
  const answers = await hear(FIN | ACK, fin.seq)
  t.equal(answers.filter((text) => /Flags \[\.\]/.test(text)).length, 1)
  await pair.advance(50 * US_PER_S)
  t.equal(pair.client.engine.timeWaits.size, 1, 'still there after 100 s')
  await pair.advance(11 * US_PER_S)
  t.equal(pair.client.engine.timeWaits.size, 0)
})

t.test('rfc1337: a RST does not end the wait; old data is acknowledged, a bare old segment at most twice a second', async (t) => {
  const { pair, fin, hear } = await waiting()
  t.same(await hear(RST, fin.seq + 1), [])
  t.same(await hear(RST | ACK, fin.seq), [])
  t.equal(pair.client.engine.timeWaits.size, 1)
  t.same(await hear(ACK, fin.seq + 1), [], 'the last ACK of the peer needs none')
  let n = 0
  for (let i = 0; i < 10; i++) n += (await hear(ACK | PSH, fin.seq - 5)).filter((text) => /Flags \[\.\]/.test(text)).length
  t.equal(n, 1)
  await pair.advance(600_000)
  t.equal((await hear(SYN, fin.seq - 100)).filter((text) => /Flags \[\.\]/.test(text)).length, 1, 'so is a SYN that is older')
  t.equal(pair.client.engine.counters.TcpExtTCPTimeWaitReused, 0)
  t.equal(pair.client.engine.timeWaits.size, 1)
})

t.test('rfc8684 3.3.3: in TIME-WAIT the DATA_ACK is repeated with the acknowledgement', async (t) => {
  const pair = new StackPair({ client: ONE_PORT })
  t.ok(await once(pair, listen(pair), false))
  const tuple: Tuple = { local: HOST, localPort: 80, remote: CLIENT, remotePort: LOCAL_PORT }
  pair.take()
  pair.server.device.outgoing.push(segment(tuple, { flags: FIN | ACK, seq: 0, ack: 0 }))
  await pair.settle()
  t.match(pair.take()[1], /TS val.*dss ack/i)
})

t.test('rfc9293 3.6.1: a SYN that succeeds a subflow in TIME-WAIT leaves its connection alone', async (t) => {
  const pair = new StackPair()
  const streams = listen(pair)
  const stream = pair.connect(80)
  stream.write('x')
  await pair.settle()
  t.ok(stream.conn.addPath(SECOND, pair.now))
  pair.client.engine.mark(stream)
  await pair.settle()
  const accepted = streams[0] as MptcpStream
  const s = accepted.conn.subflows[1] as Subflow
  t.ok(accepted.conn.closeSubflow(s))
  pair.server.engine.mark(accepted)
  await pair.settle()
  t.equal(s.ep.state, TIME_WAIT, 'positive control')
  const { remote, remotePort, local, localPort } = s.ep.tuple
  const seq = (s.ep.irs + s.ep.rcvNxt + 1000) | 0
  const syn = { local: remote, localPort: remotePort, remote: local, remotePort: localPort }
  pair.take()
  pair.client.device.outgoing.push(segment(syn, { flags: SYN, seq }))
  await pair.settle()
  t.match(pair.take()[1], /Flags \[S\.\]/)
  t.equal(pair.server.engine.counters.TcpExtTCPTimeWaitReused, 1)
  t.same([accepted.destroyed, accepted.conn.isClosed, accepted.conn.subflows.length], [false, false, 1])
})

t.test(`an entry takes at most ${ENTRY_MAX} bytes`, (t) => {
  const N = 16_384
  const gc = (globalThis as { gc?: () => void }).gc
  if (gc === undefined) throw new Error('this test needs node --expose-gc (the test script sets it)')
  const used = (): number => {
    gc()
    gc()
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    return heapUsed + arrayBuffers
  }
  const { engine } = new StackPair().client
  const queue = new StreamQueue(engine.arena, 1 << 20)
  const flow = new PlainFlow(queue, queue)
  const cfg = tcpConfig()
  const fill = (waits: TimeWaits): void => {
    for (let i = 0; i < N; i++) {
      const tuple = { local: CLIENT, localPort: i, remote: HOST, remotePort: 80, tclass: 0 }
      const ep = new TcpEndpoint(cfg, tuple, i * 77_777, flow, flow, flow)
      ep.state = TIME_WAIT
      ep.snd.rexmitAt = 60 * US_PER_S + i
      waits.add(ep, engine.ports[0] as Port, 0)
    }
  }
  fill(new TimeWaits(engine, N)) // warms up
  const before = used()
  const waits = new TimeWaits(engine, N)
  fill(waits)
  const each = (used() - before) / N
  t.equal(waits.size, N)
  t.comment(`${Math.round(each)} bytes each`)
  t.ok(each <= ENTRY_MAX)
  t.ok(each > 100, 'the measurement sees them at all')
  t.end()
})
