import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Status } from '../../src/engine/status.js'
import { PROGRAM } from '../../test/e2e/lib/daemon.js'
import type { Background } from '../../test/e2e/lib/exec.js'
import { execOk } from '../../test/e2e/lib/exec.js'
import { CERTIFICATES, clientConf, SERVER_CONF, SERVER_KERNEL } from '../../test/e2e/lib/openvpn.js'
import { type Counters, nstat } from '../../test/e2e/lib/stats.js'
import { Laboratory } from './laboratory.js'

/** The server's own address, for what goes past the daemon, and one that is routed through it. */
export const SERVER = '10.9.2.2'
export const VIA_DAEMON = '10.9.2.3'
const DETOUR = '10.9.3.2'
const CONGESTION = 'cubic'

export type DetourKind = 'nat' | 'openvpn'

/**
 * The evaluation topology with everything in it: a server on kernel MPTCP, a detour that offers address translation and a VPN, and our
 * daemon on the client, which `useDetours` starts anew with those that are to be used.
 */
export class Evaluation {
  readonly lab: Laboratory
  /** For files; removed at the end. */
  readonly dir: string
  /** Name of the daemon's TUN. */
  readonly tun: string
  private token = ''
  private daemon: Background | null = null

  private constructor(lab: Laboratory) {
    this.lab = lab
    this.dir = mkdtempSync(join(tmpdir(), 'mptcpd-evaluation-'))
    this.tun = `ev${process.pid % 100_000}`
  }

  /** Builds it. @param topology a file of `topologies`, without `.toml` */
  static async up(topology: 'core-limited' | 'symmetric', seed?: number): Promise<Evaluation> {
    const file = fileURLToPath(new URL(`topologies/${topology}.toml`, import.meta.url))
    const lab = await Laboratory.up(file, { name: `ev-${process.pid}`, ...(seed === undefined ? {} : { seed }) })
    const evaluation = new Evaluation(lab)
    try {
      await lab.ok('server', ['ip', 'addr', 'add', `${VIA_DAEMON}/32`, 'dev', 'lo'])
      await evaluation.startDetour()
      return evaluation
    } catch (error) {
      await evaluation.down()
      throw error
    }
  }

  /** Both kinds of detour on one host: our daemon with one key, and an OpenVPN server. */
  private async startDetour(): Promise<void> {
    const { lab, dir } = this
    const keys = join(dir, 'keys')
    const { stdout } = await lab.ok('detour', ['node', PROGRAM, 'detour', 'keygen', '--keys', keys, '--name', 'client', '--host', DETOUR])
    this.token = stdout.trim()
    const serve = [
      'detour',
      'serve',
      '--no-config',
      '--keys',
      keys,
      '--control',
      join(dir, 'detour.sock'),
      '--allow-destination',
      '10.9.0.0/16',
    ]
    await lab.spawn('detour', ['node', PROGRAM, ...serve]).waitLine(/\bready\b/, 10_000)

    const vpn = join(dir, 'vpn')
    mkdirSync(vpn)
    await execOk(['sh', '-ec', `cd ${vpn}\nexec 2>/dev/null\n${CERTIFICATES}`])
    writeFileSync(join(vpn, 'server.conf'), SERVER_CONF)
    writeFileSync(join(vpn, 'detour.ovpn'), clientConf(DETOUR))
    await lab.ok('detour', ['sh', '-ec', SERVER_KERNEL])
    await lab.spawn('detour', ['openvpn', '--cd', vpn, '--config', 'server.conf']).waitLine(/Initialization Sequence Completed/, 10_000)
  }

  /** The daemon with these detours, and with these keys of the configuration; a running one is ended first. */
  async useDetours(kinds: readonly DetourKind[], settings = ''): Promise<void> {
    await this.stopDaemon()
    const tables = {
      nat: `[[detour]]\ntype = "nat"\nname = "nat"\ntoken = "${this.token}"\n`,
      openvpn: `[[detour]]\ntype = "openvpn"\nname = "vpn"\nfile = "${join(this.dir, 'vpn', 'detour.ovpn')}"\n`,
    }
    const config = join(this.dir, 'daemon.toml')
    writeFileSync(config, `${settings}\n${kinds.map((kind) => tables[kind]).join('\n')}`, { mode: 0o600 })
    this.daemon = this.lab.spawn('client', ['node', PROGRAM, '--tun', this.tun, '--config', config])
    await this.daemon.waitLine(/\bready\b/, 20_000)
    await this.lab.ok('client', ['ip', 'route', 'replace', `${VIA_DAEMON}/32`, 'dev', this.tun])
    const deadline = performance.now() + 15_000
    for (;;) {
      const detours = (await this.status()).detours ?? []
      if (kinds.length === 0 || (detours.length === kinds.length && detours.every((detour) => detour.state === 'up'))) return
      if (performance.now() > deadline) throw new Error(`the detours do not come up: ${JSON.stringify(detours)}`)
      await sleep(200)
    }
  }

  async stopDaemon(): Promise<void> {
    const code = await this.daemon?.stop('SIGTERM', 15_000)
    this.daemon = null
    if (code !== undefined && code !== 0) throw new Error(`the daemon ended with ${code}`)
  }

  /** What `status --json` says. */
  async status(): Promise<Status> {
    const { stdout } = await this.lab.ok('client', ['node', PROGRAM, 'status', '--json', '--tun', this.tun], { timeoutMs: 10_000 })
    return JSON.parse(stdout) as Status
  }

  /** A program of ours against the daemon, which keeps running. */
  command(...words: string[]): Background {
    return this.lab.spawn('client', ['node', PROGRAM, ...words, '--tun', this.tun])
  }

  /** The server's kernel's counters. */
  serverCounters(): Promise<Counters> {
    return nstat({ ok: (argv, options) => this.lab.ok('server', argv, options) })
  }

  /** Starts what `upload` talks to: iperf3 on kernel MPTCP. */
  async startIperf(): Promise<void> {
    await this.lab.spawn('server', ['mptcpize', 'run', 'iperf3', '--server', '--forceflush']).waitLine(/listening/i)
  }

  /** Upload by an unmodified iperf3. @returns goodput in Mbit/s as the receiver saw it */
  async upload(host: string, seconds: number, tries = 20): Promise<number> {
    const argv = ['iperf3', '--client', host, '--time', String(seconds), '--congestion', CONGESTION, '--json']
    const { stdout } = await this.lab.exec('client', argv, { timeoutMs: (seconds + 60) * 1e3 })
    const { end, error } = JSON.parse(stdout) as {
      end: { sum_received: { bits_per_second: number } }
      error?: string
    }
    if (error !== undefined && /busy/.test(error) && tries > 0) {
      await sleep(1000)
      return this.upload(host, seconds, tries - 1)
    }
    if (error !== undefined) throw new Error(`iperf3 to ${host}: ${error}`)
    return end.sum_received.bits_per_second / 1e6
  }

  /** Removes everything. */
  async down(): Promise<void> {
    await this.stopDaemon().catch(() => {})
    await this.lab.down()
    rmSync(this.dir, { recursive: true, force: true })
  }
}
