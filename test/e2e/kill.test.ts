import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { statePath } from '../../src/host/state-file.js'
import { Capture } from './lib/capture.js'
import { Daemon, PROGRAM } from './lib/daemon.js'
import type { Background } from './lib/exec.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { net, pings, spawnNet, UDP_PORT } from './lib/net.js'
import { curlDownload, PORT, startServers } from './lib/peers.js'
import { snapshot } from './lib/snapshot.js'

async function labOf(t: Test): Promise<Lab> {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  return lab
}

t.test('kill -9 before each single change of the set-up: cleanup, or the next start, leaves the host as before', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await lab.client.ok(['ip', 'rule', 'add', 'pref', '7700', 'from', '192.0.2.0/24', 'lookup', 'main'])
  await lab.client.ok(['ip', 'rule', 'add', 'pref', '100', 'from', '192.0.2.1', 'lookup', 'main', 'protocol', '119'])
  const before = await snapshot(lab.client)
  const loop = fileURLToPath(new URL('lib/kill-step.mjs', import.meta.url))
  const { stdout } = await lab.client.ok(['node', loop], { timeoutMs: 120_000 })
  const { steps, leftovers, wrong, isSame } = JSON.parse(stdout) as { steps: number; leftovers: number; wrong: object[]; isSame: boolean }
  t.comment(`${steps} steps, ${leftovers} of them left something`)
  t.ok(steps > 40, 'every change was a step', { steps })
  t.ok(leftovers > steps / 2, 'the kills took place: something was left', { leftovers })
  t.same(wrong, [])
  t.ok(isSame)
  t.same(await snapshot(lab.client), before, 'foreign rules at the same preference and with the same protocol stay')
})

/** Data segments of captured connections that leave by the first link: what has the payload and no place in the stack any more. */
async function dataSegments(lab: Lab, ms: number): Promise<number> {
  const capture = await Capture.start(lab, lab.client, 'wan1', 'tcp or ip6 proto 6')
  await sleep(ms)
  const lines = await capture.stop(lab.client)
  return lines.filter((line) => /length [1-9]/.test(line) && line.includes(`.${PORT.digest}:`)).length
}

for (const [name, server, family] of [
  ['IPv4', ADDRESS.server4, '-4'],
  ['IPv6', ADDRESS.server6, '-6'],
] as const) {
  t.test(
    `kill -9 while transferring, ${name}: no segment leaves in clear; fail-open; cleanup leaves nothing and ends the orphan`,
    async (t) => {
      const lab = await labOf(t)
      const { client } = lab
      const before = await snapshot(client)
      const daemon = await Daemon.start(lab, { args: ['--all'], route: false })
      const sender = await spawnNet(client, 'connected', 'send-for-ever', server, PORT.digest)
      await sleep(300)
      t.ok((await dataSegments(lab, 300)) > 0, 'positive control: segments of the subflow are seen while it lives')
      await daemon.stop('SIGKILL')
      await sleep(50)
      t.equal(await dataSegments(lab, 2500), 0, 'nothing leaves after the kill')
      t.ok(sender.isRunning, 'although the application still tries')
      t.match(await net(client, 'tcp', server, PORT.echo), { outcome: 'connected' }, 'new connections leave as without the daemon')
      t.ok(await pings(client, server), 'and so does ping')
      t.ok(existsSync(statePath(daemon.tun)), 'the state file is there')
      // Without the guard it would leave: the rule is what stops it.
      await client.ok(['ip', family, 'rule', 'del', 'pref', '7711'])
      if (family === '-6') t.ok((await dataSegments(lab, 2000)) > 0, 'positive control: without the guard it does')
      t.match(await client.ok(['node', PROGRAM, 'cleanup', '--tun', daemon.tun]), { stdout: /changes taken back, 1 connections ended/ })
      t.match(JSON.parse(await sender.waitLine(/"ended"/, 2000)), { event: 'ended' }, 'the orphan was ended')
      t.same(await snapshot(client), before, 'the host is as before')
      t.notOk(existsSync(statePath(daemon.tun)))
      t.match(await client.ok(['node', PROGRAM, 'cleanup', '--tun', daemon.tun]), { stdout: /nothing was left/ })
    },
  )
}

t.test('--fail-closed: after a kill nothing of the captured traffic leaves by another way, until the next start', async (t) => {
  const lab = await labOf(t)
  const { client } = lab
  const before = await snapshot(client)
  const args = ['--fail-closed', '--all']
  const daemon = await Daemon.start(lab, { args, route: false })
  t.match(await net(client, 'tcp', ADDRESS.server4, PORT.echo), { outcome: 'connected', local: '198.18.0.1' }, 'positive control')
  await daemon.stop('SIGKILL')
  await sleep(50)
  const blocked = async (why: string): Promise<void> => {
    for (const server of [ADDRESS.server4, ADDRESS.server6]) {
      t.match(
        await net(client, 'tcp', server, PORT.echo),
        { outcome: /EHOSTUNREACH|ENETUNREACH|EACCES/ },
        `${why}: ${server} is blocked, and says so`,
      )
    }
    t.ok(await pings(client, ADDRESS.server4), `${why}: ping goes on`)
  }
  await blocked('after the kill')
  await client.ok(['node', PROGRAM, 'cleanup', '--keep-blocked', '--tun', daemon.tun])
  await blocked('after a service manager cleaned up')
  const again = await Daemon.start(lab, { args, route: false })
  t.equal((await curlDownload(client, ADDRESS.server6, PORT.http, lab.dir, 100_000)).bytes, 100_000, 'the next start carries again')
  t.equal(await again.stop(), 0)
  t.same(await snapshot(client), before, 'and its end unblocks')
  // By hand-made and by --route prefixes
  const routed = await Daemon.start(lab, { args: ['--fail-closed', '--route', ADDRESS.serverPrefix6], route: false })
  await client.ip(`route add ${ADDRESS.serverPrefix4} dev ${routed.tun}`)
  await sleep(500)
  await routed.stop('SIGKILL')
  await sleep(50)
  await blocked('with routes')
  t.match(await client.ok(['node', PROGRAM, 'cleanup', '--tun', routed.tun]), { stdout: /taken back/ })
  t.same(await snapshot(client), before)
})

