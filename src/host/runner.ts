import { execFile, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { MptcpError } from '../base/errors.js'
import { NftChild } from './nft.js'
import type { Family } from './numbers.js'
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
  private isClosed = false
  /** Called when the nft child ended by itself: our table went with it. */
  onNftEnd: () => void = () => {}

  ipBatch(family: Family, lines: readonly string[]): Promise<ReadonlyMap<number, string>> {
    return new Promise((resolve, reject) => {
      const child = spawn('ip', [`-${family}`, '-force', '-batch', '-'], { stdio: ['pipe', 'ignore', 'pipe'] })
      let text = ''
      child.stderr.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      child.stdin.on('error', () => {}) // EPIPE: 'close' follows
      child.on('error', (error) => reject(new MptcpError('ERR_HOST_COMMAND', `ip: ${error.message}`, { cause: error })))
      child.on('close', (code) => {
        const { failures, rest } = batchFailures(text)
        // A line that `ip` does not understand ends it at once, without a number.
        if (code !== 0 && (rest !== '' || failures.size === 0)) {
          reject(new MptcpError('ERR_HOST_COMMAND', `ip -${family} -batch: ${rest || `ended with ${code}`}`))
        } else resolve(failures)
      })
      child.stdin.end(`${lines.join('\n')}\n`)
    })
  }

  async exec(argv: readonly string[]): Promise<void> {
    await run(argv)
  }

  async writeSysctl(key: string, value: string): Promise<void> {
    try {
      writeFileSync(`/proc/sys/${key}`, value) // on this thread: a pool's thread may lack the capability
    } catch (error) {
      throw new MptcpError('ERR_HOST_COMMAND', `cannot set ${key} to ${value}: ${(error as Error).message}`, { cause: error })
    }
  }

  async nft(lines: readonly string[]): Promise<void> {
    if (this.isClosed) throw new MptcpError('ERR_NFT', 'our nftables table is gone: the daemon ends')
    if (this.child === null || this.child.isEnded) {
      const child = new NftChild(() => {
        if (this.child === child) this.onNftEnd()
      })
      this.child = child
    }
    await this.child.send(lines)
  }

  /** Ends the nft child, and with it our table; there is no other one afterwards. */
  async endNft(): Promise<void> {
    this.isClosed = true
    const { child } = this
    this.child = null
    await child?.end()
  }
}

/** What `ip -force -batch -` wrote to stderr: by index of the line, what failed; and what belongs to no line. */
export function batchFailures(text: string): { failures: Map<number, string>; rest: string } {
  const failures = new Map<number, string>()
  let message: string[] = []
  for (const line of text.split('\n')) {
    const number = /^Command failed -:(\d+)/.exec(line)?.[1]
    if (number === undefined) {
      if (line.trim() !== '') message.push(line.trim())
      continue
    }
    failures.set(Number(number) - 1, message.join(' ').replace(/^(Error|RTNETLINK answers): /, ''))
    message = []
  }
  return { failures, rest: message.join(' ') }
}
