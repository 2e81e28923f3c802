import { readFileSync } from 'node:fs'
import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { ADD_ADDR_HMAC_LEN, addAddrHmac, KeyMaterial, equalConstantTime, generateKey, joinHmac } from '../../../src/mptcp/keys.js'
import { testHost } from './harness.js'

const { hash } = testHost(1)

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function key(text: string): KeyMaterial {
  const b = Buffer.from(text, 'hex')
  return new KeyMaterial(hash, b.readInt32BE(0), b.readInt32BE(4))
}

function word(n: number): string {
  return (n >>> 0).toString(16).padStart(8, '0')
}

// computed with python3's hashlib and hmac
const KEYS: [string, string, string][] = [
  ['0000000000000000', 'af5570f5', 'e5b2328de0e83dfc'],
  ['0123456789abcdef', '55c53f5d', '570762cd38be9818'],
  ['ffffffffffffffff', '12a3ae44', '57fb595bbbacf0ca'],
  ['8000000000000001', '52cc849f', '0788c9f7e1b0e202'],
]

t.test('rfc8684 3.1: token is the first 32 bits, IDSN the last 64 bits of SHA-256(key)', async (tt) => {
  for (const [text, token, idsn] of KEYS) {
    const k = key(text)
    tt.equal(word(k.token), token)
    tt.equal(word(k.idsnHi) + word(k.idsnLo), idsn)
  }
})

t.test('rfc8684 3.2: HMAC with the sender first, in key and message', async (tt) => {
  const a = key('0123456789abcdef')
  const b = key('fedcba9876543210')
  const ra = 0x01020304
  const rb = 0xa0b0c0d0 | 0
  tt.equal(hex(joinHmac(hash, a, b, ra, rb)), '0ca3ceb849b1a94372451ab6b22b0ba8e61b1affa4aa8dfbf9661161d4a07bdb')
  tt.equal(hex(joinHmac(hash, b, a, rb, ra)), 'aa7ebc70598ce670d3e05097f15a01b8b372454ee841d6ac76d9911f61bb7001')
  // the vectors of Linux, net/mptcp/crypto_test.c: keys and nonces are the characters themselves
  const cases: [string, string, string][] = [
    ['0b0b0b0b0b0b0b0b', '48692054', '8385e24fb4235ac37556b6b886db106284a1da671699f46db1f235ec622dcafa'],
    ['aaaaaaaaaaaaaaaa', 'dddddddd', '2c5e219164ff1dca1c4a92318d847bb6b9d44492984e1eb71aff9022f71046e9'],
  ]
  for (const [keys, message, result] of cases) {
    const k = Buffer.from(keys)
    const m = Buffer.from(message)
    const first = new KeyMaterial(hash, k.readInt32BE(0), k.readInt32BE(4))
    const second = new KeyMaterial(hash, k.readInt32BE(8), k.readInt32BE(12))
    tt.equal(hex(joinHmac(hash, first, second, m.readInt32BE(0), m.readInt32BE(4))), result)
  }
})

t.test('rfc8684 3.1: a key whose token is taken is drawn again', async (tt) => {
  const host = testHost(7)
  const taken: number[] = []
  const k = generateKey(host, (token) => {
    taken.push(token)
    return taken.length === 3
  })
  tt.equal(taken.length, 3)
  tt.equal(k?.token, taken[2])
  tt.equal(
    generateKey(host, () => false),
    null,
  )
})

t.test('constant-time comparison sees every bit', async (tt) => {
  const a = new Uint8Array(20).map((_, i) => i * 7)
  for (let bit = 0; bit < 160; bit++) {
    const b = new Uint8Array(a)
    b[bit >> 3] = (b[bit >> 3] as number) ^ (1 << (bit & 7))
    if (equalConstantTime(a, 0, b, 0, 20)) tt.fail(`bit ${bit}`)
  }
  tt.ok(equalConstantTime(a, 1, a, 1, 19))
})

interface AddAddrVector {
  readonly senderKey: string
  readonly receiverKey: string
  readonly addressId: number
  readonly address: string
  readonly port: number
  readonly hmac: string
}

t.test('rfc8684 3.4.1: HMAC of ADD_ADDR by the golden vectors', async (tt) => {
  const vectors = JSON.parse(readFileSync(new URL('../../vectors/add-addr.json', import.meta.url), 'utf8')) as AddAddrVector[]
  tt.ok(vectors.length > 2)
  for (const v of vectors) {
    const b = Buffer.from(v.address, 'hex')
    const address =
      b.length === 4
        ? IpAddress.v4(b.readInt32BE(0))
        : new IpAddress(b.readInt32BE(0), b.readInt32BE(4), b.readInt32BE(8), b.readInt32BE(12))
    const hmac = addAddrHmac(hash, key(v.senderKey), key(v.receiverKey), v.addressId, address, v.port)
    tt.equal(hex(hmac.subarray(hmac.length - ADD_ADDR_HMAC_LEN)), v.hmac)
  }
})
