import { IpAddress } from '../../src/base/address.js'
import { Rng } from '../../src/base/rng.js'
import type { Micros } from '../../src/base/time.js'
import { FaultyPath, type FaultyPathConfig } from './faulty-path.js'
import { VirtualLoop } from './loop.js'
import type { Node } from './node.js'
import { TcpHost, type TcpHostConfig, type TcpSocket } from './tcp-host.js'
import { exchange, type Paces, type TransferResult } from './transfer.js'

export interface TcpPairConfig {
  readonly seed: number
  readonly up: FaultyPathConfig
  readonly down: FaultyPathConfig
  readonly isV6?: boolean
  readonly client?: TcpHostConfig
  readonly server?: TcpHostConfig
  /** Nodes that need the pair's own loop: placed behind the delay of the direction. */
  readonly middle?: (loop: VirtualLoop, pair: TcpPair) => { readonly up?: readonly Node[]; readonly down?: readonly Node[] }
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
    const middle = config.middle?.(this.loop, this) ?? {}
    this.up = new FaultyPath(this.loop, this.rng.fork(), { ...config.up, middle: middle.up ?? [] }, this.server.device.in)
    this.down = new FaultyPath(this.loop, this.rng.fork(), { ...config.down, middle: middle.down ?? [] }, this.client.device.in)
    this.client.device.out = this.up.entry
    this.server.device.out = this.down.entry
    this.clientAddress = config.isV6 === true ? CLIENT6 : CLIENT4
    this.serverAddress = config.isV6 === true ? SERVER6 : SERVER4
  }

  connect(port = PORT): TcpSocket {
    return this.client.connect(this.clientAddress, this.serverAddress, port)
  }

  /** Transfers `upLen` and `downLen` bytes at once over one connection. @param limitUs give up after this. */
  transfer(upLen: number, downLen: number, paces: Paces = {}, limitUs?: Micros): TransferResult {
    return exchange(
      this.loop,
      this.rng,
      upLen,
      downLen,
      () => this.connect(),
      (on) => this.server.listen(PORT, on),
      paces,
      limitUs,
    )
  }
}
