import t from 'tap'
import { MptcpServer } from '../../../src/engine/server.js'
import type { MptcpStream } from '../../../src/engine/stream.js'
import { HOST, HOST2, StackPair } from './stack-pair.js'

const S = 1_000_000

/** A server, and a path that may swallow SYNs with MP_CAPABLE. */
function world(): { pair: StackPair; state: { isHole: boolean; swallowed: number } } {
  const pair = new StackPair()
  const server = new MptcpServer(pair.server.engine)
  server.on('connection', (stream) => stream.on('error', () => {}).resume())
  server.listen({ port: 80 })
  const state = { isHole: true, swallowed: 0 }
  pair.isPassing = (text, isFromClient) => {
    if (!state.isHole || !isFromClient || !text.includes('Flags [S]') || !text.includes('capable')) return true
    state.swallowed++
    return false
  }
  return { pair, state }
}

/** Opens a connection and ends it; how long the open took, and what it became. */
async function attempt(pair: StackPair, remote = HOST): Promise<{ us: number; isMptcp: boolean }> {
  const stream: MptcpStream = pair.connect(80, remote)
  stream.on('error', () => {})
  const since = pair.now
  while (!stream.isEstablished && pair.now < since + 60 * S) await pair.advance(S / 2)
  const result = { us: pair.now - since, isMptcp: stream.conn.isMptcp }
  stream.destroy()
  await pair.settle()
  return result
}

t.test(
  'rfc8684 3.1: a destination that swallows MP_CAPABLE is plain at once for a while, longer each time, and forgiven by an answer',
  async (t) => {
    const { pair, state } = world()
    const first = await attempt(pair)
    t.notOk(first.isMptcp)
    t.ok(first.us >= 7 * S, 'three SYNs with MP_CAPABLE, then a plain one')
    t.equal(state.swallowed, 3)
    t.match(await attempt(pair), { us: S / 2, isMptcp: false }, 'known: plain at once')
    t.equal(state.swallowed, 3)
    state.isHole = false
    t.ok((await attempt(pair, HOST2)).isMptcp, 'other destinations are not concerned')
    state.isHole = true
    await pair.advance(30 * S)
    const second = await attempt(pair)
    t.equal(state.swallowed, 4, 'then one SYN asks whether it is still so')
    t.ok(second.us >= S && second.us < 3 * S)
    state.isHole = false
    await pair.advance(40 * S)
    t.notOk((await attempt(pair)).isMptcp, 'the second time is longer')
    await pair.advance(20 * S)
    t.ok((await attempt(pair)).isMptcp, 'and when it is over MPTCP is back')
    t.equal(pair.client.engine.destinations.size, 0, 'nothing is remembered')
  },
)

t.test('one restart of a server costs it 30 s of MPTCP, not an hour', async (t) => {
  const { pair, state } = world()
  await attempt(pair)
  state.isHole = false
  await pair.advance(31 * S)
  t.ok((await attempt(pair)).isMptcp)
})
