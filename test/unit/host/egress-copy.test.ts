import t from 'tap'
import { containsText, EgressCopy, NO_NEWS, type RouteNews } from '../../../src/host/egress-copy.js'
import type { Link } from '../../../src/host/facts.js'
import { keyOf, parseRoutes, slotOf } from '../../../src/host/route-text.js'

const link = (name: string, addresses: string[], isUp = true): [string, Link] => [
  name,
  { index: 1, name, mtu: 1500, isUp, hasCarrier: isUp, addresses },
]
const LINKS = new Map([link('eth0', ['10.0.0.2', '2001:db8::2']), link('eth1', ['10.1.0.2']), link('tun0', ['198.18.0.1'])])

const ON_LINK = '10.0.0.0/24 dev eth0 proto kernel src 10.0.0.2\n10.1.0.0/24 dev eth1 proto kernel src 10.1.0.2\n'
const REAL = 'default via 10.0.0.1 dev eth0\n'

class Bench {
  readonly copy = new EgressCopy('tun0')
  update(text: string, news: Partial<Record<'deleted' | 'taken', string>> = {}, links: ReadonlyMap<string, Link> = LINKS): string[] {
    const routes = (part?: string) => parseRoutes(part ?? '')
    const told: RouteNews = { deleted: new Set(routes(news.deleted).map(keyOf)), takenByTun: new Set(routes(news.taken).map(slotOf)) }
    this.copy.update(parseRoutes(text), told, links)
    return this.copy.routes.map((r) => `${r.destination}${r.devices.map((d) => ` ${d}`).join('')}`)
  }
  get displaced(): number {
    return this.copy.displaced.length
  }
}

t.test('T is main without the TUN, without link-local prefixes, with routes that reject', (t) => {
  const bench = new Bench()
  const text = `${ON_LINK}${REAL}203.0.113.0/24 dev tun0\nfe80::/64 dev eth0\nblackhole 192.0.2.0/24\nlocal 10.9.9.9 dev lo\n`
  t.same(bench.update(text), ['10.0.0.0/24 eth0', '10.1.0.0/24 eth1', 'default eth0', '192.0.2.0/24'])
  t.equal(bench.displaced, 0)
  t.end()
})

t.test('`ip route replace default dev tun0` does not take the real default route out of T', (t) => {
  const bench = new Bench()
  bench.update(ON_LINK + REAL)
  const text = `${ON_LINK}default dev tun0\n`
  t.match(bench.update(text), ['10.0.0.0/24 eth0', '10.1.0.0/24 eth1', 'default eth0'])
  t.equal(bench.displaced, 1)
  t.match(bench.update(text), ['10.0.0.0/24 eth0', '10.1.0.0/24 eth1', 'default eth0'], 'nor later')
  t.match(bench.update(ON_LINK, { deleted: 'default dev tun0' })[2], 'default eth0', 'nor when the one at the TUN is deleted')
  t.end()
})

t.test('put on the TUN and taken off again between two looks', (t) => {
  const bench = new Bench()
  bench.update(ON_LINK + REAL)
  t.match(bench.update(ON_LINK, { taken: 'default dev tun0', deleted: 'default dev tun0' })[2], 'default eth0')
  t.end()
})

t.test('a route leaves T when its deletion names it', (t) => {
  const bench = new Bench()
  bench.update(ON_LINK + REAL)
  t.same(bench.update(`${ON_LINK}default dev tun0\n`, { deleted: REAL, taken: 'default dev tun0' }), [
    '10.0.0.0/24 eth0',
    '10.1.0.0/24 eth1',
  ])
  const other = new Bench()
  other.update(ON_LINK + REAL)
  t.same(other.update(ON_LINK), ['10.0.0.0/24 eth0', '10.1.0.0/24 eth1'], 'and when it is missing without a word: IPv4 says nothing')
  t.end()
})

t.test('a route leaves T when one through another device takes its place', (t) => {
  const bench = new Bench()
  bench.update(ON_LINK + REAL)
  t.same(bench.update(`${ON_LINK}default via 10.1.0.1 dev eth1\n`)[2], 'default eth1')
  const later = new Bench()
  later.update(ON_LINK + REAL)
  later.update(`${ON_LINK}default dev tun0\n`)
  t.same(later.update(`${ON_LINK}default via 10.1.0.1 dev eth1\n`), ['10.0.0.0/24 eth0', '10.1.0.0/24 eth1', 'default eth1'])
  t.equal(later.displaced, 0)
  t.end()
})

t.test('a displaced route leaves T when its device, its gateway or its source address goes', (t) => {
  const start = (real: string): Bench => {
    const bench = new Bench()
    bench.update(ON_LINK + real)
    bench.update(`${ON_LINK}default dev tun0\n`)
    t.equal(bench.displaced, 1)
    return bench
  }
  const taken = 'default dev tun0\n'
  const down = new Map(LINKS).set(...link('eth0', ['10.0.0.2'], false))
  t.equal(start(REAL).update(ON_LINK + taken, {}, down).length, 2, 'device down')
  const gone = new Map(LINKS)
  gone.delete('eth0')
  t.equal(start(REAL).update(ON_LINK + taken, {}, gone).length, 2, 'device gone')
  t.equal(start(REAL).update(`10.1.0.0/24 dev eth1\n${taken}`, { deleted: '10.0.0.0/24 dev eth0' }).length, 1, 'gateway out of reach')
  const moved = new Map(LINKS).set(...link('eth0', ['10.0.0.77']))
  t.equal(start('default via 10.0.0.1 dev eth0 src 10.0.0.2\n').update(ON_LINK + taken, {}, moved).length, 2, 'source address gone')
  t.end()
})

t.test('a route whose attributes change is named', (t) => {
  const bench = new Bench()
  bench.update(ON_LINK + REAL)
  bench.update(`${ON_LINK}default via 10.0.0.1 dev eth0 mtu 1400\n`)
  t.equal(bench.copy.changed.size, 1)
  bench.copy.update(parseRoutes(ON_LINK), NO_NEWS, LINKS)
  t.equal(bench.copy.changed.size, 0)
  t.end()
})

t.test('containment of addresses in printed prefixes', (t) => {
  t.ok(containsText('10.0.0.0/24', '10.0.0.255'))
  t.notOk(containsText('10.0.0.0/24', '10.0.1.0'))
  t.ok(containsText('10.0.0.7', '10.0.0.7'))
  t.ok(containsText('2001:db8::/32', '2001:db8:0:1::5'))
  t.notOk(containsText('2001:db8::/32', '2001:db9::'))
  t.notOk(containsText('2001:db8::/32', '10.0.0.1'))
  t.ok(containsText('::/1', '2001:db8::1'))
  t.notOk(containsText('nonsense', '10.0.0.1'))
  t.end()
})
