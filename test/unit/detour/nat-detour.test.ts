import { createSocket, type Socket } from 'node:dgram'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { parseAddress } from '../../../src/config/address-text.js'
import { parseDestination } from '../../../src/config/detour-config.js'
import { NatDetour, type NatShell, natShell, natSpecOf, type NatSpec } from '../../../src/detour/nat-detour.js'
import { DetourKeys } from '../../../src/detour/protocol/keys.js'
import type { ProviderHost } from '../../../src/detour/provider.js'
import { type Path, path } from '../../../src/pathmgr/path.js'
import { server, TestDaemon } from './nat-harness.js'

const keys = new DetourKeys(Buffer.alloc(8, 1), Buffer.alloc(32, 2))

/** A daemon at a real socket of the loopback. */
async function listen(address: string): Promise<{ daemon: TestDaemon; socket: Socket; port: number }> {
  const daemon = new TestDaemon(keys)
  daemon.wallUs = () => Date.now() * 1000
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  await new Promise<void>((resolve) => socket.bind(0, address, resolve))
  socket.on('message', (datagram, { address: from, port }) => {
    const reply = daemon.onDatagram(datagram, 0)
    if (reply !== null) socket.send(reply, port, from)
  })
  return { daemon, socket, port: (socket.address() as AddressInfo).port }
}

/** What a provider is given, with its paths; `until` resolves when they are as wanted. */
function providerHost(families: readonly (4 | 6)[] = [4, 6]) {
  const paths = new Map<number, Path>()
  const warnings: string[] = []
  let check = () => {}
  let nextId = 2
  const host = {
    log: { info: () => {}, warn: (text: string) => warnings.push(text), error: () => {} },
    families,
    newPathId: () => nextId++,
    upsert: (one: Path) => {
      paths.set(one.id, one)
      check()
    },
    remove: (id: number) => {
      paths.delete(id)
      check()
    },
  } as unknown as ProviderHost
  const until = (isSo: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      check = () => {
        if (isSo()) resolve()
      }
      check()
    })
  return { host, paths, warnings, until }
}

const specOf = (port: number, over: Partial<NatSpec> = {}): NatSpec => {
  return { name: 'nat', host: 'detour.example', port, keys, destinations: [], isBackup: false, cost: 3, ...over }
}

function shellOf(addresses: () => readonly string[], marked: number[] = []): NatShell {
  const resolve = async () => addresses().map(parseAddress)
  return { ...natShell(), resolve, mark: (fd) => marked.push(fd) }
}

t.test('over real sockets: up, mapped, changed live, and everything given back at the end', async (tt) => {
  const { daemon, socket, port } = await listen('127.0.0.1')
  const { host, paths, until } = providerHost()
  const marked: number[] = []
  const detour = new NatDetour(
    specOf(port, { destinations: [parseDestination('198.51.100.0/24')] }),
    shellOf(() => ['127.0.0.1'], marked),
  )
  tt.equal(detour.status().state, 'starting')
  detour.start(host)
  await detour.settled
  tt.match(detour.status(), { state: 'up', peer: `127.0.0.1:${port}`, leases: 0, lastError: null, cost: 3 })
  tt.ok(marked.length === 1 && (marked[0] as number) > 2, 'the socket was marked before it sent anything')

  detour.onConnect(parseAddress('192.0.2.99'), 443)
  tt.equal(paths.size, 0, 'not among its destinations')
  detour.onConnect(server(1), 443)
  tt.equal(paths.size, 1, 'at once')
  const [one] = paths.values()
  tt.equal(one?.isTentative, true)
  await until(() => paths.get(one?.id as number)?.isTentative === false)
  tt.equal(daemon.live(), 1)
  tt.match(detour.status(), { leases: 1, nat: { seenAddress: '203.0.113.5', quotaLeft: 0, counters: { granted: 1, forged: 0 } } })
  detour.set({ isBackup: true, cost: 7 })
  tt.match(paths.get(one?.id as number), { isBackup: true, cost: 7 })
  detour.onUse(path({ kind: 'static' }), 1) // somebody else's
  detour.onUse(one as Path, 1)

  await detour.stop()
  tt.equal(paths.size, 0)
  tt.equal(daemon.live(), 0)
  socket.close()
})

