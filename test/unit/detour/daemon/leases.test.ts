import t from 'tap'
import { IpAddress } from '../../../../src/base/address.js'
import { Rng } from '../../../../src/base/rng.js'
import { parseAddress } from '../../../../src/config/address-text.js'
import { type LeaseOwner, LeaseTable, type MapRequest } from '../../../../src/detour/daemon/leases.js'
import { RateLimit } from '../../../../src/detour/daemon/rate.js'
import { RESULT_CONFLICT, RESULT_NO_PORT, RESULT_OK, RESULT_QUOTA } from '../../../../src/detour/protocol/ops.js'

const owner = (over: Partial<LeaseOwner> = {}): LeaseOwner => ({
  name: 'alice',
  leases: 0,
  maxLeases: 100,
  rate: new RateLimit(1000, 1000, 0),
  ...over,
})
const table = (over = {}) =>
  new LeaseTable({ maxLeases: 1000, rate: new RateLimit(1e6, 1e6, 0), firstPort: 20_000, lastPort: 20_009, ...over }, 12_345)
const request = (mapId: string, over: Partial<MapRequest> = {}): MapRequest => ({
  mapId,
  leaseMs: 60_000,
  client: parseAddress('192.0.2.1'),
  remote: parseAddress('198.51.100.1'),
  remotePort: 443,
  port: 0,
  isPortFlexible: false,
  ...over,
})

t.test('the same id and target is a renewal, never a second mapping; another target is a conflict', (t) => {
  const leases = table()
  const alice = owner()
  const first = leases.map(alice, request('a'), 0).lease
  const again = leases.map(alice, request('a', { leaseMs: 5000 }), 1000).lease
  t.equal(again, first)
  t.equal(again?.endsAt, 6000)
  t.equal(leases.live, 1)
  for (const over of [{ remotePort: 80 }, { remote: parseAddress('198.51.100.2') }, { port: first?.port === 20_005 ? 20_006 : 20_005 }])
    t.same(leases.map(alice, request('a', over), 0), { result: RESULT_CONFLICT, lease: null, moved: null })
  t.equal(leases.map(alice, request('a', { port: first?.port ?? 0 }), 0).result, RESULT_OK)
  t.equal(leases.map(owner(), request('a', { remotePort: 80 }), 0).result, RESULT_OK, "another key's ids are its own")
  t.end()
})

t.test('a port is one per client address: the wanted one if it is free, else none or any', (t) => {
  const leases = table()
  const alice = owner()
  t.equal(leases.map(alice, request('a', { port: 20_003 }), 0).lease?.port, 20_003)
  t.equal(leases.map(alice, request('b', { port: 20_003 }), 0).result, RESULT_NO_PORT)
  t.equal(leases.map(alice, request('b', { port: 19_999 }), 0).result, RESULT_NO_PORT, 'outside of the range')
  t.equal(leases.map(alice, request('c', { port: 20_003, client: parseAddress('192.0.2.2') }), 0).lease?.port, 20_003)
  const other = leases.map(alice, request('d', { port: 20_003, isPortFlexible: true }), 0).lease
  t.ok(other !== null && other.port !== 20_003)
  for (let i = 2; i < 10; i++) t.equal(leases.map(alice, request(`x${i}`), 0).result, RESULT_OK)
  t.equal(leases.map(alice, request('y'), 0).result, RESULT_NO_PORT, 'the range is used up')
  t.equal(leases.map(alice, request('y', { client: parseAddress('2600::1') }), 0).result, RESULT_OK, 'for this client')
  t.end()
})

t.test('the port of what the kernel ends by itself rests for two seconds, that of a deleted one does not', (t) => {
  const leases = table()
  const alice = owner()
  const wanted = { port: 20_001, leaseMs: 1000 }
  leases.map(alice, request('a', wanted), 0)
  t.same(leases.expire(999), [])
  t.equal(leases.expire(1000).length, 1)
  t.equal(leases.map(alice, request('b', wanted), 2999).result, RESULT_NO_PORT)
  const next = leases.map(alice, request('b', wanted), 3000).lease
  if (next !== null) leases.end(next, 'deleted', 3500)
  t.equal(leases.map(alice, request('c', wanted), 3500).result, RESULT_OK)
  t.end()
})

