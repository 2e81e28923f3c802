import { IpAddress } from '../../base/address.js'
import { readI32, readU16, writeI32, writeU16 } from '../../base/bytes.js'

/** First byte of a version 1 datagram. */
export const V1_VERSION = 1
export const V1_LEN = 12
export const V1_REQUEST = 0
export const V1_RESPONSE = 1

/**
 * The original wire format, both ways. Nothing in it is authenticated and a mapping has no end.
 *
 *      0       7 8     15 16            31
 *     +---------+--------+---------------+
 *     | ver = 1 |   op   |   reserved    |   op: 0 request, 1 response
 *     +---------+--------+---------------+
 *     |               rip                |
 *     +------------------+---------------+
 *     |       rpt        |      dpt      |
 *     +------------------+---------------+
 */
export interface V1Message {
  readonly op: typeof V1_REQUEST | typeof V1_RESPONSE
  /** The server, IPv4. */
  readonly remote: IpAddress
  readonly remotePort: number
  /** In a request the port that is proposed, 0: any; in a response the one to send to. */
  readonly detourPort: number
}

/** The 12 bytes of a message whose `remote` is IPv4. */
export function encodeV1(message: V1Message): Buffer {
  const bytes = Buffer.alloc(V1_LEN)
  bytes[0] = V1_VERSION
  bytes[1] = message.op
  writeI32(bytes, 4, message.remote.w3)
  writeU16(bytes, 8, message.remotePort)
  writeU16(bytes, 10, message.detourPort)
  return bytes
}

/** Null for everything else; the reserved field is not looked at, as in the original. */
export function decodeV1(bytes: Uint8Array): V1Message | null {
  const op = bytes[1]
  if (bytes.length !== V1_LEN || bytes[0] !== V1_VERSION || (op !== V1_REQUEST && op !== V1_RESPONSE)) return null
  return { op, remote: IpAddress.v4(readI32(bytes, 4)), remotePort: readU16(bytes, 8), detourPort: readU16(bytes, 10) }
}
