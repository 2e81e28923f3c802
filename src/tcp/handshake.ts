import type { Micros } from '../base/time.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import {
  OPT_NOP,
  pad,
  writeBareTimestamps,
  writeFastOpen,
  writeMss,
  writeSackPermitted,
  writeTimestamps,
  writeWscale,
} from '../wire/tcp-options.js'
import type { TcpConfig } from './config.js'

/** RFC 9293 §3.7.1: without an MSS option. */
const MSS_DEFAULT_V4 = 536
const MSS_DEFAULT_V6 = 1220
/** Smaller announcements are a CPU attack (SACK panic), not a link; Linux: tcp_min_snd_mss 48. */
const MSS_MIN = 64
/** RFC 7323 §2.3: larger shifts count as 14. */
const WSCALE_MAX = 14

/** What the SYNs of both sides settled. */
export interface Negotiated {
  readonly peerMss: number
  /** Shift for windows that we receive; 0 when the peer did not offer scaling. */
  readonly sndWscale: number
  /** Shift for windows that we send. */
  readonly rcvWscale: number
  readonly hasTimestamps: boolean
  readonly isSackOk: boolean
}

/** What a SYN offers; parsed options are it. */
export type OfferedOptions = Pick<TcpOptions, 'mss' | 'wscale' | 'hasTs' | 'tsVal' | 'sackPermitted'>

/** Before the peer's SYN was seen. */
export const NOTHING_SETTLED: Negotiated = { peerMss: 0, sndWscale: 0, rcvWscale: 0, hasTimestamps: false, isSackOk: false }

/** Outcomes met so far: few ever differ, and sharing them keeps an idle endpoint small. Bounded: what does not fit is not shared. */
const known = new Map<number, Negotiated>()
const KNOWN_MAX = 256

/** Agreement from the peer's SYN or SYN/ACK options and our configuration (an option counts only when both sides sent it). */
export function negotiate(cfg: TcpConfig, opts: OfferedOptions, isV4: boolean): Negotiated {
  const isScaled = opts.wscale >= 0
  const peerMss = opts.mss < 0 ? (isV4 ? MSS_DEFAULT_V4 : MSS_DEFAULT_V6) : Math.max(opts.mss, MSS_MIN)
  const sndWscale = isScaled ? Math.min(opts.wscale, WSCALE_MAX) : 0
  const rcvWscale = isScaled ? cfg.windowScale : 0
  const hasTimestamps = cfg.timestamps && opts.hasTs
  const isSackOk = cfg.sack && opts.sackPermitted
  const key = peerMss * 1024 + sndWscale * 64 + rcvWscale * 4 + (hasTimestamps ? 2 : 0) + (isSackOk ? 1 : 0)
  let terms = known.get(key)
  if (terms === undefined) {
    terms = { peerMss, sndWscale, rcvWscale, hasTimestamps, isSackOk }
    if (known.size < KNOWN_MAX) known.set(key, terms)
  }
  return terms
}

/**
 * Options of a SYN (`peer` null: all that we offer) or SYN/ACK (only what the peer offered), in Linux's order:
 * MSS, SACK permitted, timestamps, NOP, window scale. Returns the bytes written, a multiple of 4.
 */
export function writeSynOptions(
  mem: Uint8Array,
  at: number,
  cfg: TcpConfig,
  isV4: boolean,
  peer: Negotiated | null,
  hasWscale: boolean,
  tsVal: number,
  tsEcr: number,
): number {
  let off = at
  off += writeMss(mem, off, isV4 ? cfg.mss4 : cfg.mss6)
  const ts = peer === null ? cfg.timestamps : peer.hasTimestamps
  const sack = peer === null ? cfg.sack : peer.isSackOk
  if (ts && sack) {
    off += writeSackPermitted(mem, off)
    off += writeBareTimestamps(mem, off, tsVal, tsEcr)
  } else if (ts) off += writeTimestamps(mem, off, tsVal, tsEcr)
  else if (sack) {
    mem[off++] = OPT_NOP
    mem[off++] = OPT_NOP
    off += writeSackPermitted(mem, off)
  }
  if (hasWscale) off += writeWscale(mem, off, cfg.windowScale)
  return off - at
}

/** State of the three-way handshake; gone once the endpoint is established. */
export class Handshake {
  /** A SYN or SYN/ACK has to be sent at the next poll. */
  isSynDue = true
  /** Retransmissions of it so far. */
  retries = 0
  /** Those among them that no timeout asked for: no part of the back-off. */
  repeats = 0
  firstSentAt: Micros = -1
  /**
   * Fast Open (RFC 7413 §4.1). Of a SYN: null: none; empty: cookie request; 4-16 bytes: cookie, data travels in the SYN. Of a SYN/ACK: the
   * cookie that it gives, null: none.
   */
  fastOpenCookie: Uint8Array | null = null
  /** The peer's SYN had a valid cookie: its data was taken, and ours may go before the third ACK (RFC 7413 §4.2.2). */
  isFastOpen = false
  /** The peer's MSS as last seen, which bounds the data in our SYN (RFC 7413 §4.2.2); 0: not known. */
  fastOpenMss = 0
  /** Payload bytes that our SYN carried. They are in no flight: what the SYN/ACK does not cover counts as never sent. */
  fastOpenLen = 0
  /** Our SYN offered these; passive endpoints answer with what the peer's offered. */
  readonly peer: Negotiated | null
  /** The peer's SYN had a window scale (passive side). */
  readonly hasWscale: boolean

  constructor(peer: Negotiated | null, hasWscale: boolean) {
    this.peer = peer
    this.hasWscale = hasWscale
  }

  /** Consecutive timeouts. */
  get timeouts(): number {
    return this.retries - this.repeats
  }
}

/** Appends the Fast Open option, padded; 0 when `room` does not suffice. */
export function writeFastOpenPadded(mem: Uint8Array, at: number, cookie: Uint8Array, room: number): number {
  if (((2 + cookie.length + 3) & ~3) > room) return 0
  return pad(mem, at, writeFastOpen(mem, at, cookie, 0, cookie.length))
}
