import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CONTROL_DIR, controlPath } from '../../../src/engine/control.js'
import { statePath } from '../../../src/host/state-file.js'
import { Background, type ExecOptions, type ExecResult, exec, execOk } from './exec.js'

/** Addresses of the lab; every lab has namespaces of its own, so they never collide. */
export const ADDRESS = {
  /** The server's address behind both links, which tests route through the TUN. */
  server4: '203.0.113.1',
  server6: '2001:db8:113::1',
  serverPrefix4: '203.0.113.0/24',
  serverPrefix6: '2001:db8:113::/48',
  /** Nobody owns these; the server answers with an ICMP error. */
  unreachable4: '203.0.113.77',
  unreachable6: '2001:db8:113::77',
  /** The ends of link n (index n - 1). */
  clientLink4: ['10.99.1.1', '10.99.2.1'],
  serverLink4: ['10.99.1.2', '10.99.2.2'],
  clientLink6: ['fd99:0:0:1::1', 'fd99:0:0:2::1'],
  serverLink6: ['fd99:0:0:1::2', 'fd99:0:0:2::2'],
} as const

/** Devices of link n (index n - 1), in the client's and in the server's namespace. */
export const CLIENT_DEVICES = ['wan1', 'wan2'] as const
export const SERVER_DEVICES = ['net1', 'net2'] as const

const CONGESTION_CONTROL = 'cubic'

/** A network namespace and what can be run in it. */
export class Namespace {
  readonly name: string

  constructor(name: string) {
    this.name = name
  }

  /** Runs a command to its end, whatever its exit code. */
  exec(argv: readonly string[], options?: ExecOptions): Promise<ExecResult> {
    return exec(this.argv(argv), options)
  }

  /** Runs a command that must succeed. */
  ok(argv: readonly string[], options?: ExecOptions): Promise<ExecResult> {
    return execOk(this.argv(argv), options)
  }

  /** Starts a command that keeps running; the lab ends it at the latest. */
  spawn(argv: readonly string[], env?: Readonly<Record<string, string>>): Background {
    return new Background(this.argv(argv), env)
  }

  /** Runs `ip` commands, one a line, and stops at the first that fails. `family` is for those whose addresses do not show it. */
  async ip(lines: string, family: 4 | 6 | null = null): Promise<void> {
    await this.ok(['ip', ...(family === null ? [] : [`-${family}`]), '-batch', '-'], { input: `${lines}\n` })
  }

  private argv(argv: readonly string[]): string[] {
    return ['ip', 'netns', 'exec', this.name, ...argv]
  }
}

/**
 * Two hosts joined by two links:
 *
 *   +-- client ----------+                                        +-- server -------------+
 *   |  wan1  10.99.1.1   |=== veth, fd99:0:0:1::/64 ==============|  net1  10.99.1.2      |  lo 203.0.113.1
 *   |  wan2  10.99.2.1   |=== veth, fd99:0:0:2::/64 ==============|  net2  10.99.2.2      |     2001:db8:113::1
 *   +--------------------+                                        +-----------------------+
 *
 * The client's default routes go by link 1, so that it reaches the server's addresses with or without a TUN. Namespaces and the directory carry the owner's pid: what a killed run left is removed by the next.
 */
export class Lab {
  readonly client: Namespace
  readonly server: Namespace
  /** A directory for files, removed with the lab. */
  readonly dir: string
  /** A name for a TUN that no other lab on this machine has. */
  readonly tun: string
  private isClosed = false
  private readonly onExit = (): void => this.closeSync()
  private readonly onSignal = (signal: NodeJS.Signals): void => {
    this.closeSync()
    process.exit(signal === 'SIGINT' ? 130 : 143)
  }

  private constructor(prefix: string, id: string) {
    this.client = new Namespace(`${prefix}-${id}-client`)
    this.server = new Namespace(`${prefix}-${id}-server`)
    this.dir = join(tmpdir(), `${prefix}-${id}`)
    this.tun = `tl${id}`
    process.on('exit', this.onExit)
    process.on('SIGINT', this.onSignal)
    process.on('SIGTERM', this.onSignal)
    process.on('SIGHUP', this.onSignal)
  }

  /** Builds a lab. `prefix` names the kind of user (letters, digits and dashes) and scopes the removal of stale labs. */
  static async create(prefix = 'mptcpd-e2e'): Promise<Lab> {
    if (process.getuid?.() !== 0) throw new Error('network namespaces need root: run this as root (sudo)')
    removeStale(prefix)
    const lab = new Lab(prefix, `${process.pid}-${nextId++}`)
    try {
      await lab.build()
    } catch (error) {
      lab.closeSync()
      throw error
    }
    return lab
  }

  /** Ends every process in the lab's namespaces and removes all that the lab made. */
  async close(): Promise<void> {
    this.closeSync()
  }

  private closeSync(): void {
    if (this.isClosed) return
    this.isClosed = true
    for (const name of [this.client.name, this.server.name]) removeNamespace(name)
    rmSync(this.dir, { recursive: true, force: true })
    rmSync(controlPath(this.tun), { force: true })
    rmSync(statePath(this.tun), { force: true })
    process.off('exit', this.onExit)
    process.off('SIGINT', this.onSignal)
    process.off('SIGTERM', this.onSignal)
    process.off('SIGHUP', this.onSignal)
  }