t.test('a family of its own for each address of the name that is carried', async (tt) => {
  const six = await listen('::1')
  const { host, paths, until } = providerHost()
  const detour = new NatDetour(
    specOf(six.port),
    shellOf(() => ['127.0.0.1', '::1', '127.0.0.2']),
  )
  detour.start(host)
  await detour.settled
  const remote = parseAddress('2001:db8::5')
  six.daemon.override = (op) => ({ leaseS: op.leaseS, detourPort: 21_000, detour: new IpAddress(0, 0, 0, 0) })
  detour.onConnect(remote, 80)
  await until(() => [...paths.values()].some((one) => !one.isTentative))
  tt.match([...paths.values()], [{ destinationPort: 21_000, remote: { address: remote, port: 80 } }])
  tt.equal([...paths.values()][0]?.destination?.toString(), '::1', 'a detour that does not say where: where it was asked')
  six.daemon.override = null
  await detour.stop()
  six.socket.close()

  const only4 = providerHost([4])
  const other = new NatDetour(
    specOf(six.port),
    shellOf(() => ['::1']),
  )
  other.start(only4.host)
  await other.settled
  tt.match(other.status(), { state: 'waiting', lastError: /no address of a family that is carried/ })
  await other.stop()
})

t.test('a detour that is down is looked for at the next address of its name', async (tt) => {
  const { daemon, socket, port } = await listen('127.0.0.2')
  const { host } = providerHost()
  let aheadUs = 0
  let lookups = 0
  const shell = shellOf(() => {
    lookups++
    return ['127.0.0.1', '127.0.0.2']
  })
  const detour = new NatDetour(specOf(port), { ...shell, nowUs: () => shell.nowUs() + aheadUs })
  detour.start(host)
  let wasDown = false
  while (detour.status().state !== 'up') {
    aheadUs += 4_000_000
    detour.onConnect(server(1), 443) // looks at the clock
    await new Promise((resolve) => setTimeout(resolve, 1))
    wasDown ||= detour.status().state === 'waiting'
  }
  tt.ok(wasDown)
  tt.ok(lookups >= 2)
  tt.equal(detour.status().peer, `127.0.0.2:${port}`)
  tt.ok(daemon.asked.length > 0)
  await detour.stop()
  socket.close()
})

t.test('the host has changed: with the same source address towards the detour nothing is asked for again', async (tt) => {
  const { daemon, socket, port } = await listen('127.0.0.1')
  const { host, paths, until } = providerHost()
  const marked: number[] = []
  const detour = new NatDetour(
    specOf(port),
    shellOf(() => ['127.0.0.1'], marked),
  )
  detour.start(host)
  await detour.settled
  detour.onConnect(server(1), 443)
  await until(() => [...paths.values()].some((one) => !one.isTentative))
  detour.onHostChange(null as never)
  detour.onHostChange(null as never)
  while (marked.length < 2) await new Promise((resolve) => setImmediate(resolve))
  await detour.stop()
  tt.equal(marked.length, 2, 'changes in a row are looked at once')
  tt.same(
    daemon.maps().map((op) => op.leaseS > 0),
    [true, false],
    'the same source: asked for once, and deleted at the end',
  )
  socket.close()
})

t.test('a name that cannot be resolved, a port where nobody listens: said in plain words', async (tt) => {
  const { host, warnings } = providerHost()
  const nowhere = new NatDetour(
    specOf(1, { host: 'detour.invalid' }),
    shellOf(() => {
      throw Object.assign(new Error('no'), { code: 'ENOTFOUND' })
    }),
  )
  nowhere.start(host)
  await nowhere.settled
  tt.match(nowhere.status(), { state: 'waiting', peer: 'detour.invalid:1', lastError: /'detour.invalid' cannot be resolved \(ENOTFOUND\)/ })
  tt.equal(warnings.length, 1)
  await nowhere.stop()

  const { socket, port } = await listen('127.0.0.1')
  await new Promise<void>((resolve) => socket.close(resolve))
  const silent = providerHost()
  const closed = new NatDetour(
    specOf(port),
    shellOf(() => ['127.0.0.1']),
  )
  closed.start(silent.host)
  while (closed.status().lastError === null) await new Promise((resolve) => setImmediate(resolve))
  tt.match(closed.status().lastError, /no detour daemon listens at that UDP port/)
  await closed.stop()
})

t.test('what the configuration says, as a detour', async (tt) => {
  const token = 'mptcp-detour://AAH-_4DApVo.sNUcWMi5wfRY-t8Wx9N1Yw71HaTfgZFYk7BcD6Tti8Y@[2001:db8::7]:4000'
  const common = { type: 'nat', backup: true, cost: 2, destinations: ['203.0.113.0/24'] } as const
  tt.match(natSpecOf({ ...common, token } as never), {
    name: 'nat:[2001:db8::7]:4000',
    host: '2001:db8::7',
    port: 4000,
    isBackup: true,
    cost: 2,
  })
  tt.equal(natSpecOf({ ...common, address: '192.0.2.7' } as never).keys, null)
  tt.throws(() => natSpecOf({ ...common, token: 'x' } as never), { code: 'ERR_DETOUR_TOKEN' })
})
