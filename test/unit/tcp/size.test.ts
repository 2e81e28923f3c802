import t from 'tap'
import { Arena } from '../../../src/base/arena.js'
import { IpAddress } from '../../../src/base/address.js'
import { TxRing } from '../../../src/base/rings.js'
import { StreamQueue } from '../../../src/base/stream-queue.js'
import { tcpConfig } from '../../../src/tcp/config.js'
import { TcpEndpoint } from '../../../src/tcp/endpoint.js'
import { HalfOpen } from '../../../src/tcp/half-open.js'
import { PlainFlow } from '../../../src/tcp/plain.js'
import * as st from '../../../src/tcp/state.js'
import { Packet, parsePacket } from '../../../src/wire/packet.js'
import { parseOptionsOf, TcpOptions } from '../../../src/wire/tcp-options.js'
import { linear } from './harness.js'

const N = 20_000
const IDLE_MAX = 700

/** Heap bytes after everything unreachable is gone. */
function heapUsed(): number {
  const gc = (globalThis as { gc?: () => void }).gc
  if (gc === undefined) throw new Error('this test needs node --expose-gc (the test script sets it)')
  gc()
  gc()
  return process.memoryUsage().heapUsed
}

t.test(`an idle endpoint takes at most ${IDLE_MAX} bytes`, (t) => {
  const arena = new Arena(1 << 20, 64)
  const tx = new TxRing(arena, 8)
  const cfg = tcpConfig()
  const queue = new StreamQueue(arena, 1 << 20)
  const flow = new PlainFlow(queue, queue)
  const local = IpAddress.v4(0xc6120001)
  const remote = IpAddress.v4(0xcb007101)
  const pkt = new Packet()
  const opts = new TcpOptions()

  const feed = (to: TcpEndpoint, now: number) => {
    const bytes = linear(tx)
    parsePacket(bytes, 0, bytes.length, pkt)
    parseOptionsOf(pkt, opts)
    to.onSegment(pkt, opts, now)
  }
  const connect = (i: number, now: number): TcpEndpoint => {
    const client = new TcpEndpoint(cfg, { local, localPort: 1 + i, remote, remotePort: 80 }, i, flow, flow, flow)
    client.connect(now)
    client.pollTransmit(tx, now)
    const syn = linear(tx)
    parsePacket(syn, 0, syn.length, pkt)
    parseOptionsOf(pkt, opts)
    const server = new HalfOpen(cfg, { local: remote, localPort: 80, remote: local, remotePort: 1 + i }, pkt, opts, now).accept(
      cfg,
      ~i,
      flow,
      flow,
      flow,
      now,
    )
    server.pollTransmit(tx, now)
    feed(client, now + 5_000)
    client.pollTransmit(tx, now + 5_000)
    feed(server, now + 10_000)
    return client
  }

  const keep: TcpEndpoint[] = new Array<TcpEndpoint>(N)
  for (let i = 0; i < N; i++) keep[i] = connect(i, 5_000_000_000 + i) // warms up: code and feedback are not counted
  keep.fill(undefined as unknown as TcpEndpoint)
  const before = heapUsed()
  for (let i = 0; i < N; i++) keep[i] = connect(i, 5_000_000_000 + i)
  const each = (heapUsed() - before) / N // tuple included
  t.ok(
    keep.every((ep) => ep.state === st.ESTABLISHED && ep.srttUs > 0),
    'all are established',
  )
  t.comment(`${Math.round(each)} bytes each`)
  t.ok(each <= IDLE_MAX, `${Math.round(each)} <= ${IDLE_MAX}`)
  t.ok(each > 200, 'the measurement sees them at all')
  t.end()
})
