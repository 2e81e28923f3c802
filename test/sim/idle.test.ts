import t from 'tap'
import { US_PER_S } from '../../src/base/time.js'
import type { Engine } from '../../src/engine/engine.js'
import { PHASE_OPEN } from '../../src/mptcp/subflow.js'
import type { ByteSocket } from './byte-socket.js'
import { EngineWorld } from './engine-world.js'
import { Nat } from './middlebox.js'
import { MptcpPair, publicWord } from './mptcp-pair.js'
import type { PathPairConfig } from './paths.js'

// Connections on which nothing happens: what they cost, and that they are still there when they are needed.

t.setTimeout(120_000)

const CONNECTIONS = 10_000
/** Heap of one intercepted connection with two subflows, both legs and the path manager, the flow table's entries included. */
const IDLE_MAX = 7.5 * 1024

const FAST: PathPairConfig = {
  up: { bitsPerSecond: 1e9, delayUs: 5_000, queueBytes: 64 << 20 },
  down: { bitsPerSecond: 1e9, delayUs: 5_000, queueBytes: 64 << 20 },
}

/** Heap bytes after everything unreachable is gone. */
function heapUsed(): number {
  const gc = (globalThis as { gc?: () => void }).gc
  if (gc === undefined) throw new Error('this test needs node --expose-gc (the test script sets it)')
  gc()
  gc()
  return process.memoryUsage().heapUsed
}

/** A closure made beside the world would keep it. */
function nothing(): void {}

/** An engine with `n` idle connections, and nothing else of the world that made them. Each has carried bytes both ways. */
function idleEngine(n: number): Engine {
  const w = new EngineWorld({
    seed: 7,
    paths: [FAST, FAST],
    server: 'mptcp',
    engine: { heldMax: n, heldPerDestination: n, pathLimits: { extraSubflows: 1, addAddrAccepted: 0, replaceUs: 0 } },
  })
  let echoed = 0
  w.listen((socket) => {
    const scratch = new Uint8Array(64)
    socket.onActivity = () => {
      if (socket.read(scratch, 0, 64) > 0) socket.write(scratch, 0, 64)
    }
  })
  for (let i = 0; i < n; i++) {
    w.loop.at(i * 200, () => {
      const socket = w.connect()
      socket.onActivity = () => {
        if (socket.isOpen && socket.readable > 0) echoed += socket.read(new Uint8Array(64), 0, 64)
      }
      socket.write(new Uint8Array(64), 0, 64)
    })
  }
  w.loop.run(() => false, n * 200 + 20 * US_PER_S)
  t.equal(echoed, 64 * n, 'every connection has carried bytes both ways')
  // what is not the engine's is let go
  ;(w.loop as unknown as { heap: unknown[] }).heap.length = 0
  w.device.out = nothing
  w.device.onReady(nothing)
  w.engine.onWake(nothing)
  Object.assign(w, { app: null, server: null, paths: null })
  return w.engine
}

t.test(`an idle intercepted connection with two subflows takes at most ${IDLE_MAX} bytes`, (t) => {
  const few = idleEngine(100) // warms up, and shows what an engine itself takes
  const before = heapUsed()
  const engine = idleEngine(CONNECTIONS)
  const each = (heapUsed() - before) / CONNECTIONS
  let up = 0
  for (const connection of engine.connections) up += connection.conn.subflows.filter((s) => s.phase === PHASE_OPEN).length
  t.equal(engine.connections.size, CONNECTIONS)
  t.equal(up, 2 * CONNECTIONS, 'with two subflows each')
  t.equal(few.connections.size, 100)
  t.comment(`${Math.round(each)} bytes each`)
  t.ok(each <= IDLE_MAX, `${Math.round(each)} <= ${IDLE_MAX}`)
  t.end()
})

/** Whether the server reaches the client after an hour in which nobody said anything, through address translators that forget after 5 min. */
function survivesAnHour(keepaliveUs: number): { isReached: boolean; expired: number; packets: number } {
  const nats: Nat[] = []
  const lane = (i: number): PathPairConfig => ({
    ...FAST,
    boxes: (loop) => {
      const nat = new Nat(loop, publicWord(i), 300 * US_PER_S)
      nats.push(nat)
      return [nat]
    },
  })
  const pair = new MptcpPair({ seed: 11, paths: [lane(0), lane(1)], client: { tcp: { keepaliveUs } }, reviveUs: 0 })
  let server: ByteSocket | null = null
  pair.server.listen(80, (socket) => {
    server = socket
    socket.onActivity = () => socket.read(new Uint8Array(64), 0, 64)
  })
  const client = pair.connect()
  client.write(new Uint8Array(64), 0, 64)
  pair.loop.run(() => false, 10 * US_PER_S)
  t.equal(client.conn.subflows.filter((s) => s.phase === PHASE_OPEN).length, 2, 'two subflows')
  const before = nats.reduce((n, nat) => n + nat.translated, 0)
  pair.loop.run(() => false, 3600 * US_PER_S)
  const packets = nats.reduce((n, nat) => n + nat.translated, 0) - before
  ;(server as ByteSocket | null)?.write(new Uint8Array(64), 0, 64)
  const isReached = pair.loop.run(() => client.readable === 64, 3610 * US_PER_S)
  return { isReached, expired: nats.reduce((n, nat) => n + nat.expired, 0), packets }
}

t.test('an hour of silence behind address translators that forget after five minutes', (t) => {
  const kept = survivesAnHour(240 * US_PER_S)
  t.equal(kept.isReached, true, 'with a keepalive every 4 minutes')
  t.equal(kept.expired, 0)
  t.ok(kept.packets >= 2 * 2 * 14 && kept.packets <= 2 * 2 * 15, `a question and an answer per subflow and interval: ${kept.packets}`)
  const forgotten = survivesAnHour(0)
  t.equal(forgotten.isReached, false, 'and without')
  t.equal(forgotten.packets, 0)
  t.ok(forgotten.expired > 0, 'the translators had forgotten')
  t.end()
})
