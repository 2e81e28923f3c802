import { createCipheriv, createDecipheriv } from 'node:crypto'
import { writeI32 } from '../../base/bytes.js'
import type { DetourKeys } from './keys.js'
import { answerLen, opLen, type ReplyOp, readReplyOps, readRequestOps, readTime, type RequestOp, writeOp, writeTime } from './ops.js'

/** First byte of a version 2 datagram. */
export const V2_VERSION = 2
export const V2_REQUEST = 1
export const V2_REPLY = 2
/** No datagram is longer. */
export const V2_MAX_LEN = 1200

const KEY_ID_OFF = 4
const NONCE_OFF = 12
const OPS_OFF = 24
const TAG_LEN = 16
const PAD = 64
/** The shortest datagram: header, one block, tag. */
export const V2_MIN_LEN = OPS_OFF + PAD + TAG_LEN
/** Bytes of operations and padding that fit. */
const MAX_OPS_LEN = Math.floor((V2_MAX_LEN - OPS_OFF - TAG_LEN) / PAD) * PAD
/** So many MAPs, and so many of their answers, fit into one datagram. */
export const MAPS_PER_DATAGRAM = Math.floor(MAX_OPS_LEN / 38)

const CIPHER = 'chacha20-poly1305'

/**
 * What can be read without a key.
 *
 *      0        1        2                4                              12
 *     +--------+--------+----------------+------------------------------+
 *     | ver=2  |  type  | reserved = 0   |          key id [8]          |
 *     +--------+--------+----------------+------------------------------+
 *     |  time: microseconds since 1970, uint64  |  random [4]           |   12..24: the AEAD nonce
 *     +-----------------------------------------------------------------+
 *     |  sealed operations, padded to a multiple of 64, tag [16]        |   24..
 *     +-----------------------------------------------------------------+
 */
export interface V2Header {
  readonly type: typeof V2_REQUEST | typeof V2_REPLY
  /** 8 bytes as latin1 text, to look up by. */
  readonly keyId: string
  /** 12 bytes as latin1 text, to look up by. */
  readonly nonce: string
  /** Of the nonce. */
  readonly timeUs: number
}

/** The header of a datagram that may be one of version 2; null when its length or any field says that it is none. */
export function readHeader(datagram: Uint8Array): V2Header | null {
  const sealedLen = datagram.length - OPS_OFF - TAG_LEN
  if (sealedLen < PAD || sealedLen > MAX_OPS_LEN || sealedLen % PAD !== 0) return null
  const type = datagram[1]
  if (datagram[0] !== V2_VERSION || (type !== V2_REQUEST && type !== V2_REPLY) || datagram[2] !== 0 || datagram[3] !== 0) return null
  const timeUs = readTime(datagram, NONCE_OFF)
  if (timeUs === null) return null
  const bytes = Buffer.from(datagram.buffer, datagram.byteOffset, OPS_OFF)
  return { type, keyId: bytes.toString('latin1', KEY_ID_OFF, NONCE_OFF), nonce: bytes.toString('latin1', NONCE_OFF, OPS_OFF), timeUs }
}

/**
 * The nonce of a request. `timeUs` must be larger than in every earlier one of this process; `random` tells processes apart that
 * share a key. @param random 32 bits
 */
export function makeNonce(timeUs: number, random: number): Uint8Array {
  const nonce = new Uint8Array(OPS_OFF - NONCE_OFF)
  writeTime(nonce, 0, timeUs)
  writeI32(nonce, 8, random)
  return nonce
}

/**
 * A request, long enough for its answers: a reply must not be longer than what it answers.
 * @param nonce 12 bytes that were never used with these keys. @returns null when the operations do not fit into a datagram, or are none.
 */
export function sealRequest(keys: DetourKeys, nonce: Uint8Array, ops: readonly RequestOp[]): Buffer | null {
  const own = ops.reduce((sum, op) => sum + opLen(op), 0)
  const answers = ops.reduce((sum, op) => sum + answerLen(op), 0)
  return seal(V2_REQUEST, keys.id, keys.requestKey(), nonce, ops, padded(Math.max(own, answers)))
}

