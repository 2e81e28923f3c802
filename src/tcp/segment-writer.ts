import type { Tuple } from '../base/address.js'
import { invariant } from '../base/errors.js'
import { type TxRing, VNET_HDR_LEN } from '../base/rings.js'
import { US_PER_MS, type Micros } from '../base/time.js'
import { writeIpHeader } from '../wire/ip.js'
import { seqOf } from '../wire/seq.js'
import { ACK, finishTcp, writeTcpSegment } from '../wire/tcp.js'
import { pad, writeBareTimestamps, writeSack, writeTimestamps } from '../wire/tcp-options.js'
import { BARE_RST } from './bits.js'
import type { TcpConfig } from './config.js'
import { ACK_ALONE, KIND_DATA, KIND_RST, type Run, type SegmentKind, type SeqOff, type TcpExtension } from './extension.js'
import { type Handshake, writeFastOpenPadded, writeSynOptions } from './handshake.js'
import { type Receiver, SACK_MAX } from './receiver.js'

/** Timestamps with their two NOPs. */
export const TS_LEN = 12
/** Options of one segment. */
export const OPTIONS_MAX = 40
/** Bytes of an IP packet, so that the total length field does not overflow. */
const PACKET_MAX = 65_535

/** What a segment's headers are made of; an endpoint. */
export interface Speaker {
  readonly cfg: TcpConfig
  readonly tuple: Tuple
  readonly iss: number
  readonly tsOffset: number
  readonly irs: number
  readonly rcv: Receiver
  readonly ext: TcpExtension
  readonly mss: number
  /** Of bits.ts. */
  readonly bits: number
  readonly rcvWscale: number
  readonly hasTimestamps: boolean
  readonly isSackOk: boolean
}

const blockLeft = new Float64Array(SACK_MAX)
const blockRight = new Float64Array(SACK_MAX)
const rawLeft = new Int32Array(SACK_MAX)
const rawRight = new Int32Array(SACK_MAX)

// The segment under construction: between `open…` and `close` nothing else is written.
let entry = -1
let optLen = 0

function begin(ep: Speaker, tx: TxRing): number {
  entry = tx.begin()
  return entry < 0 ? -1 : entry + VNET_HDR_LEN + (ep.tuple.local.isV4 ? 20 : 40) + 20
}

/** Starts a SYN or SYN/ACK. False: the ring is full. */
export function openSyn(ep: Speaker, tx: TxRing, hs: Handshake, kind: SegmentKind, now: Micros): boolean {
  const opt0 = begin(ep, tx)
  if (opt0 < 0) return false
  const mem = tx.bytes
  let opt = opt0 + writeSynOptions(mem, opt0, ep.cfg, ep.tuple.local.isV4, hs.peer, hs.hasWscale, timestamp(ep, now), ep.rcv.tsRecent)
  if (hs.fastOpenCookie !== null) opt += writeFastOpenPadded(mem, opt, hs.fastOpenCookie, opt0 + OPTIONS_MAX - opt)
  const room = opt0 + OPTIONS_MAX - opt
  if (ep.ext.optionLen(kind, room, hs.retries > 0) > 0) opt += ep.ext.write(kind, mem, opt, room, 0, null, hs.retries > 0, now)
  optLen = opt - opt0
  return true
}

/**
 * Starts any other segment: timestamps, SACK blocks (never beside payload: they would shrink every segment of a burst) and the
 * extension's options. False: the ring is full.
 */
