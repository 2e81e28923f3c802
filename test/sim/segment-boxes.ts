import { readI32, readU16, writeI32, writeU16 } from '../../src/base/bytes.js'
import type { Micros } from '../../src/base/time.js'
import type { Hits } from './links.js'
import type { Loop } from './loop.js'
import { Node } from './node.js'
import * as pk from './packet.js'

/** Options of plain TCP that every box knows: MSS, window scale, SACK permitted, SACK, timestamps. */
const CLASSIC: ReadonlySet<number> = new Set([2, 3, 4, 5, 8])
const OPTION_SACK = 5
const FIN_PSH = 9

/** What a box does about a packet with a TCP option that it does not know: overwrites the option by NOPs, or drops the packet. */
export type OnUnknown = 'blank' | 'drop'

/** Knows the options of plain TCP only: a firewall that normalises, or one that drops what it does not understand. */
export class UnknownOptions extends Node {
  blanked = 0
  dropped = 0
  private readonly action: OnUnknown
  private readonly isMeant: (packet: Uint8Array) => boolean

  constructor(loop: Loop, action: OnUnknown, isMeant: (packet: Uint8Array) => boolean = () => true) {
    super(loop)
    this.action = action
    this.isMeant = isMeant
  }

  protected accept(packet: Uint8Array): void {
    if (!pk.isTcp(packet) || !this.isMeant(packet)) {
      this.out(packet)
      return
    }
    let found = 0
    pk.eachOption(packet, (kind, off, len) => {
      if (CLASSIC.has(kind)) return
      found++
      if (this.action === 'blank') packet.fill(1, off, off + len)
    })
    if (found > 0) {
      if (this.action === 'drop') {
        this.dropped++
        this.lost(packet)
        return
      }
      this.blanked++
      pk.fixTcp(packet)
    }
    this.out(packet)
  }
}

/**
 * Moves the sequence numbers of each connection by a distance of its own, as firewalls do that mistrust initial sequence numbers; in the
 * other direction acknowledgements and SACK blocks are moved back. `up` is the direction whose sequence numbers are rewritten.
 */
export class IsnRewriter {
  readonly up: Node
  readonly down: Node
  rewritten = 0

  /** @param shift the distance for a connection, by its ports. */
  constructor(loop: Loop, shift: (clientPort: number) => number = (port) => Math.imul(port, 0x9e37_79b1)) {
    this.up = new Shifter(loop, (p) => {
      writeI32(p, pk.l4Off(p) + 4, (pk.seqOfPacket(p) + shift(pk.srcPort(p))) | 0)
      this.rewritten++
    })
    this.down = new Shifter(loop, (p) => {
      if ((pk.flagsOf(p) & pk.ACK) === 0) return
      const by = shift(pk.dstPort(p))
      const at = pk.l4Off(p) + 8
      writeI32(p, at, (readI32(p, at) - by) | 0)
      pk.eachOption(p, (kind, off, len) => {
        if (kind !== OPTION_SACK) return
        for (let i = off + 2; i + 4 <= off + len; i += 4) writeI32(p, i, (readI32(p, i) - by) | 0)
      })
      this.rewritten++
    })
  }
}

class Shifter extends Node {
  private readonly change: (packet: Uint8Array) => void

  constructor(loop: Loop, change: (packet: Uint8Array) => void) {
    super(loop)
    this.change = change
  }

  protected accept(packet: Uint8Array): void {
    if (pk.isTcp(packet)) {
      const before = pk.tcpSum(packet)
      this.change(packet)
      if (before === 0xffff) pk.fixTcp(packet) // an earlier corruption stays visible
    }
    this.out(packet)
  }
}

/** [from, to) of a segment's payload as a packet of its own, with all options of the segment unless `isBare`. */
function cut(packet: Uint8Array, from: number, to: number, isBare: boolean): Uint8Array {
  const head = pk.payOff(packet)
  const part = new Uint8Array(head + to - from)
  part.set(packet.subarray(0, head))
  part.set(packet.subarray(head + from, head + to), head)
  if (isBare) {
    pk.eachOption(part, (kind, off, len) => {
      if (!CLASSIC.has(kind)) part.fill(1, off, off + len)
    })
  }
  const l4 = pk.l4Off(part)
  writeI32(part, l4 + 4, (pk.seqOfPacket(packet) + from) | 0)
  if (head + to < packet.length) part[l4 + 13] = (part[l4 + 13] as number) & ~FIN_PSH
  fixLengths(part)
  return part
}

