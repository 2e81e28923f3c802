import type { Tuple } from '../base/address.js'
import { readI32, writeI32 } from '../base/bytes.js'
import { VNET_HDR_LEN } from '../base/rings.js'
import { US_PER_MS, US_PER_S, type Micros } from '../base/time.js'
import { writeIpHeader } from '../wire/ip.js'
import type { Packet } from '../wire/packet.js'
import { seqOf } from '../wire/seq.js'
import { ACK, FIN, finishTcp, RST, SYN, TCP_HEADER_LEN, writeTcpSegment } from '../wire/tcp.js'
import { type TcpOptions, writeTimestamps } from '../wire/tcp-options.js'
import type { TcpEndpoint } from './endpoint.js'
import { KIND_PURE_ACK } from './extension.js'
import { timestamp } from './segment-writer.js'

/** What a segment asks of an entry. */
export const TW_SILENT = 0
/** An ACK. */
export const TW_ANSWER = 1
/** The peer's FIN again: an ACK, and the wait begins anew (RFC 9293 §3.10.7.4). */
export const TW_RESTART = 2
/** A SYN that may open the successor. */
export const TW_REUSE = 3
export type TimeWaitVerdict = 0 | 1 | 2 | 3

/** Bytes of the extension's options that are kept for answers: a DATA_ACK. */
const EXT_MAX = 12
/** Limit of ACKs for what carries neither data nor FIN, as in a live endpoint. */
const ANSWER_INTERVAL_MS = 500
/** Whole seconds of silence before we open the successor ourselves; two of the count are at least one in fact. */
const REOPEN_AFTER_S = 2
/** Linux: what a successor begins beyond the last sequence number by, when the clock has not got so far. */
const ISS_STEP = 65_537

const scratch = new Uint8Array(EXT_MAX)

/**
 * What is left of a connection in TIME-WAIT (RFC 9293 §3.6.1): enough to acknowledge the peer's FIN again, to keep old duplicates from
 * a successor, and to know a successor when it comes. Its owner holds the time. Sequence numbers are raw here.
 */
export class TimeWait {
  readonly tuple: Tuple
  /** Of the owner. */
  id = -1
  private readonly ttl: number
  private readonly sndNxt: number
  private readonly rcvNxt: number
  private readonly window: number
  readonly tsOffset: number
  private readonly tsRecent: number
  private readonly tsRecentAtS: number
  private readonly hasTimestamps: boolean
  private readonly extLen: number
  private ext0 = 0
  private ext1 = 0
  private ext2 = 0
  private answerAtMs = 0

  /** From an endpoint in TIME-WAIT, whose extension writes its last options. */
  constructor(ep: TcpEndpoint, now: Micros) {
    const { rcv } = ep
    this.tuple = ep.tuple
    this.ttl = ep.cfg.ttl
    this.sndNxt = seqOf(ep.iss, ep.sndNxt)
    this.rcvNxt = seqOf(ep.irs, rcv.rcvNxt)
    this.window = Math.min(0xffff, Math.max(0, rcv.edge - rcv.rcvNxt) >> ep.rcvWscale)
    this.tsOffset = ep.tsOffset
    this.tsRecent = rcv.tsRecent
    this.tsRecentAtS = rcv.tsRecentAtS
    this.hasTimestamps = ep.hasTimestamps
    scratch.fill(0)
    const { ext } = ep
    const wanted = ext.optionLen(KIND_PURE_ACK, EXT_MAX, false)
    this.extLen = wanted > 0 && wanted <= EXT_MAX ? ext.write(KIND_PURE_ACK, scratch, 0, EXT_MAX, ep.sndNxt, null, false, now) : 0
    if (this.extLen === 0) return
    this.ext0 = readI32(scratch, 0)
    this.ext1 = readI32(scratch, 4)
    this.ext2 = readI32(scratch, 8)
  }

  /** A segment of the tuple, checksum verified. */
  onSegment(pkt: Packet, opts: TcpOptions, now: Micros): TimeWaitVerdict {
    const { flags } = pkt
    if ((flags & RST) !== 0) return TW_SILENT // RFC 1337 §3 (F1)
    if ((flags & (SYN | ACK)) === SYN && maySucceed(this.hasTimestamps, this.tsRecent, this.rcvNxt, pkt.seq, opts)) return TW_REUSE
    if ((flags & SYN) !== 0) return this.limited(now)
    const isOld = this.hasTimestamps && opts.hasTs && ((opts.tsVal - this.tsRecent) | 0) < 0
    if ((flags & FIN) !== 0) return !isOld && ((pkt.seq + pkt.payLen + 1) | 0) === this.rcvNxt ? TW_RESTART : TW_ANSWER
    if (pkt.payLen > 0) return TW_ANSWER
    const isCurrent = !isOld && pkt.seq === this.rcvNxt && ((pkt.ack - this.sndNxt) | 0) <= 0
    return isCurrent ? TW_SILENT : this.limited(now)
  }

  /** Whether we may open the successor: its timestamps prove that it is later than all of ours (RFC 6191 §3; Linux tcp_tw_reuse). */
  mayReopen(now: Micros): boolean {
    return this.hasTimestamps && Math.floor(now / US_PER_S) - this.tsRecentAtS >= REOPEN_AFTER_S
  }

  /** The successor's initial sequence number, beyond all that was used here (RFC 9293 §3.6.1). @param iss what the clock says */
  issAfter(iss: number): number {
    return ((iss - this.sndNxt) | 0) > ISS_STEP ? iss : (this.sndNxt + ISS_STEP) | 0
  }

  /** Writes the ACK as an entry of a tx ring: vnet header and packet at `at`. Returns its length. */
  write(mem: Uint8Array, at: number, now: Micros): number {
    const { tuple } = this
    const ip = at + VNET_HDR_LEN
    const opt = ip + (tuple.local.isV4 ? 20 : 40) + TCP_HEADER_LEN
    let len = 0
    if (this.hasTimestamps) len += writeTimestamps(mem, opt, timestamp(this, now), this.tsRecent)
    if (this.extLen > 0) {
      writeI32(mem, opt + len, this.ext0)
      writeI32(mem, opt + len + 4, this.ext1)
      if (this.extLen > 8) writeI32(mem, opt + len + 8, this.ext2)
      len += this.extLen
    }
    const tcpLen = TCP_HEADER_LEN + len
    const tcp = ip + writeIpHeader(mem, ip, tuple.local, tuple.remote, 6, tcpLen, tuple.tclass ?? 0, this.ttl)
    writeTcpSegment(mem, tcp, tuple.localPort, tuple.remotePort, this.sndNxt, this.rcvNxt, ACK, this.window)
    finishTcp(mem, at, ip, tcp, tcpLen, 0, 0)
    return opt + len - at
  }

  private limited(now: Micros): TimeWaitVerdict {
    const nowMs = Math.floor(now / US_PER_MS)
    if (nowMs < this.answerAtMs) return TW_SILENT
    this.answerAtMs = nowMs + ANSWER_INTERVAL_MS
    return TW_ANSWER
  }
}

/**
 * Whether a SYN may open the successor of a connection in TIME-WAIT (RFC 6191 §2): by a later timestamp, else by a sequence number
 * beyond all that the peer sent.
 */
export function maySucceed(hadTimestamps: boolean, tsRecent: number, rcvNxt: number, seq: number, opts: TcpOptions): boolean {
  if (opts.hasTs) {
    if (!hadTimestamps) return true
    const later = (opts.tsVal - tsRecent) | 0
    if (later !== 0) return later > 0
  }
  return ((seq - rcvNxt) | 0) > 0
}
