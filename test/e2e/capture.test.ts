import t, { type Test } from 'tap'
import { Capture } from './lib/capture.js'
import { Daemon } from './lib/daemon.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { INBOUND_PORT, net, pings, spawnNet, UDP_PORT } from './lib/net.js'
import { curlDownload, PORT, startServers } from './lib/peers.js'
import { snapshot } from './lib/snapshot.js'
import { counter } from './lib/stats.js'
import { assertCleanMptcp } from './lib/verdict.js'

const FAMILIES = [
  { name: 'IPv4', server: ADDRESS.server4, link: ADDRESS.serverLink4[0], own: ADDRESS.clientLink4[0], loopback: '127.0.0.1' },
  { name: 'IPv6', server: ADDRESS.server6, link: ADDRESS.serverLink6[0], own: ADDRESS.clientLink6[0], loopback: '::1' },
] as const

/** What of a host's traffic went through the TUN since the last call: connections, and packets that are no TCP. */
function meter(daemon: Daemon): () => Promise<{ connections: number; other: number }> {
  let before = { connections: 0, other: 0 }
  return async () => {
    const counters = await daemon.counters()
    const now = { connections: counter(counters, 'EngineHeldSyns'), other: counter(counters, 'EnginePassOut') }
    const since = { connections: now.connections - before.connections, other: now.other - before.other }
    before = now
    return since
  }
}

/** A lab as Debian sets hosts up, with strict reverse path checks on top. */
async function strictLab(t: Test): Promise<Lab> {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await lab.client.ok(['sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=1', 'net.ipv4.conf.default.rp_filter=1'])
  await startServers(lab)
  await spawnNet(lab.server, 'ready', 'udp-serve', UDP_PORT, ...FAMILIES.flatMap((f) => [f.server, f.link]))
  for (const f of FAMILIES) await spawnNet(lab.client, 'ready', 'tcp-serve', f.own, INBOUND_PORT)
  return lab
}

/** Everything that must stay as it is without the daemon. */
async function checkStaysOut(t: Test, lab: Lab, read: ReturnType<typeof meter>): Promise<void> {
  const { client, server } = lab
  await read()
  for (const f of FAMILIES) {
    t.match(await net(client, 'udp', f.server, UDP_PORT), { outcome: 'answered' }, `${f.name}: UDP, DNS's port`)
    t.match(await net(client, 'udp', f.server, UDP_PORT, f.own), { outcome: 'answered' }, `${f.name}: UDP from a bound socket`)
    t.ok(await pings(client, f.server), `${f.name}: ping`)
    t.match(
      await net(client, 'tcp', f.server, PORT.echoTcp, f.own),
      { outcome: 'connected', local: f.own },
      `${f.name}: TCP bound to an address`,
    )
    t.match(
      await net(client, 'tcp', f.server, PORT.echoTcp, '@wan1'),
      { outcome: 'connected', local: f.own },
      `${f.name}: TCP bound to a device`,
    )
    t.match(
      await net(server, 'tcp', f.own, INBOUND_PORT, f.server),
      { outcome: 'connected', seen: f.server },
      `${f.name}: an inbound connection`,
    )
    const serve = await spawnNet(client, 'ready', 'tcp-serve', f.loopback, INBOUND_PORT)
    t.match(await net(client, 'tcp', f.loopback, INBOUND_PORT), { outcome: 'connected' }, `${f.name}: loopback`)
    await serve.stop('SIGKILL')
  }
  const { stdout } = await server.ok(['ip', '-6', '-o', 'address', 'show', 'dev', 'net1', 'scope', 'link'])
  const local = /inet6 (fe80::[\da-f:]+)/.exec(stdout)?.[1] ?? ''
  t.ok(await pings(client, `${local}%wan1`), 'IPv6 link-local')
  t.same(await read(), { connections: 0, other: 0 }, 'nothing of that went through the TUN')
}

