import t from 'tap'
import { addWords, keyOf, onLinkFirst, ownRoute, parseRoute, parseRoutes, type Route, slotOf } from '../../../src/host/route-text.js'

const inTable = (line: string, table = 7700): string =>
  addWords({ ...(parseRoute(line) as Route), table: String(table), protocol: '119' }).join(' ')

t.test('printed routes become commands without what ip does not take back', (t) => {
  const cases: [string, string][] = [
    ['10.0.0.0/24 dev v0 proto kernel scope link src 10.0.0.1 linkdown', '10.0.0.0/24 dev v0 src 10.0.0.1 proto 119 table 7700'],
    [
      'default via fe80::1 dev v0 proto ra metric 1024 expires 1790sec mtu 1400 pref medium',
      'default via fe80::1 dev v0 metric 1024 mtu 1400 proto 119 table 7700',
    ],
    ['default nhid 7 via 10.0.0.9 dev v0 proto static onlink', 'default via 10.0.0.9 dev v0 onlink proto 119 table 7700'],
    ['default via inet6 fe80::1 dev v0 proto bgp', 'default via inet6 fe80::1 dev v0 proto 119 table 7700'],
    [
      'unreachable default dev lo table 9 metric 4294967295 error -113 pref medium',
      'unreachable default metric 4294967295 proto 119 table 7700',
    ],
    ['blackhole 10.0.0.0/8', 'blackhole 10.0.0.0/8 proto 119 table 7700'],
  ]
  for (const [line, words] of cases) t.equal(inTable(line), words, line)
  t.end()
})

t.test('a multipath route is one route, with its next hops at the end', (t) => {
  const text =
    'default via 10.0.0.2 dev v0 \n10.9.0.0/24 proto static metric 5 \n\tnexthop via 10.0.0.3 dev v0 weight 1 \n\tnexthop via 10.1.0.4 dev v1 weight 1 \n'
  const [, multipath] = parseRoutes(text) as [Route, Route]
  t.same(multipath.devices, ['v0', 'v1'])
  t.equal(
    addWords({ ...multipath, table: '7700', protocol: '119' }).join(' '),
    '10.9.0.0/24 metric 5 proto 119 table 7700 nexthop via 10.0.0.3 dev v0 weight 1 nexthop via 10.1.0.4 dev v1 weight 1',
  )
  t.end()
})

t.test('slot and key tell routes apart as the kernel does', (t) => {
  const a = parseRoute('default via 10.0.0.1 dev eth0 metric 100') as Route
  const b = parseRoute('default via 10.0.0.9 dev eth1 metric 100') as Route
  const c = parseRoute('default via 10.0.0.1 dev eth0 metric 101') as Route
  t.equal(slotOf(a), slotOf(b), 'the same place in the table')
  t.not(keyOf(a), keyOf(b))
  t.not(slotOf(a), slotOf(c))
  t.equal(keyOf(ownRoute(['default', 'via', '10.0.0.1', 'dev', 'eth0', 'metric', '100'], 1)), keyOf(a), 'wherever it stands')
  t.end()
})

t.test('a route to a next hop comes after the one that reaches it', (t) => {
  const routes = parseRoutes('default via 10.0.0.1 dev eth0\n10.0.0.0/24 dev eth0\n')
  t.same(
    onLinkFirst(routes).map((r) => r.destination),
    ['10.0.0.0/24', 'default'],
  )
  t.end()
})
