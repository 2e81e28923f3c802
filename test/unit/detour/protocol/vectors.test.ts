import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import t from 'tap'
import type { IpAddress } from '../../../../src/base/address.js'
import { parseAddress } from '../../../../src/config/address-text.js'
import { DetourKeys } from '../../../../src/detour/protocol/keys.js'
import type { ReplyOp, RequestOp } from '../../../../src/detour/protocol/ops.js'
import { DetourToken } from '../../../../src/detour/protocol/token.js'
import { decodeV1, encodeV1 } from '../../../../src/detour/protocol/v1.js'
import {
  makeNonce,
  openReply,
  openRequest,
  readHeader,
  sealBye,
  sealReply,
  sealRequest,
  V2_MAX_LEN,
  V2_MIN_LEN,
} from '../../../../src/detour/protocol/v2.js'
import { forSeeds } from '../../../oracle/seeds.js'

type Json<T> = { [K in keyof T]: T[K] extends IpAddress ? string : T[K] }
interface Vectors {
  keyId: string
  secret: string
  tokens: Record<string, [string, number]>
  requestKey: string
  replyKey: string
  datagrams: { name: string; type: number; timeUs: number; random: number; ops: Json<RequestOp | ReplyOp>[]; datagram: string }[]
}

const read = (name: string): unknown => JSON.parse(readFileSync(new URL(`../../../vectors/${name}`, import.meta.url), 'utf8'))
const vectors = read('detour-v2.json') as Vectors
const bytes = (hex: string) => Buffer.from(hex, 'hex')
const keys = new DetourKeys(bytes(vectors.keyId), bytes(vectors.secret))
const addresses = ['remote', 'detour', 'seenAddress']

/** Operations as they stand in JSON, with addresses. */
function opsOf(ops: Vectors['datagrams'][number]['ops']): (RequestOp | ReplyOp)[] {
  return ops.map(
    (op) => Object.fromEntries(Object.entries(op).map(([k, v]) => [k, addresses.includes(k) ? parseAddress(String(v)) : v])) as never,
  )
}

function reseal(vector: Vectors['datagrams'][number]): Buffer | null {
  const nonce = makeNonce(vector.timeUs, vector.random)
  const ops = opsOf(vector.ops)
  if (vector.type === 1) return sealRequest(keys, nonce, ops as RequestOp[])
  return ops[0]?.op === 'bye' ? sealBye(keys, nonce) : sealReply(keys, nonce, ops as ReplyOp[], V2_MAX_LEN)
}

const open = (datagram: Uint8Array) => openRequest(keys, datagram) ?? openReply(keys, datagram)

t.test('v2: keys of both directions are derived by HKDF', async (tt) => {
  tt.equal(Buffer.from(keys.requestKey()).toString('hex'), vectors.requestKey)
  tt.equal(Buffer.from(keys.replyKey()).toString('hex'), vectors.replyKey)
})

t.test('v2: every vector is sealed to its bytes and opened to its operations', async (tt) => {
  for (const vector of vectors.datagrams) {
    tt.equal(reseal(vector)?.toString('hex'), vector.datagram, vector.name)
    tt.same(open(bytes(vector.datagram)), opsOf(vector.ops), vector.name)
    const header = readHeader(bytes(vector.datagram))
    tt.equal(header?.timeUs, vector.timeUs)
    tt.equal(
      Buffer.from(header?.nonce ?? '', 'latin1').toString('hex'),
      Buffer.from(makeNonce(vector.timeUs, vector.random)).toString('hex'),
    )
  }
  const lengths = vectors.datagrams.map(({ datagram }) => datagram.length / 2)
  tt.ok(Math.max(...lengths) <= 1200 && Math.max(...lengths) > 1100)
  tt.equal(Math.min(...lengths), V2_MIN_LEN)
})

t.test('v2: each flipped bit, each truncation and each byte more makes it nothing', async (tt) => {
  let flips = 0
  let accepted = 0
  for (const vector of vectors.datagrams.filter(({ datagram }) => datagram.length < 1000)) {
    const datagram = bytes(vector.datagram)
    for (let bit = 0; bit < 8 * datagram.length; bit++) {
      datagram[bit >> 3] = (datagram[bit >> 3] as number) ^ (1 << (bit & 7))
      if (open(datagram) !== null) accepted++
      datagram[bit >> 3] = (datagram[bit >> 3] as number) ^ (1 << (bit & 7))
      flips++
    }
    for (let len = 0; len < datagram.length; len++) if (open(datagram.subarray(0, len)) !== null) accepted++
    for (const more of [1, 15, 16, 63, 64]) if (open(Buffer.concat([datagram, Buffer.alloc(more)])) !== null) accepted++
    tt.ok(open(datagram), 'unharmed it is good')
  }
  tt.equal(accepted, 0)
  tt.ok(flips > 8000)
})

t.test('v2: a request is no reply, a reply no request, another key opens nothing', async (tt) => {
  const other = new DetourKeys(bytes(vectors.keyId), bytes(vectors.requestKey))
  for (const { datagram, type } of vectors.datagrams) {
    tt.equal((type === 1 ? openReply : openRequest)(keys, bytes(datagram)), null)
    tt.equal(openRequest(other, bytes(datagram)) ?? openReply(other, bytes(datagram)), null)
  }
})

