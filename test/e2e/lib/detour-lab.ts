import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { IpAddress } from '../../../src/base/address.js'
import { parseAddress } from '../../../src/config/address-text.js'
import { DETOUR_PORT } from '../../../src/config/detour-config.js'
import type { DetourStatus } from '../../../src/detour/daemon/status.js'
import type { DetourKeys } from '../../../src/detour/protocol/keys.js'
import type { MapOp, MappedOp, ReplyOp, RequestOp } from '../../../src/detour/protocol/ops.js'
import { DetourToken } from '../../../src/detour/protocol/token.js'
import { makeNonce, openReply, sealRequest } from '../../../src/detour/protocol/v2.js'
import { ask } from '../../../src/engine/control.js'
import { PROGRAM } from './daemon.js'
import { type Background, becomes, type ExecResult, execOk } from './exec.js'
import { Namespace, removeNamespace, removeStale } from './lab.js'

export const DETOUR_ADDRESS = {
  client4: '10.77.1.1',
  /** A second address of the client. */
  other4: '10.77.1.9',
  client6: 'fd77:0:0:1::1',
  detour4: '10.77.1.2',
  detour6: 'fd77:0:0:1::2',
  /** The detour as the server sees it. */
  far4: '10.77.2.1',
  server4: '10.77.2.2',
  server6: 'fd77:0:0:2::2',
} as const

const PREFIX = 'mptcpd-detour'
const RELAY = fileURLToPath(new URL('udp-relay.py', import.meta.url))
const PYTHON = '/usr/bin/python3'
let nextId = 0

/**
 * client 10.77.1.1 ------ 10.77.1.2 detour 10.77.2.1 ------ 10.77.2.2 server        (fd77:0:0:1::/64, fd77:0:0:2::/64)
 *
 * Nobody has a route beyond its link: what gets through is the detour's doing.
 */
export class DetourLab {
  readonly client: Namespace
  readonly detour: Namespace
  readonly server: Namespace
  /** For files; removed with the lab. */
  readonly dir: string
  readonly keys: string
  readonly control: string

  private constructor() {
    const id = `${process.pid}-${nextId++}`
    this.client = new Namespace(`${PREFIX}-${id}-client`)
    this.detour = new Namespace(`${PREFIX}-${id}-detour`)
    this.server = new Namespace(`${PREFIX}-${id}-server`)
    this.dir = join(tmpdir(), `${PREFIX}-${id}`)
    this.keys = join(this.dir, 'keys')
    this.control = join(this.dir, 'detour.sock')
  }

  static async create(): Promise<DetourLab> {
    removeStale(PREFIX)
    const lab = new DetourLab()
    process.once('exit', () => lab.close())
    const { client, detour, server } = lab
    mkdirSync(lab.dir, { recursive: true })
    for (const ns of [client, detour, server]) {
      await execOk(['ip', 'netns', 'add', ns.name])
      await ns.ok([
        'sysctl',
        '-qw',
        'net.ipv6.conf.default.accept_dad=0',
        'net.ipv4.conf.all.rp_filter=0',
        'net.ipv4.conf.default.rp_filter=0',
      ])
      await ns.ip('link set lo up')
    }
    await detour.ip(
      `link add near type veth peer name eth0 netns ${client.name}\nlink add far type veth peer name eth0 netns ${server.name}`,
    )
    const a = DETOUR_ADDRESS
    await client.ip(
      `addr add ${a.client4}/24 dev eth0\naddr add ${a.other4}/24 dev eth0\naddr add ${a.client6}/64 dev eth0 nodad\nlink set eth0 up`,
    )
    await detour.ip(
      `addr add ${a.detour4}/24 dev near\naddr add ${a.detour6}/64 dev near nodad\nlink set near up\n` +
        `addr add ${a.far4}/24 dev far\naddr add fd77:0:0:2::1/64 dev far nodad\nlink set far up`,
    )
    await server.ip(`addr add ${a.server4}/24 dev eth0\naddr add ${a.server6}/64 dev eth0 nodad\nlink set eth0 up`)
    // A link that comes up late would look like something that the daemon changed.
    const isUp = async () => !/state (DOWN|LOWERLAYERDOWN)|NO-CARRIER/.test((await detour.ok(['ip', 'link', 'show'])).stdout)
    if (!(await becomes(isUp, 5000))) throw new Error('the links of the lab do not come up')
    return lab
  }

  close(): void {
    for (const { name } of [this.client, this.detour, this.server]) removeNamespace(name)
    rmSync(this.dir, { recursive: true, force: true })
  }

