import { writeFileSync } from 'node:fs'
import t from 'tap'
import type { Status } from '../../src/engine/status.js'
import { Daemon } from './lib/daemon.js'
import { addDetourHost, slowDownloads } from './lib/detour-host.js'
import { becomes } from './lib/exec.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { startVpnServer, writeVpnFiles } from './lib/openvpn.js'
import { curlDownload, PORT, startServers } from './lib/peers.js'
import { payloadSha256 } from './lib/payload.js'
import { snapshot } from './lib/snapshot.js'
import { counter, linkStats, nstat } from './lib/stats.js'
import { assertCleanMptcp } from './lib/verdict.js'

const LEN = 12_000_000
const LONG_LEN = 30_000_000

t.test('a VPN by the real openvpn carries a subflow; killed, it comes back; nothing of it is left', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const host = await addDetourHost(t, lab)
  const file = await writeVpnFiles(`${lab.dir}/vpn`)
  await startVpnServer(host, `${lab.dir}/vpn`)
  await slowDownloads(lab, 40)
  const config = `${lab.dir}/daemon.toml`
  writeFileSync(config, `[[detour]]\ntype = "openvpn"\nfile = "${file}"\n`)
  const main = async (): Promise<string> =>
    (await lab.client.ok(['sh', '-c', 'ip route show table main; ip -6 route show table main'])).stdout.replaceAll(
      /^(198\.18\.|fd00:198:18:|fe80:).*\n/gm,
      '',
    )
  const before = await snapshot(lab.client)
  const mainBefore = await main()
  const vpn = (status: Status) => status.detours?.find((detour) => detour.name === 'office')
  const joins = async (): Promise<number> => counter(await nstat(lab.server), 'MPTcpExtMPJoinAckRx')

  const startedAt = performance.now()
  const daemon = await Daemon.start(lab, { args: ['--config', config], route: false })
  t.comment(`ready after ${Math.round(performance.now() - startedAt)} ms`)
  t.match(vpn(await daemon.status()), { state: 'up', device: 'ovpn0', peer: '10.99.3.2', lastError: null })
  t.match(await daemon.statusText(), /^detour office: openvpn, up, by ovpn0, to 10\.99\.3\.2$/m)
  t.equal(await main(), mainBefore, 'neither the file nor the server changed the main table')
  const { stdout } = await lab.client.ok(['ip', '-j', 'link', 'show', 'dev', 'ovpn0'])
  t.equal((JSON.parse(stdout) as { mtu: number }[])[0]?.mtu, 1500 - 36, 'the VPN leaves room for its headers')
  await lab.routeThrough(daemon.tun)

  await t.test('both ways carry bytes', async (t) => {
    const transfer = await curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, LEN)
    t.equal(transfer.sha256, payloadSha256(LEN), 'byte-exact')
    const { rxBytes } = await linkStats(lab.client, 'ovpn0')
    t.ok(rxBytes > LEN / 5, 'the VPN carried its part', { rxBytes })
    t.ok(rxBytes < (LEN * 4) / 5, 'and so did the default path', { rxBytes })
    t.ok((await joins()) >= 1)
    t.comment(`${(transfer.bitsPerSecond / 1e6).toFixed(1)} Mbit/s over two links of 40, ${Math.round((rxBytes * 100) / LEN)} % by the VPN`)
  })

  await t.test('over IPv6 too', async (t) => {
    const before = (await linkStats(lab.client, 'ovpn0')).rxBytes
    const joinsBefore = await joins()
    const transfer = await curlDownload(lab.client, ADDRESS.server6, PORT.http, lab.dir, LEN)
    t.equal(transfer.sha256, payloadSha256(LEN), 'byte-exact')
    const rxBytes = (await linkStats(lab.client, 'ovpn0')).rxBytes - before
    t.ok(rxBytes > LEN / 5, 'the VPN carried its part', { rxBytes })
    t.ok(rxBytes < (LEN * 4) / 5, 'and so did the default path', { rxBytes })
    t.ok((await joins()) > joinsBefore)
  })

  await t.test('openvpn is killed: the transfer goes on, the subflow comes back', async (t) => {
    const joinsBefore = await joins()
    const download = curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, LONG_LEN)
    t.ok(await becomes(async () => (await joins()) > joinsBefore, 5_000), 'the VPN is in use')
    const pid = vpn(await daemon.status())?.pid ?? 0
    process.kill(pid, 'SIGKILL')
    const isGone = async (): Promise<boolean> => (await lab.client.exec(['ip', 'link', 'show', 'ovpn0'])).code !== 0
    t.ok(await becomes(isGone, 2_000), 'the fault: its device is gone')
    const isBack = async (): Promise<boolean> => (await joins()) > joinsBefore + 1
    t.ok(await becomes(isBack, 5_000), 'a new join has come to the server')
    t.not(vpn(await daemon.status())?.pid, pid)
    const transfer = await download
    t.equal(transfer.sha256, payloadSha256(LONG_LEN), 'byte-exact')
    t.ok((await linkStats(lab.client, 'ovpn0')).rxBytes > 1_000_000, 'the new device carried bytes too')
  })

  await t.test('the VPN is taken away and given back by commands', async (t) => {
    t.equal((await daemon.command('path', 'remove', 'office')).code, 0)
    t.not((await lab.client.exec(['ip', 'link', 'show', 'ovpn0'])).code, 0, 'with its device')
    const rules = async (): Promise<string> => (await lab.client.ok(['ip', 'rule', 'show', 'pref', '7696'])).stdout
    t.equal(await rules(), '', 'and its rules')
    const added = await daemon.command('path', 'add', file, '--backup')
    t.match(added.stdout, /^office: openvpn, up, by ovpn0, to 10\.99\.3\.2, backup$/m)
    t.match(await rules(), /lookup 7702/)
    t.match((await daemon.command('path', 'set', 'office', '--no-backup', '--cost', '7')).stdout, /, cost 7$/m)
    t.match((await daemon.command('path', 'list')).stdout, /^office +openvpn +198\.18\.0\.\d +the server +0 +- +- +cost 7$/m)
  })

  await assertCleanMptcp(t, lab)
  t.equal(await daemon.stop(), 0)
  t.same(await snapshot(lab.client), before, 'everything is as before')
})

