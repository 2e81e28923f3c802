/** What the pure core needs from the world; the shell, the simulator and the tests each bring their own. */
export interface Host {
  /** 32 random bits as a signed int32. Cryptographic in the shell, seeded in the simulator. */
  rng(): number
  readonly hash: Hash
}

export interface Hash {
  /** SHA-256 of `data`, 32 bytes, a fresh array. */
  sha256(data: Uint8Array): Uint8Array
  /** HMAC-SHA256, 32 bytes, a fresh array. */
  hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array
}
