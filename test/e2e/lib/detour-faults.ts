import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { ask, controlPath } from '../../../src/engine/control.js'
import type { Status } from '../../../src/engine/status.js'
import { Daemon, PROGRAM } from './daemon.js'
import { addDetourHost, CLIENT_DETOUR_DEVICE, DETOUR, slowDownloads } from './detour-host.js'
import { type Background, becomes } from './exec.js'
import { ADDRESS, Lab, type Namespace } from './lab.js'
import { startVpnServer, writeVpnFiles } from './openvpn.js'
import { startServers } from './peers.js'
import { snapshot } from './snapshot.js'

const FLUSH = fileURLToPath(new URL('flush-conntrack.py', import.meta.url))

/** Labels of the paths. */
export const NAT = 'alice'
export const VPN = 'office'
export const LTE = 'lte'

/** A fault: what is done, how one sees that it took place, and which paths must carry bytes again afterwards. */
export interface Fault {
  readonly name: string
  readonly paths: readonly string[]
  /** @returns whether it was seen to take place; everything that it broke is repaired by then */
  inject(lab: FaultLab): Promise<boolean>
}

/**
 * A client with every kind of detour at once: our daemon and a VPN on one host, and a second interface. Each way is slow, so that a
 * transfer needs all of them and lasts.
 */
export class FaultLab {
  readonly lab: Lab
  readonly host: Namespace
  readonly daemon: Daemon
  private detour: Background
  private readonly serveArgv: readonly string[]
  private readonly mbit: number
  private readonly before: readonly (readonly string[])[]

  private constructor(
    lab: Lab,
    host: Namespace,
    daemon: Daemon,
    detour: Background,
    argv: readonly string[],
    before: readonly string[][],
    mbit: number,
  ) {
    this.lab = lab
    this.host = host
    this.daemon = daemon
    this.detour = detour
    this.serveArgv = argv
    this.before = before
    this.mbit = mbit
  }

  /** @param mbit rate of each way from the server */
  static async create(t: Pick<Test, 'teardown'>, mbit: number): Promise<FaultLab> {
    const lab = await Lab.create()
    t.teardown(() => lab.close())
    await startServers(lab)
    const host = await addDetourHost(t, lab)
    await slowDownloads(lab, mbit)
    await lab.client.ip('link del wan2') // it is not there in `before`, since a device that is made anew is another one
    const vpn = await writeVpnFiles(join(lab.dir, 'vpn'))
    await startVpnServer(host, join(lab.dir, 'vpn'))
    const keys = join(lab.dir, 'keys')
    const program = ['node', PROGRAM, 'detour']
    const token = (await host.ok([...program, 'keygen', '--keys', keys, '--name', NAT, '--host', DETOUR.near])).stdout.trim()
    const allow = ['--allow-destination', ADDRESS.serverPrefix4]
    const argv = [...program, 'serve', '--no-config', '--keys', keys, ...allow, '--control', join(lab.dir, 'detour.sock')]
    const config = join(lab.dir, 'daemon.toml')
    const tables = [
      `type = "nat"\nname = "${NAT}"\ntoken = "${token}"`,
      `type = "openvpn"\nname = "${VPN}"\nfile = "${vpn}"`,
      `type = "interface"\nname = "${LTE}"\ndevice = "wan2"\ngateway = "${ADDRESS.serverLink4[1]}"`,
    ]
    writeFileSync(config, `extra-subflows = 3\n${tables.map((text) => `\n[[detour]]\n${text}\n`).join('')}`, { mode: 0o600 })
    const before = await snapshots(lab.client, host)
    const detour = await started(host, argv)
    const daemon = await Daemon.start(lab, { args: ['--config', config] })
    const faults = new FaultLab(lab, host, daemon, detour, argv, before, mbit)
    await faults.addInterface()
    return faults
  }

  /** The second interface appears. */
  async addInterface(): Promise<void> {
    const { client, server } = this.lab
    await client.ip(`link add wan2 type veth peer name net2 netns ${server.name}`)
    await server.ip(`addr add ${ADDRESS.serverLink4[1]}/24 dev net2 noprefixroute
      link set net2 txqueuelen 1000 up
      route add 10.99.2.0/24 dev net2 congctl cubic`)
    await server.ok(`tc qdisc add dev net2 root tbf rate ${this.mbit}mbit burst 64kb latency 50ms`.split(' '))
    await client.ip(`addr add ${ADDRESS.clientLink4[1]}/24 dev wan2\nlink set wan2 txqueuelen 1000 up`)
  }

  async removeInterface(): Promise<void> {
    await this.lab.client.ip('link del wan2')
  }

  /** What the daemon says; asked without a process of its own, which would take longer than what is waited for. */
  async status(): Promise<Status> {
    return (await ask(controlPath(this.daemon.tun), 'status')) as Status
  }

