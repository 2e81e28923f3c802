import t, { type Test } from 'tap'
import { Daemon } from './lib/daemon.js'
import { execOk } from './lib/exec.js'
import { ADDRESS, Lab, Namespace } from './lib/lab.js'
import { net, pings, spawnNet, UDP_PORT } from './lib/net.js'
import { curlDownload, PORT, startServers } from './lib/peers.js'
import { snapshot } from './lib/snapshot.js'
import { counter } from './lib/stats.js'
import { assertCleanMptcp } from './lib/verdict.js'

/** A host of a LAN behind the client's namespace: 192.168.7.0/24, fd07::/64. */
async function addLanHost(t: Test, lab: Lab): Promise<Namespace> {
  // The name of a lab's namespace, so that what a killed run left is removed with it.
  const host = new Namespace(lab.client.name.replace(/client$/, 'lan'))
  await execOk(['ip', 'netns', 'add', host.name])
  t.teardown(() => execOk(['ip', 'netns', 'del', host.name]))
  await lab.client.ip(`link add lan0 type veth peer name eth0 netns ${host.name}
    addr add 192.168.7.1/24 dev lan0
    addr add fd07::1/64 dev lan0 nodad
    link set lan0 up`)
  await host.ip(`link set lo up
    addr add 192.168.7.9/24 dev eth0
    addr add fd07::9/64 dev eth0 nodad
    link set eth0 up
    route add default via 192.168.7.1`)
  await host.ip('route add default via fd07::1', 6)
  return host
}

async function checkLan(t: Test, lab: Lab, host: Namespace, daemon: Daemon): Promise<void> {
  for (const server of [ADDRESS.server4, ADDRESS.server6]) {
    const { bytes } = await curlDownload(host, server, PORT.http, lab.dir, 3_000_000)
    t.equal(bytes, 3_000_000, `curl from ${server}`)
    t.match(await net(host, 'udp', server, UDP_PORT), { outcome: 'answered' }, `UDP to ${server}`)
    t.ok(await pings(host, server), `ping ${server}`)
  }
  t.equal(counter(await daemon.counters(), 'EngineHeldSyns'), 2, 'both downloads went through the daemon')
  await assertCleanMptcp(t, lab)
}

t.test('router mode on a host that was no router: a LAN host speaks MPTCP, UDP and ping; neighbours outside are not routed', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await spawnNet(lab.server, 'ready', 'udp-serve', UDP_PORT, ADDRESS.server4, ADDRESS.server6)
  const host = await addLanHost(t, lab)
  await lab.client.ok(['sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=1'])
  const before = await snapshot(lab.client)
  t.notOk(await pings(host, ADDRESS.server4), 'the fault: without the daemon the LAN gets nowhere')
  const daemon = await Daemon.start(lab, { args: ['--lan', 'lan0'], route: false })
  await checkLan(t, lab, host, daemon)
  t.ok(counter(await daemon.counters(), 'EnginePassOut') >= 4, 'what is no TCP is passed on, and counted')
  // A neighbour that takes us for a router
  await lab.server.ip(`route add 192.168.7.0/24 via ${ADDRESS.clientLink4[0]}`)
  t.notOk(await pings(lab.server, '192.168.7.9'), 'the LAN is not open from outside')
  await lab.server.ip('route add 10.99.2.0/24 via 10.99.1.1 metric 1')
  const hop = await lab.server.exec(['ping', '-c', '1', '-W', '1', '-I', 'net1', '10.99.2.2'])
  t.not(hop.code, 0, 'nor does the host route between its links')
  await daemon.stop('SIGKILL')
  t.notOk(await pings(lab.server, '192.168.7.9'), 'nor after a kill')
  const { code } = await host.exec(['curl', '-s', '--max-time', '2', `http://${ADDRESS.server4}:${PORT.http}/bytes/10`])
  t.not(code, 0, 'and no segment of the LAN leaves by another way')
  const again = await Daemon.start(lab, { args: ['--lan', 'lan0'], route: false })
  t.equal((await curlDownload(host, ADDRESS.server6, PORT.http, lab.dir, 1000)).bytes, 1000, 'the next start serves again')
  t.equal(await again.stop(), 0)
  await lab.server.ip('route del 10.99.2.0/24 via 10.99.1.1 metric 1')
  t.same(await snapshot(lab.client), before)
})

t.test('router mode on a router: TCP of the LAN goes by MPTCP, the rest as before', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await spawnNet(lab.server, 'ready', 'udp-serve', UDP_PORT, ADDRESS.server4, ADDRESS.server6)
  const host = await addLanHost(t, lab)
  await lab.client.ok(['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'])
  await lab.client.ok(['nft', 'add table inet nat; add chain inet nat post { type nat hook postrouting priority srcnat; }'])
  await lab.client.ok(['nft', 'add rule inet nat post oifname "wan*" masquerade'])
  t.ok(await pings(host, ADDRESS.server4), 'the LAN gets through without the daemon')
  const before = await snapshot(lab.client)
  const daemon = await Daemon.start(lab, { args: ['--lan', 'lan0'], route: false })
  await checkLan(t, lab, host, daemon)
  t.equal(counter(await daemon.counters(), 'EnginePassOut'), 0, 'UDP and ping do not pass the daemon')
  t.equal(await daemon.stop(), 0)
  t.same(await snapshot(lab.client), before)
  t.ok(await pings(host, ADDRESS.server6), 'and it is a router still')
})
