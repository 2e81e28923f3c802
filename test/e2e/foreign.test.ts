import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { statePath } from '../../src/host/state-file.js'
import { Daemon } from './lib/daemon.js'
import { becomes } from './lib/exec.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { net, spawnNet } from './lib/net.js'
import { curlDownload, PORT, startServers } from './lib/peers.js'
import { snapshot } from './lib/snapshot.js'
import { linkStats } from './lib/stats.js'

/** What others do to the host while the daemon runs. */

/** How soon damage must be repaired. */
const REPAIR_MS = 1000

async function started(
  t: Test,
  args: readonly string[] = ['--all'],
  prepare?: (lab: Lab) => Promise<unknown>,
): Promise<{ lab: Lab; daemon: Daemon; before: string[] }> {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await prepare?.(lab)
  const before = await snapshot(lab.client)
  const daemon = await Daemon.start(lab, { args, route: false })
  return { lab, daemon, before }
}

/** Lines of a snapshot that a repair must bring back; counters of nftables move by themselves. */
function facts(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/counter packets \d+ bytes \d+/, 'counter')).sort()
}

async function download(t: Test, lab: Lab, what: string): Promise<void> {
  for (const host of [ADDRESS.server4, ADDRESS.server6]) {
    t.equal((await curlDownload(lab.client, host, PORT.http, lab.dir, 500_000)).bytes, 500_000, `${what}: ${host}`)
  }
}

t.test('whatever of ours others damage is repaired within 1 s, and logged', async (t) => {
  const { lab, daemon, before } = await started(t)
  const during = facts(await snapshot(lab.client))
  const nftPid = async (): Promise<string> => (await lab.client.ok(['pgrep', '-P', String(daemon.process.pid), '-x', 'nft'])).stdout.trim()
  const damages: [string, readonly string[][]][] = [
    [
      'rules deleted',
      [
        ['ip', 'rule', 'del', 'pref', '7700'],
        ['ip', '-6', 'rule', 'del', 'pref', '7711'],
        ['ip', 'rule', 'flush', 'pref', '7713'],
      ],
    ],
    [
      'routes deleted',
      [
        ['ip', 'route', 'flush', 'table', '7700'],
        ['ip', '-6', 'route', 'del', 'default', 'table', '7701'],
      ],
    ],
    [
      'forwarding reset',
      [
        ['sysctl', '-qw', 'net.ipv4.conf.wan1.forwarding=0'],
        ['sysctl', '-qw', 'net.ipv6.conf.all.forwarding=0'],
      ],
    ],
    ['address taken from the TUN', [['ip', 'address', 'flush', 'dev', daemon.tun, 'scope', 'global']]],
    ['the TUN set down', [['ip', 'link', 'set', daemon.tun, 'down']]],
    ['nft child killed', [['kill', '-9', await nftPid()]]],
  ]
  for (const [what, commands] of damages) {
    const skip = daemon.process.lines.length
    for (const command of commands) await lab.client.exec(command)
    const damaged = facts(await snapshot(lab.client))
    const startedAt = performance.now()
    const isRepaired = await becomes(async () => JSON.stringify(facts(await snapshot(lab.client))) === JSON.stringify(during), 3000)
    const tookMs = performance.now() - startedAt
    t.ok(isRepaired, what)
    if (!isRepaired) t.same(facts(await snapshot(lab.client)), during)
    // The snapshot after the damage may already show the repair; the log says that there was one.
    await daemon.process.waitLine(/restored|starting it again/, 2000, skip)
    t.ok(tookMs < REPAIR_MS + 500, `${what}: in time`, { tookMs })
    t.comment(`${what}: ${JSON.stringify(damaged) === JSON.stringify(during) ? 'before one could look' : `${tookMs.toFixed(0)} ms`}`)
  }
  await download(t, lab, 'after all that')
  await lab.client.ok(['nft', 'add table inet foreign'])
  await lab.client.ok(['nft', 'flush', 'ruleset'])
  t.notMatch((await lab.client.ok(['nft', 'list', 'tables'])).stdout, /foreign/, 'a foreign flush took place')
  t.same(facts(await snapshot(lab.client)), during, 'and left our table')
  t.equal(await daemon.stop(), 0)
  t.same(await snapshot(lab.client), before)
})

