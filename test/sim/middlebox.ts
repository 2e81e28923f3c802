import { readI32, readU16, writeI32, writeU16 } from '../../src/base/bytes.js'
import { finishSum, sumBytes, updateChecksum } from '../../src/base/checksum.js'
import type { Rng } from '../../src/base/rng.js'
import type { Micros } from '../../src/base/time.js'
import type { Odds } from './links.js'
import type { Loop } from './loop.js'
import { Node, type Sink } from './node.js'
import * as pk from './packet.js'

/** MPTCP's TCP option kind, RFC 8684 §3. */
export const OPTION_MPTCP = 30

/** Removes TCP options of one kind (overwrites them with NOPs and repairs the checksum), from all segments or from those with `flags`. */
export class OptionStripper extends Node {
  stripped = 0
  private readonly kind: number
  private readonly isMeant: (packet: Uint8Array) => boolean

  /** @param isMeant which TCP packets; default all. For one kind of MPTCP option look at the packet yourself. */
  constructor(loop: Loop, kind: number = OPTION_MPTCP, isMeant: (packet: Uint8Array) => boolean = () => true) {
    super(loop)
    this.kind = kind
    this.isMeant = isMeant
  }

  protected accept(packet: Uint8Array): void {
    if (pk.isTcp(packet) && this.isMeant(packet)) {
      let found = false
      pk.eachOption(packet, (kind, off, len) => {
        if (kind !== this.kind) return
        packet.fill(1, off, off + len)
        found = true
      })
      if (found) {
        this.stripped++
        pk.fixTcp(packet)
      }
    }
    this.out(packet)
  }
}

/** Changes payload and repairs the TCP checksum: an application-level gateway. Only the DSS checksum can tell. */
export class PayloadRewriter extends Node {
  rewritten = 0
  private readonly odds: Odds
  private readonly rng: Rng

  constructor(loop: Loop, odds: Odds, rng: Rng) {
    super(loop)
    this.odds = odds
    this.rng = rng
  }

  protected accept(packet: Uint8Array): void {
    const len = pk.isTcp(packet) ? pk.payLen(packet) : 0
    if (len > 0 && this.odds.hit()) {
      this.rewritten++
      const at = pk.payOff(packet) + this.rng.below(len)
      packet[at] = (packet[at] as number) ^ (1 << this.rng.below(8))
      pk.fixTcp(packet)
    }
    this.out(packet)
  }
}

/** Drops packets larger than the MTU and answers with ICMP "packet too big"; `reply` leads back to the sender. Or is silent: a black hole. */
export class Mtu extends Node {
  dropped = 0
  mtu: number
  private readonly from: Uint8Array
  private readonly reply: Sink | null

  /** @param from address (4 or 16 bytes) of the router that complains; @param reply null: says nothing. */
  constructor(loop: Loop, mtu: number, from: Uint8Array, reply: Sink | null) {
    super(loop)
    this.mtu = mtu
    this.from = from
    this.reply = reply
  }

  protected accept(packet: Uint8Array): void {
    if (packet.length <= this.mtu) {
      this.out(packet)
      return
    }
    this.dropped++
    if (this.reply === null) return
    // RFC 1191 §4: type 3 code 4 with the next hop's MTU; RFC 4443 §3.2: type 2 with a 32-bit MTU
    const isV4 = pk.isV4(packet)
    this.reply(icmpError(packet, this.from, isV4 ? 3 : 2, isV4 ? 4 : 0, this.mtu))
  }
}

/** An ICMP or ICMPv6 error about `packet`. @param value second word of the ICMP header. */
export function icmpError(packet: Uint8Array, from: Uint8Array, type: number, code: number, value: number): Uint8Array {
  const isV4 = pk.isV4(packet)
  const quoted = packet.subarray(0, Math.min(packet.length, isV4 ? 548 : 1232))
  const head = isV4 ? 20 : 40
  const p = new Uint8Array(head + 8 + quoted.length)
  if (isV4) {
    p[0] = 0x45
    writeU16(p, 2, p.length)
    p[8] = 64
    p[9] = pk.PROTO_ICMP
    p.set(from, 12)
    p.set(packet.subarray(12, 16), 16)
    pk.fixIp(p)
  } else {
    p[0] = 0x60
    writeU16(p, 4, p.length - 40)
    p[6] = pk.PROTO_ICMP6
    p[7] = 64
    p.set(from, 8)
    p.set(packet.subarray(8, 24), 24)
  }
  p[head] = type
  p[head + 1] = code
  writeI32(p, head + 4, value)
  p.set(quoted, head + 8)
  writeU16(p, head + 2, finishSum(isV4 ? sumBytes(p, head, p.length - head) : pk.tcpSum(p)))
  return p
}

