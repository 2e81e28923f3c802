import type { IpAddress } from '../../../src/base/address.js'
import { IpAddress as Address } from '../../../src/base/address.js'
import { parseAddress } from '../../../src/config/address-text.js'
import type { Packet } from '../../../src/wire/packet.js'
import { Mismatch, Unsupported } from '../errors.js'
import type { EndSpec, TcpSpec, TupleSpec } from '../language/ast.js'
import type { Network } from '../stack/socket.js'
import { Flow, Keys } from './flow.js'

/** Port of the script's side when it opens a connection without saying from where. */
const FIRST_REMOTE_PORT = 53_000

/** Which flow a packet of the script belongs to: the one whose ends it names, else the one under test, which is the newest. */
export class Flows {
  readonly keys = new Keys()
  private readonly network: Network
  private readonly all: Flow[] = []
  private newest: Flow | null = null
  /** The next SYN to us opens a connection. */
  private isPassive = false
  private isNoFlow = false
  private nextRemotePort = FIRST_REMOTE_PORT
  private nextIrs: number

  constructor(network: Network, irs: number) {
    this.network = network
    this.nextIrs = irs
  }

  /** A socket listens: a SYN without ports is for it, and whatever comes before there is a flow. */
  expectPassive(): void {
    this.isPassive = true
    this.isNoFlow = true
  }

  current(line: number): Flow {
    if (this.newest === null) throw new Unsupported(line, 'a packet of no connection')
    return this.newest
  }

  /** The flow of a packet that the stack sent. */
  ofSent(pkt: Packet): Flow {
    this.isPassive = false
    return this.knownOf(pkt) ?? this.add(sourceOf(pkt), pkt.srcPort, destinationOf(pkt), pkt.dstPort)
  }

  private knownOf(pkt: Packet): Flow | undefined {
    const local = sourceOf(pkt)
    const remote = destinationOf(pkt)
    return this.all.findLast(
      (f) => f.localPort === pkt.srcPort && f.remotePort === pkt.dstPort && f.local.equals(local) && f.remote.equals(remote),
    )
  }

  /** Ends of an expected packet, if the script gives them, have to be those of `flow`. Names that are new stand for them from now on. */
  check(spec: TcpSpec, line: number, flow: Flow): void {
    if (spec.tuple === null) return
    const { source, destination } = spec.tuple
    if (flow.scriptLocalPort === 0) flow.scriptLocalPort = source.port
    if (flow.scriptRemotePort === 0) flow.scriptRemotePort = destination.port
    if (!this.isLocal(source, flow) || !this.isRemote(destination, flow)) {
      throw new Mismatch(line, 'a packet of another connection', [
        `expected: ${endText(source)} > ${endText(destination)}`,
        `actual:   ${flow.local}:${flow.scriptLocalPort || flow.localPort} > ${flow.remote}:${flow.scriptRemotePort || flow.remotePort}`,
      ])
    }
    this.bind(source, flow.local, flow.localPort)
    this.bind(destination, flow.remote, flow.remotePort)
  }

  /** Whether a packet that the stack sent opens a flow, of which the script has said nothing. */
  isUnknown(pkt: Packet): boolean {
    return this.knownOf(pkt) === undefined
  }

  /** Whether a packet that the stack sent may be the one that the script expects between these ends; null: of the newest flow. */
  isBetween(tuple: TupleSpec | null, pkt: Packet): boolean {
    const known = this.knownOf(pkt)
    if (tuple === null) return known === this.newest
    if (known !== undefined) return this.isLocal(tuple.source, known) && this.isRemote(tuple.destination, known)
    return this.isNew(tuple.source, sourceOf(pkt)) && this.isNew(tuple.destination, destinationOf(pkt))
  }

  private isNew(end: EndSpec, address: IpAddress): boolean {
    const named = end.name === null ? undefined : this.keys.names.get(end.name)
    return named === undefined ? isAddress(end, address) : named.address.equals(address)
  }

