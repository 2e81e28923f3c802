import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { MptcpError } from '../base/errors.js'

/** Success is silent, so a harmless question marks the end of what was sent. */
const END_MARK = 'describe ct state'
const END_ANSWER = 'datatype ct_state'

/**
 * The one `nft -i` that holds our table. The table has `flags owner`: only this process may change it, a foreign
 * `flush ruleset` skips it, and it goes with the process, which ends when its stdin does, at the latest with the daemon.
 */
export class NftChild {
  isEnded = false
  private readonly child: ChildProcessWithoutNullStreams
  private readonly ended: Promise<void>
  private how = ''
  private out = ''
  private err = ''
  private wake: (() => void) | null = null
  private queue: Promise<unknown> = Promise.resolve()

  /** @param onEnd called once when the process has ended, for whatever reason. */
  constructor(onEnd: () => void = () => {}) {
    this.child = spawn('nft', ['-i'], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.out += text
      this.wake?.()
    })
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.err += text
    })
    this.child.stdin.on('error', () => {}) // EPIPE: 'close' follows and tells it
    this.ended = new Promise((resolve) => {
      const end = () => {
        if (this.isEnded) return
        this.isEnded = true
        this.wake?.()
        resolve()
        onEnd()
      }
      this.child.on('close', (code, signal) => {
        this.how = `the nft process ended (${signal ?? `exit code ${code}`})`
        end()
      })
      this.child.on('error', (error) => {
        this.err += error.message
        end()
      })
    })
  }

  /** Sends commands, one transaction a line, and waits for their execution. @throws {MptcpError} ERR_NFT */
  send(lines: readonly string[]): Promise<void> {
    const sent = this.queue.then(() => this.sendNow(lines))
    this.queue = sent.catch(() => {})
    return sent
  }

  private async sendNow(lines: readonly string[]): Promise<void> {
    this.out = ''
    this.err = ''
    if (!this.isEnded) this.child.stdin.write(`${lines.join('\n')}\n${END_MARK}\n`)
    while (!this.isEnded && !this.out.includes(END_ANSWER)) {
      await new Promise<void>((resolve) => {
        this.wake = resolve
      })
    }
    this.wake = null
    // Errors come by another pipe than the end mark, but before it: what is readable by now is read in this turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve))
    if (this.err !== '' || this.isEnded)
      throw new MptcpError('ERR_NFT', `nft: ${[this.err.trim(), this.how].filter((part) => part !== '').join('; ')}`)
  }

  /** Ends the process and with it the table. */
  async end(): Promise<void> {
    this.child.stdin.end()
    await this.ended
  }
}

/** What our table does for one family. */
export interface NftScope {
  readonly family: 4 | 6
  /** The stack's prefix, as text: what leaves with such a source is ours. */
  readonly prefix: string
}

/** An address of the host whose connections to a port the stack takes up. */
export interface ServedAddress {
  readonly family: 4 | 6
  /** As text; null: every local address. */
  readonly address: string | null
  readonly port: number
  /** The stack address that they are led to. */
  readonly to: string
}

/** Name of our table, of family inet. */
export function tableName(tun: string): string {
  return `mptcpd_user_${tun.replaceAll(/\W/g, '_')}`
}

/**
 * The lines that build our table: masquerade of the stack's sources, loop guard, leak guard, and what keeps the host from being a
 * router for those behind interfaces that we opened.
 */
export function ownTable(tun: string, scopes: readonly NftScope[], served: readonly ServedAddress[] = []): string[] {
  const table = tableName(tun)
  const add = (chain: string, rule: string) => `add rule inet ${table} ${chain} ${rule}`
  const saddr = (scope: NftScope) => `${scope.family === 4 ? 'ip' : 'ip6'} saddr ${scope.prefix} oifname != "${tun}"`
  const family = (scope: NftScope) => `meta nfproto ipv${scope.family}`
  return [
    `add table inet ${table} { flags owner; comment "mptcpd-user on ${tun}"; }`,
    `add set inet ${table} opened4 { type ifname; }`,
    `add set inet ${table} opened6 { type ifname; }`,
    `add chain inet ${table} postrouting { type nat hook postrouting priority srcnat; policy accept; }`,
    `add chain inet ${table} forward { type filter hook forward priority filter; policy accept; }`,
    ...scopes.map((scope) => add('postrouting', `${saddr(scope)} counter masquerade`)),
    ...(served.length === 0 ? [] : [`add chain inet ${table} prerouting { type nat hook prerouting priority dstnat; policy accept; }`]),
    ...served.map((s) => {
      const ip = s.family === 4 ? 'ip' : 'ip6'
      const to = s.address === null ? `meta nfproto ipv${s.family} fib daddr type local` : `${ip} daddr ${s.address}`
      return add('prerouting', `iifname != "${tun}" ${to} tcp dport ${s.port} counter dnat ${ip} to ${s.to}`)
    }),
    // Loop guard: what the stack wrote must never come back to it.
    add('forward', `iifname "${tun}" oifname "${tun}" counter drop`),
    // Leak guard: conntrack does not translate what it finds invalid; it would leave with the stack's address.
    ...scopes.map((scope) => add('forward', `${saddr(scope)} ct state invalid counter drop`)),
    // Router guard: no way through the host but to the TUN.
    ...scopes.map((scope) => add('forward', `${family(scope)} iifname @opened${scope.family} oifname != "${tun}" counter drop`)),
  ]
}

/** The line that says which interfaces forward because of us. */
export function openedSet(tun: string, family: 4 | 6, devices: readonly string[]): string {
  const set = `inet ${tableName(tun)} opened${family}`
  const list = devices.map((device) => `"${device}"`).join(', ')
  return `flush set ${set}${devices.length === 0 ? '' : `; add element ${set} { ${list} }`}`
}
