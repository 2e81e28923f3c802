import { writeFileSync } from 'node:fs'
import t from 'tap'
import { Daemon } from './lib/daemon.js'
import { addDetourHost, CLIENT_DETOUR_DEVICE, DETOUR, slowDownloads } from './lib/detour-host.js'
import { becomes } from './lib/exec.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { curlDownload, PORT, spawnClient, startServers } from './lib/peers.js'
import { payloadSha256 } from './lib/payload.js'
import { snapshot } from './lib/snapshot.js'
import { counter, linkStats, nstat } from './lib/stats.js'
import { assertCleanMptcp } from './lib/verdict.js'

const LEN = 45_000_000

t.test('an interface comes, loses its address, goes and comes again: each time its subflow does', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const host = await addDetourHost(t, lab)
  // A router like any other, at which the interface's packets arrive with the interface's address.
  await host.ok(['sysctl', '-qw', 'net.ipv4.ip_forward=1'])
  await lab.server.ip(`route add 10.99.3.0/24 via ${DETOUR.far} congctl cubic`)
  await slowDownloads(lab, 40)
  const config = `${lab.dir}/daemon.toml`
  writeFileSync(config, `[[detour]]\ntype = "interface"\ndevice = "${CLIENT_DETOUR_DEVICE}"\ngateway = "${DETOUR.near}"\nname = "lte"\n`)
  const remove = (): Promise<unknown> => lab.client.ip(`link del ${CLIENT_DETOUR_DEVICE}`)
  const create = async (): Promise<void> => {
    await lab.client.ip(`link add ${CLIENT_DETOUR_DEVICE} type veth peer name near0 netns ${host.name}`)
    await host.ip(`addr add ${DETOUR.near}/24 dev near0\nlink set near0 up`)
    await lab.client.ip(`addr add ${DETOUR.client}/24 dev ${CLIENT_DETOUR_DEVICE}\nlink set ${CLIENT_DETOUR_DEVICE} up`)
  }
  const joins = async (): Promise<number> => counter(await nstat(lab.server), 'MPTcpExtMPJoinAckRx')
  const joinsBecome = (n: number): Promise<boolean> => becomes(async () => (await joins()) >= n, 4_000)
  await remove()
  const before = await snapshot(lab.client)
  const daemon = await Daemon.start(lab, { args: ['--config', config] })
  const state = async (): Promise<string> => {
    const [lte] = (await daemon.status()).detours ?? []
    return `${lte?.state} ${lte?.lastError}`
  }
  t.equal(await state(), `waiting ${CLIENT_DETOUR_DEVICE} is not there`)

  const download = curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, LEN)
  await create()
  t.ok(await joinsBecome(1), 'it appears: a transfer that is under way takes it')
  await lab.client.ip(`addr del ${DETOUR.client}/24 dev ${CLIENT_DETOUR_DEVICE}`)
  t.ok(await becomes(async () => (await state()) === `waiting ${CLIENT_DETOUR_DEVICE} has no IPv4 address`, 2_000))
  t.same(
    (await daemon.status()).connections.flatMap((c) => c.subflows.map((s) => s.path)).filter((label) => label === 'lte'),
    [],
    'its subflow is gone',
  )
  await lab.client.ip(`addr add 10.99.3.77/24 dev ${CLIENT_DETOUR_DEVICE}`)
  t.ok(await joinsBecome(2), 'with another address the subflow is back')
  await remove()
  t.ok(await becomes(async () => (await state()) === `waiting ${CLIENT_DETOUR_DEVICE} is not there`, 2_000))
  await create()
  t.ok(await joinsBecome(3), 'so it is when the interface is made anew')
  const { sha256 } = await download
  t.equal(sha256, payloadSha256(LEN), 'byte-exact')
  const { rxBytes } = await linkStats(lab.client, CLIENT_DETOUR_DEVICE)
  t.ok(rxBytes > 500_000, 'and carried bytes', { rxBytes })
  await assertCleanMptcp(t, lab)

  const rules = async (): Promise<string[]> =>
    (await lab.client.ok(['ip', 'rule', 'show', 'pref', '7696'])).stdout.split('\n').filter(Boolean)
  t.equal((await rules()).length, 1)
  writeFileSync(config, `[[detour]]\ntype = "interface"\ndevice = "wan2"\nbackup = true\n`)
  const reply = await daemon.command('reload', '--json')
  t.match(JSON.parse(reply.stdout), { atOnce: ['detour'] })
  t.ok(
    await becomes(async () => (await daemon.status()).paths.some((path) => path.label === 'wan2' && path.isBackup), 3_000),
    'a reload changes detours',
  )
  t.equal((await rules()).length, 1, 'and takes the rules of the old one away')
  await remove()
  t.equal(await daemon.stop(), 0)
  t.same(await snapshot(lab.client), before, 'everything is as before')
})

t.test('the default route changes to another link in mid-transfer: the subflow begins anew there at once', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const daemon = await Daemon.start(lab)
  const client = spawnClient(lab.client, ['stall', ADDRESS.server4, PORT.http, 50_000_000, 6])
  await client.waitLine(/"stalled"/)
  const before = (await linkStats(lab.client, 'wan2')).rxBytes
  await lab.client.ip(`route add default via ${ADDRESS.serverLink4[1]} metric 10`)
  const subflows = async () => (await daemon.status()).connections.flatMap((c) => c.subflows)
  t.ok(await becomes(async () => counter(await nstat(lab.server), 'MPTcpExtMPJoinAckRx') === 1, 2_000), 'it has joined anew')
  t.same(
    (await subflows()).map((s) => `${s.path} ${s.phase}`),
    ['default open'],
  )
  t.same(JSON.parse(await client.waitLine(/"received"/, 20_000)), { received: 50_000_000, sha256: payloadSha256(50_000_000) })
  t.ok((await linkStats(lab.client, 'wan2')).rxBytes - before > 10_000_000, 'by the other link')
  await assertCleanMptcp(t, lab)
})
