import t from 'tap'
import { parseAddress } from '../../../src/config/address-text.js'
import { MptcpServer } from '../../../src/engine/server.js'
import { countersOf } from '../../../src/engine/status.js'
import type { MptcpStream } from '../../../src/engine/stream.js'
import { mptcpConfig } from '../../../src/mptcp/env.js'
import { ACK, SYN } from '../../../src/wire/tcp.js'
import { CLIENT, HOST, HOST2, SECOND, StackPair } from './stack-pair.js'
import { segment } from './world.js'

/** A server that echoes, and the streams that it was given. */
function echo(pair: StackPair, backlog = 8, host?: string): { server: MptcpServer; streams: MptcpStream[] } {
  const server = new MptcpServer(pair.server.engine)
  const streams: MptcpStream[] = []
  server.on('connection', (stream) => {
    streams.push(stream as MptcpStream)
    stream.on('error', () => {})
    stream.pipe(stream)
  })
  server.listen({ port: 80, backlog, ...(host === undefined ? {} : { host }) })
  return { server, streams }
}

/** Sends `bytes` and returns what came back until the end. */
async function roundTrip(pair: StackPair, stream: MptcpStream, bytes: Buffer): Promise<Buffer> {
  const got: Buffer[] = []
  stream.on('data', (piece: Buffer) => got.push(piece))
  stream.on('error', () => {})
  stream.end(bytes)
  await pair.settle()
  return Buffer.concat(got)
}

const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i * 7))

t.test('a server takes up MPTCP connections, and plain TCP from others', async (t) => {
  for (const isEnabled of [true, false]) {
    const pair = new StackPair({ client: { mptcp: mptcpConfig({ isEnabled }) } })
    const { server, streams } = echo(pair)
    const stream = pair.connect(80)
    t.same(await roundTrip(pair, stream, bytes), bytes, 'every byte came back')
    const accepted = streams[0] as MptcpStream
    t.equal(accepted.conn.env.counters.MPCapableACKRX, isEnabled ? 1 : 0)
    t.equal(accepted.remote?.address, CLIENT.toString())
    t.same(accepted.local, { address: HOST.toString(), port: 80 })
    t.equal(pair.server.engine.counters.TcpPassiveOpens, 1)
    for (const { engine } of [pair.client, pair.server]) {
      t.equal(countersOf(engine).TcpOutSegs, engine.counters.IpOutRequests, 'each segment is counted once, in TIME-WAIT too')
    }
    await pair.advance(70_000_000)
    t.equal(pair.server.engine.connections.size, 0, 'nothing is left of it')
    t.equal(pair.server.engine.flowCount, 0)
    t.equal(server.connections, 0)
  }
})

t.test('a join finds its connection by its token, also after the listener was closed', async (t) => {
  const pair = new StackPair()
  const { server, streams } = echo(pair)
  const stream = pair.connect(80)
  stream.on('error', () => {})
  stream.write('x')
  await pair.settle()
  server.close()
  t.ok(stream.conn.addPath(SECOND, pair.now))
  pair.client.engine.mark(stream)
  await pair.settle()
  t.equal(streams[0]?.conn.subflows.length, 2)
  t.equal(pair.server.engine.mptcpCounters.MPJoinAckRx, 1)
  const late = pair.connect(80)
  const failed = new Promise<NodeJS.ErrnoException>((resolve) => late.once('error', resolve))
  await pair.settle()
  t.equal((await failed).code, 'ECONNREFUSED', 'new connections are refused')
  t.same(await roundTrip(pair, stream, bytes), Buffer.concat([Buffer.from('x'), bytes]))
})

t.test('rfc8684 3.2, 3.6: a refused join gets RST with MP_TCPRST and its reason', async (t) => {
  const denying = new StackPair({ server: { mptcp: mptcpConfig({ denyJoinInitial: true }) } })
  echo(denying)
  const stream = denying.connect(80)
  stream.write('x')
  await denying.settle()
  stream.conn.peerDeniesJoin = false // a peer that does not obey flag C
  stream.conn.addPath(SECOND, denying.now)
  denying.client.engine.mark(stream)
  denying.take()
  await denying.settle()
  t.match(denying.take().join('\n'), /tcprst.*3/i, 'policy: reason 3')
  t.equal(denying.server.engine.mptcpCounters.MPJoinRejected, 1)

  const pair = new StackPair()
  echo(pair)
  const other = pair.connect(80)
  other.write('x')
  await pair.settle()
  pair.server.engine.env.releaseToken(other.conn.remoteKey?.token ?? 0)
  other.conn.addPath(SECOND, pair.now)
  pair.client.engine.mark(other)
  pair.take()
  await pair.settle()
  t.match(pair.take().join('\n'), /tcprst.*1/i, 'unknown token: reason 1')
  t.equal(pair.server.engine.mptcpCounters.MPJoinNoTokenFound, 1)
  t.equal(pair.server.engine.connections.size, 1, 'the connection goes on')
})