interface Binding {
  readonly inside: number
  readonly insidePort: number
  lastAt: Micros
}

/** What the two halves of a NAT share. IPv4, TCP and ICMP errors; one public address; bindings expire after `idleUs` without outbound packets. */
export class Nat {
  readonly up: Node
  readonly down: Node
  /** Inbound packets without a binding. */
  refused = 0
  translated = 0
  expired = 0
  private readonly byInside = new Map<string, number>()
  private readonly byPort = new Map<number, Binding>()
  private readonly loop: Loop
  private readonly publicWord: number
  private readonly idleUs: Micros
  private nextPort: number

  constructor(loop: Loop, publicWord: number, idleUs: Micros = Number.POSITIVE_INFINITY, firstPort = 20_000) {
    this.loop = loop
    this.publicWord = publicWord | 0
    this.idleUs = idleUs
    this.nextPort = firstPort
    this.up = new NatHalf(loop, (packet) => this.outbound(packet))
    this.down = new NatHalf(loop, (packet) => this.inbound(packet))
  }

  /** Forgets all bindings, as a router does that is switched off and on. */
  reset(): void {
    this.byInside.clear()
    this.byPort.clear()
  }

  private outbound(packet: Uint8Array): boolean {
    if (!pk.isTcp(packet)) return false
    const inside = pk.srcWord(packet)
    const insidePort = pk.srcPort(packet)
    const key = `${inside}:${insidePort}`
    let port = this.byInside.get(key)
    if (port === undefined || this.find(port) === undefined) {
      port = this.nextPort++
      this.byInside.set(key, port)
      this.byPort.set(port, { inside, insidePort, lastAt: this.loop.now })
    }
    const binding = this.byPort.get(port) as Binding
    binding.lastAt = this.loop.now
    rewrite(packet, 12, this.publicWord, 0, port)
    this.translated++
    return true
  }

  private inbound(packet: Uint8Array): boolean {
    if (pk.protoOf(packet) === pk.PROTO_ICMP) return this.inboundError(packet)
    const binding = pk.isTcp(packet) && pk.dstWord(packet) === this.publicWord ? this.find(pk.dstPort(packet)) : undefined
    if (binding === undefined) {
      this.refused++
      return false
    }
    rewrite(packet, 16, binding.inside, 2, binding.insidePort)
    this.translated++
    return true
  }

  /** RFC 5508 §4.2: the quoted packet is translated too. */
  private inboundError(packet: Uint8Array): boolean {
    const at = pk.l4Off(packet)
    const quoted = packet.subarray(at + 8)
    const binding = pk.isV4(quoted) && pk.srcWord(quoted) === this.publicWord ? this.find(pk.srcPort(quoted)) : undefined
    if (binding === undefined) {
      this.refused++
      return false
    }
    writeI32(quoted, 12, binding.inside)
    pk.fixIp(quoted)
    writeU16(quoted, pk.l4Off(quoted), binding.insidePort)
    writeI32(packet, 16, binding.inside)
    pk.fixIp(packet)
    writeU16(packet, at + 2, 0)
    writeU16(packet, at + 2, finishSum(sumBytes(packet, at, packet.length - at)))
    return true
  }

  private find(port: number): Binding | undefined {
    const binding = this.byPort.get(port)
    if (binding === undefined || this.loop.now - binding.lastAt <= this.idleUs) return binding
    this.expired++
    this.byPort.delete(port)
    return undefined
  }
}

class NatHalf extends Node {
  private readonly translate: (packet: Uint8Array) => boolean

  constructor(loop: Loop, translate: (packet: Uint8Array) => boolean) {
    super(loop)
    this.translate = translate
  }

  protected accept(packet: Uint8Array): void {
    if (this.translate(packet)) this.out(packet)
  }
}

/** Rewrites one address word and port, with checksums updated step by step, so that an earlier corruption stays visible. */
function rewrite(packet: Uint8Array, addressAt: number, word: number, portAt: number, port: number): void {
  const l4 = pk.l4Off(packet)
  const old = readI32(packet, addressAt)
  const oldPort = readU16(packet, l4 + portAt)
  let ip = readU16(packet, 10)
  let tcp = readU16(packet, l4 + 16)
  for (const shift of [16, 0]) {
    const before = (old >>> shift) & 0xffff
    const after = (word >>> shift) & 0xffff
    ip = updateChecksum(ip, before, after)
    tcp = updateChecksum(tcp, before, after)
  }
  tcp = updateChecksum(tcp, oldPort, port)
  writeI32(packet, addressAt, word)
  writeU16(packet, l4 + portAt, port)
  writeU16(packet, 10, ip)
  writeU16(packet, l4 + 16, tcp)
}