t.test('addresses and default routes that come and go are followed', async (t) => {
  const { lab, daemon } = await started(t)
  const { client } = lab
  await download(t, lab, 'by the first link')
  const read = async (): Promise<number> => (await linkStats(client, 'wan2')).rxBytes
  const quiet = await read()
  t.ok(quiet < 50_000, 'the second link was idle', { quiet })
  await client.ip('addr add 10.99.1.77/24 dev wan1\naddr del 10.99.1.77/24 dev wan1')
  await download(t, lab, 'after an address came and went')
  await client.ip(`route replace default via ${ADDRESS.serverLink4[1]} metric 1000`)
  await client.ip(`route replace default via ${ADDRESS.serverLink6[1]} metric 1000`, 6)
  const followed = async (): Promise<boolean> => {
    const tables = await Promise.all(['-4', '-6'].map((family) => client.ok(['ip', family, 'route', 'show', 'table', '7700', 'default'])))
    return tables.every(({ stdout }) => /wan2/.test(stdout) && !/dev wan1/.test(stdout))
  }
  t.ok(await becomes(followed, REPAIR_MS), 'T follows within 1 s')
  await download(t, lab, 'by the second link')
  t.ok((await read()) - quiet > 900_000, 'which carries it', { bytes: await read() })
  t.match(await client.ok(['sysctl', '-n', 'net.ipv4.conf.wan2.forwarding']), { stdout: '1\n' }, 'and forwards')
  await client.ip('addr del 10.99.2.1/24 dev wan2')
  await client.ip(`addr add 10.99.2.1/24 dev wan2
    route replace default via ${ADDRESS.serverLink4[0]} metric 1000`)
  t.ok(
    await becomes(async () => /wan1/.test((await client.ok(['ip', 'route', 'show', 'table', '7700', 'default'])).stdout), REPAIR_MS),
    'an address removed',
  )
  await download(t, lab, 'and back')
  // A default route at the TUN is not the deletion of the real one.
  await client.ip(`route replace default dev ${daemon.tun} metric 1000`)
  await download(t, lab, 'with a default route at the TUN')
  const isRecorded = async (): Promise<boolean> => {
    const state = JSON.parse(readFileSync(statePath(daemon.tun), 'utf8')) as { displaced: Record<string, string[]> }
    return state.displaced['4']?.length === 1
  }
  t.ok(await becomes(isRecorded, REPAIR_MS), 'the state file knows what to put back')
  // No way out at all: said, and told to applications at once.
  await client.ip('link set wan1 down')
  await daemon.process.waitLine(/IPv4 has no default route/, 2000)
  t.match(await net(client, 'tcp', ADDRESS.server4, PORT.echo), { outcome: /EHOSTUNREACH|ENETUNREACH/ })
  await client.ip('link set wan1 up')
  await client.ip(`route replace 10.99.1.0/24 dev wan1
    route replace default via ${ADDRESS.serverLink4[0]} metric 1000`)
  await daemon.process.waitLine(/IPv4 has a default route again/, 2000)
  t.match(await net(client, 'tcp', ADDRESS.server4, PORT.echo), { outcome: 'connected' })
  await client.ip(`route replace default dev ${daemon.tun} metric 1000`)
  await sleep(500)
  t.equal(await daemon.stop(), 0)
  t.match((await client.ok(['ip', 'route', 'show', 'default'])).stdout, /via 10\.99\.1\.2 dev wan1/, 'the real one is back')
  t.match(await net(client, 'tcp', ADDRESS.server4, PORT.echoTcp), { outcome: 'connected' })
})

t.test('when somebody makes the host a router, it stays one', async (t) => {
  const { lab, daemon } = await started(t)
  await lab.client.ok(['sysctl', '-qw', 'net.ipv4.ip_forward=1'])
  const isOpen = async (): Promise<boolean> => !(await lab.client.ok(['ip', 'rule'])).stdout.includes('770')
  const noGuard = async (): Promise<boolean> => !/^770[23]:/m.test((await lab.client.ok(['ip', 'rule'])).stdout)
  t.notOk(await isOpen(), 'the rules of the stack stay')
  t.ok(await becomes(noGuard, REPAIR_MS), 'neighbours are not shut out any more')
  t.equal(await daemon.stop(), 0)
  t.match(await lab.client.ok(['sysctl', '-n', 'net.ipv4.conf.wan1.forwarding']), { stdout: '1\n' }, 'and forwarding is theirs')
})

