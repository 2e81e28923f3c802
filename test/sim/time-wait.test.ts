import t from 'tap'
import { US_PER_MS, US_PER_S } from '../../src/base/time.js'
import { PORT_MAX, PORT_MIN } from '../../src/engine/ports.js'
import type { ByteSocket } from './byte-socket.js'
import { EngineWorld } from './engine-world.js'

/** 5000 connects a second to one destination, on a hundredth of the ports: each comes again after 11 s, while TIME-WAIT takes 60. */
const SCALE = 100
const PORTS = Math.floor((PORT_MAX - PORT_MIN + 1) / SCALE)
const PERIOD_US = US_PER_S / (5000 / SCALE)
const SECONDS = 60

const link = { bitsPerSecond: 1e9, delayUs: 5 * US_PER_MS, queueBytes: 1 << 20 }

for (const server of ['tcp', 'mptcp'] as const) {
  t.test(`rfc6056, rfc6191: ports are enough for 5000 connects a second to one ${server} server, whoever closes first`, (t) => {
    const w = new EngineWorld({
      seed: 71,
      server,
      paths: [{ up: link, down: link }],
      engine: { portMin: 40_000, portMax: 40_000 + PORTS - 1 },
    })
    let answered = 0
    let failed = 0
    let slow = 0
    let count = 0
    w.listen((socket) => {
      const closesFirst = count % 2 === 0
      socket.onActivity = () => {
        if (socket.readable > 0) {
          socket.read(byte, 0, 1)
          socket.write(byte, 0, 1)
          if (closesFirst) end(socket)
        } else if (socket.isReadEnded) end(socket)
      }
    })
    const byte = new Uint8Array(1)
    const ended = new WeakSet<ByteSocket>()
    const end = (socket: ByteSocket): void => {
      if (ended.has(socket)) return
      ended.add(socket)
      socket.end()
    }
    const open = (): void => {
      count++
      const socket = w.connect()
      let isAnswered = false
      const since = w.loop.now
      socket.onActivity = () => {
        if (socket.readable > 0) {
          socket.read(byte, 0, 1)
          isAnswered = true
          answered++
          if (w.loop.now - since > 100 * US_PER_MS) slow++
          // when the server has closed first, its FIN is here before ours leaves
          w.loop.at(w.loop.now + 2 * US_PER_MS, () => end(socket))
        } else if (socket.isClosed && !isAnswered) failed++
      }
      socket.write(byte, 0, 1)
    }
    const total = (SECONDS * US_PER_S) / PERIOD_US
    for (let i = 0; i < total; i++) w.loop.at(i * PERIOD_US, open)
    const before = process.cpuUsage()
    w.loop.run(() => false, (SECONDS + 2) * US_PER_S)
    const { user, system } = process.cpuUsage(before)
    t.equal(count, total)
    t.equal(answered, total)
    t.equal(failed, 0)
    t.equal(slow, 0, 'no SYN had to be repeated')
    const n = w.engine.counters
    t.equal(n.EngineNoPort, 0)
    t.ok(n.TcpExtTWRecycled > total / 4, `${n.TcpExtTWRecycled} of our own in TIME-WAIT used anew`)
    t.ok(w.engine.timeWaits.size <= PORTS + 200, `${w.engine.timeWaits.size} entries`)
    t.comment(`${Math.round((user + system) / total)} us of processor time for each connection, hosts and simulator included`)
    t.end()
  })
}
