import { chmodSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Daemon, PROGRAM } from './lib/daemon.js'
import { becomes } from './lib/exec.js'
import { ADDRESS, Lab } from './lib/lab.js'
import { PORT, startServers } from './lib/peers.js'
import { reloadUnderLoad } from './lib/reload.js'
import { assertCleanMptcp } from './lib/verdict.js'

t.test('a file configures the daemon, flags override it, the default file is found', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const file = `${lab.dir}/a.toml`
  writeFileSync(file, 'tun = "never"\naddress4 = "198.18.9.1/29"\naddress6 = "none"\npaths = ["wan2"]\n')
  const daemon = await Daemon.start(lab, { args: ['--config', file], route: false })
  const status = await daemon.status()
  t.match(status, { daemon: { tun: lab.tun }, addresses: ['198.18.9.1/29'] })
  t.same(
    status.paths.map((path) => path.label),
    ['default', 'wan2'],
  )
  t.equal(await daemon.stop(), 0)
})

t.test('a file that is wrong ends the start with 2, before anything is touched', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const file = `${lab.dir}/a.toml`
  writeFileSync(file, 'mptcp = true\nmemry = 1\n')
  const { code, stderr } = await lab.client.exec(['node', PROGRAM, '--tun', lab.tun, '--config', file])
  t.equal(code, 2)
  t.equal(stderr, `mptcpd-user: ${file}:2: unknown key 'memry': did you mean 'memory'?\n`)
})

t.test('reload applies live keys, names those that need a restart, and keeps everything on an error', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const file = `${lab.dir}/a.toml`
  const write = (text: string) => writeFileSync(file, text)
  const labels = async (daemon: Daemon) => (await daemon.status()).paths.map((path) => path.label)
  write('log = "info"\n')
  const daemon = await Daemon.start(lab, { args: ['--config', file] })
  const reload = async () => {
    const { code, stdout, stderr } = await daemon.command('reload', '--json')
    return { code, stderr, reply: JSON.parse(stdout) as Record<string, unknown> }
  }

  t.match(await reload(), { code: 0, reply: { version: 1, file, atOnce: [], newConnections: [], restart: [] } })

  write('paths = ["wan2"]\nchecksum = true\nmemory = 8388608\n')
  t.match(await reload(), { code: 0, reply: { atOnce: ['paths'], newConnections: ['checksum'], restart: ['memory'] } })
  t.same(await labels(daemon), ['default', 'wan2', 'wan2'], 'the path is there, for both families')
  t.match(await daemon.status(), { memory: { total: 64 << 20 } }, 'the memory is as it was')
  await lab.client.ok([
    'curl',
    '-sS',
    '--fail',
    '--noproxy',
    '*',
    '-o',
    '/dev/null',
    `http://${ADDRESS.server4}:${PORT.http}/bytes/10000000`,
  ])
  await assertCleanMptcp(t, lab)

  write('paths = ["wan2", "nowhere0"]\nlog = "debug"\n')
  const failed = await reload()
  t.match(failed, { code: 2, reply: { version: 1, error: { code: 'ERR_PATH_SOURCE' } } })
  t.match(failed.stderr, /nowhere0/)
  t.same(await labels(daemon), ['default', 'wan2', 'wan2'], 'all or nothing')

  write('paths = ["wan2"]\nchecksum = true\nheld-conects = 4\n')
  t.match(await reload(), {
    code: 2,
    reply: { error: { code: 'ERR_CONFIG', message: `${file}:3: unknown key 'held-conects': did you mean 'held-connects'?` } },
  })

  chmodSync(file, 0o000)
  t.match(
    await reload(),
    { code: 2, reply: { error: { code: 'ERR_CONFIG_FILE' } } },
    'a file that cannot be read is an error, not an empty one',
  )
  t.same(await labels(daemon), ['default', 'wan2', 'wan2'])
  chmodSync(file, 0o644)

  write('')
  t.match(await reload(), { code: 0, reply: { atOnce: ['paths'], newConnections: ['checksum'] } })
  t.same(await labels(daemon), ['default'], 'the path is gone again')
  t.equal(await daemon.stop(), 0)
})

t.test('a SIGHUP during set-up does not end the program, and one without a file does nothing', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const process = lab.client.spawn(['node', PROGRAM, '--tun', lab.tun, '--no-config'])
  // Its interface is the first thing that it makes: then it is in the middle of the set-up.
  const isInSetUp = async () => (await lab.client.exec(['ip', 'link', 'show', 'dev', lab.tun])).code === 0
  while (process.isRunning && !(await isInSetUp())) await sleep(1)
  t.notOk(
    process.lines.some((line) => line.includes('ready')),
    'control: the set-up is not at its end',
  )
  process.kill('SIGHUP')
  await process.waitLine(/\bready\b/)
  process.kill('SIGHUP')
  const reloads = async () =>
    JSON.parse((await lab.client.ok(['node', PROGRAM, 'status', '--json', '--tun', lab.tun])).stdout).daemon.reloads
  t.ok(await becomes(async () => (await reloads()) === 2, 5000), 'both were dealt with')
  t.equal(await process.stop('SIGTERM'), 0)
})

t.test('SIGHUP again and again, with invalid files among them, during a transfer: byte-exact, nothing is dropped', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  const result = await reloadUnderLoad(lab, 60)
  t.ok(result.isByteExact, 'the transfer is byte-exact')
  t.ok(result.reloaded >= 15, 'valid files were taken', result)
  t.ok(result.refused >= 15, 'invalid files were refused', result)
  t.equal(result.resets, 0, 'no connection was reset')
  t.equal(result.exitCode, 0)
  await assertCleanMptcp(t, lab)
})
