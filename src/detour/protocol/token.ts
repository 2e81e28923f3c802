import { MptcpError } from '../../base/errors.js'
import { DETOUR_PORT, parseHostPort } from '../../config/detour-config.js'
import { DetourKeys, KEY_ID_LEN, SECRET_LEN } from './keys.js'

const TOKEN = /^mptcp-detour:\/\/(?<id>[\w-]{11})\.(?<secret>[\w-]{43})@(?<where>\S+)$/

/**
 * What `detour keygen` prints and a client's configuration holds: whom to ask, and by which secret. Only `text` shows the secret.
 *
 *     mptcp-detour://KEYID.SECRET@host[:port]        base64url without padding; an IPv6 host in brackets
 */
export class DetourToken {
  /** A name or an address, without brackets. */
  readonly host: string
  readonly port: number
  /** 8 bytes. */
  readonly keyId: Uint8Array
  readonly #secret: Uint8Array

  /** @param keyId 8 bytes @param secret 32 bytes. @throws {MptcpError} ERR_DETOUR_KEY */
  constructor(host: string, port: number, keyId: Uint8Array, secret: Uint8Array) {
    if (keyId.length !== KEY_ID_LEN || secret.length !== SECRET_LEN)
      throw new MptcpError('ERR_DETOUR_KEY', `a detour key is an id of ${KEY_ID_LEN} bytes and a secret of ${SECRET_LEN}`)
    this.host = host
    this.port = port
    this.keyId = Uint8Array.from(keyId)
    this.#secret = Uint8Array.from(secret)
  }

  /** @throws {MptcpError} ERR_DETOUR_TOKEN, ERR_DETOUR_ADDRESS, ERR_ADDRESS; no message repeats the token. */
  static parse(text: string): DetourToken {
    const groups = TOKEN.exec(text)?.groups
    const keyId = bytesOf(groups?.id, KEY_ID_LEN)
    const secret = bytesOf(groups?.secret, SECRET_LEN)
    if (groups?.where === undefined || keyId === null || secret === null) {
      throw new MptcpError(
        'ERR_DETOUR_TOKEN',
        'is no token: expected mptcp-detour://KEYID.SECRET@HOST[:PORT], whole, as `mptcpd-user detour keygen` prints it',
      )
    }
    const { host, port } = parseHostPort(groups.where)
    return new DetourToken(host, port, keyId, secret)
  }

  /** The token with its secret, to be given to the client and to nobody else. */
  text(): string {
    return `mptcp-detour://${base64(this.keyId)}.${base64(this.#secret)}@${this.where()}`
  }

  /** Keys for the wire. */
  keys(): DetourKeys {
    return new DetourKeys(this.keyId, this.#secret)
  }

  /** Without the secret. */
  toString(): string {
    return `mptcp-detour://${base64(this.keyId)}.[hidden]@${this.where()}`
  }

  toJSON(): string {
    return this.toString()
  }

  private where(): string {
    const host = this.host.includes(':') ? `[${this.host}]` : this.host
    return this.port === DETOUR_PORT ? host : `${host}:${this.port}`
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}

/** Null also for text whose spare bits are set: one key has one text. */
function bytesOf(text: string | undefined, len: number): Uint8Array | null {
  if (text === undefined) return null
  const bytes = Buffer.from(text, 'base64url')
  return bytes.length === len && bytes.toString('base64url') === text ? bytes : null
}
