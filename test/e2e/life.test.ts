import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Daemon, PROGRAM } from './lib/daemon.js'
import { becomes } from './lib/exec.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { listenNotify } from './lib/notify-socket.js'
import { PORT, runClient, spawnClient, startServers } from './lib/peers.js'
import { PAYLOAD_LEN, payloadSha256 } from './lib/payload.js'
import { snapshot } from './lib/snapshot.js'

/** Names a download that takes about two seconds, and says when it is under way. */
function startDownload(lab: Lab) {
  const url = `http://${ADDRESS.server4}:${PORT.http}/bytes/${PAYLOAD_LEN}`
  return lab.client.spawn(['sh', '-c', `curl -sS --fail --noproxy '*' --limit-rate 50M ${url} | sha256sum`])
}

const isCarrying = (daemon: Daemon) => async () =>
  (await daemon.status()).connections.some((c) => c.subflows.some((s) => s.bytesReceived > 0))

t.test('SIGTERM drains: what runs is finished byte-exact, what is new is refused, the exit code is 0', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const before = await snapshot(lab.client)
  const daemon = await Daemon.start(lab)
  const download = startDownload(lab)
  t.ok(await becomes(isCarrying(daemon), 5000), 'the download is under way')
  const ended = daemon.stop('SIGTERM')
  t.ok(await becomes(async () => daemon.process.lines.some((line) => line.includes('waiting for connections')), 2000), 'it drains')
  const { outcome } = await runClient(lab.client, ['connect', ADDRESS.server4, PORT.http, 5])
  t.equal(outcome, 'ECONNREFUSED', 'new connections at a hand-made route are refused')
  t.match(await download.waitLine(/^[0-9a-f]{64}/, 15_000), payloadSha256(PAYLOAD_LEN), 'the download is complete and byte-exact')
  t.equal(await ended, 0)
  t.same(await snapshot(lab.client), before)
})

t.test('a second SIGTERM resets at once', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const before = await snapshot(lab.client)
  const daemon = await Daemon.start(lab)
  const client = spawnClient(lab.client, ['stall', ADDRESS.server4, PORT.http, PAYLOAD_LEN, 60])
  await client.waitLine(/"stalled"/)
  const ended = daemon.stop('SIGTERM')
  await daemon.process.waitLine(/waiting for connections/)
  await sleep(300)
  t.ok(daemon.process.isRunning, 'control: one signal waits for the connection')
  const askedAt = performance.now()
  daemon.process.kill('SIGTERM')
  t.equal(await ended, 0)
  t.ok(performance.now() - askedAt < 2000, 'and two do not', { ms: performance.now() - askedAt })
  t.same(await snapshot(lab.client), before)
  await client.stop('SIGKILL')
})

t.test('down waits for the end and hands back the exit code of the daemon', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const daemon = await Daemon.start(lab)
  const { code, stdout } = await daemon.command('down', '--json')
  t.equal(code, 0)
  t.match(JSON.parse(stdout), { version: 1, exitCode: 0, failures: [], pid: Number })
  t.ok(await becomes(async () => !daemon.process.isRunning, 500), 'the process is gone when down ends')
  t.equal(await daemon.process.exited, 0)
  t.equal((await daemon.command('down')).code, 3, 'nobody is there any more')

  await startServers(lab)
  const loaded = await Daemon.start(lab)
  const client = spawnClient(lab.client, ['stall', ADDRESS.server4, PORT.http, PAYLOAD_LEN, 60])
  await client.waitLine(/"stalled"/)
  const now = await loaded.command('down', '--now')
  t.equal(now.code, 0)
  t.ok(now.elapsedMs < 4000, 'with --now it does not wait for connections', { ms: now.elapsedMs })
  await client.stop('SIGKILL')
})

t.test('down tells of a daemon that failed: here its interface was deleted', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const daemon = await Daemon.start(lab)
  const client = spawnClient(lab.client, ['stall', ADDRESS.server4, PORT.http, PAYLOAD_LEN, 60])
  await client.waitLine(/"stalled"/)
  const down = daemon.command('down', '--json')
  await daemon.process.waitLine(/waiting for connections/)
  await lab.client.ip(`link del ${daemon.tun}`)
  t.equal((await down).code, 1)
  t.equal(await daemon.process.exited, 1)
  await client.stop('SIGKILL')
})

t.test('the service manager hears of ready, reload, life and end', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const notify = await listenNotify(lab, 200)
  const daemon = await Daemon.start(lab, { env: notify.env })
  t.match(await notify.message('READY=1'), /STATUS=/)
  await notify.message('WATCHDOG=1')
  t.ok(await becomes(async () => notify.count('WATCHDOG=1') >= 5, 5000), 'it goes on to say that it lives')
  const ready = notify.count('READY=1')
  const { code } = await daemon.command('reload')
  t.equal(code, 0)
  const [, us] = /MONOTONIC_USEC=(\d+)/.exec(await notify.message('RELOADING=1')) ?? []
  const now = Number(process.hrtime.bigint() / 1000n)
  t.ok(Number(us) < now && Number(us) > now - 10e6, 'on the monotonic clock')
  t.ok(await becomes(async () => notify.count('READY=1') === ready + 1, 2000), 'ready again')
  t.equal(await daemon.stop(), 0)
  await notify.message('STOPPING=1')
  t.equal(notify.count('STOPPING=1'), 1)
})

t.test('CAP_NET_ADMIN is the only capability of every thread; --keep-privileges keeps all', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const capabilities = (pid: number) =>
    readdirSync(`/proc/${pid}/task`).flatMap((tid) => {
      const text = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8')
      return [...text.matchAll(/^Cap(Prm|Eff|Bnd|Amb):\s+(\w+)/gm)].map((m) => `${m[1]} ${BigInt(`0x${m[2]}`)}`)
    })
  const daemon = await Daemon.start(lab)
  const NET_ADMIN = String(1n << 12n)
  t.same([...new Set(capabilities(daemon.process.pid))].sort(), [`Amb 0`, `Bnd ${NET_ADMIN}`, `Eff ${NET_ADMIN}`, `Prm ${NET_ADMIN}`])
  t.match(readFileSync(`/proc/${daemon.process.pid}/status`, 'utf8'), /NoNewPrivs:\s+1/)
  await runClient(lab.client, ['many', ADDRESS.server4, PORT.http, 1, 1_000_000])
  t.equal((await daemon.command('path', 'add', 'wan2')).code, 0, 'and with it a path is added')
  t.equal(await daemon.stop(), 0, 'and everything undone')
  const kept = await Daemon.start(lab, { args: ['--keep-privileges'] })
  t.notOk(capabilities(kept.process.pid).includes(`Eff ${NET_ADMIN}`), 'control: without the drop there are more')
  t.equal(await kept.stop(), 0)
})

t.test('without CAP_NET_ADMIN it says so in one line and ends with 4', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const drop = ['setpriv', '--bounding-set', '-net_admin', 'node', PROGRAM, '--tun', lab.tun]
  const { code, stderr } = await lab.client.exec(drop)
  t.equal(code, 4)
  t.match(stderr, /^mptcpd-user: .*CAP_NET_ADMIN.*\n$/)
})
