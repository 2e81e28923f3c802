import { createHash } from 'node:crypto'
import type { IpAddress } from '../../../src/base/address.js'
import { Mismatch, Unsupported } from '../errors.js'
import { Names } from './names.js'

const MASK64 = (1n << 64n) - 1n

/** Keys and derived numbers of the MPTCP connection of a script, and its names of endpoints. */
export class Keys {
  readonly names = new Names()
  private readonly byName = new Map<string, bigint>()
  /** null until they were seen. */
  local: bigint | null = null
  remote: bigint | null = null
  /** Nonces of the latest join: ours and the script's. */
  localNonce = 0
  remoteNonce = 0

  /** Latest DATA_ACK of the stack, 64 bits; before the first one what the handshake says. */
  private lastDataAck: bigint | null = null

  get dataAck(): bigint | null {
    return this.lastDataAck ?? (this.remote === null ? null : Keys.dsn(this.remote, 1n))
  }

  /** The stack has sent a DATA_ACK of `len` bytes; 0: none. */
  noteDataAck(len: 0 | 4 | 8, high: number, low: number): void {
    const last = this.dataAck
    if (len === 0 || last === null) return
    const word = BigInt(low >>> 0)
    if (len === 8) this.lastDataAck = (BigInt(high >>> 0) << 32n) | word
    else this.lastDataAck = (last + BigInt.asIntN(32, word - last)) & MASK64
  }

  /** A SYN opens another connection. */
  begin(): void {
    this.local = null
    this.remote = null
  }

  bind(name: string, key: bigint): void {
    this.byName.set(name, key)
  }

  get(name: string): bigint | undefined {
    return this.byName.get(name)
  }

  named(name: string, line: number): bigint {
    const key = this.byName.get(name)
    if (key === undefined) throw new Mismatch(line, `key ${name} is not known yet`)
    return key
  }

  /** Data sequence number of offset `n` of the stream that belongs to `key`; offset 1 is its first byte. */
  static dsn(key: bigint, n: bigint): bigint {
    return (Keys.digest(key).readBigUInt64BE(24) + n) & MASK64
  }

  static token(key: bigint): number {
    return Keys.digest(key).readInt32BE(0)
  }

  static bytes(...keys: readonly bigint[]): Buffer {
    const out = Buffer.alloc(8 * keys.length)
    for (const [i, key] of keys.entries()) out.writeBigUInt64BE(key & MASK64, 8 * i)
    return out
  }

  private static digest(key: bigint): Buffer {
    return createHash('sha256').update(Keys.bytes(key)).digest()
  }

  both(line: number): { local: bigint; remote: bigint } {
    if (this.local === null || this.remote === null) throw new Mismatch(line, 'the keys are not both known yet')
    return { local: this.local, remote: this.remote }
  }
}

/**
 * One TCP flow with its two sets of coordinates: those of the script, where each side's SYN stands where the script put it and bytes
 * count from 1, and those of the wire.
 */
export class Flow {
  readonly local: IpAddress
  readonly remote: IpAddress
  readonly localPort: number
  readonly remotePort: number
  /** Ports that the script uses for this flow; 0: it has not said. */
  scriptLocalPort = 0
  scriptRemotePort = 0
  /** Wire number of our SYN; null until it was seen. */
  iss: number | null = null
  private scriptIss = 0
  irs: number
  /** FINs that went each way. */
  hasOurFin = false
  hasPeerFin = false
  private scriptIrs: number | null = null
  /** A later SYN of the script's: if we answer it by one of ours, both sides count from there. */
  private reopening: { readonly script: number; readonly wire: number } | null = null
  private isReopened = false
  /** Timestamps of ours by what the script calls them. */
  private readonly stamps = new Map<number, number>()
  private firstScriptStamp = 0
  private firstStamp: number | null = null

  /** @param irs wire number of the script's own SYN, chosen by the runner. */
  constructor(local: IpAddress, localPort: number, remote: IpAddress, remotePort: number, irs: number) {
    this.local = local
    this.localPort = localPort
    this.remote = remote
    this.remotePort = remotePort
    this.irs = irs
  }

  onInboundSyn(scriptSeq: number): void {
    if (this.scriptIrs === null) this.scriptIrs = scriptSeq
    else this.reopening = { script: scriptSeq, wire: this.toWireRemote(scriptSeq, true) }
  }

  onOutboundSyn(wireSeq: number, scriptSeq: number): void {
    if (this.iss !== null && this.reopening === null) return
    if (this.reopening !== null) {
      this.irs = this.reopening.wire
      this.scriptIrs = this.reopening.script
      this.reopening = null
      this.isReopened = true
    }
    this.iss = wireSeq
    this.scriptIss = scriptSeq
  }

  /** Only SYNs have sequence numbers from where the script put its ISN. */
  toWireRemote(seq: number, isSyn: boolean): number {
    return (this.irs + seq - (isSyn ? (this.scriptIrs ?? seq) : 0)) | 0
  }

  toWireLocal(seq: number): number {
    return ((this.iss ?? 0) + seq) | 0
  }

  toScriptLocal(seq: number, isSyn: boolean): number {
    return (seq - (this.iss ?? (isSyn ? seq : 0)) + (isSyn ? this.scriptIss : 0)) | 0
  }

  /** @param isSyn of a SYN/ACK, which acknowledges from where the script put its SYN */
  toScriptRemote(seq: number, isSyn = false): number {
    return (seq - this.irs + (isSyn && !this.isReopened ? (this.scriptIrs ?? 0) : 0)) | 0
  }

  /** Our timestamp `wire` is called `script`. @returns by how many ticks the two have drifted apart since the first pair. */
  noteStamp(script: number, wire: number): number {
    this.stamps.set(script, wire)
    if (this.firstStamp === null) {
      this.firstStamp = wire
      this.firstScriptStamp = script
    }
    return (wire - this.firstStamp - (script - this.firstScriptStamp)) | 0
  }

  /** What an echo of `script` has to be on the wire; `isScaled`: one that never went out is computed. */
  stampOnWire(script: number, isScaled: boolean, line: number): number {
    const known = this.stamps.get(script)
    if (known !== undefined) return known
    if (this.firstStamp === null) {
      if (script === 0) return 0
      throw new Unsupported(line, `echo of timestamp ${script}, when none of ours was seen`)
    }
    if (!isScaled) throw new Unsupported(line, `echo of timestamp ${script}, which we never sent (--tcp_ts_ecr_scaled computes it)`)
    return (this.firstStamp + script - this.firstScriptStamp) | 0
  }

  /** For printing. */
  stampInScript(wire: number): number {
    return this.firstStamp === null ? wire : (wire - this.firstStamp + this.firstScriptStamp) | 0
  }
}
