import t from 'tap'
import { MptcpServer } from '../../../src/engine/server.js'
import { MptcpStream } from '../../../src/engine/stream.js'
import { HOST, HOST2, StackPair } from './stack-pair.js'

const S = 1_000_000

/** Opens a connection by Fast Open with a request, and ends it. The text of its first SYN, and how long the open took. */
async function attempt(pair: StackPair, remote = HOST): Promise<{ syn: string; us: number }> {
  pair.take()
  const stream = new MptcpStream(pair.client.engine)
  stream.on('error', () => {})
  stream.write('request')
  stream.open(remote, 80, pair.now, true)
  const since = pair.now
  while (!stream.isEstablished && pair.now < since + 60 * S) await pair.advance(S / 2)
  const us = pair.now - since
  const syn = pair.take().find((text) => text.includes('Flags [S]')) ?? ''
  stream.destroy()
  await pair.settle()
  return { syn, us }
}

function world(): StackPair {
  const pair = new StackPair()
  const server = new MptcpServer(pair.server.engine)
  server.on('connection', (stream) => stream.on('error', () => {}).resume())
  server.listen({ port: 80 })
  return pair
}

t.test('rfc7413 4.1.1, 4.1.3: a server without Fast Open is asked once, and again only after a while that grows', async (t) => {
  const pair = world()
  t.match((await attempt(pair)).syn, 'tfo cookiereq', 'the first SYN asks')
  t.match((await attempt(pair)).syn, 'capable', 'MPTCP goes on')
  t.notMatch((await attempt(pair)).syn, 'tfo', 'but nobody asks')
  t.match((await attempt(pair, HOST2)).syn, 'tfo cookiereq', 'other servers are not concerned')
  await pair.advance(31 * S)
  t.match((await attempt(pair)).syn, 'tfo cookiereq')
  await pair.advance(31 * S)
  t.notMatch((await attempt(pair)).syn, 'tfo', 'the second time is longer')
  await pair.advance(31 * S)
  t.match((await attempt(pair)).syn, 'tfo cookiereq')
})

t.test('rfc7413 4.1.3.1: a way that swallows the option costs one timeout, not one a connection', async (t) => {
  const pair = world()
  let swallowed = 0
  pair.isPassing = (text, isFromClient) => {
    if (!isFromClient || !text.includes('tfo')) return true
    swallowed++
    return false
  }
  t.ok((await attempt(pair)).us >= S)
  t.equal(swallowed, 1, 'the repeated SYN has no option')
  t.ok((await attempt(pair)).us < S)
  t.equal(swallowed, 1)
})

t.test('a connection that is not opened so has no such option', async (t) => {
  const pair = world()
  pair
    .connect(80)
    .on('error', () => {})
    .destroy()
  const stream = pair.connect(80).on('error', () => {})
  await pair.settle()
  t.ok(stream.isEstablished)
  t.notOk(pair.take().some((text) => text.includes('tfo')))
  stream.destroy()
  await pair.settle()
})
