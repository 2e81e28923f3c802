import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { FlowTable } from '../../../src/base/flow-table.js'
import type { Host } from '../../../src/base/host.js'
import { Rng } from '../../../src/base/rng.js'
import { EngineConfig } from '../../../src/engine/config.js'
import { createEngine } from '../../../src/engine/engine.js'
import { PORT_MAX, PORT_MIN, pickPort } from '../../../src/engine/ports.js'
import { path } from '../../../src/pathmgr/path.js'

const LOCAL = IpAddress.v4(0xc6120002)
const REMOTE = IpAddress.v4(0xc0000201)

function hostOf(seed: number): Host {
  const rng = new Rng(seed)
  return { rng: () => rng.int32(), hash: { sha256: () => new Uint8Array(32), hmacSha256: () => new Uint8Array(32) } }
}

function take(flows: FlowTable<object>, port: number, remotePort = 80): void {
  flows.set(LOCAL.w0, LOCAL.w1, LOCAL.w2, LOCAL.w3, REMOTE.w0, REMOTE.w1, REMOTE.w2, REMOTE.w3, (port << 16) | remotePort, {})
}

t.test('rfc6056 3.3: ports are random, in range and unique per destination', (t) => {
  const flows = new FlowTable<object>(1, 2)
  const host = hostOf(7)
  const ports: number[] = []
  for (let i = 0; i < 5000; i++) {
    const port = pickPort(host, flows, LOCAL, REMOTE, 80)
    take(flows, port)
    ports.push(port)
  }
  t.equal(new Set(ports).size, 5000)
  t.ok(ports.every((port) => port >= PORT_MIN && port <= PORT_MAX))
  const steps = ports.slice(1).filter((port, i) => Math.abs(port - (ports[i] as number)) < 16).length
  t.ok(steps < 50, `not sequential: ${steps} small steps`)
  t.end()
})

t.test('the last free port is found; then there is none, but for another destination port there is', (t) => {
  const flows = new FlowTable<object>(1, 2)
  const host = hostOf(8)
  for (let port = PORT_MIN; port <= PORT_MAX; port++) if (port !== 40_000) take(flows, port)
  t.equal(pickPort(host, flows, LOCAL, REMOTE, 80), 40_000)
  take(flows, 40_000)
  t.equal(pickPort(host, flows, LOCAL, REMOTE, 80), 0)
  t.ok(pickPort(host, flows, LOCAL, REMOTE, 443) > 0)
  t.end()
})

t.test('when all ports of a stack address are in use, those of the egress that has several go on', (t) => {
  const other = IpAddress.v4(0xc6120003)
  const stackAddresses = [{ address: LOCAL, isDefault: true, more: [other] }]
  const engine = createEngine(hostOf(9), [], new EngineConfig({ memoryPages: 4, stackAddresses }))
  const open = () => engine.env.openFlow(path(), REMOTE, 80, 0)
  t.ok(open()?.local.equals(LOCAL), 'the first one while it has some')
  for (let port = PORT_MIN; port <= PORT_MAX; port++) take(engine.flows as unknown as FlowTable<object>, port)
  t.ok(open()?.local.equals(other))
  t.ok(engine.env.openFlow(path(), REMOTE, 443, 0)?.local.equals(LOCAL), 'other destinations stay with it')
  t.equal(engine.counters.EngineNoPort, 0)
  t.end()
})