t.test('rfc8684 3.4.1: an accepted connection announces; a join there has the id that was announced', async (t) => {
  const address = parseAddress('198.51.100.7') // as the peer sees HOST2
  const pair = new StackPair({ server: { announced: [{ id: 3, address, port: 0, local: HOST2 }] } })
  const { streams } = echo(pair)
  const stream = pair.connect(80)
  stream.write('x')
  await pair.settle()
  t.equal(pair.server.engine.mptcpCounters.DssFallback, 0, 'an echo that acknowledges the first data is no sign of stripped options')
  t.same(
    stream.conn.addressing.peer.map((a) => [a.id, a.address.toString(), a.port]),
    [[3, '198.51.100.7', 80]],
  )
  t.equal(pair.server.engine.mptcpCounters.EchoAdd, 1)
  stream.conn.addPath({ ...SECOND, destination: HOST2 }, pair.now) // NAT in between
  pair.client.engine.mark(stream)
  await pair.settle()
  t.equal(streams[0]?.conn.subflows[1]?.localAddrId, 3)
  t.equal(stream.conn.subflows[1]?.remoteAddrId, 3)
})

t.test('rfc4987 3.6: beyond the backlog SYN cookies keep listening possible, with MPTCP, without state', async (t) => {
  const pair = new StackPair()
  const { streams } = echo(pair, 4)
  const flood = 20_000
  for (let i = 0; i < flood; i++) {
    const local = parseAddress(`100.64.${(i >> 8) & 255}.${i & 255}`)
    pair.server.device.incoming.push(
      segment({ local, localPort: 1024 + (i >> 16), remote: HOST, remotePort: 80 }, { flags: SYN, seq: i * 64_007 }),
    )
    if (i % 32 === 31) {
      pair.server.engine.turn(pair.now)
      pair.server.device.outgoing.length = 0
    }
  }
  const { counters, mptcpCounters } = pair.server.engine
  t.equal(counters.TcpExtSyncookiesSent, flood - 4, 'the flood was answered without state')
  t.equal(pair.server.engine.connections.size, 4)
  for (let i = 1; i <= 20; i++) {
    const stream = pair.connect(80)
    t.same(await roundTrip(pair, stream, bytes.subarray(0, 5000 * i)), bytes.subarray(0, 5000 * i))
    t.equal(stream.conn.opening.everJoined, false)
  }
  t.equal(counters.TcpExtSyncookiesRecv, 20)
  t.equal(mptcpCounters.MPCapableACKRX, 20, 'all of them speak MPTCP')
  const accepted = streams[0] as MptcpStream
  const ep = accepted.conn.subflows[0]?.ep
  if (ep !== undefined) t.same([ep.peerMss, ep.isSackOk, ep.hasTimestamps], [1460, true, true], 'what the SYN offered was kept')
  t.equal(counters.TcpExtSyncookiesFailed, 0)
  pair.server.device.incoming.push(segment({ local: CLIENT, localPort: 999, remote: HOST, remotePort: 80 }, { flags: ACK, seq: 5, ack: 6 }))
  await pair.settle()
  t.equal(counters.TcpExtSyncookiesFailed, 1, 'a forged one is answered by RST')
  await pair.advance(200_000_000)
  t.equal(pair.server.engine.connections.size, 0, 'half-open connections end')
})

t.test('a cookie connection whose third ACK is lost is established by its first data', async (t) => {
  const pair = new StackPair()
  echo(pair, 0)
  let lost = 0
  pair.isPassing = (text, isFromClient) => {
    if (!isFromClient || lost > 0 || text.includes('Flags [S]')) return true
    lost++
    return false
  }
  const stream = pair.connect(80)
  await pair.settle()
  t.equal(lost, 1, 'it was lost')
  t.equal(pair.server.engine.connections.size, 0, 'and the server knows nothing')
  t.same(await roundTrip(pair, stream, bytes.subarray(0, 9000)), bytes.subarray(0, 9000))
  t.equal(pair.server.engine.counters.TcpExtSyncookiesRecv, 1)
  t.equal(pair.server.engine.mptcpCounters.MPCapableACKRX, 1)
})

t.test('addresses and limits of a server', async (t) => {
  const pair = new StackPair()
  const { server, streams } = echo(pair, 8, HOST2.toString())
  const second = new MptcpServer(pair.server.engine)
  t.throws(() => second.listen({ port: 80 }), { code: 'EADDRINUSE' })
  t.throws(() => second.listen({ port: 0 }), { code: 'ERR_PORT' })
  t.throws(() => second.listen({ port: 81, host: '192.0.2.77' }), { code: 'EADDRNOTAVAIL' })
  t.throws(() => server.listen({ port: 82 }), { code: 'ERR_ALREADY_LISTENING' })
  t.same(server.address(), { address: HOST2.toString(), port: 80 })
  const refused = pair.connect(80, HOST)
  const failed = new Promise<NodeJS.ErrnoException>((resolve) => refused.once('error', resolve))
  await pair.settle()
  t.equal((await failed).code, 'ECONNREFUSED', 'it listens on one address only')
  server.maxConnections = 1
  for (let i = 0; i < 2; i++) pair.connect(80, HOST2).on('error', () => {})
  await pair.settle()
  pair.connect(80, HOST2).on('error', () => {})
  await pair.settle()
  t.ok(pair.server.engine.counters.TcpExtListenOverflows > 0)
  t.equal(server.connections, streams.length)
  const closed = new Promise<void>((resolve) => server.close(resolve))
  for (const stream of streams) stream.destroy()
  await pair.settle()
  await closed
  t.notOk(server.listening)
})