/** The operations of a request; null when it is malformed, or sealed with another key. Whether it is new is for the caller to know. */
export function openRequest(keys: DetourKeys, datagram: Uint8Array): RequestOp[] | null {
  const plain = open(V2_REQUEST, keys.id, keys.requestKey(), datagram)
  return plain === null ? null : readRequestOps(plain)
}

/**
 * The reply to a request. Call it once per request: two replies under one nonce would give away the one-time key of the seal, so a
 * request that is answered by TIME counts as seen too.
 * @param nonce the request's, 12 bytes
 * @param maxLen length of the request; operations behind those that fit are left out, their client asks again
 * @returns null when not even the first operation fits.
 */
export function sealReply(keys: DetourKeys, nonce: Uint8Array, ops: readonly ReplyOp[], maxLen: number): Buffer | null {
  const room = Math.floor((Math.min(maxLen, V2_MAX_LEN) - OPS_OFF - TAG_LEN) / PAD) * PAD
  let len = 0
  let n = 0
  for (const op of ops) {
    if (len + opLen(op) > room) break
    len += opLen(op)
    n++
  }
  return seal(V2_REPLY, keys.id, keys.replyKey(), nonce, ops.slice(0, n), padded(len))
}

/**
 * A BYE, which answers no request: it has a nonce of its own, `makeNonce` of the daemon's clock and random bits. Under the nonce of a
 * request that was answered it would be the second datagram with the same key and nonce.
 */
export function sealBye(keys: DetourKeys, nonce: Uint8Array): Buffer {
  return seal(V2_REPLY, keys.id, keys.replyKey(), nonce, [{ op: 'bye' }], PAD) as Buffer
}

/**
 * The operations of a reply; null when it is malformed, or sealed with another key. That its nonce is that of a request without an
 * answer yet (or, of a BYE alone, not used before and of this time) is for the caller to check.
 */
export function openReply(keys: DetourKeys, datagram: Uint8Array): ReplyOp[] | null {
  const plain = open(V2_REPLY, keys.id, keys.replyKey(), datagram)
  return plain === null ? null : readReplyOps(plain)
}

function padded(len: number): number {
  return Math.ceil(len / PAD) * PAD
}

function seal(
  type: number,
  keyId: Uint8Array,
  key: Uint8Array,
  nonce: Uint8Array,
  ops: readonly (RequestOp | ReplyOp)[],
  len: number,
): Buffer | null {
  if (len === 0 || len > MAX_OPS_LEN) return null
  const datagram = Buffer.alloc(OPS_OFF + len + TAG_LEN)
  datagram[0] = V2_VERSION
  datagram[1] = type
  datagram.set(keyId, KEY_ID_OFF)
  datagram.set(nonce, NONCE_OFF)
  const plain = datagram.subarray(OPS_OFF, OPS_OFF + len)
  let at = 0
  for (const op of ops) at = writeOp(plain, at, op)
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_LEN })
  cipher.setAAD(datagram.subarray(0, NONCE_OFF), { plaintextLength: len })
  datagram.set(cipher.update(plain), OPS_OFF)
  cipher.final()
  datagram.set(cipher.getAuthTag(), OPS_OFF + len)
  return datagram
}

function open(type: number, keyId: Uint8Array, key: Uint8Array, datagram: Uint8Array): Uint8Array | null {
  const header = readHeader(datagram)
  if (header === null || header.type !== type) return null
  for (let i = 0; i < keyId.length; i++) if (datagram[KEY_ID_OFF + i] !== keyId[i]) return null
  const tagOff = datagram.length - TAG_LEN
  const decipher = createDecipheriv(CIPHER, key, datagram.subarray(NONCE_OFF, OPS_OFF), { authTagLength: TAG_LEN })
  decipher.setAAD(datagram.subarray(0, NONCE_OFF), { plaintextLength: tagOff - OPS_OFF })
  decipher.setAuthTag(datagram.subarray(tagOff))
  const plain = decipher.update(datagram.subarray(OPS_OFF, tagOff))
  try {
    decipher.final()
  } catch {
    return null
  }
  return plain
}
