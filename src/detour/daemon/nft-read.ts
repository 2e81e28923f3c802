import { spawn } from 'node:child_process'
import { MptcpError } from '../../base/errors.js'
import { run } from '../../host/runner.js'
import { FIXED_CHAINS, leaseNumber, TABLE } from './table.js'

/** Traffic of one direction. */
export interface Traffic {
  readonly packets: number
  readonly bytes: number
}

/** Runs `nft -f -`. @throws {MptcpError} ERR_NFT with what it wrote to stderr */
export function runNft(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('nft', ['-f', '-'], { stdio: ['pipe', 'ignore', 'pipe'] })
    let errors = ''
    const fail = (why: string) => reject(new MptcpError('ERR_NFT', `nft: ${why}`))
    child.stderr.setEncoding('utf8').on('data', (part: string) => {
      errors += part
    })
    child.stdin.on('error', () => {}) // EPIPE: 'close' follows
    child.on('error', (error: NodeJS.ErrnoException) =>
      fail(error.code === 'ENOENT' ? 'there is no such program: install nftables (apt install nftables)' : error.message),
    )
    child.on('close', (code) => {
      if (code === 0) resolve()
      else fail(errors.trim() || `ended with ${code}`)
    })
    child.stdin.end(text)
  })
}

/** The rules of the fixed chains as text, without counters; '' when there is no table. */
export async function readChains(): Promise<string> {
  const text = await run(['nft', '-s', '-t', 'list', 'table', ...TABLE.split(' ')]).catch(() => '')
  return FIXED_CHAINS.map((chain) => new RegExp(`^\\tchain ${chain} \\{.*?^\\t\\}`, 'ms').exec(text)?.[0] ?? '').join('\n')
}

/** Elements of one of our sets, as nft's JSON has them. @throws {MptcpError} ERR_HOST_COMMAND */
export async function listSet(name: string): Promise<readonly unknown[]> {
  const json = JSON.parse(await run(['nft', '-j', 'list', 'set', ...TABLE.split(' '), name])) as {
    readonly nftables: readonly { readonly set?: { readonly elem?: readonly unknown[] } }[]
  }
  return json.nftables.find((entry) => entry.set !== undefined)?.set?.elem ?? []
}

/** An element with attributes is wrapped in `elem`. */
function elementValue(element: unknown): unknown {
  return typeof element === 'object' && element !== null && 'elem' in element ? (element.elem as { readonly val: unknown }).val : element
}

/** Counters by number of lease. */
export function trafficOf(elements: readonly unknown[]): Map<number, Traffic> {
  const found = new Map<number, Traffic>()
  for (const element of elements) {
    const { val, counter } = (element as { readonly elem?: { readonly val?: number; readonly counter?: Traffic } }).elem ?? {}
    const number = leaseNumber(val ?? 0)
    if (number >= 0 && counter !== undefined) found.set(number, counter)
  }
  return found
}

/** Open flows by number of lease, from the elements of `flows`: mark and port of the client. */
export function flowsOf(elements: readonly unknown[]): Map<number, number> {
  const flows = new Map<number, number>()
  for (const element of elements) {
    const { concat } = elementValue(element) as { readonly concat?: readonly unknown[] }
    const number = leaseNumber(Number(concat?.[0]))
    if (number >= 0) flows.set(number, (flows.get(number) ?? 0) + 1)
  }
  return flows
}
