import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const MAIN = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url))

function run(...args: string[]): { code: number | null; out: string; err: string } {
  const result = spawnSync(process.execPath, ['--import', 'tsx', MAIN, ...args], { encoding: 'utf8', timeout: 30_000 })
  return { code: result.status, out: result.stdout, err: result.stderr }
}

t.test('help and version end with 0', (t) => {
  const help = run('--help')
  t.equal(help.code, 0)
  t.match(help.out, /Usage: mptcpd-user/)
  for (const command of ['up', 'status', 'counters', 'path', 'down', 'reload', 'check-config', 'doctor'])
    t.match(help.out, new RegExp(`\\b${command}\\b`))
  t.match(help.out, /Exit codes: 0 ok/)
  const version = run('--version')
  t.equal(version.code, 0)
  t.match(version.out, /^\d+\.\d+\.\d+\n$/)
  t.match(run('run', '--help').out, /--no-mptcp/)
  t.end()
})

t.test('wrong usage ends with 2 and says what is wrong', (t) => {
  const unknown = run('--frob')
  t.equal(unknown.code, 2)
  t.match(unknown.err, /--frob/)
  const address = run('--address', '198.18.0.1')
  t.equal(address.code, 2)
  t.match(address.err, /address4/)
  const path = run('--path', 'eth1,nowhere')
  t.equal(path.code, 2)
  t.match(path.err, /paths\[0\]/)
  t.equal(run('--tun', 'a-name-that-is-too-long').code, 2)
  t.equal(run('--log', 'loud').code, 2)
  t.equal(run('status', '--frob').code, 2)
  t.end()
})

t.test('check-config names every mistake by line, and shows what it understood', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'mptcpd-user-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const file = join(dir, 'a.toml')
  writeFileSync(file, 'tun = "tun3"\nmemry = 5\n')
  const bad = run('check-config', file)
  t.equal(bad.code, 2)
  t.match(bad.err, `${file}:2: unknown key 'memry': did you mean 'memory'?`)
  t.equal(run('--config', file).code, 2, 'the daemon does not start with it')
  writeFileSync(file, 'tun = "tun3"\n')
  const good = run('check-config', file, '--json')
  t.equal(good.code, 0)
  t.match(JSON.parse(good.out), { version: 1, file, config: { tun: 'tun3', mptcp: true } })
  t.equal(run('check-config', join(dir, 'missing.toml')).code, 2)
  t.end()
})

t.test('without daemon, questions end with 3', (t) => {
  for (const args of [['status'], ['status', '--json'], ['down'], ['path', 'add', 'eth1']]) {
    const result = run(...args, '--tun', 'no-daemon-here')
    t.equal(result.code, 3, args.join(' '))
    t.match(result.err, /no daemon answers/)
    if (args.includes('--json')) t.match(JSON.parse(result.out), { version: 1, error: { code: 'ERR_DAEMON_NOT_RUNNING' } })
    else t.equal(result.out, '')
  }
  t.end()
})