  private async build(): Promise<void> {
    const { client, server } = this
    mkdirSync(this.dir, { recursive: true, mode: 0o755 })
    await execOk(['ip', 'netns', 'add', client.name])
    await execOk(['ip', 'netns', 'add', server.name])
    const sysctls = [
      'net.ipv4.conf.all.rp_filter=0',
      'net.ipv4.conf.default.rp_filter=0',
      'net.ipv4.tcp_no_metrics_save=1',
      'net.ipv6.conf.default.accept_dad=0',
    ]
    await client.ok(['sysctl', '-qw', ...sysctls])
    // The server forwards, so that it answers for addresses that nobody owns.
    await server.ok(['sysctl', '-qw', ...sysctls, 'net.mptcp.enabled=1', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'])
    await server.ok(['ip', 'mptcp', 'limits', 'set', 'subflows', '8', 'add_addr_accepted', '8'])
    await this.buildLinks()
    await this.buildRoutes()
  }

  private async buildLinks(): Promise<void> {
    const { client, server } = this
    for (const n of [0, 1] as const) {
      const [wan, net] = [CLIENT_DEVICES[n], SERVER_DEVICES[n]]
      await client.ip(`link add ${wan} type veth peer name ${net} netns ${server.name}`)
      // noprefixroute: the routes are added by hand below, because only a route can pin the congestion control (see there).
      await client.ip(`addr add ${ADDRESS.clientLink4[n]}/24 dev ${wan} noprefixroute
        addr add ${ADDRESS.clientLink6[n]}/64 dev ${wan} nodad noprefixroute
        link set ${wan} txqueuelen 1000 up`)
      await server.ip(`addr add ${ADDRESS.serverLink4[n]}/24 dev ${net} noprefixroute
        addr add ${ADDRESS.serverLink6[n]}/64 dev ${net} nodad noprefixroute
        link set ${net} txqueuelen 1000 up`)
    }
    await client.ip('link set lo up')
    await server.ip(`link set lo up\naddr add ${ADDRESS.server4}/32 dev lo\naddr add ${ADDRESS.server6}/128 dev lo nodad`)
  }

  private async buildRoutes(): Promise<void> {
    // Linux: a namespace may set tcp_congestion_control only to an algorithm that the host allows to the unprivileged, and the
    // default may be one (bbr) that does badly over veth. `congctl` on the routes needs no permission.
    const cc = `congctl ${CONGESTION_CONTROL}`
    for (const n of [0, 1] as const) {
      for (const [ns, device] of [[this.client, CLIENT_DEVICES[n]] as const, [this.server, SERVER_DEVICES[n]] as const]) {
        await ns.ip(`route add 10.99.${n + 1}.0/24 dev ${device} ${cc}`)
        await ns.ip(`route add fd99:0:0:${n + 1}::/64 dev ${device} ${cc}`, 6)
      }
    }
    await this.client.ip(`route add default via ${ADDRESS.serverLink4[0]} metric 1000 ${cc}`)
    await this.client.ip(`route add default via ${ADDRESS.serverLink6[0]} metric 1000 ${cc}`, 6)
    await this.server.ip(`route add unreachable ${ADDRESS.unreachable4}/32`)
    await this.server.ip(`route add unreachable ${ADDRESS.unreachable6}/128`, 6)
  }

  /** Sends the server's prefixes through `device` of the client (a TUN), as a user does it by hand. */
  async routeThrough(device: string): Promise<void> {
    const cc = `congctl ${CONGESTION_CONTROL}`
    await this.client.ip(`route add ${ADDRESS.serverPrefix4} dev ${device} ${cc}`)
    await this.client.ip(`route add ${ADDRESS.serverPrefix6} dev ${device} ${cc}`, 6)
  }
}

let nextId = 0

/** Removes the labs and directories of `prefix` whose owner is gone. */
export function removeStale(prefix: string): void {
  const pattern = new RegExp(`^${prefix}-(\\d+)-\\d+(-client|-server|-lan|-detour)?$`)
  const isStale = (name: string): boolean => {
    const pid = Number(pattern.exec(name)?.[1] ?? process.pid)
    return pid !== process.pid && !isAlive(pid)
  }
  for (const name of listNamespaces().filter(isStale)) removeNamespace(name)
  for (const name of readdirSync(tmpdir()).filter(isStale)) rmSync(join(tmpdir(), name), { recursive: true, force: true })
  const isStaleSocket = (name: string): boolean => {
    const pid = Number(/^tl(\d+)-\d+\.(sock|state\.json)$/.exec(name)?.[1] ?? process.pid)
    return pid !== process.pid && !isAlive(pid)
  }
  if (existsSync(CONTROL_DIR)) for (const name of readdirSync(CONTROL_DIR).filter(isStaleSocket)) rmSync(join(CONTROL_DIR, name))
}

export function listNamespaces(): string[] {
  const { stdout } = spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' })
  return stdout
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((name) => name !== '')
}

/** Ends what runs in a namespace, politely for five seconds, and removes it. Synchronous, because it also runs in exit handlers. */
export function removeNamespace(name: string): void {
  if (!listNamespaces().includes(name)) return
  const pids = (): number[] => {
    const { stdout } = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' })
    return stdout.split('\n').filter(Boolean).map(Number)
  }
  const signal = (signalName: NodeJS.Signals): void => {
    for (const pid of pids()) {
      try {
        process.kill(pid, signalName)
      } catch {
        // It ended in between.
      }
    }
  }
  signal('SIGTERM')
  const deadline = performance.now() + 5_000
  while (pids().length > 0 && performance.now() < deadline) spawnSync('sleep', ['0.05'])
  signal('SIGKILL')
  spawnSync('ip', ['netns', 'del', name])
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