const DOCKER = `
table ip filter {
  chain DOCKER-USER {
    counter return
  }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    jump DOCKER-USER
  }
}
table inet firewall {
  chain deny {
    counter reject with icmpx admin-prohibited
  }
  chain forward {
    type filter hook forward priority filter + 10; policy accept;
    meta nfproto ipv6 jump deny
  }
}
`

t.test('a foreign forward chain that drops is named by the probe, with the remedy; --fix-firewall applies and takes it back', async (t) => {
  const { lab, daemon, before } = await started(t, ['--all'], (lab) => lab.client.ok(['nft', '-f', '-'], { input: DOCKER }))
  const named = async (): Promise<boolean> => ((await daemon.status()).host?.probes ?? null) !== null
  t.ok(await becomes(named, 10_000))
  const probes = (await daemon.status()).host?.probes ?? []
  t.match(probes, [
    { family: 4, state: 'dropped', by: /table ip filter, chain FORWARD \(policy drop\)/ },
    { family: 6, state: 'dropped', by: /table inet firewall, chain deny \(rule `counter .*reject/ },
  ])
  t.match(daemon.process.lines.join('\n'), /\(Docker\) drops the packets of the stack/, 'the log says it too')
  const { code } = await lab.client.exec(['curl', '-s', '--max-time', '2', `http://${ADDRESS.server4}:${PORT.http}/bytes/1000`])
  t.not(code, 0, 'the fault took place: nothing gets through')
  // What it tells to type works.
  for (const command of probes.flatMap((probe) => probe.remedy ?? [])) await lab.client.ok(['sh', '-c', command])
  await download(t, lab, 'with what the probe tells')
  t.equal(await daemon.stop(), 0)
  await lab.client.ok(['nft', '-f', '-'], { input: `flush ruleset\n${DOCKER}` })
  const fixing = await Daemon.start(lab, { args: ['--all', '--fix-firewall'], route: false })
  t.match((await fixing.status()).host?.probes, [{ state: 'answered' }, { state: 'answered' }])
  await download(t, lab, 'with --fix-firewall')
  t.equal(await fixing.stop(), 0)
  t.same(facts(await snapshot(lab.client)), facts(before), 'the foreign firewall is as before')
})

t.test('a host with an advertised default route keeps it through start, stop and kill -9', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const { client, server } = lab
  await client.ip('route flush default\nroute flush 2001:db8:113::/48', 6)
  await client.ok(['sysctl', '-qw', 'net.ipv6.conf.wan1.accept_ra=1', 'net.ipv6.conf.wan1.autoconf=1'])
  const advertise = () => net(server, 'advertise', 'net1', 1800, '2001:db8:77::')
  const hasRoute = async (): Promise<boolean> =>
    /via fe80.*proto ra/.test((await client.ok(['ip', '-6', 'route', 'show', 'default'])).stdout)
  await server.ip('addr add 2001:db8:77::1/64 dev net1 nodad', 6)
  const isAdvertised = async (): Promise<boolean> => {
    await advertise()
    return hasRoute()
  }
  t.ok(await becomes(isAdvertised, 5000), 'the route is there by advertisement')
  const daemon = await Daemon.start(lab, { args: ['--all'], route: false })
  t.ok(await hasRoute(), 'with the daemon')
  await download(t, lab, 'by the advertised route')
  // A later advertisement is still listened to: withdrawn, then back.
  await net(server, 'advertise', 'net1', 0, '2001:db8:77::')
  t.ok(await becomes(async () => !(await hasRoute()), 2000), 'advertisements still take routes away')
  t.ok(await becomes(isAdvertised, 2000), 'and bring them')
  t.equal(await daemon.stop(), 0)
  t.ok(await hasRoute(), 'after the end')
  const killed = await Daemon.start(lab, { args: ['--all'], route: false })
  await killed.stop('SIGKILL')
  t.ok(await hasRoute(), 'after a kill')
  await spawnNet(server, 'ready', 'udp-serve', 53, '2001:db8:77::1')
  t.match(await net(client, 'udp', '2001:db8:77::1', 53), { outcome: 'answered' }, 'and the host speaks by it')
})