export function openSegment(
  ep: Speaker,
  tx: TxRing,
  kind: SegmentKind,
  seqOff: SeqOff,
  run: Run | null,
  isRetransmit: boolean,
  now: Micros,
): boolean {
  const opt0 = begin(ep, tx)
  if (opt0 < 0) return false
  const mem = tx.bytes
  const ext = ep.ext
  let opt = opt0
  if (ep.hasTimestamps && (kind !== KIND_RST || (ep.bits & BARE_RST) === 0)) {
    // Never left out (RFC 7323 §3.2); without their padding they leave room for the largest option
    const isTight = run === null && ext.wantsAck() === ACK_ALONE && ext.optionLen(kind, OPTIONS_MAX - TS_LEN, isRetransmit) === 0
    const at = opt
    const ts = timestamp(ep, now)
    opt += isTight ? writeBareTimestamps(mem, at, ts, ep.rcv.tsRecent) : writeTimestamps(mem, at, ts, ep.rcv.tsRecent)
  }
  const extLen = ext.optionLen(kind, opt0 + OPTIONS_MAX - opt, isRetransmit)
  if (run === null && ep.isSackOk && kind !== KIND_RST) {
    const blocks = Math.min(ep.rcv.sackPending, (opt0 + OPTIONS_MAX - opt - extLen - 4) >> 3)
    if (blocks > 0) opt += writeSackBlocks(ep, mem, opt, blocks)
  }
  if (extLen > 0) opt += ext.write(kind, mem, opt, opt0 + OPTIONS_MAX - opt, seqOff, run, isRetransmit, now)
  optLen = pad(mem, opt0, opt - opt0)
  invariant(optLen <= OPTIONS_MAX, 'tcp: more than 40 bytes of options')
  return true
}

/** Completes the segment whose payload pieces (`payload` bytes) are in the tx entry. @param rawWindow the window field as it goes out; @param ecn the ECN bits of the IP header. */
export function closeSegment(
  ep: Speaker,
  tx: TxRing,
  flags: number,
  seqOff: SeqOff,
  payload: number,
  rawWindow: number,
  ecn: number,
): void {
  const mem = tx.bytes
  const ip = entry + VNET_HDR_LEN
  const tcpLen = 20 + optLen
  const ipLen = writeIpHeader(mem, ip, ep.tuple.local, ep.tuple.remote, 6, tcpLen + payload, (ep.tuple.tclass ?? 0) | ecn, ep.cfg.ttl)
  const tcp = ip + ipLen
  const ack = (flags & ACK) !== 0 ? seqOf(ep.irs, ep.rcv.rcvNxt) : 0
  writeTcpSegment(mem, tcp, ep.tuple.localPort, ep.tuple.remotePort, seqOf(ep.iss, seqOff), ack, flags, rawWindow)
  const mss = ep.mss + (ep.hasTimestamps ? TS_LEN : 0) - optLen
  finishTcp(mem, entry, ip, tcp, tcpLen, payload, ep.cfg.gso && payload > mss ? mss : 0)
  tx.end(VNET_HDR_LEN + ipLen + tcpLen)
}

/** Payload of one full-sized data segment with the options it would carry now. @param isRetransmit of data that was sent before */
export function segmentPayload(ep: Speaker, isRetransmit: boolean): number {
  return ep.mss - ep.ext.optionLen(KIND_DATA, ep.hasTimestamps ? OPTIONS_MAX - TS_LEN : OPTIONS_MAX, isRetransmit)
}

/** Payload of the largest super-segment made of full segments of `seg` bytes. */
export function burstMax(ep: Speaker, seg: number): number {
  if (!ep.cfg.gso) return seg
  const room = PACKET_MAX - (ep.tuple.local.isV4 ? 20 : 40) - 20 - OPTIONS_MAX
  return Math.max(seg, room - (room % seg))
}

/** Millisecond clock of the timestamps option (RFC 7323 §5.4), offset per pair of addresses. */
export function timestamp(ep: Pick<Speaker, 'tsOffset'>, now: Micros): number {
  return (Math.floor(now / US_PER_MS) + ep.tsOffset) | 0
}

/** Reads an echoed timestamp back: milliseconds of our clock, at most those of `now`; -1 when it is not one of ours. */
export function echoedMs(ep: Speaker, tsEcr: number, now: Micros): number {
  const age = (timestamp(ep, now) - tsEcr) | 0
  return age < 0 ? -1 : Math.floor(now / US_PER_MS) - age
}

function writeSackBlocks(ep: Speaker, mem: Uint8Array, at: number, max: number): number {
  const n = ep.rcv.sackBlocks(blockLeft, blockRight, max)
  for (let i = 0; i < n; i++) {
    rawLeft[i] = seqOf(ep.irs, blockLeft[i] as number)
    rawRight[i] = seqOf(ep.irs, blockRight[i] as number)
  }
  return writeSack(mem, at, n, rawLeft, rawRight)
}
