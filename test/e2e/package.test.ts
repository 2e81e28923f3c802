import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { exec, execOk } from './lib/exec.js'
import { Lab } from './lib/lab.js'
import { packProject } from './lib/package.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** A folder on the PATH with nothing but these programs: no compiler, no npm. */
function barePath(dir: string): string {
  const bin = join(dir, 'bin')
  mkdirSync(bin)
  symlinkSync(process.execPath, join(bin, 'node'))
  for (const name of ['ip', 'nft', 'ss', 'env', 'sh']) {
    const found = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'].map((where) => join(where, name)).find((path) => existsSync(path))
    if (found !== undefined) symlinkSync(found, join(bin, name))
  }
  return bin
}

t.test('the tarball has the program and the addon, and runs without compiler and install script', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'mptcpd-user-pack-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const { tarball, files } = await packProject(ROOT, dir)
  for (const wanted of [
    'dist/src/cli/main.js',
    'dist/src/index.js',
    'dist/src/index.d.ts',
    `prebuilds/linux-${process.arch}/mptcpnet.node`,
    'native/tun.c',
    'binding.gyp',
    'packaging/mptcpd-user.service',
    'docs/configuration.md',
    'README.md',
    'LICENSE',
  ])
    t.ok(files.includes(wanted), wanted)
  t.same(
    files.filter((file) => /^(test|bench|src|dist\/test|build|node_modules|\.)/.test(file)),
    [],
    'nothing else',
  )

  // As npm lays it out: the package, and beside it what it depends on.
  const modules = join(dir, 'lib/node_modules')
  mkdirSync(modules, { recursive: true })
  await execOk(['tar', '-xzf', tarball, '-C', modules, '--transform', 's/^package/mptcpd-user/'])
  const manifest = JSON.parse(readFileSync(join(modules, 'mptcpd-user/package.json'), 'utf8')) as {
    dependencies: Record<string, string>
    scripts: Record<string, string>
    gypfile: boolean
  }
  t.equal(manifest.gypfile, false, 'npm does not build it by itself')
  for (const script of ['preinstall', 'install', 'postinstall']) t.notOk(script in manifest.scripts, `no script ${script}`)
  for (const name of Object.keys(manifest.dependencies)) {
    const at = join(modules, name)
    mkdirSync(dirname(at), { recursive: true })
    cpSync(join(ROOT, 'node_modules', name), at, { recursive: true })
    const deeper = (JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')) as { dependencies?: Record<string, string> }).dependencies
    t.same(Object.keys(deeper ?? {}), [], `${name} depends on nothing else`)
  }
  const env = { PATH: barePath(dir) }
  for (const compiler of ['gcc', 'cc', 'make', 'npm'])
    t.notOk(readdirSync(env.PATH).includes(compiler), `control: there is no ${compiler} on the PATH`)

  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const main = join(modules, 'mptcpd-user/dist/src/cli/main.js')
  const doctor = await lab.client.exec(['node', main, 'doctor', '--json', '--tun', lab.tun], { env })
  const report = JSON.parse(doctor.stdout) as { ok: boolean; findings: { check: string; level: string }[] }
  t.equal(doctor.code, report.ok ? 0 : 1)
  t.match(
    report.findings.find((finding) => finding.check === 'program'),
    { level: 'ok' },
    'the addon of the package is loaded',
  )
  t.same(
    report.findings.filter((finding) => finding.level === 'fail'),
    [],
  )
  const daemon = lab.client.spawn(['node', main, 'up', '--tun', lab.tun, '--no-config'], env)
  await daemon.waitLine(/\bready\b/)
  t.equal((await lab.client.exec(['node', main, 'down', '--tun', lab.tun], { env })).code, 0)
  t.equal(await daemon.exited, 0)
})

t.test('doctor: what is in the way ends with 1, and is named', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const main = join(ROOT, 'dist/src/cli/main.js')
  const doctor = async () => {
    const { code, stdout } = await exec(['ip', 'netns', 'exec', lab.client.name, 'node', main, 'doctor', '--json', '--tun', lab.tun])
    return { code, findings: (JSON.parse(stdout) as { findings: { check: string; level: string; remedy: string }[] }).findings }
  }
  const sound = await doctor()
  t.equal(sound.code, 0, 'control: the lab is sound')
  await lab.client.ok(['ip', 'tuntap', 'add', lab.tun, 'mode', 'tun'])
  const taken = await doctor()
  t.equal(taken.code, 1)
  t.match(
    taken.findings.find((finding) => finding.check === 'interface'),
    { level: 'fail', remedy: /--tun/ },
  )
  await lab.client.ok(['ip', 'tuntap', 'del', lab.tun, 'mode', 'tun'])
  const daemon = lab.client.spawn(['node', main, 'up', '--tun', lab.tun, '--no-config'])
  await daemon.waitLine(/\bready\b/)
  t.match(
    (await doctor()).findings.find((finding) => finding.check === 'interface'),
    { level: 'ok' },
    'a daemon of ours is none',
  )
  await daemon.stop('SIGKILL')
  t.match(
    (await doctor()).findings.find((finding) => finding.check === 'leftovers'),
    { level: 'warn', remedy: /cleanup/ },
  )
  t.equal((await lab.client.exec(['node', main, 'cleanup'])).code, 0)
  t.match(
    (await doctor()).findings.find((finding) => finding.check === 'leftovers'),
    { level: 'ok' },
  )
})
