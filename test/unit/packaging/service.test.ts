import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'

const UNIT = new URL('../../../packaging/mptcpd-user.service', import.meta.url)
const text = readFileSync(UNIT, 'utf8')

/** Values of a key, in order. */
const values = (key: string): string[] => [...text.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map((match) => match[1] as string)

t.test('the unit says how the daemon lives, and no more than it needs', (t) => {
  t.same(values('Type'), ['notify'])
  t.same(values('ExecStart'), ['mptcpd-user up'])
  t.same(values('ExecReload'), ['mptcpd-user reload'])
  t.same(values('ExecStopPost'), ['mptcpd-user cleanup --keep-blocked'])
  t.same(values('CapabilityBoundingSet'), ['CAP_NET_ADMIN'])
  t.same(values('NoNewPrivileges'), ['yes'])
  t.same(values('DeviceAllow'), ['/dev/net/tun rw'])
  t.ok(Number(values('TimeoutStopSec')[0]) > 10, 'longer than it drains')
  t.ok(Number(values('WatchdogSec')[0]) > 0)
  t.same(values('RuntimeDirectoryPreserve'), ['yes'], 'the state file outlives a crash')
  for (const key of ['MemoryDenyWriteExecute', 'PrivateDevices', 'ProtectKernelTunables', 'PrivateNetwork']) t.same(values(key), [], key)
  t.end()
})

const hasAnalyze = spawnSync('systemd-analyze', ['--version']).status === 0

t.test('systemd understands it', hasAnalyze || process.env.CI === 'true' ? {} : { skip: 'systemd-analyze is not here' }, (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'mptcpd-user-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const program = join(dir, 'mptcpd-user')
  writeFileSync(program, '#!/bin/sh\n')
  chmodSync(program, 0o755)
  const unit = join(dir, 'mptcpd-user.service')
  writeFileSync(unit, text.replaceAll(/=mptcpd-user /g, `=${program} `))
  const verify = (path: string) => {
    const { stdout, stderr } = spawnSync('systemd-analyze', ['verify', path], { encoding: 'utf8' })
    // It also loads other units of the host; only what it says about ours counts.
    return `${stdout}${stderr}`.split('\n').filter((line) => line.includes('mptcpd-user.service'))
  }
  t.same(verify(unit), [])
  writeFileSync(unit, `${text.replaceAll(/=mptcpd-user /g, `=${program} `)}\n[Service]\nNoSuchKey=1\n`)
  t.ok(verify(unit).length > 0, 'control: a mistake is seen')
  t.end()
})
