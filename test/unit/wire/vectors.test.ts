import { createHash, createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { readI32 } from '../../../src/base/bytes.js'
import { finishSum, sumBytes } from '../../../src/base/checksum.js'
import type { Hash } from '../../../src/base/host.js'
import { joinHmac, KeyMaterial } from '../../../src/mptcp/keys.js'
import { dataOffOf64, dsnHiOf, dsnLoOf, dssPseudoSum } from '../../../src/wire/dsn.js'
import * as mp from '../../../src/wire/mptcp-options.js'
import { hex, toHex } from '../../oracle/wire-bytes.js'

function load<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../vectors/${name}.json`, import.meta.url), 'utf8')) as T
}

const hash: Hash = {
  sha256: (data) => createHash('sha256').update(data).digest(),
  hmacSha256: (key, data) => createHmac('sha256', key).update(data).digest(),
}

/** Hex text of SHA-256, by node:crypto alone. */
const sha256 = (text: string): string => createHash('sha256').update(Buffer.from(text, 'hex')).digest('hex')
const hmac = (key: string, text: string): string =>
  createHmac('sha256', Buffer.from(key, 'hex')).update(Buffer.from(text, 'hex')).digest('hex')

/** Two int32 words of 16 hex digits. */
function words(text: string): [number, number] {
  const bytes = hex(text)
  return [readI32(bytes, 0), readI32(bytes, 4)]
}

function keyOf(text: string): KeyMaterial {
  return new KeyMaterial(hash, ...words(text))
}

interface KeyVector {
  readonly name: string
  readonly key: string
  readonly token: string
  readonly idsn: string
  readonly firstDsn: string
}

t.test('rfc8684 3.1: key to token and IDSN', async (t) => {
  const vectors = load<KeyVector[]>('keys')
  t.ok(vectors.length >= 10)
  for (const v of vectors) {
    const digest = sha256(v.key)
    t.equal(v.token, digest.slice(0, 8), `${v.name}: leftmost 32 bits`)
    t.equal(v.idsn, digest.slice(48), `${v.name}: rightmost 64 bits`)
    t.equal(
      v.firstDsn,
      BigInt.asUintN(64, BigInt(`0x${v.idsn}`) + 1n)
        .toString(16)
        .padStart(16, '0'),
    )
    const key = keyOf(v.key)
    const [idsnHi, idsnLo] = words(v.idsn)
    t.match(key, { token: readI32(hex(v.token), 0), idsnHi, idsnLo }, v.name)
    const [dsnHi, dsnLo] = words(v.firstDsn)
    t.equal(dataOffOf64(idsnHi, idsnLo, dsnHi, dsnLo), 0, `${v.name}: first byte`)
    t.strictSame([dsnHiOf(idsnHi, idsnLo, 0), dsnLoOf(idsnLo, 0)], [dsnHi, dsnLo], `${v.name}: and back`)
  }
})

interface JoinVector {
  readonly keyA: string
  readonly keyB: string
  readonly nonceA: string
  readonly nonceB: string
  readonly tokenB: string
  readonly hmacSynAck: string
  readonly hmacAck: string
}

t.test('rfc8684 3.2: HMACs of a join', async (t) => {
  for (const v of load<JoinVector[]>('joins')) {
    t.equal(v.tokenB, sha256(v.keyB).slice(0, 8))
    t.equal(v.hmacAck, hmac(v.keyA + v.keyB, v.nonceA + v.nonceB).slice(0, 40))
    t.equal(v.hmacSynAck, hmac(v.keyB + v.keyA, v.nonceB + v.nonceA).slice(0, 16))
    const [a, b] = [keyOf(v.keyA), keyOf(v.keyB)]
    const [ra, rb] = [readI32(hex(v.nonceA), 0), readI32(hex(v.nonceB), 0)]
    t.equal(toHex(joinHmac(hash, a, b, ra, rb), 0, 20), v.hmacAck)
    t.equal(toHex(joinHmac(hash, b, a, rb, ra), 0, 8), v.hmacSynAck)
  }
})

interface AddVector {
  readonly senderKey: string
  readonly receiverKey: string
  readonly addressId: number
  readonly address: string
  readonly port: number
  readonly hmac: string
  readonly option: string
  readonly echo: string
}

t.test('rfc8684 3.4.1: HMAC, option and echo of ADD_ADDR', async (t) => {
  const mem = new Uint8Array(64)
  for (const v of load<AddVector[]>('add-addr')) {
    const hex16 = v.port.toString(16).padStart(4, '0')
    const id = v.addressId.toString(16).padStart(2, '0')
    const digest = hmac(v.senderKey + v.receiverKey, id + v.address + hex16)
    t.equal(v.hmac, digest.slice(48), 'rightmost 64 bits, two zero octets where there is no port')
    const address = v.address.length === 8 ? IpAddress.v4(readI32(hex(v.address), 0)) : new IpAddress(...fourWords(v.address))
    const len = mp.writeAddAddr(mem, 2, v.addressId, address, v.port, hex(digest), 24)
    t.equal(toHex(mem, 2, len), v.option)
    const echoLen = mp.writeAddAddr(mem, 2, v.addressId, address, v.port, null, 0)
    t.equal(toHex(mem, 2, echoLen), v.echo)
    const bytes = hex(v.option)
    const m = new mp.MptcpOptions()
    t.ok(mp.parseMptcpOption(bytes, 0, bytes.length, mp.FORM_ACK, m))
    t.equal(toHex(bytes, m.addHmacOff, 8), v.hmac)
    const { w0: add0, w1: add1, w2: add2, w3: add3 } = address
    t.match(m, { addAddrId: v.addressId, addEcho: false, add0, add1, add2, add3, addPort: v.port })
  }
})

function fourWords(text: string): [number, number, number, number] {
  return [...words(text.slice(0, 16)), ...words(text.slice(16))]
}

interface ConnectionVector {
  readonly keyA: string
  readonly keyB: string
  readonly nonceA: string
  readonly nonceB: string
  readonly request: string
  readonly reply: string
  readonly options: readonly { readonly name: string; readonly form: 'SYN' | 'SYN/ACK' | 'ACK'; readonly bytes: string }[]
}

t.test('the options of one connection with checksums, byte by byte', async (t) => {
  const v = load<ConnectionVector>('connection')
  const [a, b] = [keyOf(v.keyA), keyOf(v.keyB)]
  const [ra, rb] = [readI32(hex(v.nonceA), 0), readI32(hex(v.nonceB), 0)]
  const request = hex(v.request)
  const reply = hex(v.reply)
  const sum = (key: KeyMaterial, off: number, ssn: number, len: number, data: Uint8Array): number =>
    finishSum(sumBytes(data, 0, data.length, dssPseudoSum(dsnHiOf(key.idsnHi, key.idsnLo, off), dsnLoOf(key.idsnLo, off), ssn, len)))
  const dsn = (key: KeyMaterial, off: number): [number, number] => [dsnHiOf(key.idsnHi, key.idsnLo, off), dsnLoOf(key.idsnLo, off)]
  const n = request.length
  const ackB = dsn(b, reply.length)
  const none = new Uint8Array(0)

  const writers: ((m: Uint8Array) => number)[] = [
    (m) => mp.writeCapable(m, 0, 4, 1, 0x81, 0, 0, 0, 0, 0, 0),
    (m) => mp.writeCapable(m, 0, 12, 1, 0x81, b.hi, b.lo, 0, 0, 0, 0),
    (m) => mp.writeCapable(m, 0, 20, 1, 0x81, a.hi, a.lo, b.hi, b.lo, 0, 0),
    (m) => mp.writeCapable(m, 0, 24, 1, 0x81, a.hi, a.lo, b.hi, b.lo, n, sum(a, 0, 1, n, request)),
    (m) => mp.writeDss(m, 0, 8, ...dsn(a, n), 8, ...dsn(b, 0), 1, reply.length, sum(b, 0, 1, reply.length, reply), false),
    (m) => mp.writeDss(m, 0, 8, ...ackB, 0, 0, 0, 0, 0, -1, false),
    (m) => mp.writeDss(m, 0, 4, ...ackB, 0, 0, 0, 0, 0, -1, false),
    (m) => mp.writeDss(m, 0, 8, ...ackB, 8, ...dsn(a, n), 0, 1, sum(a, n, 0, 1, none), true),
    (m) => mp.writeJoinSyn(m, 0, false, 3, b.token, ra),
    (m) => mp.writeJoinSynAck(m, 0, true, 4, joinHmac(hash, b, a, rb, ra), 0, rb),
    (m) => mp.writeJoinAck(m, 0, joinHmac(hash, a, b, ra, rb), 0),
    (m) => mp.writeFail(m, 0, ...dsn(b, 0)),
    (m) => mp.writeFastclose(m, 0, b.hi, b.lo),
  ]
  t.equal(v.options.length, writers.length)
  for (const [i, { name, form, bytes }] of v.options.entries()) {
    const mem = new Uint8Array(64)
    const len = (writers[i] as (m: Uint8Array) => number)(mem)
    t.equal(toHex(mem, 0, len), bytes, name)
    const code = ({ SYN: mp.FORM_SYN, 'SYN/ACK': mp.FORM_SYNACK, ACK: mp.FORM_ACK } as const)[form]
    t.ok(mp.parseMptcpOption(mem, 0, len, code, new mp.MptcpOptions()), `${name}: parsed`)
  }
})
