import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { FlowTable } from '../../../src/base/flow-table.js'
import type { Host } from '../../../src/base/host.js'
import { Rng } from '../../../src/base/rng.js'
import { EngineConfig } from '../../../src/engine/config.js'
import { createEngine } from '../../../src/engine/engine.js'
import { PORT_MAX, PORT_MIN, PortPicker } from '../../../src/engine/ports.js'
import { InitialNumbers } from '../../../src/tcp/isn.js'
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

/** Nothing waits. */
const NO_WAITS = { find: () => null }

function pickerOf(seed: number, flows: Pick<FlowTable<object>, 'find'>, min?: number, max?: number): PortPicker {
  const host = hostOf(seed)
  return new PortPicker(host, new InitialNumbers(() => host.rng()), flows, NO_WAITS, min, max)
}

t.test('rfc6056 3.3: ports are scattered, in range and unique per destination', (t) => {
  const flows = new FlowTable<object>(1, 2)
  const picker = pickerOf(7, flows)
  const ports: number[] = []
  for (let i = 0; i < 5000; i++) {
    const port = picker.pick(LOCAL, REMOTE, 80, 0)
    take(flows, port)
    ports.push(port)
  }
  t.equal(new Set(ports).size, 5000)
  t.ok(ports.every((port) => port >= PORT_MIN && port <= PORT_MAX))
  const steps = ports.slice(1).filter((port, i) => Math.abs(port - (ports[i] as number)) < 16).length
  t.ok(steps < 50, `not sequential: ${steps} small steps`)
  const other = Array.from({ length: 5000 }, () => picker.pick(LOCAL, REMOTE, 443, 0))
  const same = other.filter((port, i) => (((port - (ports[i] as number)) % 55_296) + 55_296) % 55_296 === 1).length
  t.ok(same < 50, 'another destination has an order of its own')
  t.end()
})

t.test('rfc6056 3.3.4: without collisions a port comes again only after all others', (t) => {
  for (const [seed, min, max] of [
    [1, PORT_MIN, PORT_MAX],
    [2, 40_000, 40_000],
    [3, 40_000, 40_001],
    [4, 40_000, 40_096],
  ] as const) {
    const picker = pickerOf(seed, new FlowTable<object>(1, 2), min, max)
    const count = max - min + 1
    const seen = new Set(Array.from({ length: count }, () => picker.pick(LOCAL, REMOTE, 80, 0)))
    t.equal(seen.size, count)
  }
  t.end()
})

t.test('half of the ports in use, all given out in a row: the next one costs a few looks, never a walk', (t) => {
  const flows = new FlowTable<object>(1, 2)
  let looks = 0
  const counting: Pick<FlowTable<object>, 'find'> = {
    find: (...key) => {
      looks++
      return flows.find(...key)
    },
  }
  const picker = pickerOf(5, counting)
  const N = (PORT_MAX - PORT_MIN + 1) / 2
  for (let i = 0; i < N; i++) take(flows, picker.pick(LOCAL, REMOTE, 80, 0))
  t.equal(looks, N, 'no collision at all while the first half is given out')
  let most = 0
  looks = 0
  for (let i = 0; i < 3 * N; i++) {
    const before = looks
    if (picker.pick(LOCAL, REMOTE, 80, 0) === 0) t.fail('none')
    most = Math.max(most, looks - before)
  }
  t.ok(looks > 3 * N, 'the taken half was met')
  t.ok(most <= 40, `${most} looks at most`)
  t.ok(looks / (3 * N) < 3, `${looks / (3 * N)} on average`)
  t.end()
})

t.test('the last free port is found; then there is none, but for another destination port there is', (t) => {
  const flows = new FlowTable<object>(1, 2)
  const picker = pickerOf(8, flows)
  for (let port = PORT_MIN; port <= PORT_MAX; port++) if (port !== 40_000) take(flows, port)
  t.equal(picker.pick(LOCAL, REMOTE, 80, 0), 40_000)
  take(flows, 40_000)
  t.equal(picker.pick(LOCAL, REMOTE, 80, 0), 0)
  t.ok(picker.pick(LOCAL, REMOTE, 443, 0) > 0)
  flows.delete(LOCAL.w0, LOCAL.w1, LOCAL.w2, LOCAL.w3, REMOTE.w0, REMOTE.w1, REMOTE.w2, REMOTE.w3, (50_000 << 16) | 80)
  t.equal(picker.pick(LOCAL, REMOTE, 80, 10_000), 0, 'for a moment not all are asked again')
  t.equal(picker.pick(LOCAL, REMOTE, 80, 20_000), 50_000)
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
