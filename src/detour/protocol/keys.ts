import { hkdfSync } from 'node:crypto'
import { MptcpError } from '../../base/errors.js'

export const KEY_ID_LEN = 8
export const SECRET_LEN = 32

const SALT = 'mptcp detour v2'

/**
 * What one client and the daemon share, ready for use. A key of its own for each direction, so that nothing that one side has sent
 * can be sent back to it. The keys stand in private fields: no log, inspection or JSON shows them.
 */
export class DetourKeys {
  /** 8 bytes, in the clear on the wire. */
  readonly id: Uint8Array
  readonly #request: Uint8Array
  readonly #reply: Uint8Array

  /** @param id 8 bytes @param secret 32 bytes, not kept. @throws {MptcpError} ERR_DETOUR_KEY when one has another length */
  constructor(id: Uint8Array, secret: Uint8Array) {
    if (id.length !== KEY_ID_LEN || secret.length !== SECRET_LEN)
      throw new MptcpError('ERR_DETOUR_KEY', `a detour key is an id of ${KEY_ID_LEN} bytes and a secret of ${SECRET_LEN}`)
    this.id = Uint8Array.from(id)
    this.#request = new Uint8Array(hkdfSync('sha256', secret, SALT, 'request', 32))
    this.#reply = new Uint8Array(hkdfSync('sha256', secret, SALT, 'reply', 32))
  }

  /** The AEAD key for what clients send. */
  requestKey(): Uint8Array {
    return this.#request
  }

  /** The AEAD key for what the daemon sends. */
  replyKey(): Uint8Array {
    return this.#reply
  }

  toString(): string {
    return `detour key ${Buffer.from(this.id).toString('base64url')} [hidden]`
  }
}
