import { IpAddress } from '../../base/address.js'
import { readI32, readU16, writeI32, writeU16 } from '../../base/bytes.js'

const OP_PADDING = 0x00
const OP_MAP = 0x01
const OP_PING = 0x02
const OP_MAPPED = 0x81
const OP_PONG = 0x82
const OP_TIME = 0x83
const OP_BYE = 0x84

export const RESULT_OK = 0
/** The rules of the detour do not allow that destination to this key. */
export const RESULT_DENIED = 1
/** The key has as many mappings, or new ones a second, as it may. */
export const RESULT_QUOTA = 2
/** The mapping id is taken by another target. */
export const RESULT_CONFLICT = 3
/** The wanted port, or every one, is taken. */
export const RESULT_NO_PORT = 4
export const RESULT_BAD_REQUEST = 5
export const RESULT_TRY_LATER = 6
export type Result = 0 | 1 | 2 | 3 | 4 | 5 | 6

/** Flag of MAP: the port is a guess, another one will do. Without it a port that is taken is answered by RESULT_NO_PORT. */
export const MAP_ANY_PORT = 1

/** Creates, renews or (lease 0) deletes a mapping. */
export interface MapOp {
  readonly op: 'map'
  /** The client's idempotency key: 16 hexadecimal digits. */
  readonly mapId: string
  /** Seconds; 0 deletes. */
  readonly leaseS: number
  readonly remote: IpAddress
  readonly remotePort: number
  /** Port of the detour that is wanted, 0: any. */
  readonly detourPort: number
  /** MAP_* bits; others must be sent as 0 and are not looked at. */
  readonly flags: number
}

/** The answer to a MAP. What was refused or deleted has lease 0. */
export interface MappedOp {
  readonly op: 'mapped'
  readonly mapId: string
  readonly result: Result
  readonly leaseS: number
  /** Where to send. */
  readonly detour: IpAddress
  readonly detourPort: number
  /** Another one than before: the daemon has lost its mappings. uint32. */
  readonly epoch: number
  /** Mappings that the key may have beyond those it has, at most 65535. */
  readonly quotaLeft: number
}

export interface PingOp {
  readonly op: 'ping'
  /** 16 hexadecimal digits. */
  readonly echo: string
}

export interface PongOp {
  readonly op: 'pong'
  readonly echo: string
  /** The client as the detour sees it. */
  readonly seenAddress: IpAddress
  readonly seenPort: number
}

/** The request's time is not acceptable; nothing else was done. */
export interface TimeOp {
  readonly op: 'time'
  /** The daemon's clock, microseconds since 1970. */
  readonly timeUs: number
}

/** The daemon is shutting down. */
export interface ByeOp {
  readonly op: 'bye'
}

export type RequestOp = MapOp | PingOp
export type ReplyOp = MappedOp | PongOp | TimeOp | ByeOp

/** Bytes of each operation with its code. */
const LENGTHS: Readonly<Record<RequestOp['op'] | ReplyOp['op'], number>> = { map: 35, ping: 9, mapped: 38, pong: 27, time: 9, bye: 1 }

/** Bytes that an operation takes, code included. */
export function opLen(op: RequestOp | ReplyOp): number {
  return LENGTHS[op.op]
}

/** Bytes that its answer takes. */
export function answerLen(op: RequestOp): number {
  return op.op === 'map' ? LENGTHS.mapped : LENGTHS.pong
}

/** Writes one operation; returns the offset behind it. */
export function writeOp(mem: Uint8Array, off: number, op: RequestOp | ReplyOp): number {
  const at = off + 1
  switch (op.op) {
    case 'map':
      mem[off] = OP_MAP
      writeId(mem, at, op.mapId)
      writeI32(mem, at + 8, op.leaseS)
      writeAddress(mem, at + 12, op.remote)
      writeU16(mem, at + 28, op.remotePort)
      writeU16(mem, at + 30, op.detourPort)
      writeU16(mem, at + 32, op.flags)
      break
    case 'mapped':
      mem[off] = OP_MAPPED
      writeId(mem, at, op.mapId)
      mem[at + 8] = op.result
      writeI32(mem, at + 9, op.leaseS)
      writeAddress(mem, at + 13, op.detour)
      writeU16(mem, at + 29, op.detourPort)
      writeI32(mem, at + 31, op.epoch)
      writeU16(mem, at + 35, op.quotaLeft)
      break
    case 'ping':
      mem[off] = OP_PING
      writeId(mem, at, op.echo)
      break
    case 'pong':
      mem[off] = OP_PONG
      writeId(mem, at, op.echo)
      writeAddress(mem, at + 8, op.seenAddress)
      writeU16(mem, at + 24, op.seenPort)
      break
    case 'time':
      mem[off] = OP_TIME
      writeTime(mem, at, op.timeUs)
      break
    case 'bye':
      mem[off] = OP_BYE
      break
  }
  return off + opLen(op)
}

