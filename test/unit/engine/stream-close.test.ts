import t, { type Test } from 'tap'
import { MptcpServer } from '../../../src/engine/server.js'
import type { MptcpStream } from '../../../src/engine/stream.js'
import { StackPair } from './stack-pair.js'

/** A connected pair of streams; what the server's side receives and how it ends is kept. */
async function connected(t: Test) {
  const pair = new StackPair()
  const server = new MptcpServer(pair.server.engine)
  const seen = { bytes: 0, isEnded: false, error: '' }
  let accepted: MptcpStream | null = null
  server.on('connection', (stream) => {
    accepted = stream as MptcpStream
    stream.on('data', (piece: Buffer) => {
      seen.bytes += piece.length
    })
    stream.on('end', () => {
      seen.isEnded = true
    })
    stream.on('error', (error: Error & { code?: string }) => {
      seen.error = error.code ?? ''
    })
  })
  server.listen({ port: 80 })
  const stream = pair.connect(80)
  const errors: string[] = []
  stream.on('error', (error: Error) => errors.push(error.message))
  stream.write('hello')
  await pair.settle()
  t.equal(seen.bytes, 5)
  return { pair, stream, seen, errors, peer: accepted as unknown as MptcpStream }
}

const BIG = Buffer.alloc(200_000, 7)

t.test('destroy after end: all that was written still arrives, and the end', async (t) => {
  const { pair, stream, seen, errors, peer } = await connected(t)
  let isCut = true
  pair.isPassing = () => !isCut
  stream.end(BIG)
  await pair.settle()
  t.equal(stream.writableFinished, true)
  stream.destroy()
  await pair.settle()
  t.equal(seen.bytes, 5, 'nothing has arrived yet')
  isCut = false
  await pair.advance(20_000_000)
  t.same([seen.bytes, seen.isEnded, seen.error], [5 + BIG.length, true, ''])
  peer.end()
  await pair.advance(70_000_000)
  t.equal(pair.client.engine.connections.size, 0)
  t.same(errors, [])
  t.end()
})

t.test('destroy after end: a peer that never ends is waited for a minute, one that goes on sending is reset at once', async (t) => {
  for (const isSending of [false, true]) {
    const { pair, stream, seen, peer } = await connected(t)
    stream.end()
    await pair.settle()
    stream.destroy()
    await pair.advance(50_000_000)
    t.equal(pair.client.engine.connections.size, 1)
    if (isSending) peer.write('more')
    await pair.advance(isSending ? 1_000_000 : 20_000_000)
    t.equal(pair.client.engine.connections.size, 0)
    t.equal(seen.error, 'ECONNRESET')
  }
  t.end()
})

t.test('resetAndDestroy: the peer gets a reset, also after end; no error here', async (t) => {
  for (const isEnded of [false, true]) {
    const { pair, stream, seen, errors } = await connected(t)
    if (isEnded) stream.end(BIG)
    t.equal(stream.resetAndDestroy(), stream)
    await pair.settle()
    t.same([seen.error, seen.isEnded, errors], ['ECONNRESET', false, []])
    await pair.advance(1_000_000)
    t.equal(pair.client.engine.connections.size, 0)
    t.equal(stream.destroyed, true)
  }
  t.end()
})
