import t from 'tap'
import { devicesOf, joinNexthops, repeatRoute } from '../../../src/host/facts.js'

t.test('printed routes become commands without what ip does not take back', (t) => {
  t.equal(
    repeatRoute('10.0.0.0/24 dev v0 proto kernel scope link src 10.0.0.1 linkdown', 7700).join(' '),
    '10.0.0.0/24 proto 119 table 7700 dev v0 scope link src 10.0.0.1',
  )
  t.equal(
    repeatRoute('default via fe80::1 dev v0 proto ra metric 1024 expires 1790sec mtu 1400 pref medium', 7700).join(' '),
    'default proto 119 table 7700 via fe80::1 dev v0 metric 1024 mtu 1400',
  )
  t.end()
})

t.test('a multipath route is one route', (t) => {
  const text =
    'default via 10.0.0.2 dev v0 \n10.9.0.0/24 \n\tnexthop via 10.0.0.3 dev v0 weight 1 \n\tnexthop via 10.1.0.4 dev v1 weight 1 \n'
  const routes = joinNexthops(text)
  t.equal(routes.length, 2)
  t.same(devicesOf(routes[1] as string), ['v0', 'v1'])
  t.end()
})