t.test('SIGTERM under load: nothing leaves in clear afterwards, the application is told, the host is as before', async (t) => {
  const lab = await labOf(t)
  const before = await snapshot(lab.client)
  const daemon = await Daemon.start(lab, { args: ['--all'], route: false })
  const senders: Background[] = []
  for (const server of [ADDRESS.server4, ADDRESS.server6])
    senders.push(await spawnNet(lab.client, 'connected', 'send-for-ever', server, PORT.digest))
  await sleep(300)
  const startedAt = performance.now()
  const stopped = daemon.stop()
  await sleep(300)
  t.match(
    await net(lab.client, 'tcp', ADDRESS.server4, PORT.echo),
    { outcome: 'connected' },
    'new connections leave as without the daemon at once',
  )
  t.ok(
    senders.every((sender) => sender.isRunning),
    'while the others may finish',
  )
  t.equal(await stopped, 0)
  const tookMs = performance.now() - startedAt
  t.ok(tookMs > 4500 && tookMs < 7500, 'it drained for 5 s', { tookMs })
  for (const sender of senders) t.match(JSON.parse(await sender.waitLine(/"ended"/, 1000)), { event: 'ended' }, 'the application was reset')
  t.equal(await dataSegments(lab, 500), 0)
  t.same(await snapshot(lab.client), before)
})

t.test('a host that moves to another network after a crash is not held back by what the daemon left', async (t) => {
  const lab = await labOf(t)
  const { client } = lab
  await spawnNet(lab.server, 'ready', 'udp-serve', UDP_PORT, ADDRESS.server4, ADDRESS.server6)
  const daemon = await Daemon.start(lab, { args: ['--all'], route: false })
  await daemon.stop('SIGKILL')
  await client.ip('link set wan1 down')
  await client.ip(`route add default via ${ADDRESS.serverLink4[1]}`)
  await client.ip(`route add default via ${ADDRESS.serverLink6[1]}`, 6)
  for (const [server, own] of [
    [ADDRESS.server4, ADDRESS.clientLink4[1]],
    [ADDRESS.server6, ADDRESS.clientLink6[1]],
  ] as const) {
    t.match(await net(client, 'udp', server, UDP_PORT), { outcome: 'answered' }, `UDP to ${server}`)
    t.match(await net(client, 'tcp', server, PORT.echo, own), { outcome: 'connected' }, 'TCP from a bound socket')
    t.match(await net(client, 'tcp', server, PORT.echo), { outcome: 'connected' }, 'and from an unbound one')
  }
})

t.test('after a crash the next start answers unknown flows by RST at once', async (t) => {
  const lab = await labOf(t)
  const daemon = await Daemon.start(lab)
  const senders: Background[] = []
  for (const server of [ADDRESS.server4, ADDRESS.server6])
    senders.push(await spawnNet(lab.client, 'connected', 'send-for-ever', server, PORT.digest))
  const defaults = async (): Promise<string> => (await lab.client.ok(['ip', 'route', 'show', 'default'])).stdout
  await lab.client.ok(['ip', 'route', 'replace', 'default', 'dev', daemon.tun, 'metric', '1000'])
  await sleep(500)
  await daemon.stop('SIGKILL')
  t.equal(await defaults(), '', 'the fault: the default route went with the TUN that it was put on')
  const startedAt = performance.now()
  const again = await Daemon.start(lab)
  t.match(await defaults(), /via 10\.99\.1\.2 dev wan1/, 'the route that it had displaced is back')
  for (const sender of senders) {
    const { error } = JSON.parse(await sender.waitLine(/"ended"/, 3000)) as { error: string }
    t.match(error, /ECONNRESET|ECONNABORTED|EPIPE/)
  }
  t.comment(`the applications knew ${(performance.now() - startedAt).toFixed(0)} ms after the next start began`)
  t.match(again.process.lines.join('\n'), /took over what a daemon that was killed left/)
  t.equal(await again.stop(), 0)
})

t.test('a second daemon in the same network namespace is refused', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const daemon = await Daemon.start(lab)
  const { code, stderr } = await lab.client.exec(['node', PROGRAM, 'up', '--tun', 'second0'], { timeoutMs: 10_000 })
  t.equal(code, 1)
  t.match(stderr, /runs already on/)
  const cleanup = await lab.client.exec(['node', PROGRAM, 'cleanup'])
  t.match(cleanup, { code: 1, stderr: /runs already on/ }, 'nor is a running one cleaned away')
  t.ok(daemon.process.isRunning)
  t.equal(await daemon.stop(), 0)
})