t.test('v2: well sealed nonsense is nothing, and never throws', async (tt) => {
  const { createCipheriv } = await import('node:crypto')
  const sealed = (type: 1 | 2, plain: Uint8Array): Buffer => {
    const head = Buffer.concat([Buffer.from([2, type, 0, 0]), keys.id])
    const nonce = makeNonce(1, 1)
    const cipher = createCipheriv('chacha20-poly1305', type === 1 ? keys.requestKey() : keys.replyKey(), nonce, { authTagLength: 16 })
    cipher.setAAD(head, { plaintextLength: plain.length })
    return Buffer.concat([head, nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
  }
  const plain = (...given: number[]) => Buffer.concat([Buffer.from(given), Buffer.alloc(64)]).subarray(0, 64)
  tt.ok(openReply(keys, sealed(2, plain(0x84))), 'control')
  tt.equal(openReply(keys, sealed(2, plain())), null, 'no operation')
  tt.equal(openReply(keys, sealed(2, plain(0x84, 0, 1))), null, 'padding that is not zero')
  tt.equal(openReply(keys, sealed(2, plain(0x85))), null, 'unknown operation')
  tt.equal(openReply(keys, sealed(2, plain(0x02))), null, 'request operation in a reply')
  tt.equal(openRequest(keys, sealed(1, plain(0x84))), null, 'reply operation in a request')
  tt.equal(openReply(keys, sealed(2, plain(0x81, 1, 2, 3, 4, 5, 6, 7, 8, 7))), null, 'unknown result')
  tt.equal(openReply(keys, sealed(2, plain(0x83, 0xff))), null, 'a time beyond 2^53')
  tt.equal(openRequest(keys, sealed(1, Buffer.alloc(64, 1))), null, 'an operation that is cut off')
  let opened = 0
  await forSeeds(tt, [1], (rng) => {
    for (let i = 0; i < 5000; i++) {
      const noise = Buffer.alloc(64)
      rng.fill(noise, 0, rng.between(1, 64))
      const type = rng.chance(0.5) ? 1 : 2
      noise[0] = (type === 1 ? [1, 2] : [0x81, 0x82, 0x83, 0x84])[rng.below(type === 1 ? 2 : 4)] as number
      const ops = (type === 1 ? openRequest : openReply)(keys, sealed(type, noise))
      if (ops !== null) opened++
      const any = Buffer.alloc(rng.below(1300))
      rng.fill(any, 0, any.length)
      if (open(any) !== null) throw new Error('noise was opened')
    }
  })
  tt.ok(opened > 0, 'some of it is valid by chance')
})

t.test('v2: a reply is never longer than its request', async (tt) => {
  const nonce = makeNonce(1, 1)
  for (const { datagram, type, ops } of vectors.datagrams) {
    if (type !== 1) continue
    const answers = (opsOf(ops) as RequestOp[]).map((op): ReplyOp => {
      const detour = parseAddress('192.0.2.7')
      if (op.op === 'ping') return { op: 'pong', echo: op.echo, seenAddress: detour, seenPort: 1 }
      return { op: 'mapped', mapId: op.mapId, result: 0, leaseS: 1, detour, detourPort: 1, epoch: 1, quotaLeft: 1 }
    })
    const reply = sealReply(keys, nonce, answers, datagram.length / 2) as Buffer
    tt.ok(reply.length <= datagram.length / 2)
    tt.equal(openReply(keys, reply)?.length, answers.length, 'and answers all of it')
    const short = sealReply(keys, nonce, answers, V2_MIN_LEN) as Buffer
    tt.equal(short.length, V2_MIN_LEN)
    tt.equal(openReply(keys, short)?.length, 1, 'what does not fit is left out')
  }
  tt.equal(sealReply(keys, nonce, [{ op: 'bye' }], V2_MIN_LEN - 1), null)
  tt.equal(sealRequest(keys, nonce, []), null)
})

t.test('tokens: text and parts, and never a word of the secret elsewhere', async (tt) => {
  for (const [text, [host, port]] of Object.entries(vectors.tokens)) {
    const token = DetourToken.parse(text)
    tt.same([token.host, token.port], [host, port])
    tt.equal(token.text(), text)
    tt.equal(Buffer.from(token.keys().replyKey()).toString('hex'), vectors.replyKey)
    const secret = (/\.([\w-]+)@/.exec(text) as RegExpExecArray)[1] as string
    for (const shown of [
      `${token}`,
      JSON.stringify({ token }),
      inspect(token, { showHidden: true }),
      inspect(token.keys()),
      `${token.keys()}`,
    ])
      tt.notOk(shown.includes(secret) || shown.includes(vectors.secret), shown)
    for (const wrong of [text.slice(1), text.replace('.', ''), text.replace('@', 'A@'), `${text} `, text.replace(/.@/, '_@'), `${text}:0`])
      tt.throws(() => DetourToken.parse(wrong), { code: /^ERR_/ }, wrong)
    try {
      DetourToken.parse(`x${text}`)
    } catch (error) {
      tt.notMatch(String(error), secret)
    }
  }
})

t.test('v1: the 12 bytes of the original, both ways', async (tt) => {
  type V1 = { name: string; op: 0 | 1; remote: string; remotePort: number; detourPort: number; datagram: string }
  for (const { name, op, remote, remotePort, detourPort, datagram } of read('detour-v1.json') as V1[]) {
    const message = { op, remote: parseAddress(remote), remotePort, detourPort }
    tt.equal(encodeV1(message).toString('hex'), datagram, name)
    tt.same(decodeV1(bytes(datagram)), message, name)
    const wire = bytes(datagram)
    for (let len = 0; len < 12; len++) tt.equal(decodeV1(wire.subarray(0, len)), null)
    tt.equal(decodeV1(Buffer.concat([wire, Buffer.alloc(1)])), null)
    for (const [at, value] of [
      [0, 2],
      [0, 0],
      [1, 2],
    ] as const) {
      const changed = Buffer.from(wire)
      changed[at] = value
      tt.equal(decodeV1(changed), null)
    }
  }
})
