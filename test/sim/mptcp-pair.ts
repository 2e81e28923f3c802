import { IpAddress } from '../../src/base/address.js'
import { Rng } from '../../src/base/rng.js'
import { type Micros, US_PER_MS } from '../../src/base/time.js'
import { type Path, path } from '../../src/pathmgr/path.js'
import { VirtualLoop } from './loop.js'
import { MptcpHost, type MptcpHostConfig, type MptcpSocket } from './mptcp-host.js'
import { type PathPairConfig, Paths } from './paths.js'
import { type Watch, watched } from './recording.js'
import { exchange, type Paces, type TransferResult } from './transfer.js'

export interface MptcpPairConfig {
  readonly seed: number
  /** The first one carries the initial subflow; the others become joins. */
  readonly paths: readonly PathPairConfig[]
  readonly client?: MptcpHostConfig
  readonly server?: MptcpHostConfig
  /** A path whose subflow ended is opened again after so long; 0: never. Default 200 ms. */
  readonly reviveUs?: Micros
  readonly watch?: Watch
}

const SERVER = IpAddress.v4(0xcb007105)
const PORT = 80
/** Longest wait before a path is tried again. */
const REVIVE_MAX_US: Micros = 2000 * US_PER_MS

/** Last word of the address under which a NAT on path `i` shows the client. */
export const publicWord = (i: number): number => (0xc6336401 + i) | 0
export const clientAddress = (i: number): IpAddress => IpAddress.v4(0x0a000001 + (i << 8))

/** Two MPTCP hosts, several paths between them, and the least of a path manager: every path has a subflow, and gets another when that ends. */
export class MptcpPair {
  readonly loop = new VirtualLoop()
  readonly rng: Rng
  readonly client: MptcpHost
  readonly server: MptcpHost
  readonly paths: Paths
  /** The client's socket of the last `connect`. */
  socket!: MptcpSocket
  /** Subflows opened anew. */
  revived = 0
  private readonly routes: Path[]
  private readonly reviveUs: Micros
  private readonly waits: Micros[]
  private readonly isWaiting: boolean[]

  constructor(config: MptcpPairConfig) {
    const { loop } = this
    this.rng = new Rng(config.seed)
    this.client = new MptcpHost(loop, this.rng.fork(), config.client)
    this.server = new MptcpHost(loop, this.rng.fork(), config.server)
    this.routes = config.paths.map((_, i) => path({ id: i, label: `path${i}`, source: clientAddress(i) }))
    this.reviveUs = config.reviveUs ?? 200 * US_PER_MS
    this.waits = this.routes.map(() => this.reviveUs)
    this.isWaiting = this.routes.map(() => false)
    const addresses = config.paths.map((_, i) => [clientAddress(i).w3, publicWord(i)])
    this.paths = new Paths(loop, this.rng.fork(), config.paths, addresses, this.client.device.in, this.server.device.in)
    this.client.device.out = watched(loop, config.watch, true, this.paths.up.in)
    this.server.device.out = watched(loop, config.watch, false, this.paths.down.in)
  }

  /** Opens a connection with a subflow on every path. */
  connect(): MptcpSocket {
    const [first, ...others] = this.routes
    const socket = this.client.connect(first as Path, SERVER, PORT)
    this.socket = socket
    socket.onSubflows = () => this.revive()
    for (const other of others) socket.addPath(other)
    return socket
  }

  listen(onSocket: (socket: MptcpSocket) => void): void {
    this.server.listen(PORT, onSocket)
  }

  /** Transfers `upLen` and `downLen` bytes at once over one connection. @param limitUs gives up after this. */
  transfer(upLen: number, downLen: number, paces: Paces = {}, limitUs?: Micros): TransferResult {
    return exchange(
      this.loop,
      this.rng,
      upLen,
      downLen,
      () => this.connect(),
      (on) => this.listen(on),
      paces,
      limitUs,
    )
  }

  private revive(): void {
    const { conn } = this.socket
    if (this.reviveUs === 0 || conn.isClosed || !conn.isMptcp) return
    this.routes.forEach((route, i) => {
      const live = conn.subflows.find((s) => s.path === route && s.isLive)
      if (live !== undefined) {
        if (live.isUsable) this.waits[i] = this.reviveUs
        return
      }
      if (this.isWaiting[i] === true) return
      const wait = this.waits[i] as Micros
      this.waits[i] = Math.min(2 * wait, REVIVE_MAX_US)
      this.isWaiting[i] = true
      this.loop.after(wait, () => {
        this.isWaiting[i] = false
        if (conn.isClosed || !conn.isMptcp) return
        if (this.socket.addPath(route)) this.revived++
        else this.revive()
      })
    })
  }
}
