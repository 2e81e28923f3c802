import { createCipheriv, createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'

/** Bytes of the payload file; a transfer of n bytes is its first n bytes (from an offset, where that is said). */
export const PAYLOAD_LEN = 100_000_000

const payload = ((): Buffer => {
  // AES-CTR of zeros: deterministic, fast, and never periodic, so that bytes at a wrong offset cannot go unnoticed.
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 'mptcpd-user'), Buffer.alloc(16))
  return cipher.update(Buffer.alloc(PAYLOAD_LEN))
})()

/** Writes the payload to a file that server and clients share. */
export function writePayload(path: string): void {
  writeFileSync(path, payload)
}

/** SHA-256, in hex, of `len` bytes of the payload from `off` on. */
export function payloadSha256(len: number, off = 0): string {
  return createHash('sha256')
    .update(payload.subarray(off, off + len))
    .digest('hex')
}