  /** Starts the daemon and waits until it is ready. */
  async serve(...args: string[]): Promise<Background> {
    const daemon = this.detour.spawn([
      'node',
      PROGRAM,
      'detour',
      'serve',
      '--no-config',
      '--keys',
      this.keys,
      '--control',
      this.control,
      ...args,
    ])
    await daemon.waitLine(/\bready\b/)
    return daemon
  }

  command(...words: string[]): Promise<ExecResult> {
    return this.detour.exec(['node', PROGRAM, 'detour', ...words], { timeoutMs: 10_000 })
  }

  /** A new key. */
  async keygen(name: string, ...args: string[]): Promise<DetourToken> {
    const { code, stdout, stderr } = await this.command(
      'keygen',
      '--keys',
      this.keys,
      '--name',
      name,
      '--host',
      DETOUR_ADDRESS.detour4,
      ...args,
    )
    if (code !== 0) throw new Error(stderr)
    return DetourToken.parse(stdout.trim())
  }

  /** What the control socket says. */
  async status(): Promise<DetourStatus> {
    return (await ask(this.control, 'status')) as DetourStatus
  }
}

/** A client of the protocol that can do wrong: it says what is put into its mouth. */
export class RawClient {
  /** Everything that came back, in order. */
  readonly received: { readonly from: string; readonly datagram: Buffer }[] = []
  private readonly child: ChildProcessWithoutNullStreams
  private lastUs = 0
  private wake: (() => void) | null = null

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.child = child
  }

  static async start(ns: Namespace): Promise<RawClient> {
    const client = new RawClient(spawn('ip', ['netns', 'exec', ns.name, PYTHON, RELAY]))
    const lines = createInterface(client.child.stdout)
    await new Promise<void>((resolve) => {
      lines.on('line', (line) => {
        if (line === 'ready') return resolve()
        const [from = '', , hex = ''] = line.split(' ')
        client.received.push({ from, datagram: Buffer.from(hex, 'hex') })
        client.wake?.()
      })
    })
    return client
  }

  close(): void {
    this.child.stdin.end()
    this.child.kill()
  }

  send(datagram: Uint8Array, to: string = DETOUR_ADDRESS.detour4): void {
    this.child.stdin.write(`${to} ${DETOUR_PORT} ${Buffer.from(datagram).toString('hex')}\n`)
  }

  /** A nonce that was never used. @param offsetMs how wrong the clock is */
  nonce(offsetMs = 0): Uint8Array {
    this.lastUs = Math.max(this.lastUs + 1, Date.now() * 1000)
    return makeNonce(this.lastUs + offsetMs * 1000, randomInt(2 ** 32))
  }

  /** The next datagram that `opens`, of those that came after `from`; null when none comes in time. */
  async next<T>(opens: (datagram: Buffer) => T | null, timeoutMs = 2000, from = 0): Promise<T | null> {
    const deadline = performance.now() + timeoutMs
    for (let at = from; ; ) {
      for (; at < this.received.length; at++) {
        const found = opens((this.received[at] as { datagram: Buffer }).datagram)
        if (found !== null) return found
      }
      const left = deadline - performance.now()
      if (left <= 0) return null
      await Promise.race([
        sleep(left),
        new Promise<void>((resolve) => {
          this.wake = resolve
        }),
      ])
    }
  }

  /** Asks, once, and waits for the reply. */
  async ask(
    keys: DetourKeys,
    ops: readonly RequestOp[],
    to: string = DETOUR_ADDRESS.detour4,
    nonce = this.nonce(),
    timeoutMs = 2000,
  ): Promise<ReplyOp[] | null> {
    const from = this.received.length
    this.send(sealRequest(keys, nonce, ops) as Buffer, to)
    const text = Buffer.from(nonce).toString('hex')
    return this.next((datagram) => (datagram.toString('hex', 12, 24) === text ? openReply(keys, datagram) : null), timeoutMs, from)
  }

  /** One MAP; null without an answer. */
  async map(keys: DetourKeys, op: Partial<MapOp> & { readonly remote: IpAddress }, to?: string): Promise<MappedOp | null> {
    const [reply] = (await this.ask(keys, [mapOp(op)], to)) ?? []
    return reply?.op === 'mapped' ? reply : null
  }
}

/** A MAP with a fresh id to port 8080, for a minute, at any port, but for what is given. */
export function mapOp(op: Partial<MapOp> & { readonly remote: IpAddress }): MapOp {
  return { op: 'map', mapId: randomBytes(8).toString('hex'), leaseS: 60, remotePort: 8080, detourPort: 0, flags: 0, ...op }
}

export const server4 = parseAddress(DETOUR_ADDRESS.server4)
export const server6 = parseAddress(DETOUR_ADDRESS.server6)
