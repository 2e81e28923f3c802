import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { MptcpError } from '../base/errors.js'
import { NftChild } from './nft.js'
import type { PlanRunner } from './plan.js'

/** Runs a program and hands back its output. @throws {MptcpError} ERR_HOST_COMMAND with what it wrote to stderr. */
export function run(argv: readonly string[]): Promise<string> {
  const [program = '', ...args] = argv
  return new Promise((resolve, reject) => {
    execFile(program, args, { encoding: 'utf8', maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new MptcpError('ERR_HOST_COMMAND', `${argv.join(' ')}: ${stderr.trim() || error.message}`, { cause: error }))
    })
  })
}

/** Value of a kernel parameter, key with slashes (`net/ipv4/conf/eth0/forwarding`); null when there is none of that name. */
export function readSysctl(key: string): string | null {
  try {
    return readFileSync(`/proc/sys/${key}`, 'utf8').trim()
  } catch {
    return null
  }
}

/** The runner that really changes the host, in the network namespace of this process. */
export class HostRunner implements PlanRunner {
  private child: NftChild | null = null

  async exec(argv: readonly string[]): Promise<void> {
    await run(argv)
  }

  async writeSysctl(key: string, value: string): Promise<void> {
    try {
      await writeFile(`/proc/sys/${key}`, value)
    } catch (error) {
      throw new MptcpError('ERR_HOST_COMMAND', `cannot set ${key} to ${value}: ${(error as Error).message}`, { cause: error })
    }
  }

  async nft(lines: readonly string[]): Promise<void> {
    this.child ??= new NftChild()
    await this.child.send(lines)
  }

  async endNft(): Promise<void> {
    await this.child?.end()
    this.child = null
  }
}
