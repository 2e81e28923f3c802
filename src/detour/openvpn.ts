import { type ChildProcess, spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { OWN_MARK } from '../host/numbers.js'
import type { HostFacts } from '../host/facts.js'
import type { AddressSet } from '../pathmgr/path.js'
import { InterfacePaths } from './interface-paths.js'
import { readVpnFile, type VpnFile } from './openvpn-file.js'
import { addressesOf, complaintOf, ManagementReader, RELEASE, type VpnAddresses, type VpnEvent } from './openvpn-management.js'
import { type DetourProvider, type DetourSettings, type DetourState, type DetourStatus, type ProviderHost, Signal } from './provider.js'

/** Wait before the n-th attempt in a row that failed: 1, 2, 4, ... 60 s. */
const FIRST_WAIT_MS = 1000
const LAST_WAIT_MS = 60_000
/** How long it may take to end when asked to. */
const END_MS = 2000
const DEFAULT_MTU = 1500
/** IPv6 needs as much (RFC 8200 §5). */
const LEAST_MTU = 1280

export interface OpenVpnSpec {
  readonly name: string
  /** The .ovpn file. */
  readonly file: string
  readonly allowScripts: boolean
  readonly destinations: readonly AddressSet[]
  /** Bytes of the largest packet through it, 0: what fits into the default egress. */
  readonly mtu: number
  readonly isBackup: boolean
  readonly cost: number
}

/**
 * A VPN by the real `openvpn`, as a child process that does the tunnel and nothing else: no routes, no addresses, no scripts. What it
 * does is told by its management socket, never by its log.
 *
 *     spawn -> HOLD -> release -> UP (addresses) -> CONNECTED -> device set up -> paths        ... RECONNECTING, HOLD -> wait -> release
 *       ^------------- wait 1..60 s <- it ended <---------------------------------'
 *
 * When this process dies, its end of the socket goes, and openvpn with its device follows within half a second.
 */
export class OpenVpnDetour implements DetourProvider {
  readonly name: string
  readonly settled: Promise<void>
  private readonly ready = new Signal()
  private spec: OpenVpnSpec
  private host: ProviderHost | null = null
  private paths: InterfacePaths | null = null
  private device = ''
  private child: ChildProcess | null = null
  private socket: Socket | null = null
  private server: Server | null = null
  private timer: NodeJS.Timeout | null = null
  private file: VpnFile | null = null
  private addresses: VpnAddresses = { address4: null, address6: null, mtu: 0 }
  private peer: string | null = null
  private isConnected = false
  private wasUp = false
  private isTold = false
  private isHopeless = false
  private failures = 0
  private lastError: string | null = null
  private isStopped = false
  private setup: Promise<void> = Promise.resolve()
  private onEnded: () => void = () => {}

  constructor(spec: OpenVpnSpec) {
    this.name = spec.name
    this.spec = spec
    this.settled = this.ready.done
  }

  start(host: ProviderHost): void {
    this.host = host
    this.device = host.takeDeviceName('ovpn')
    const { isBackup, cost, destinations } = this.spec
    const source = { source: this.device, gateway: null, destination: null, destinationPort: 0, mtu: 0 }
    const paths = new InterfacePaths({ label: this.name, kind: 'openvpn', ...source, destinations, isBackup, cost }, host)
    paths.onSettled = () => this.onPaths(paths.isUp)
    this.paths = paths
    this.launch()
  }

  onHostChange(_facts: HostFacts): void {
    this.paths?.follow(this.isConnected)
  }

  set(settings: DetourSettings): void {
    this.spec = { ...this.spec, ...settings }
    this.paths?.set(settings)
  }

  status(): DetourStatus {
    const isUp = this.paths?.isUp === true
    const down: DetourState = this.isHopeless ? 'failed' : this.wasUp ? 'waiting' : 'starting'
    return {
      name: this.name,
      type: 'openvpn',
      state: isUp ? 'up' : down,
      device: this.device,
      peer: this.peer,
      rttUs: null,
      loss: null,
      leases: null,
      pid: this.child?.pid ?? null,
      isBackup: this.spec.isBackup,
      cost: this.spec.cost,
      lastError: isUp ? null : (this.lastError ?? (this.isConnected ? (this.paths?.lastError ?? null) : null)),
    }
  }

  async stop(): Promise<void> {
    this.isStopped = true
    if (this.timer !== null) clearTimeout(this.timer)
    this.isConnected = false
    this.paths?.follow(false)
    await this.end()
    await this.setup
    await this.paths?.stop()
    this.host?.giveDeviceName(this.device)
    this.ready.fire()
  }

  // ---------------------------------------------------------------- the child

  private launch(): void {
    const host = this.host as ProviderHost
    try {
      this.file = readVpnFile(this.spec.file, this.spec.allowScripts)
    } catch (error) {
      this.isHopeless = true
      this.retry(error instanceof Error ? error.message : String(error))
      return
    }
    const path = host.socketPath(this.device)
    rmSync(path, { force: true })
    const server = createServer((socket) => this.onSocket(socket))
    this.server = server
    server.on('error', (error) => this.retry(`the management socket ${path}: ${error.message}`))
    // Whoever may connect could claim anything about the VPN: root only, from the first moment.
    const mask = process.umask(0o177)
    server.listen(path)
    process.umask(mask)
    server.on('listening', () => this.spawnChild(path))
  }

  private spawnChild(socketPath: string): void {
    if (this.isStopped) {
      this.closeServer()
      return
    }
    const words = argvOf(this.device, socketPath, this.spec.allowScripts)
    const child = spawn('openvpn', words, {
      cwd: dirname(this.spec.file),
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    })
    this.child = child
    let complaint: string | null = null
    for (const stream of [child.stdout, child.stderr]) {
      eachLine(stream, (line) => {
        complaint = complaintOf(line) ?? complaint
      })
    }
    let isOver = false
    const over = (how: string): void => {
      if (isOver) return
      isOver = true
      this.child = null
      this.closeServer()
      this.socket?.destroy()
      this.socket = null
      this.onEnded()
      this.lost()
      if (!this.isStopped) this.retry(complaint === null ? how : `${how}: ${complaint}`)
    }
    child.on('error', (error: NodeJS.ErrnoException) => {
      this.isHopeless = true
      over(error.code === 'ENOENT' ? 'openvpn is not installed: apt-get install openvpn' : `openvpn: ${error.message}`)
    })
    child.on('close', (code, signal) => over(`openvpn ended (${signal ?? `exit code ${code}`})`))
    child.stdin.on('error', () => {}) // EPIPE: 'close' follows
    child.stdin.end(this.file?.text ?? '')
  }

  private onSocket(socket: Socket): void {
    if (this.socket !== null || this.child === null) {
      socket.destroy()
      return
    }
    this.socket = socket
    this.closeServer() // one child, one connection
    const reader = new ManagementReader()
    socket.setEncoding('utf8')
    socket.on('error', () => {}) // its end follows
    socket.on('data', (text: string) => {
      for (const event of reader.read(text)) this.onEvent(event)
    })
  }

  private onEvent(event: VpnEvent): void {
    if (event.kind === 'hold') this.release()
    else if (event.kind === 'up') {
      this.addresses = addressesOf(event.env)
      this.peer = event.env.get('trusted_ip') ?? event.env.get('trusted_ip6') ?? null
    } else if (event.kind === 'down') this.lost()
    else if (event.kind === 'state') this.onState(event.state, event.detail)
    else if (event.kind === 'password')
      this.giveUp(`it asks for '${event.what}': put a line 'auth-user-pass FILE' or 'askpass FILE' into ${this.spec.file}`)
    else if (event.kind === 'refused')
      this.giveUp(`'${event.what}' was refused: mend the user name or password that ${this.spec.file} names`)
    else if (event.kind === 'fatal' || event.kind === 'error') this.complain(event.text)
  }

  private onState(state: string, detail: string): void {
    if (state === 'CONNECTED') this.connected()
    if (state !== 'RECONNECTING' && state !== 'EXITING') return
    if (state === 'RECONNECTING') this.failures++
    this.complain(`no connection (${detail})`)
    this.lost()
  }

  /** Leave to connect: at once at first, later after a wait. */
  private release(): void {
    const { socket } = this
    const send = (): void => {
      this.timer = null
      if (socket?.writable === true) socket.write(`${RELEASE.join('\n')}\n`)
    }
    if (this.failures === 0) send()
    else this.later(send)
  }

  /** It is of no use at the moment: next time from the start. */
  private retry(why: string): void {
    this.closeServer()
    this.complain(why)
    this.failures++
    this.ready.fire()
    this.later(() => {
      this.timer = null
      this.launch()
    })
  }

  private later(run: () => void): void {
    if (this.isStopped) return
    const wait = Math.min(LAST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.max(0, this.failures - 1))
    if (this.timer !== null) clearTimeout(this.timer)
    this.timer = setTimeout(run, wait)
  }

  private giveUp(why: string): void {
    this.isHopeless = true
    this.complain(why)
    this.child?.kill('SIGTERM')
  }

  private complain(why: string): void {
    if (this.isStopped) return
    this.lastError = why
    this.host?.log.warn('a VPN does not work', { detour: this.name, reason: why, attempts: this.failures + 1 })
  }

  private closeServer(): void {
    const { server } = this
    this.server = null
    server?.close() // removes its path too
  }

  private async end(): Promise<void> {
    const { child } = this
    if (child !== null) {
      const ended = new Promise<void>((resolve) => {
        this.onEnded = resolve
      })
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), END_MS)
      await ended
      clearTimeout(timer)
    }
    this.closeServer()
  }

  // ---------------------------------------------------------------- the device

  /** Also after a reconnect: the device may be another one than before. */
  private connected(): void {
    this.failures = 0
    this.isHopeless = false
    this.isConnected = true
    this.setup = this.setup
      .then(() => this.setUpDevice())
      .then(() => this.paths?.follow(this.isConnected))
      .catch((error: unknown) => {
        this.complain(error instanceof Error ? error.message : String(error))
        this.ready.fire()
      })
  }

  private async setUpDevice(): Promise<void> {
    const { addresses, device } = this
    const host = this.host as ProviderHost
    const add = (address: string, ...more: string[]) =>
      host.run(['ip', 'address', 'replace', address, 'dev', device, ...more, 'noprefixroute'])
    if (addresses.address4 !== null) await add(`${addresses.address4}/32`)
    await host.run(['ip', 'link', 'set', device, 'up', 'mtu', String(this.mtu())])
    if (addresses.address6 !== null && host.families.includes(6)) await add(`${addresses.address6}/128`, 'nodad')
  }

  /** What fits through: into the default egress with the VPN's own headers around it, and as both its ends agreed. */
  private mtu(): number {
    const { addresses, file, spec } = this
    const host = this.host as ProviderHost
    const outer = Math.min(...host.defaultDevices().flatMap((device) => host.facts.links.get(device)?.mtu ?? []), Number.MAX_SAFE_INTEGER)
    const fits = (outer === Number.MAX_SAFE_INTEGER ? DEFAULT_MTU : outer) - (file?.overhead ?? 0)
    const wanted = [addresses.mtu, spec.mtu].filter((mtu) => mtu !== 0)
    const least = addresses.address6 === null ? 576 : LEAST_MTU
    return Math.max(least, Math.min(fits, ...wanted))
  }

  private lost(): void {
    this.isConnected = false
    this.paths?.follow(false)
  }

  private onPaths(isUp: boolean): void {
    if (isUp) {
      this.lastError = null
      this.ready.fire()
    }
    if (isUp && !this.isTold) this.host?.log.info('a VPN is up', { detour: this.name, device: this.device, peer: this.peer ?? '' })
    this.wasUp ||= isUp
    this.isTold = isUp
  }
}

/** The child's command line. The file comes by its standard input, so that what was checked is what is run. */
function argvOf(device: string, socketPath: string, allowScripts: boolean): string[] {
  return [
    ...['--config', 'stdin', '--dev', device, '--dev-type', 'tun', '--route-noexec', '--ifconfig-noexec'],
    ...['--script-security', allowScripts ? '2' : '1', '--mark', String(OWN_MARK)],
    ...['--management', socketPath, 'unix', '--management-client', '--management-hold', '--management-query-passwords'],
    ...['--management-signal', '--management-up-down', '--auth-nocache', '--connect-retry', '1', '8', '--reneg-bytes', '0'],
    ...['--persist-tun', '--verb', '3'],
  ]
}

function eachLine(stream: NodeJS.ReadableStream, onLine: (line: string) => void): void {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = (lines.pop() ?? '').slice(0, 4096)
    for (const line of lines) onLine(line)
  })
}
