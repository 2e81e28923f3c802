import { createHmac } from 'node:crypto'
import type { IpAddress } from '../../../src/base/address.js'
import { writeI32, writeU16 } from '../../../src/base/bytes.js'
import { parseAddress } from '../../../src/config/address-text.js'
import * as mp from '../../../src/wire/mptcp-options.js'
import * as opt from '../../../src/wire/tcp-options.js'
import { Unsupported } from '../errors.js'
import type { DataSeq, MptcpSpec, OptionSpec } from '../language/ast.js'
import { cookieBytes } from '../stack/fast-open.js'
import { type Flow, Keys } from './flow.js'

/** RFC 6824 §3.3.8: with the id of the subflow that is meant. */
const PRIO_LEN_V0 = 4

const hi = (value: bigint): number => Number(BigInt.asIntN(32, value >> 32n))
const lo = (value: bigint): number => Number(BigInt.asIntN(32, value))

/** Writes the options of a packet that the script sends, in its order; rounded up to a multiple of 4 by end-of-list octets. */
export class OptionWriter {
  private readonly mem = new Uint8Array(256)
  private readonly line: number
  private readonly flow: Flow
  private readonly keys: Keys
  private readonly isScaled: boolean
  private readonly payload: Uint8Array

  constructor(line: number, flow: Flow, keys: Keys, isScaled: boolean, payload: Uint8Array) {
    this.line = line
    this.flow = flow
    this.keys = keys
    this.isScaled = isScaled
    this.payload = payload
  }

  write(options: readonly OptionSpec[], hasAck: boolean): Uint8Array {
    let at = 0
    for (const option of options) at += this.one(option, at, hasAck)
    const len = (at + 3) & ~3
    if (len > 40) throw new Unsupported(this.line, `${at} bytes of options`)
    return this.mem.slice(0, len)
  }

  private one(o: OptionSpec, at: number, hasAck: boolean): number {
    const mem = this.mem
    const head = (kind: number, len: number): number => {
      mem[at] = kind
      mem[at + 1] = len
      return len
    }
    switch (o.kind) {
      case 'nop':
        mem[at] = opt.OPT_NOP
        return 1
      case 'eol':
        mem[at] = opt.OPT_EOL
        return 1
      case 'mss':
        return opt.writeMss(mem, at, o.value)
      case 'wscale':
        mem[at + 2] = o.value
        return head(opt.OPT_WSCALE, 3)
      case 'sackOK':
        return opt.writeSackPermitted(mem, at)
      case 'sack':
        o.blocks.forEach(([left, right], i) => {
          writeI32(mem, at + 2 + 8 * i, this.flow.toWireLocal(left))
          writeI32(mem, at + 6 + 8 * i, this.flow.toWireLocal(right))
        })
        return head(opt.OPT_SACK, 2 + 8 * o.blocks.length)
      case 'TS':
        return opt.writeBareTimestamps(mem, at, o.val | 0, hasAck ? this.flow.stampOnWire(o.ecr, this.isScaled, this.line) : o.ecr | 0)
      case 'FO': {
        const cookie = cookieBytes(o.cookie, this.flow.remote, this.flow.local)
        return opt.writeFastOpen(mem, at, cookie, 0, cookie.length)
      }
    }
    return this.mptcp(o, at)
  }

  private mptcp(o: MptcpSpec, at: number): number {
    const { mem, keys, line } = this
    switch (o.kind) {
      case 'mp_capable':
        return this.capable(o, at)
      case 'dss':
        return this.dss(o, at)
      case 'mp_join_syn': {
        keys.remoteNonce = o.nonce < 0 ? 0x1234_5678 : o.nonce | 0
        return mp.writeJoinSyn(mem, at, o.backup, Math.max(0, o.id), this.token(o.token), keys.remoteNonce)
      }
      case 'mp_join_syn_ack': {
        keys.remoteNonce = o.nonce < 0 ? 0x1234_5678 : o.nonce | 0
        return mp.writeJoinSynAck(mem, at, o.backup, Math.max(0, o.id), this.joinHmac(), 0, keys.remoteNonce)
      }
      case 'mp_join_ack':
        return mp.writeJoinAck(mem, at, this.joinHmac(), 0)
      case 'add_address': {
        const { id, address } = this.addressOf(o)
        if (o.isEcho) return mp.writeAddAddr(mem, at, id, address, o.port, null, 0)
        const { local, remote } = keys.both(line)
        const hmac = o.hmac === null ? addressHmac(remote, local, id, address, o.port) : Keys.bytes(o.hmac)
        return mp.writeAddAddr(mem, at, id, address, o.port, hmac, hmac.length - 8)
      }
      case 'remove_address':
        return mp.writeRemoveAddr(mem, at, Uint8Array.from(o.ids), o.ids.length)
      case 'mp_prio': {
        const len = mp.writePrio(mem, at, o.backup)
        if (o.id < 0) return len
        mem[at + 1] = PRIO_LEN_V0
        mem[at + 3] = o.id
        return PRIO_LEN_V0
      }
      case 'mp_fail': {
        const dsn = this.data(o.dsn, keys.both(line).local)
        return mp.writeFail(mem, at, hi(dsn), lo(dsn))
      }
      case 'mp_fastclose': {
        const key = (o.key === null ? keys.both(line).local : keys.named(o.key.name, line)) + o.add
        return mp.writeFastclose(mem, at, hi(key), lo(key))
      }
      case 'mp_tcprst':
        return mp.writeTcpRst(mem, at, o.reason, o.isTransient)
    }
  }

