import type { IpAddress } from '../../../src/base/address.js'
import { IpAddress as Address } from '../../../src/base/address.js'
import { parseAddress } from '../../../src/config/address-text.js'
import type { Packet } from '../../../src/wire/packet.js'
import { Mismatch, Unsupported } from '../errors.js'
import type { EndSpec, TcpSpec } from '../language/ast.js'
import type { Network } from '../stack/socket.js'
import { Flow, Keys } from './flow.js'

/** Port of the script's side when it opens a connection without saying from where. */
const FIRST_REMOTE_PORT = 53_000

/** Which flow a packet of the script belongs to: the one whose ports it names, else the one under test, which is the latest. */
export class Flows {
  readonly keys = new Keys()
  private readonly network: Network
  private readonly all: Flow[] = []
  private latest: Flow | null = null
  /** The next SYN to us opens a connection. */
  private isPassive = false
  private nextRemotePort = FIRST_REMOTE_PORT
  private nextIrs: number

  constructor(network: Network, irs: number) {
    this.network = network
    this.nextIrs = irs
  }

  /** A socket listens: a SYN without ports is for it. */
  expectPassive(): void {
    this.isPassive = true
  }

  current(line: number): Flow {
    if (this.latest === null) throw new Unsupported(line, 'a packet of no connection')
    return this.latest
  }

  /** The flow of a packet that the stack sent. */
  ofSent(pkt: Packet): Flow {
    const local = new Address(pkt.src0, pkt.src1, pkt.src2, pkt.src3)
    const remote = new Address(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3)
    const known = this.all.find(
      (f) => f.localPort === pkt.srcPort && f.remotePort === pkt.dstPort && f.local.equals(local) && f.remote.equals(remote),
    )
    this.latest = known ?? this.add(local, pkt.srcPort, remote, pkt.dstPort)
    this.isPassive = false
    return this.latest
  }

  /** Ports of an expected packet, if the script gives them, have to be those of `flow`. */
  check(spec: TcpSpec, line: number, flow: Flow): void {
    if (spec.tuple === null) return
    const { source, destination } = spec.tuple
    if (flow.scriptLocalPort === 0) {
      flow.scriptLocalPort = source.port
      flow.scriptRemotePort = destination.port
    }
    const isSame = flow.scriptLocalPort === source.port && flow.scriptRemotePort === destination.port
    if (!isSame || !isAddress(source, flow.local) || !isAddress(destination, flow.remote)) {
      throw new Mismatch(line, 'a packet of another connection', [
        `expected: ${source.port} > ${destination.port}`,
        `actual:   ${flow.local}:${flow.scriptLocalPort} > ${flow.remote}:${flow.scriptRemotePort}`,
      ])
    }
  }

  ofInbound(spec: TcpSpec, line: number, isFirst: boolean): Flow {
    const tuple = spec.tuple
    if (tuple !== null) {
      const { source, destination } = tuple
      const known = this.all.find(
        (f) =>
          f.scriptLocalPort === destination.port &&
          f.scriptRemotePort === source.port &&
          isAddress(destination, f.local) &&
          isAddress(source, f.remote),
      )
      if (known === undefined && !isFirst) throw new Unsupported(line, 'a packet of no connection')
      this.latest = known ?? this.addFor(source, destination)
    } else if (isFirst && (this.isPassive || this.latest === null)) {
      this.latest = this.add(this.network.local, this.network.bindPort, this.network.remote, this.nextRemotePort++)
    }
    this.isPassive = false
    return this.current(line)
  }

  private addFor(source: EndSpec, destination: EndSpec): Flow {
    const at = (end: EndSpec, otherwise: IpAddress): IpAddress => (end.address === null ? otherwise : parseAddress(end.address))
    const flow = this.add(at(destination, this.network.local), destination.port, at(source, this.network.remote), source.port)
    flow.scriptLocalPort = destination.port
    flow.scriptRemotePort = source.port
    return flow
  }

  private add(local: IpAddress, localPort: number, remote: IpAddress, remotePort: number): Flow {
    const flow = new Flow(local, localPort, remote, remotePort, this.nextIrs)
    this.nextIrs = (this.nextIrs + 0x1357_9bdf) | 0
    this.all.push(flow)
    return flow
  }
}

function isAddress(end: EndSpec, address: IpAddress): boolean {
  return end.address === null || parseAddress(end.address).equals(address)
}
