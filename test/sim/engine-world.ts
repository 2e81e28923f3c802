import { IpAddress } from '../../src/base/address.js'
import { Rng } from '../../src/base/rng.js'
import { type Micros, NEVER } from '../../src/base/time.js'
import { AddressRange } from '../../src/engine/address-range.js'
import { EngineConfig } from '../../src/engine/config.js'
import { createEngine, type Engine } from '../../src/engine/engine.js'
import { type MptcpConfig, mptcpConfig } from '../../src/mptcp/env.js'
import { type Path, path } from '../../src/pathmgr/path.js'
import { type TcpConfig, tcpConfig } from '../../src/tcp/config.js'
import type { ByteSocket } from './byte-socket.js'
import { SimDevice } from './device.js'
import { Delay } from './links.js'
import { VirtualLoop } from './loop.js'
import { MptcpHost, type MptcpHostConfig, seededHost } from './mptcp-host.js'
import { chain } from './node.js'
import { type PathPairConfig, Paths } from './paths.js'
import { type Watch, watched } from './recording.js'
import { Router } from './router.js'
import { TcpHost, type TcpHostConfig, type TcpSocket } from './tcp-host.js'
import { exchange, type Paces, type TransferResult } from './transfer.js'

/** The application's address, the stack's (one per path), the server's. */
export const APP4 = IpAddress.v4(0xc6120001)
export const APP6 = new IpAddress(0xfd000000, 0, 0, 1)
export const stack4 = (i: number): IpAddress => IpAddress.v4(0xc6120002 + i)
export const stack6 = (i: number): IpAddress => new IpAddress(0xfd000000, 0, 0, 2 + i)
export const SERVER4 = IpAddress.v4(0xcb007105)
export const SERVER6 = new IpAddress(0x20010db8, 0, 0, 0x105)
export const PORT = 80

/** The application's kernel is near: one way over the TUN. */
const LOCAL_DELAY_US = 20

export interface EngineWorldConfig {
  readonly seed: number
  /** The first one is the default; the others become additional subflows. */
  readonly paths: readonly PathPairConfig[]
  /** Whether the server speaks MPTCP. */
  readonly server: 'mptcp' | 'tcp'
  readonly isV6?: boolean
  /** MTU of the TUN as the application sees it; paths always carry 1500. */
  readonly tunMtu?: number
  readonly gso?: boolean
  /** Interrupt moderation of the engine's device. */
  readonly batchUs?: Micros
  readonly tcp?: Partial<TcpConfig>
  readonly mptcp?: Partial<MptcpConfig>
  readonly engine?: Partial<EngineConfig>
  readonly app?: TcpHostConfig
  readonly serverHost?: TcpHostConfig & MptcpHostConfig
  /** Last words of the addresses under which the server sees the paths, when they differ (NAT). */
  readonly publicAddresses?: readonly number[]
  /** Sees what the engine and the server exchange, after the engine's device and before the faults. */
  readonly watch?: Watch
}

/**
 * An engine between an application and a server, in virtual time:
 *
 *     app: TcpHost --- local, lossless --- device of the engine --- path 0 --- server: TcpHost or MptcpHost
 *                                                           \------ path 1 ------/
 */
export class EngineWorld {
  readonly loop = new VirtualLoop()
  readonly rng: Rng
  readonly engine: Engine
  readonly device: SimDevice
  readonly app: TcpHost
  readonly server: TcpHost | MptcpHost
  readonly paths: Paths
  readonly appAddress: IpAddress
  readonly serverAddress: IpAddress
  private turnAt: Micros = NEVER

  constructor(config: EngineWorldConfig) {
    const { loop } = this
    this.rng = new Rng(config.seed)
    const tunMtu = config.tunMtu ?? 65_535
    const gso = config.gso ?? true
    const isV6 = config.isV6 === true
    this.appAddress = isV6 ? APP6 : APP4
    this.serverAddress = isV6 ? SERVER6 : SERVER4
    const stackOf = isV6 ? stack6 : stack4
    const stack = config.paths.map((_, i) => stackOf(i))

    this.app = new TcpHost(loop, this.rng.fork(), { mtu: tunMtu, gso, ...config.app })
    this.server =
      config.server === 'tcp'
        ? new TcpHost(loop, this.rng.fork(), { mtu: 1500, ...config.serverHost })
        : new MptcpHost(loop, this.rng.fork(), { mtu: 1500, ...config.serverHost })
    this.device = new SimDevice(loop, { mtu: Math.max(tunMtu, 1500), gso, batchUs: config.batchUs ?? 0 })

    this.engine = createEngine(
      seededHost(this.rng.fork()),
      [this.device],
      new EngineConfig({
        memoryPages: 2048,
        ownRanges: [new AddressRange(APP4, 24), new AddressRange(APP6, 64)],
        hostAddresses: [APP4, APP6],
        stackAddresses: stack.map((address, i) => ({ address, isDefault: i === 0 })),
        app: tcpConfig({ mss4: tunMtu - 40, mss6: tunMtu - 60, gso, timeWaitUs: 1_000_000 }),
        mptcp: mptcpConfig({ tcp: tcpConfig({ gso, ...config.tcp }), ...config.mptcp }),
        paths: stack.map((source, i): Path => path({ id: i, label: `path${i}`, source })),
        onInternalError: (error) => {
          throw error
        },
        ...config.engine,
      }),
    )

    this.paths = new Paths(
      loop,
      this.rng.fork(),
      config.paths,
      stack.map((address, i) => [address.w3, ...(config.publicAddresses?.slice(i, i + 1) ?? [])]),
      this.device.in,
      this.server.device.in,
    )
    const toApp = chain([new Delay(loop, LOCAL_DELAY_US)], this.app.device.in)
    this.device.out = new Router().to(this.appAddress.w3, toApp).when(() => true, watched(loop, config.watch, true, this.paths.up.in)).in
    this.server.device.out = watched(loop, config.watch, false, this.paths.down.in)
    this.app.device.out = chain([new Delay(loop, LOCAL_DELAY_US)], this.device.in)

    this.device.onReady((_, isWritable) => {
      if (isWritable) for (const port of this.engine.ports) this.engine.onWritable(port)
      this.wake(loop.now)
    })
    this.engine.onWake(() => this.wake(loop.now))
  }

  /** The application connects to the server, through the engine. */
  connect(port = PORT): TcpSocket {
    return this.app.connect(this.appAddress, this.serverAddress, port)
  }

  listen(onSocket: (socket: ByteSocket) => void): void {
    this.server.listen(PORT, onSocket)
  }

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

  private wake(at: Micros): void {
    if (at >= this.turnAt) return
    this.turnAt = at
    this.loop.at(at, () => {
      if (this.turnAt !== at) return
      this.turnAt = NEVER
      this.wake(this.engine.turn(this.loop.now))
    })
  }
}
