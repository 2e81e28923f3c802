import type { IpAddress } from '../base/address.js'
import { readI32, writeI32, writeU16 } from '../base/bytes.js'
import type { Hash, Host } from '../base/host.js'

/** A host's key and what RFC 8684 §3.1 derives from it. 64-bit values as two int32 words. Never logged. */
export class KeyMaterial {
  readonly hi: number
  readonly lo: number
  /** Most significant 32 bits of SHA-256(key). */
  readonly token: number
  /** Initial data sequence number: least significant 64 bits of SHA-256(key). */
  readonly idsnHi: number
  readonly idsnLo: number

  constructor(hash: Hash, hi: number, lo: number) {
    this.hi = hi | 0
    this.lo = lo | 0
    const bytes = new Uint8Array(8)
    writeI32(bytes, 0, hi) // network byte order
    writeI32(bytes, 4, lo)
    const digest = hash.sha256(bytes)
    this.token = readI32(digest, 0)
    this.idsnHi = readI32(digest, 24)
    this.idsnLo = readI32(digest, 28)
  }
}

/** Attempts to find a key whose token is free. A collision needs a table near 2^32 entries to repeat. */
const KEY_TRIES = 8

/**
 * A fresh key whose token nobody else here uses (RFC 8684 §3.1: the list of tokens SHOULD be checked).
 * @param claim takes the token when it is free. @returns null: no free token, the connection must be plain TCP.
 */
export function generateKey(host: Host, claim: (token: number) => boolean): KeyMaterial | null {
  for (let i = 0; i < KEY_TRIES; i++) {
    const key = new KeyMaterial(host.hash, host.rng(), host.rng())
    if (claim(key.token)) return key
  }
  return null
}

/** Bytes of the HMAC in the SYN/ACK and in the third ACK, leftmost ones (RFC 8684 §3.2). */
export const HMAC_SYNACK_LEN = 8
export const HMAC_ACK_LEN = 20

/** HMAC of a join: key and message begin with the part of the host that sends it (RFC 8684 §3.2, figure 8). 32 bytes. */
export function joinHmac(hash: Hash, sender: KeyMaterial, receiver: KeyMaterial, senderNonce: number, receiverNonce: number): Uint8Array {
  const message = new Uint8Array(8)
  writeI32(message, 0, senderNonce)
  writeI32(message, 4, receiverNonce)
  return hash.hmacSha256(keyPair(sender, receiver), message)
}

/** Bytes of the HMAC in ADD_ADDR, rightmost ones (RFC 8684 §3.4.1). */
export const ADD_ADDR_HMAC_LEN = 8

/** HMAC of an announcement: id, address, port (two zero octets when there is none). 32 bytes, of which the last 8 are sent. */
export function addAddrHmac(
  hash: Hash,
  sender: KeyMaterial,
  receiver: KeyMaterial,
  id: number,
  address: IpAddress,
  port: number,
): Uint8Array {
  const len = address.isV4 ? 4 : 16
  const message = new Uint8Array(1 + len + 2)
  message[0] = id
  if (!address.isV4) {
    writeI32(message, 1, address.w0)
    writeI32(message, 5, address.w1)
    writeI32(message, 9, address.w2)
  }
  writeI32(message, len - 3, address.w3)
  writeU16(message, 1 + len, port)
  return hash.hmacSha256(keyPair(sender, receiver), message)
}

/** Key-A followed by Key-B, 16 bytes. */
function keyPair(first: KeyMaterial, second: KeyMaterial): Uint8Array {
  const key = new Uint8Array(16)
  writeI32(key, 0, first.hi)
  writeI32(key, 4, first.lo)
  writeI32(key, 8, second.hi)
  writeI32(key, 12, second.lo)
  return key
}

/** Compares `len` bytes in a time that does not depend on their content. */
export function equalConstantTime(a: Uint8Array, aOff: number, b: Uint8Array, bOff: number, len: number): boolean {
  let diff = 0
  for (let i = 0; i < len; i++) diff |= (a[aOff + i] as number) ^ (b[bOff + i] as number)
  return diff === 0
}