  /** The address that is announced or echoed, and its id. Names of our addresses are known from our announcements. */
  private addressOf(o: MptcpSpec & { kind: 'add_address' }): { id: number; address: IpAddress } {
    const { flow, line } = this
    const { names } = this.keys
    const named = o.address === null ? names.get(o.name)?.address : parseAddress(o.address)
    const address = named ?? names.remoteOf(o.id, line)
    const port = o.port > 0 ? o.port : o.isEcho ? flow.localPort : flow.remotePort
    if (o.name !== '') names.bind(o.name, address, port)
    if (o.isEcho) return { id: o.id < 0 ? names.idOfOurs(address) : o.id, address }
    const id = names.addRemote(address, o.id)
    return { id: o.id < 0 ? id : o.id, address }
  }

  /** A number, the name of the key that it belongs to, or null: ours. */
  private token(token: string | null): number {
    if (token !== null && /^\d/.test(token)) return Number(token) | 0
    return Keys.token(token === null ? this.keys.both(this.line).local : this.keys.named(token, this.line))
  }

  private capable(o: MptcpSpec & { kind: 'mp_capable' }, at: number): number {
    if (o.keys.length === 0) this.keys.begin()
    const values = o.keys.map((key, i) => {
      if (key.value !== null) this.keys.bind(key.name, key.value)
      const value = this.keys.named(key.name, this.line)
      if (i === 0) this.keys.remote ??= value // later packets may name the keys in any order
      return value
    })
    const [own = 0n, peer = 0n] = values
    const hasSum = o.checksum !== 'none'
    const len = o.dataLen >= 0 ? (hasSum ? 24 : 22) : values.length === 0 ? 4 : values.length === 1 ? 12 : 20
    const sum = o.checksum === 'computed' ? dssChecksum(Keys.dsn(own, 1n), 1, o.dataLen, this.payload) : hasSum ? Number(o.checksum) : 0
    return mp.writeCapable(this.mem, at, len, o.version, o.flags, hi(own), lo(own), hi(peer), lo(peer), o.dataLen, sum)
  }

  private dss(o: MptcpSpec & { kind: 'dss' }, at: number): number {
    const { local, remote } = this.keys.both(this.line)
    const ack = o.ack === null ? 0n : this.data(o.ack, local)
    const dsn = o.dsn === null ? 0n : this.data(o.dsn, remote)
    const dll = Math.max(0, o.dll)
    const ssn = Math.max(0, o.ssn)
    const hasSum = o.dsn !== null && o.checksum !== 'none'
    const sum = !hasSum ? -1 : typeof o.checksum === 'number' ? o.checksum : dssChecksum(dsn, ssn, dll, this.payload)
    return mp.writeDss(this.mem, at, o.ack?.len ?? 0, hi(ack), lo(ack), o.dsn?.len ?? 0, hi(dsn), lo(dsn), ssn, dll, sum, o.fin)
  }

  private data(seq: DataSeq, key: bigint): bigint {
    if (seq.value === null) throw new Unsupported(this.line, 'a data sequence number without value in a packet to us')
    return Keys.dsn(seq.key === null ? key : this.keys.named(seq.key, this.line), seq.value)
  }

  /** The HMAC that the script's side sends: its own key and nonce first. */
  private joinHmac(): Buffer {
    const { local, remote } = this.keys.both(this.line)
    const message = Buffer.alloc(8)
    message.writeInt32BE(this.keys.remoteNonce, 0)
    message.writeInt32BE(this.keys.localNonce, 4)
    return createHmac('sha256', Keys.bytes(remote, local)).update(message).digest()
  }
}

/** RFC 8684 §3.4.1: HMAC of an announced address, 32 bytes of which the last eight travel. */
export function addressHmac(sender: bigint, receiver: bigint, id: number, ip: IpAddress, port: number): Buffer {
  const words = ip.isV4 ? [ip.w3] : [ip.w0, ip.w1, ip.w2, ip.w3]
  const message = Buffer.alloc(1 + 4 * words.length + 2)
  message[0] = id
  for (const [i, word] of words.entries()) message.writeInt32BE(word, 1 + 4 * i)
  message.writeUInt16BE(port, message.length - 2)
  return createHmac('sha256', Keys.bytes(sender, receiver)).update(message).digest()
}

/** RFC 8684 §3.3.1, figure 10: pseudo-header and data. */
export function dssChecksum(dsn: bigint, ssn: number, dll: number, payload: Uint8Array): number {
  const head = Buffer.alloc(16)
  head.writeBigUInt64BE(dsn, 0)
  writeI32(head, 8, ssn)
  writeU16(head, 12, dll)
  let sum = 0
  for (const bytes of [head, payload]) for (let i = 0; i < bytes.length; i++) sum += (bytes[i] as number) << ((i & 1) === 0 ? 8 : 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x1_0000)
  return ~sum & 0xffff
}