t.test('kill -9 of the daemon: openvpn and its device follow; the next start finds nothing in its way', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const host = await addDetourHost(t, lab)
  const file = await writeVpnFiles(`${lab.dir}/vpn`)
  await startVpnServer(host, `${lab.dir}/vpn`)
  const config = `${lab.dir}/daemon.toml`
  writeFileSync(config, `[[detour]]\ntype = "openvpn"\nfile = "${file}"\n`)
  const before = await snapshot(lab.client)
  const daemon = await Daemon.start(lab, { args: ['--config', config], route: false })
  const pid = (await daemon.status()).detours?.[0]?.pid ?? 0
  t.ok(pid > 0)
  await daemon.stop('SIGKILL')
  const isGone = async (): Promise<boolean> => {
    try {
      process.kill(pid, 0)
      return false
    } catch {
      return (await lab.client.exec(['ip', 'link', 'show', 'ovpn0'])).code !== 0
    }
  }
  t.ok(await becomes(isGone, 2_000))
  const again = await Daemon.start(lab, { args: ['--config', config], route: false })
  t.match((await again.status()).detours, [{ state: 'up', device: 'ovpn0' }])
  // A server that is away: the daemon says so and goes on.
  await host.ok([
    'nft',
    'add table ip cut; add chain ip cut out { type filter hook output priority 0; }; add rule ip cut out udp sport 1194 counter drop',
  ])
  const isDown = async (): Promise<boolean> => /ping-restart/.test((await again.status()).detours?.[0]?.lastError ?? '')
  t.ok(await becomes(isDown, 10_000), 'the loss of the server is told')
  t.equal((await again.status()).paths.length, 1, 'and its path is gone')
  t.match((await host.ok(['nft', 'list', 'chain', 'ip', 'cut', 'out'])).stdout, /counter packets [1-9]/, 'the fault took place')
  await host.ok(['nft', 'delete', 'table', 'ip', 'cut'])
  const isUp = async (): Promise<boolean> => (await again.status()).detours?.[0]?.state === 'up'
  t.ok(await becomes(isUp, 15_000), 'the server is back')
  t.equal(await again.stop(), 0)
  t.same(await snapshot(lab.client), before)
})