  ofInbound(spec: TcpSpec, line: number, isFirst: boolean): Flow {
    const tuple = spec.tuple
    if (tuple !== null) {
      const { source, destination } = tuple
      const fits = (f: Flow): boolean => this.isLocal(destination, f) && this.isRemote(source, f)
      const isNew = isFirst && !(this.isKnown(source) && this.isKnown(destination))
      const known = isNew ? undefined : this.all.findLast(fits)
      if (known === undefined && !isFirst) throw new Unsupported(line, 'a packet of no connection')
      const flow = known ?? this.addFor(source, destination, line)
      this.bind(source, flow.remote, flow.remotePort)
      this.bind(destination, flow.local, flow.localPort)
      this.noteUse(isFirst)
      return flow
    }
    if (this.newest === null || (this.isPassive && (isFirst || this.isNoFlow))) {
      this.add(this.network.local, this.network.bindPort, this.network.remote, this.nextRemotePort++)
    }
    this.noteUse(isFirst)
    return this.current(line)
  }

  private noteUse(isFirst: boolean): void {
    this.isPassive = this.isPassive && this.isNoFlow && !isFirst // what no SYN went before is of no connection
    this.isNoFlow = false
  }

  /** Our end of `f`. */
  private isLocal(end: EndSpec, f: Flow): boolean {
    return this.isEnd(end, f.local, f.localPort, f.scriptLocalPort)
  }

  private isRemote(end: EndSpec, f: Flow): boolean {
    return this.isEnd(end, f.remote, f.remotePort, f.scriptRemotePort)
  }

  private isEnd(end: EndSpec, address: IpAddress, port: number, scriptPort: number): boolean {
    if (end.name === null) return isAddress(end, address) && (end.port === 0 || end.port === scriptPort)
    const named = this.keys.names.get(end.name)
    return named === undefined || (named.address.equals(address) && named.port === port)
  }

  /** A name that stands for something, or no name at all. */
  private isKnown(end: EndSpec): boolean {
    return end.name === null || this.keys.names.get(end.name) !== undefined
  }

  private bind(end: EndSpec, address: IpAddress, port: number): void {
    if (end.name !== null && !this.isKnown(end)) this.keys.names.bind(end.name, address, port)
  }

  /** A flow that the script opens. Of its own addresses the first is that of the configuration, a further one is made up. */
  private addFor(source: EndSpec, destination: EndSpec, line: number): Flow {
    const { network } = this
    const { names } = this.keys
    const from = source.name === null ? undefined : names.get(source.name)
    const to = destination.name === null ? undefined : names.get(destination.name)
    const at = (end: EndSpec, otherwise: () => IpAddress): IpAddress => (end.address === null ? otherwise() : parseAddress(end.address))
    const isOther = source.name !== null && this.all.length > 0
    const remote = from?.address ?? at(source, () => (isOther ? names.remoteOf(-1, line) : network.remote))
    const local = to?.address ?? at(destination, () => network.local)
    const remotePort = from?.port ?? (source.port > 0 ? source.port : this.nextRemotePort++)
    const localPort = to?.port ?? (destination.port > 0 ? destination.port : network.bindPort)
    const flow = this.add(local, localPort, remote, remotePort)
    flow.scriptLocalPort = destination.port
    flow.scriptRemotePort = source.port
    return flow
  }

  private add(local: IpAddress, localPort: number, remote: IpAddress, remotePort: number): Flow {
    const flow = new Flow(local, localPort, remote, remotePort, this.nextIrs)
    this.nextIrs = (this.nextIrs + 0x1357_9bdf) | 0
    this.keys.names.addRemote(remote)
    this.all.push(flow)
    this.newest = flow
    return flow
  }
}

function isAddress(end: EndSpec, address: IpAddress): boolean {
  return end.address === null || parseAddress(end.address).equals(address)
}

function endText(end: EndSpec): string {
  return end.name === null ? `${end.address === null ? '' : `${end.address}:`}${end.port}` : `addr[${end.name}]`
}

function sourceOf(pkt: Packet): IpAddress {
  return new Address(pkt.src0, pkt.src1, pkt.src2, pkt.src3)
}

function destinationOf(pkt: Packet): IpAddress {
  return new Address(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3)
}