t.test('--all: TCP of unbound sockets is captured, everything else is as before, also with strict reverse path checks', async (t) => {
  const lab = await strictLab(t)
  const before = await snapshot(lab.client)
  const daemon = await Daemon.start(lab, { args: ['--all'], route: false })
  const read = meter(daemon)
  await checkStaysOut(t, lab, read)
  for (const f of FAMILIES) {
    t.match(await net(lab.client, 'tcp', f.link, PORT.echoTcp), { outcome: 'connected', local: f.own }, `${f.name}: a connected network`)
    t.same(await read(), { connections: 0, other: 0 })
    t.equal((await curlDownload(lab.client, f.server, PORT.http, lab.dir, 3_000_000)).bytes, 3_000_000)
    t.same(await read(), { connections: 1, other: 0 }, `${f.name}: an unbound socket is captured`)
  }
  await assertCleanMptcp(t, lab)
  const { host } = await daemon.status()
  t.match(host, { capture: { all: true, families: [4, 6] }, probes: [{ state: 'answered' }, { state: 'answered' }] })
  t.match(await daemon.statusText(), /stays out: replies of inbound connections/)
  t.equal(await daemon.stop(), 0)
  t.same(await snapshot(lab.client), before, 'the host is as before')
})

t.test('--include-local, --route, and the DSCP of the application', async (t) => {
  const lab = await strictLab(t)
  const before = await snapshot(lab.client)
  const local = await Daemon.start(lab, { args: ['--all', '--include-local'], route: false })
  const readLocal = meter(local)
  for (const f of FAMILIES) await net(lab.client, 'tcp', f.link, PORT.echoTcp)
  t.same(await readLocal(), { connections: 2, other: 0 }, 'connected networks are captured')
  t.match(await net(lab.client, 'udp', FAMILIES[0].link, UDP_PORT), { outcome: 'answered' })
  t.equal(await local.stop(), 0)
  const routes = ['--route', ADDRESS.serverPrefix4, '--route', ADDRESS.serverPrefix6]
  const daemon = await Daemon.start(lab, { args: routes, route: false })
  const read = meter(daemon)
  const capture = await Capture.start(lab, lab.client, 'wan1', 'tcp[tcpflags] & tcp-syn != 0 or (ip6 and ip6[40+13] & 2 != 0)')
  for (const f of FAMILIES) await net(lab.client, 'tcp', f.server, PORT.echo, '', 0xb8)
  t.same(await read(), { connections: 2, other: 0 }, 'the routed prefixes are captured')
  t.match(await net(lab.client, 'udp', ADDRESS.server4, UDP_PORT), { outcome: 'answered' })
  t.same(await read(), { connections: 0, other: 0 }, 'but not their UDP')
  await capture.stop(lab.client)
  const { stdout } = await lab.client.ok(['tcpdump', '-nnv', '-r', capture.path])
  t.match(stdout, /tos 0xb8/, 'IPv4 subflows carry the DSCP')
  t.match(stdout, /class 0xb8/, 'IPv6 subflows carry the DSCP')
  t.equal(await daemon.stop(), 0)
  t.same(await snapshot(lab.client), before)
})

t.test('`ip route replace default dev TUN`: no loop, nothing but TCP goes there, and the real route comes back at the end', async (t) => {
  const lab = await strictLab(t)
  const metric = ['metric', '1000']
  const before = await snapshot(lab.client)
  const daemon = await Daemon.start(lab, { route: false })
  const read = meter(daemon)
  await lab.client.ok(['ip', 'route', 'replace', 'default', 'dev', daemon.tun, ...metric])
  await lab.client.ok(['ip', '-6', 'route', 'replace', 'default', 'dev', daemon.tun, ...metric])
  t.notMatch((await lab.client.ok(['ip', 'route', 'show', 'default'])).stdout, /wan1/, 'the real default route was displaced')
  await checkStaysOut(t, lab, read)
  for (const f of FAMILIES) {
    t.equal((await curlDownload(lab.client, f.server, PORT.http, lab.dir, 1_000_000)).bytes, 1_000_000)
    t.same(await read(), { connections: 1, other: 0 }, `${f.name} is captured`)
  }
  t.equal(counter(await daemon.counters(), 'EngineDropLoop'), 0, 'no packet of the stack came back')
  // Bound to the TUN on purpose: passed on best effort, and counted.
  t.match(await net(lab.client, 'udp', ADDRESS.server4, UDP_PORT, `@${daemon.tun}`), { outcome: 'answered' })
  t.ok(await pings(lab.client, ADDRESS.server6, '-I', daemon.tun), 'ping through the TUN')
  t.match(await read(), { connections: 0, other: 2 })
  t.equal(await daemon.stop(), 0)
  const rest = (lines: string[]) => lines.map((line) => line.replace(/ congctl cubic/, '')).sort()
  t.same(rest(await snapshot(lab.client)), rest(before), 'the displaced routes are back')
})