function fixLengths(p: Uint8Array): void {
  if (pk.isV4(p)) {
    writeU16(p, 2, p.length)
    pk.fixIp(p)
  } else writeU16(p, 4, p.length - 40)
  pk.fixTcp(p)
}

const isIntact = (p: Uint8Array): boolean => pk.isTcp(p) && pk.tcpSum(p) === 0xffff

/**
 * Cuts some segments in two and puts the options on both parts (a device that splits knows no better: RFC 8684 §3.3.1 and TSO), or, as
 * boxes do that terminate what they forward, on the first part only.
 */
export class Splitter extends Node {
  split = 0
  private readonly hits: Hits
  private readonly at: (len: number) => number
  private readonly isFirstOnly: boolean

  /** @param at where to cut a payload of `len` >= 2 bytes, 1 to len - 1. */
  constructor(loop: Loop, hits: Hits, at: (len: number) => number = (len) => len >> 1, isFirstOnly = false) {
    super(loop)
    this.hits = hits
    this.at = at
    this.isFirstOnly = isFirstOnly
  }

  protected accept(packet: Uint8Array): void {
    const len = pk.isTcp(packet) ? pk.payLen(packet) : 0
    if (len < 2 || (pk.flagsOf(packet) & pk.SYN) !== 0 || !isIntact(packet) || !this.hits.hit()) {
      this.out(packet)
      return
    }
    this.split++
    const at = this.at(len)
    this.out(cut(packet, 0, at, false))
    this.out(cut(packet, at, len, this.isFirstOnly))
  }
}

/**
 * Joins a segment with the next one of its flow, if that comes within `holdUs` and continues it; of the options, the DSS included, those
 * of the first are kept. What RFC 8684 §3.3.1 foresees of traffic normalisers.
 */
export class Coalescer extends Node {
  merged = 0
  private readonly hits: Hits
  private readonly holdUs: Micros
  private readonly maxLen: number
  /** Segments that wait, by flow. */
  private readonly held = new Map<number, Uint8Array>()

  constructor(loop: Loop, hits: Hits, holdUs: Micros = 1000, maxLen = 1500) {
    super(loop)
    this.hits = hits
    this.holdUs = holdUs
    this.maxLen = maxLen
  }

  protected accept(packet: Uint8Array): void {
    if (!isIntact(packet)) {
      this.out(packet)
      return
    }
    const flow = pk.srcPort(packet) * 65_536 + pk.dstPort(packet)
    const first = this.held.get(flow)
    if (first !== undefined) {
      this.held.delete(flow)
      if (this.mayJoin(first, packet)) {
        this.merged++
        this.out(join(first, packet))
        return
      }
      this.out(first)
    }
    const isPlain = (pk.flagsOf(packet) & ~8) === pk.ACK
    if (!isPlain || pk.payLen(packet) === 0 || !this.hits.hit()) {
      this.out(packet)
      return
    }
    this.held.set(flow, packet)
    this.loop.at(this.loop.now + this.holdUs, () => {
      if (this.held.get(flow) !== packet) return
      this.held.delete(flow)
      this.out(packet)
    })
  }

  private mayJoin(a: Uint8Array, b: Uint8Array): boolean {
    const len = pk.payLen(b)
    return (
      len > 0 &&
      (pk.flagsOf(b) & ~FIN_PSH) === pk.ACK &&
      pk.srcWord(a) === pk.srcWord(b) &&
      pk.dstWord(a) === pk.dstWord(b) &&
      ((pk.seqOfPacket(a) + pk.payLen(a)) | 0) === pk.seqOfPacket(b) &&
      a.length + len <= this.maxLen
    )
  }
}

/** Headers and options of `a`, payload of both, acknowledgement and window of the later one. */
function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + pk.payLen(b))
  out.set(a)
  out.set(b.subarray(pk.payOff(b)), a.length)
  const l4 = pk.l4Off(out)
  const other = pk.l4Off(b)
  writeI32(out, l4 + 8, readI32(b, other + 8))
  out[l4 + 13] = (out[l4 + 13] as number) | (pk.flagsOf(b) & FIN_PSH)
  writeU16(out, l4 + 14, readU16(b, other + 14))
  fixLengths(out)
  return out
}
