import { randomInt } from 'node:crypto'
import t from 'tap'
import { parseAddress } from '../../../../src/config/address-text.js'
import { newKeyLine, parseKeys } from '../../../../src/detour/daemon/key-file.js'
import { KeyRing } from '../../../../src/detour/daemon/keys.js'
import type { Lease } from '../../../../src/detour/daemon/leases.js'
import type { Mapper } from '../../../../src/detour/daemon/mapper.js'
import { Peers } from '../../../../src/detour/daemon/peers.js'
import { Service } from '../../../../src/detour/daemon/service.js'
import { type MapOp, RESULT_DENIED, RESULT_OK, type RequestOp } from '../../../../src/detour/protocol/ops.js'
import { makeNonce, openReply, sealRequest } from '../../../../src/detour/protocol/v2.js'

const START_US = 1_800_000_000_000_000
const OPTIONS = { maxLeaseS: 600, advertise: [], mayReach: (_address: unknown, port: number) => port !== 25, v1Owner: () => null }

/** A service whose mapper grants everything in the next turn, and a client of it. */
function world() {
  let wallUs = START_US
  const keys = new KeyRing({ leases: 10, rate: 10, flows: 10 }, () => 1)
  keys.update(parseKeys(JSON.stringify(newKeyLine({ name: 'alice' })), 'keys'), 0, 0)
  const [alice] = keys.all()
  if (alice === undefined) throw new Error('no key')
  const asked: string[] = []
  const mapper = {
    epoch: 7,
    map: async (_owner: unknown, { mapId }: { mapId: string }) => {
      asked.push(mapId)
      return { result: RESULT_OK, lease: { port: 20_001 } as Lease }
    },
    unmap: async (_owner: unknown, mapId: string) => void asked.push(`-${mapId}`),
  } as unknown as Mapper
  const service = new Service(keys, mapper, new Peers(), OPTIONS, { nowMs: () => (wallUs - START_US) / 1000, wallUs: () => wallUs })
  wallUs += 1000
  const sent: Buffer[] = []
  const listener = { address: parseAddress('192.0.2.7'), send: (datagram: Uint8Array) => void sent.push(Buffer.from(datagram)) }
  const take = (datagram: Uint8Array) => service.onDatagram(listener, Buffer.from(datagram), '198.51.100.1', 1234)
  const request = (ops: readonly RequestOp[], offsetUs = 0) => {
    wallUs += 10
    return sealRequest(alice.seal, makeNonce(wallUs + offsetUs, randomInt(2 ** 32)), ops) as Buffer
  }
  const settle = () => new Promise((resolve) => setImmediate(resolve))
  return { service, alice, asked, sent, take, request, settle, pass: (us: number) => (wallUs += us) }
}

const map = (n: number, over: Partial<MapOp> = {}): MapOp => ({
  op: 'map',
  mapId: n.toString(16).padStart(16, '0'),
  leaseS: 3600,
  remote: parseAddress('8.8.8.8'),
  remotePort: 443,
  detourPort: 0,
  flags: 0,
  ...over,
})

t.test('several operations share a datagram; the answers come in their order, in one that is no longer', async (t) => {
  const { alice, take, request, settle, sent, asked } = world()
  const datagram = request([map(1), { op: 'ping', echo: '00000000000000ff' }, map(2, { remotePort: 25 }), map(3, { leaseS: 0 })])
  take(datagram)
  await settle()
  t.equal(sent.length, 1)
  t.ok((sent[0] as Buffer).length <= datagram.length)
  t.match(openReply(alice.seal, sent[0] as Buffer), [
    { op: 'mapped', result: RESULT_OK, leaseS: 600, detourPort: 20_001, epoch: 7, quotaLeft: 10 },
    { op: 'pong', seenPort: 1234 },
    { op: 'mapped', result: RESULT_DENIED, leaseS: 0 },
    { op: 'mapped', result: RESULT_OK, leaseS: 0, detourPort: 0 },
  ])
  t.same(asked, ['0000000000000001', '-0000000000000003'], 'what is denied goes no further')
})

t.test('a datagram is acted on once, whatever comes of it, and what is not as it must be gets nothing', async (t) => {
  const { service, take, request, settle, sent, asked } = world()
  const datagram = request([map(1)])
  for (let i = 0; i < 5; i++) take(datagram)
  const other = request([map(2)])
  for (let at = 0; at < other.length; at++) {
    const changed = Buffer.from(other)
    changed[at] = (changed[at] as number) ^ 0x80
    take(changed)
  }
  for (let len = 0; len < other.length; len++) take(other.subarray(0, len))
  await settle()
  t.equal(sent.length, 1)
  t.same(asked, ['0000000000000001'])
  const { replayed, forged, malformed, unknownKey, received } = service.counters
  t.equal(replayed, 4)
  t.ok(forged > 80 && malformed > 100 && unknownKey === 8, 'each for its own reason', { forged, malformed, unknownKey })
  t.equal(1 + replayed + forged + malformed + unknownKey, received, 'none unaccounted for')
  take(other)
  await settle()
  t.equal(sent.length, 2, 'control: unharmed, it is answered')
})

t.test('a wrong time gets the time and nothing else: once for each nonce, so many a second', async (t) => {
  const { alice, service, take, request, settle, sent, asked, pass } = world()
  pass(60e6)
  for (const offsetUs of [-30.1e6, 30.1e6, -59e6, -61e6, 1e12]) {
    const wrong = request([map(1)], offsetUs)
    take(wrong)
    take(wrong)
    t.match(openReply(alice.seal, sent.at(-1) as Buffer), [{ op: 'time' }], `${offsetUs / 1e6} s`)
  }
  t.equal(sent.length, 5)
  for (let i = 0; i < 100; i++) take(request([map(1)], 1e9))
  t.equal(sent.length, 10)
  t.same(asked, [])
  t.equal(service.counters.wrongTime, 105)
  pass(1e6)
  const farAhead = request([map(1)], 1e12)
  take(farAhead)
  t.equal(sent.length, 11)
  for (let i = 0; i < 10; i++) {
    pass(100e6)
    take(farAhead)
  }
  t.equal(sent.length, 11, 'also when its generation is forgotten')
  for (const offsetUs of [-29.9e6, 29.9e6]) take(request([map(1)], offsetUs))
  await settle()
  t.equal(asked.length, 2, 'control: what is within 30 s is done')
})

t.test('a request from before the start is not taken up, though its time is near', (t) => {
  const { alice, take, request, sent, asked } = world()
  take(request([map(1)], -2000))
  t.match(openReply(alice.seal, sent[0] as Buffer), [{ op: 'time' }])
  t.same(asked, [])
  t.end()
})

t.test('BYE goes to whom was seen of late, sealed, under a nonce that sealed nothing else', async (t) => {
  const { alice, service, take, request, settle, sent, pass } = world()
  const datagram = request([map(1)])
  take(datagram)
  await settle()
  pass(60e6)
  service.sayBye()
  t.equal(sent.length, 2)
  t.same(openReply(alice.seal, sent[1] as Buffer), [{ op: 'bye' }])
  t.notSame(sent[1]?.subarray(12, 24), datagram.subarray(12, 24))
  pass(3600e6)
  service.sayBye()
  t.equal(sent.length, 2, 'nobody is left')
})