/** All operations of a request; null when anything in it is not as it must be, an answer among them included. */
export function readRequestOps(mem: Uint8Array): RequestOp[] | null {
  return readOps(mem, readRequestOp)
}

/** All operations of a reply; null when anything in it is not as it must be. */
export function readReplyOps(mem: Uint8Array): ReplyOp[] | null {
  return readOps(mem, readReplyOp)
}

/** Operations, then zeros to the end; at least one operation. */
function readOps<T extends RequestOp | ReplyOp>(mem: Uint8Array, readOp: (mem: Uint8Array, off: number) => T | null): T[] | null {
  const ops: T[] = []
  let at = 0
  while (at < mem.length && mem[at] !== OP_PADDING) {
    const op = readOp(mem, at)
    if (op === null) return null
    ops.push(op)
    at += opLen(op)
  }
  for (; at < mem.length; at++) if (mem[at] !== OP_PADDING) return null
  return ops.length === 0 ? null : ops
}

function readRequestOp(mem: Uint8Array, off: number): RequestOp | null {
  const at = off + 1
  if (mem[off] === OP_MAP && off + LENGTHS.map <= mem.length) {
    return {
      op: 'map',
      mapId: readId(mem, at),
      leaseS: readI32(mem, at + 8) >>> 0,
      remote: readAddress(mem, at + 12),
      remotePort: readU16(mem, at + 28),
      detourPort: readU16(mem, at + 30),
      flags: readU16(mem, at + 32),
    }
  }
  if (mem[off] === OP_PING && off + LENGTHS.ping <= mem.length) return { op: 'ping', echo: readId(mem, at) }
  return null
}

function readReplyOp(mem: Uint8Array, off: number): ReplyOp | null {
  const at = off + 1
  const left = mem.length - off
  switch (mem[off]) {
    case OP_MAPPED: {
      if (left < LENGTHS.mapped) return null
      const result = mem[at + 8] as number
      if (result > RESULT_TRY_LATER) return null
      return {
        op: 'mapped',
        mapId: readId(mem, at),
        result: result as Result,
        leaseS: readI32(mem, at + 9) >>> 0,
        detour: readAddress(mem, at + 13),
        detourPort: readU16(mem, at + 29),
        epoch: readI32(mem, at + 31) >>> 0,
        quotaLeft: readU16(mem, at + 35),
      }
    }
    case OP_PONG:
      if (left < LENGTHS.pong) return null
      return { op: 'pong', echo: readId(mem, at), seenAddress: readAddress(mem, at + 8), seenPort: readU16(mem, at + 24) }
    case OP_TIME: {
      if (left < LENGTHS.time) return null
      const timeUs = readTime(mem, at)
      return timeUs === null ? null : { op: 'time', timeUs }
    }
    case OP_BYE:
      return { op: 'bye' }
    default:
      return null
  }
}

/** A time as uint64; null beyond 2^53, which is the year 2255. */
export function readTime(mem: Uint8Array, off: number): number | null {
  const time = (readI32(mem, off) >>> 0) * 0x1_0000_0000 + (readI32(mem, off + 4) >>> 0)
  return Number.isSafeInteger(time) ? time : null
}

/** @param timeUs 0 to 2^53 */
export function writeTime(mem: Uint8Array, off: number, timeUs: number): void {
  writeI32(mem, off, Math.floor(timeUs / 0x1_0000_0000))
  writeI32(mem, off + 4, timeUs % 0x1_0000_0000)
}

function readId(mem: Uint8Array, off: number): string {
  return Buffer.from(mem.buffer, mem.byteOffset + off, 8).toString('hex')
}

function writeId(mem: Uint8Array, off: number, id: string): void {
  for (let i = 0; i < 8; i++) mem[off + i] = Number.parseInt(id.slice(2 * i, 2 * i + 2), 16)
}

function readAddress(mem: Uint8Array, off: number): IpAddress {
  return new IpAddress(readI32(mem, off), readI32(mem, off + 4), readI32(mem, off + 8), readI32(mem, off + 12))
}

function writeAddress(mem: Uint8Array, off: number, address: IpAddress): void {
  writeI32(mem, off, address.w0)
  writeI32(mem, off + 4, address.w1)
  writeI32(mem, off + 8, address.w2)
  writeI32(mem, off + 12, address.w3)
}