  /** Payload that subflows which are there have received, by path. */
  async received(): Promise<Map<string, number>> {
    const bytes = new Map<string, number>()
    for (const { subflows } of (await this.status()).connections)
      for (const { path, bytesReceived } of subflows) bytes.set(path, (bytes.get(path) ?? 0) + bytesReceived)
    return bytes
  }

  /** Whether each of these paths brings payload, within so long. */
  async carries(paths: readonly string[], timeoutMs: number): Promise<boolean> {
    let last = await this.received()
    const left = new Set(paths)
    return becomes(async () => {
      const now = await this.received()
      for (const path of left) if ((now.get(path) ?? 0) > (last.get(path) ?? Infinity)) left.delete(path)
      last = now
      return left.size === 0
    }, timeoutMs)
  }

  /** Kills the detour's daemon. */
  async killDetour(): Promise<boolean> {
    return (await this.detour.stop('SIGKILL')) === null
  }

  async startDetour(): Promise<void> {
    this.detour = await started(this.host, this.serveArgv)
  }

  /** The detour's kernel forgets every connection, as after a restart. @returns how many there were */
  async flushConntrack(): Promise<number> {
    const count = async () => Number((await this.host.ok(['cat', '/proc/sys/net/netfilter/nf_conntrack_count'])).stdout)
    const n = await count()
    await this.host.ok(['/usr/bin/python3', FLUSH])
    return n
  }

  /** Ends both daemons. @returns what they left behind on the client and on the detour, beside what was there before */
  async end(): Promise<{
    readonly codes: readonly (number | null)[]
    readonly now: readonly string[][]
    readonly before: FaultLab['before']
  }> {
    await this.removeInterface()
    const codes = [await this.daemon.stop(), await this.detour.stop()]
    return { codes, now: await snapshots(this.lab.client, this.host), before: this.before }
  }
}

/** Sorted, because the kernel lists a link's own routes in the order in which links came up last. */
async function snapshots(...hosts: readonly Namespace[]): Promise<string[][]> {
  return Promise.all(hosts.map(async (host) => (await snapshot(host)).sort()))
}

async function started(host: Namespace, argv: readonly string[]): Promise<Background> {
  const daemon = host.spawn(argv)
  await daemon.waitLine(/\bready\b/)
  return daemon
}

/** The daemon of the detour dies and comes back; its kernel carries on what there is meanwhile. */
export const DAEMON_KILLED: Fault = {
  name: 'the daemon of the detour is killed and started again',
  paths: [NAT],
  async inject(lab) {
    const isKilled = await lab.killDetour()
    const carries = await lab.carries([NAT], 3_000)
    await lab.startDetour()
    return isKilled && carries
  },
}

/** The detour forgets everything: no table, no tracked connection; the daemon lives. */
export const TABLE_FLUSHED: Fault = {
  name: 'the rules of the detour are flushed, and the connections that its kernel tracks',
  paths: [NAT],
  async inject(lab) {
    const id = await subflowOf(lab, NAT)
    await lab.host.ok(['nft', 'delete', 'table', 'inet', 'mptcpd_detour'])
    const n = await lab.flushConntrack()
    return id !== null && n > 0 && becomes(async () => (await subflowOf(lab, NAT)) !== id, 8_000)
  },
}

export const VPN_KILLED: Fault = {
  name: 'openvpn is killed',
  paths: [VPN],
  async inject(lab) {
    const vpn = async () => (await lab.status()).detours?.find((detour) => detour.name === VPN)
    const pid = (await vpn())?.pid ?? 0
    if (pid === 0) return false
    process.kill(pid, 'SIGKILL')
    return becomes(async () => (await vpn())?.pid !== pid, 3_000)
  },
}

export const INTERFACE_REMOVED: Fault = {
  name: 'an interface is removed and made anew',
  paths: [LTE],
  async inject(faults) {
    await faults.removeInterface()
    const state = async () => (await faults.status()).detours?.find((detour) => detour.name === LTE)?.state
    const isGone = await becomes(async () => (await state()) === 'waiting', 3_000)
    await faults.addInterface()
    return isGone
  },
}

/** @param seconds for which nothing gets to the detour or back */
export function hostUnreachable(seconds: number): Fault {
  return {
    name: `the detour cannot be reached for ${seconds} s`,
    paths: [NAT, VPN],
    async inject(lab) {
      await lab.host.ip('link set near0 down')
      const { stdout } = await lab.lab.client.ok(['ip', 'link', 'show', CLIENT_DETOUR_DEVICE])
      await sleep(1000)
      const isSilent = !(await lab.carries([NAT], (seconds - 1) * 1000))
      await lab.host.ip('link set near0 up')
      return isSilent && /NO-CARRIER|LOWERLAYERDOWN/.test(stdout)
    },
  }
}

/** Number of the subflow by a path, null: none. */
async function subflowOf(lab: FaultLab, path: string): Promise<number | null> {
  const subflows = (await lab.status()).connections.flatMap((connection) => connection.subflows)
  return subflows.find((subflow) => subflow.path === path && subflow.phase === 'open')?.id ?? null
}