t.test('quotas: leases and rate, of the key and in all; a refusal costs nothing', (t) => {
  const leases = table({ maxLeases: 3 })
  const alice = owner({ maxLeases: 2 })
  t.same(
    ['a', 'b', 'c'].map((id) => leases.map(alice, request(id), 0).result),
    [RESULT_OK, RESULT_OK, RESULT_QUOTA],
  )
  t.equal(leases.map(alice, request('a'), 0).result, RESULT_OK, 'renewal is always possible')
  const bob = owner()
  t.same(
    ['a', 'b'].map((id) => leases.map(bob, request(id), 0).result),
    [RESULT_OK, RESULT_QUOTA],
  )
  const [first] = leases.leasesOf(alice)
  if (first !== undefined) leases.end(first, 'deleted', 0)
  t.equal(leases.map(alice, request('c'), 0).result, RESULT_OK)
  t.equal(leases.overQuota, 2)

  const slow = owner({ rate: new RateLimit(2, 3, 0) })
  const many = table()
  const ask = (now: number) => many.map(slow, request(`${now} ${many.begun}`), now).result
  t.same([ask(0), ask(0), ask(0), ask(0)], [RESULT_OK, RESULT_OK, RESULT_OK, RESULT_QUOTA], 'a burst')
  t.same([ask(499), ask(500), ask(501)], [RESULT_QUOTA, RESULT_OK, RESULT_QUOTA], 'then so many a second')
  t.end()
})

t.test('a client whose address has changed takes its mapping along', (t) => {
  const leases = table()
  const alice = owner({ maxLeases: 1 })
  const old = leases.map(alice, request('a'), 0).lease
  const { lease, moved } = leases.map(alice, request('a', { client: parseAddress('192.0.2.9') }), 0)
  t.equal(moved, old)
  t.notOk(moved?.isLive)
  t.equal(moved?.reason, 'moved')
  t.not(lease?.number, old?.number, 'its flows are told apart')
  t.equal(leases.live, 1)
  t.end()
})

const seeds = [1, 2, Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))]
t.comment(`SEED=${seeds[2]}`)
for (const seed of seeds) {
  t.test(`random requests keep the books right, seed ${seed}`, (t) => {
    const rng = new Rng(seed)
    const leases = new LeaseTable({ maxLeases: 40, rate: new RateLimit(1e9, 1e9, 0), firstPort: 20_000, lastPort: 20_015 }, 1)
    const owners = [owner({ maxLeases: 10 }), owner({ maxLeases: 20 }), owner({ maxLeases: 30 })]
    let now = 0
    let refused = 0
    for (let i = 0; i < 3000; i++) {
      now += rng.below(300)
      const who = owners[rng.below(3)] as LeaseOwner
      const client = IpAddress.v4(rng.below(4))
      const kind = rng.below(10)
      if (kind < 7) {
        const over = { client, leaseMs: 1 + rng.below(20_000), remotePort: rng.below(3) + 1, port: rng.below(2) * (20_000 + rng.below(18)) }
        if (leases.map(who, request(String(rng.below(30)), over), now).lease === null) refused++
      } else if (kind === 7) leases.expire(now)
      else if (kind === 8) for (const lease of leases.leasesOf(who).slice(0, 2)) leases.end(lease, 'deleted', now)
      else for (const lease of [...leases.all()]) if (!lease.isLive && rng.below(2) === 0) leases.close(lease)
      const live = [...leases.all()].filter((lease) => lease.isLive)
      const places = new Set(live.map((lease) => `${lease.client} ${lease.port}`))
      const isRight =
        live.length === leases.live &&
        places.size === live.length &&
        live.length <= 40 &&
        owners.every((o) => o.leases === live.filter((lease) => lease.owner === o).length && o.leases <= o.maxLeases)
      if (!isRight) {
        t.fail(`step ${i}`)
        break
      }
    }
    t.ok(leases.begun > 300 && refused > 100, 'control: much was granted and much refused', { begun: leases.begun, refused })
    t.end()
  })
}
