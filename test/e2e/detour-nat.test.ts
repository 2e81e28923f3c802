import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Daemon, PROGRAM } from './lib/daemon.js'
import { addDetourHost, DETOUR, slowDownloads } from './lib/detour-host.js'
import { type Background, becomes } from './lib/exec.js'
import { ADDRESS, Lab, type Namespace } from './lib/lab.js'
import { curlDownload, PORT, startServers } from './lib/peers.js'
import { payloadSha256 } from './lib/payload.js'
import { snapshot } from './lib/snapshot.js'
import { counter, linkStats, nstat } from './lib/stats.js'
import { assertCleanMptcp } from './lib/verdict.js'

const LEN = 12_000_000
const LONG_LEN = 60_000_000

/** The detour's daemon and a token for it. */
interface NatDetour {
  readonly token: string
  serve(): Promise<Background>
}

async function addNatDetour(lab: Lab, host: Namespace): Promise<NatDetour> {
  const keys = join(lab.dir, 'keys')
  const detour = ['node', PROGRAM, 'detour']
  const { stdout } = await host.ok([...detour, 'keygen', '--keys', keys, '--name', 'alice', '--host', DETOUR.near])
  const serve = async (): Promise<Background> => {
    const control = ['--control', join(lab.dir, 'detour.sock')]
    const daemon = host.spawn([...detour, 'serve', '--no-config', '--keys', keys, '--allow-destination', ADDRESS.serverPrefix4, ...control])
    await daemon.waitLine(/\bready\b/)
    return daemon
  }
  return { token: stdout.trim(), serve }
}

async function started(t: Test): Promise<{ lab: Lab; host: Namespace; detour: NatDetour; config: string }> {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const host = await addDetourHost(t, lab)
  const detour = await addNatDetour(lab, host)
  await slowDownloads(lab, 40)
  const config = join(lab.dir, 'daemon.toml')
  writeFileSync(config, `[[detour]]\ntype = "nat"\nname = "alice"\ntoken = "${detour.token}"\n`, { mode: 0o600 })
  return { lab, host, detour, config }
}

t.test('a NAT detour carries a subflow, without an additional byte; its daemon may die and come back', async (t) => {
  const { lab, host, detour, config } = await started(t)
  const [clientBefore, detourBefore] = [await snapshot(lab.client), await snapshot(host)]
  let server = await detour.serve()
  const daemon = await Daemon.start(lab, { args: ['--config', config] })
  const alice = async () => (await daemon.status()).detours?.find((one) => one.name === 'alice')
  const joins = async (): Promise<number> => counter(await nstat(lab.server), 'MPTcpExtMPJoinAckRx')
  t.match(await alice(), { type: 'nat', state: 'up', peer: `${DETOUR.near}:45672`, leases: 0, lastError: null })

  await t.test('both ways carry bytes', async (t) => {
    const transfer = await curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, LEN)
    t.equal(transfer.sha256, payloadSha256(LEN), 'byte-exact')
    const { rxBytes } = await linkStats(lab.client, 'wan3')
    t.ok(rxBytes > LEN / 5, 'the detour carried its part', { rxBytes })
    t.ok(rxBytes < (LEN * 4) / 5, 'and so did the default path', { rxBytes })
    t.ok((await joins()) >= 1)
    t.match(await alice(), { leases: 1 })
    t.ok(((await alice())?.rttUs ?? 0) > 0, 'its round trip is measured')
    t.match((await daemon.command('path', 'list')).stdout, /^alice +nat +default +10\.99\.3\.2:\d+ +\d .* for 203\.0\.113\.1:8080$/m)
    t.comment(
      `${(transfer.bitsPerSecond / 1e6).toFixed(1)} Mbit/s over two links of 40, ${Math.round((rxBytes * 100) / LEN)} % by the detour`,
    )
  })

  await t.test(
    'the daemon of the detour is killed and its table flushed: the transfer goes on, a new mapping brings the subflow back',
    async (t) => {
      const joinsBefore = await joins()
      const download = curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, LONG_LEN)
      t.ok(await becomes(async () => (await joins()) > joinsBefore, 5_000), 'the detour is in use')
      await server.stop('SIGKILL')
      await host.ok(['nft', 'delete', 'table', 'inet', 'mptcpd_detour'])
      await host.ok(['sysctl', '-qw', 'net.ipv4.ip_forward=0'])
      const carried = async (): Promise<number> => (await linkStats(lab.client, 'wan3')).rxBytes
      const isCut = async (): Promise<boolean> => {
        const before = await carried()
        await new Promise((resolve) => setTimeout(resolve, 200))
        return (await carried()) - before < 10_000
      }
      t.ok(await becomes(isCut, 3_000), 'the fault: nothing comes by the detour any more')
      server = await detour.serve()
      t.ok(await becomes(async () => (await joins()) > joinsBefore + 1, 12_000), 'a new join has come to the server')
      const { sha256 } = await download
      t.equal(sha256, payloadSha256(LONG_LEN), 'byte-exact')
    },
  )

  await assertCleanMptcp(t, lab)
  t.equal(await daemon.stop(), 0)
  t.same(await snapshot(lab.client), clientBefore, 'the client is as before')
  t.equal(await server.stop(), 0)
  t.same(await snapshot(host), detourBefore, 'and so is the detour')
})
