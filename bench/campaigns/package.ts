import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exec, execOk } from '../../test/e2e/lib/exec.js'
import { packProject } from '../../test/e2e/lib/package.js'
import type { Campaign } from './campaign.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Fetches npm and the dependencies from the registry, hence no test. */
export const campaign: Campaign = {
  summary: 'npm@12 (or [VERSION]) installs the tarball into an empty prefix without a compiler, and doctor runs; half a minute, root',
  async run([version = '12']) {
    const dir = mkdtempSync(join(tmpdir(), 'mptcpd-user-install-'))
    try {
      const { tarball, files } = await packProject(ROOT, dir)
      const tools = join(dir, 'tools')
      mkdirSync(tools)
      await execOk(['npm', 'install', '--prefix', tools, '--no-audit', '--no-fund', `npm@${version}`], { timeoutMs: 120_000 })
      const bin = join(dir, 'bin')
      mkdirSync(bin)
      symlinkSync(process.execPath, join(bin, 'node'))
      for (const name of ['sh', 'env', 'ip', 'nft', 'ss']) {
        const where = (await execOk(['sh', '-c', `PATH=$PATH:/usr/sbin:/sbin command -v ${name}`])).stdout.trim()
        symlinkSync(where, join(bin, name))
      }
      const env = { PATH: bin, HOME: dir }
      const npm = join(tools, 'node_modules/npm/bin/npm-cli.js')
      const { stdout: is } = await execOk(['node', npm, '--version'], { env })
      const prefix = join(dir, 'prefix')
      const install = await exec(['node', npm, 'install', '--global', '--prefix', prefix, tarball], { env, timeoutMs: 120_000 })
      const program = join(prefix, 'bin/mptcpd-user')
      const doctor = await exec([program, 'doctor'], { env })
      const { stdout: said } = await exec([program, '--version'], { env })
      process.stdout.write(
        `npm ${is.trim()}: ${files.length} files, installed in ${(install.elapsedMs / 1000).toFixed(1)} s with exit code ${install.code}\n` +
          `${install.stdout}${install.stderr}${program} --version: ${said}on the PATH: ${readdirSync(bin).join(' ')}\n${doctor.stdout}${doctor.stderr}`,
      )
      // npm 12 says there which install scripts it did not run; that it wants a newer Node.js is no matter.
      const isLoaded = /^ok +program /m.test(doctor.stdout)
      return install.code === 0 && !/npm err|scripts?\b/i.test(install.stderr) && isLoaded && (doctor.code === 0 || doctor.code === 1)
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  },
}
