import { IpAddress } from '../base/address.js'
import { VNET_HDR_LEN } from '../base/rings.js'
import { PROTO_TCP, writeIpHeader } from '../wire/ip.js'
import type { Packet } from '../wire/packet.js'
import { finishTcp, RST, SYN, TCP_HEADER_LEN, writeTcpSegment } from '../wire/tcp.js'
import type { Engine } from './engine.js'

/** The discard service: whoever should get such a SYN after all does not mind. */
export const PROBE_PORT = 9
/** The host takes one hop off when it forwards, so that the next hop reports the end of the packet's life. */
const PROBE_TTL = 2

/**
 * One SYN of a stack address that dies at the next hop: it takes the way that all subflows of that egress take, through forward and
 * masquerade, and the next hop's "time exceeded" (or any other answer) comes back by the same way.
 */
export class Probe {
  readonly source: IpAddress
  readonly target: IpAddress
  readonly sourcePort: number
  private readonly engine: Engine
  private readonly isLocal: (address: string) => boolean
  private onAnswer: (answered: boolean) => void = () => {}

  /**
   * @param source a stack address; @param target whereto, of its family: any address that the egress's default route leads to
   * @param isLocal whether an address is this host's: its own firewall rejects by such errors
   */
  constructor(engine: Engine, source: IpAddress, target: IpAddress, isLocal: (address: string) => boolean) {
    this.engine = engine
    this.source = source
    this.target = target
    this.isLocal = isLocal
    this.sourcePort = engine.portPicker.pick(source, target, PROBE_PORT, engine.now)
  }

  /** Sends it, and waits up to `timeoutMs`; whether something came back. One probe at a time. */
  run(timeoutMs: number): Promise<boolean> {
    const { engine } = this
    return new Promise((resolve) => {
      const end = (answered: boolean): void => {
        clearTimeout(timer)
        if (engine.probe === this) engine.probe = null
        resolve(answered)
      }
      const timer = setTimeout(() => end(false), timeoutMs)
      this.onAnswer = end
      engine.probe = this
      if (!this.send()) end(false)
    })
  }

  private send(): boolean {
    const port = this.engine.ports[0]
    const at = port?.tx.begin() ?? -1
    if (port === undefined || at < 0) return false
    const mem = port.tx.bytes
    const ip = at + VNET_HDR_LEN
    const tcp = ip + writeIpHeader(mem, ip, this.source, this.target, PROTO_TCP, TCP_HEADER_LEN, 0, PROBE_TTL)
    writeTcpSegment(mem, tcp, this.sourcePort, PROBE_PORT, this.engine.host.rng(), 0, SYN, 0xffff)
    finishTcp(mem, at, ip, tcp, TCP_HEADER_LEN, 0, 0)
    port.tx.end(tcp + TCP_HEADER_LEN - at)
    this.engine.wake()
    return true
  }

  /** An ICMP error that quotes a TCP segment. */
  onIcmp(pkt: Packet): void {
    if (pkt.qSrcPort !== this.sourcePort || pkt.qDstPort !== PROBE_PORT) return
    if (!isSame(this.target, pkt.qDst0, pkt.qDst1, pkt.qDst2, pkt.qDst3)) return
    if (!this.isLocal(new IpAddress(pkt.src0, pkt.src1, pkt.src2, pkt.src3).toString())) this.onAnswer(true)
  }

  /** A segment to a stack address of no flow. A RST proves nothing: a firewall of this host sends it in the target's name. */
  onSegment(pkt: Packet): void {
    if (pkt.dstPort !== this.sourcePort || pkt.srcPort !== PROBE_PORT || (pkt.flags & RST) !== 0) return
    if (isSame(this.target, pkt.src0, pkt.src1, pkt.src2, pkt.src3)) this.onAnswer(true)
  }
}

function isSame(a: IpAddress, w0: number, w1: number, w2: number, w3: number): boolean {
  return a.w3 === w3 && a.w2 === w2 && a.w1 === w1 && a.w0 === w0
}
