import { IpAddress } from '../../src/base/address.js'
import { Rng } from '../../src/base/rng.js'
import { US_PER_S } from '../../src/base/time.js'
import { FaultyPath, type FaultyPathConfig } from './faulty-path.js'
import { VirtualLoop } from './loop.js'
import { TcpHost, type TcpHostConfig, type TcpSocket } from './tcp-host.js'
import { GREEDY, type Pace, Peer, payload } from './transfer.js'

export interface TcpPairConfig {
  readonly seed: number
  readonly up: FaultyPathConfig
  readonly down: FaultyPathConfig
  readonly isV6?: boolean
  readonly client?: TcpHostConfig
  readonly server?: TcpHostConfig
}

export const CLIENT4 = IpAddress.v4(0x0a000001)
export const SERVER4 = IpAddress.v4(0x0a000002)
export const CLIENT6 = new IpAddress(0x20010db8, 0, 0, 1)
export const SERVER6 = new IpAddress(0x20010db8, 0, 0, 2)

export const PORT = 80

/** Two TCP hosts and a path each way. */
export class TcpPair {
  readonly loop = new VirtualLoop()
  readonly rng: Rng
  readonly client: TcpHost
  readonly server: TcpHost
  readonly up: FaultyPath
  readonly down: FaultyPath
  readonly clientAddress: IpAddress
  readonly serverAddress: IpAddress

  constructor(config: TcpPairConfig) {
    this.rng = new Rng(config.seed)
    this.client = new TcpHost(this.loop, this.rng.fork(), config.client)
    this.server = new TcpHost(this.loop, this.rng.fork(), config.server)
    this.up = new FaultyPath(this.loop, this.rng.fork(), config.up, this.server.device.in)
    this.down = new FaultyPath(this.loop, this.rng.fork(), config.down, this.client.device.in)
    this.client.device.out = this.up.entry
    this.server.device.out = this.down.entry
    this.clientAddress = config.isV6 === true ? CLIENT6 : CLIENT4
    this.serverAddress = config.isV6 === true ? SERVER6 : SERVER4
  }

  connect(port = PORT): TcpSocket {
    return this.client.connect(this.clientAddress, this.serverAddress, port)
  }

  /** Transfers `upLen` and `downLen` bytes at once over one connection. @param limitUs give up after this. */
  transfer(upLen: number, downLen: number, paces: { client?: Pace; server?: Pace } = {}, limitUs = 3600 * US_PER_S): TransferResult {
    const request = payload(this.rng, upLen)
    const response = payload(this.rng, downLen)
    let remote: Peer | null = null
    this.server.listen(PORT, (socket) => {
      remote = new Peer(this.loop, socket, response, request, paces.server ?? GREEDY)
    })
    const startedAt = this.loop.now
    const local = new Peer(this.loop, this.connect(), request, response, paces.client ?? GREEDY)
    const isOver = (): boolean =>
      local.socket.isClosed && (remote === null || remote.socket.isClosed)
    this.loop.run(isOver, startedAt + limitUs)
    return { local, remote: remote as Peer | null, us: this.loop.now - startedAt }
  }
}

export interface TransferResult {
  readonly local: Peer
  /** Null when no connection arrived. */
  readonly remote: Peer | null
  readonly us: number
}

/** Why a transfer is not byte-exact and complete on both sides; empty when it is. */
export function complaint(result: TransferResult): string {
  const { local, remote } = result
  if (remote === null) return 'no connection arrived at the server'
  if (local.wrongAt >= 0) return `the client received a wrong byte at ${local.wrongAt}`
  if (remote.wrongAt >= 0) return `the server received a wrong byte at ${remote.wrongAt}`
  if (!local.isDone || !remote.isDone) {
    return `incomplete after ${result.us} µs: client sent ${local.sent} received ${local.received}, server sent ${remote.sent} received ${remote.received}`
  }
  return ''
}
