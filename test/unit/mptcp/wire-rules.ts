import { SYN } from '../../../src/wire/tcp.js'
import { unwrap } from '../../../src/wire/seq.js'
import type { Seen } from './harness.js'

interface Mapping {
  readonly ssn: number
  readonly dsn: bigint
  readonly len: number
}

/** One direction as an onlooker sees it. */
class Direction {
  /** Per subflow: ISN, window scale, mappings by subflow sequence number. */
  readonly isn = new Map<number, number>()
  readonly maps = new Map<number, Map<number, Mapping>>()
  scale = 0
  edge = -1n
}

/**
 * What RFC 8684 demands of every packet, checked by an onlooker with big integers and maps: a mapping is at most 65 535 bytes, covers
 * part of the segment that carries it and never changes; the data-level right edge never moves left and nothing is sent beyond it.
 */
export class WireRules {
  readonly broken: string[] = []
  mappings = 0
  private readonly fromClient = new Direction()
  private readonly fromServer = new Direction()
  /** 64-bit values whose upper half was not on the wire take it from the last full one. */
  private readonly upper = { ack: [0n, 0n] }

  observe(p: Seen): void {
    const d = p.fromClient ? this.fromClient : this.fromServer
    const other = p.fromClient ? this.fromServer : this.fromClient
    const { pkt, opts } = p
    const m = opts.mptcp
    if ((pkt.flags & SYN) !== 0) {
      d.isn.set(p.flow, pkt.seq)
      d.scale = Math.max(0, opts.wscale)
      return
    }
    const isn = d.isn.get(p.flow)
    if (isn === undefined) return
    if (m.dataAckLen === 8) {
      const ack = (BigInt(m.dataAckHi >>> 0) << 32n) | BigInt(m.dataAckLo >>> 0)
      this.upper.ack[p.fromClient ? 0 : 1] = ack
      const edge = ack + BigInt(pkt.window * 2 ** d.scale)
      // the scale hides up to one unit
      if (d.edge >= 0n && edge + BigInt(2 ** d.scale) <= d.edge) this.fail(p, `right edge moves left by ${d.edge - edge}`)
      if (edge > d.edge) d.edge = edge
    }
    if (m.dsnLen !== 8) return
    const dsn = (BigInt(m.dsnHi >>> 0) << 32n) | BigInt(m.dsnLo >>> 0)
    if (m.dataFin && m.dataLen === 1 && m.ssn === 0) return
    if (m.dataLen === 0) return
    this.mappings++
    const seg = unwrap(1, isn, pkt.seq)
    const ssn = m.ssn >>> 0
    if (ssn >= seg + pkt.payLen || ssn + m.dataLen <= seg) this.fail(p, 'mapping does not touch its segment')
    // the windows of SYN/ACK and third ACK are not scaled, or stand beside no DATA_ACK: they may have promised up to one unit more
    if (other.edge >= 0n && dsn + BigInt(m.dataLen) > other.edge + BigInt(2 ** other.scale))
      this.fail(p, `mapping reaches ${dsn + BigInt(m.dataLen) - other.edge} beyond the window`)
    let maps = d.maps.get(p.flow)
    if (maps === undefined) {
      maps = new Map()
      d.maps.set(p.flow, maps)
    }
    const known = maps.get(ssn)
    if (known === undefined) {
      for (const k of maps.values()) {
        if (k.ssn < ssn + m.dataLen && ssn < k.ssn + k.len) this.fail(p, `mapping ${ssn}+${m.dataLen} overlaps ${k.ssn}+${k.len}`)
      }
      maps.set(ssn, { ssn, dsn, len: m.dataLen })
    } else if (known.dsn !== dsn || known.len !== m.dataLen) this.fail(p, 'mapping changed')
  }

  private fail(p: Seen, what: string): void {
    if (this.broken.length < 10) this.broken.push(`${p.at} ${p.fromClient ? '>' : '<'} flow ${p.flow} packet ${p.n}: ${what}`)
  }
}
