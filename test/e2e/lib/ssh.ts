import { mkdirSync, writeFileSync } from 'node:fs'
import { execOk, type ExecOptions, type ExecResult } from './exec.js'
import type { Lab } from './lab.js'
import { PORT } from './peers.js'

/** Runs a command on the lab's server by ssh, with `host` as the server's address. */
export type SshRun = (host: string, command: string, options?: ExecOptions) => Promise<ExecResult>

/** Starts an ssh server over kernel MPTCP with keys of its own; returns what runs a command through it. */
export async function startSsh(lab: Lab): Promise<SshRun> {
  const dir = `${lab.dir}/ssh`
  mkdirSync(dir, { mode: 0o700 })
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 }) // Debian: sshd refuses to start without it
  for (const name of ['host', 'user']) await execOk(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', `${dir}/${name}`])
  const settings = [
    `Port ${PORT.ssh}`,
    `HostKey ${dir}/host`,
    `AuthorizedKeysFile ${dir}/user.pub`,
    'StrictModes no',
    'UsePAM no',
    'PasswordAuthentication no',
    'PermitRootLogin yes',
    'PidFile none',
  ]
  writeFileSync(`${dir}/sshd_config`, `${settings.join('\n')}\n`)
  const server = lab.server.spawn(['mptcpize', 'run', '/usr/sbin/sshd', '-D', '-e', '-f', `${dir}/sshd_config`])
  await server.waitLine(/listening on :: port/)
  const flags = ['-F', 'none', '-i', `${dir}/user`, '-p', String(PORT.ssh), '-o', 'BatchMode=yes', '-o', 'LogLevel=ERROR']
  const trust = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null']
  return (host, command, options) => lab.client.exec(['ssh', ...flags, ...trust, `root@${host}`, command], options)
}
