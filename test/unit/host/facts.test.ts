import t from 'tap'
import { familyFacts, linkFacts, ruleText, ruleWords } from '../../../src/host/facts.js'

t.test('rules of ours are those with our protocol at one of our preferences', (t) => {
  const { ownRules } = familyFacts(
    '',
    `0:	from all lookup local
5000:	from all lookup 77 proto 119
7700:	from all iif tun0 [detached] lookup 7700 proto 119
7700:	from all iif tun0 lookup 7700
7712:	from 0.0.0.0 iif lo ipproto tcp lookup main suppress_prefixlength 1 proto 119
32764:	from 0.0.0.0 iif lo ipproto ipproto-6 goto 32766 [unresolved] proto 119
32766:	from all lookup main
`,
  )
  t.same(ownRules, [
    '7700: from all iif tun0 lookup 7700',
    '7712: from 0.0.0.0 iif lo ipproto 6 lookup main suppress_prefixlength 1',
    '32764: from 0.0.0.0 iif lo ipproto 6 goto 32766',
  ])
  t.end()
})

t.test('a rule has one form, wanted or printed', (t) => {
  t.equal(ruleText(7700, 'iif tun0 lookup 7700'), '7700: from all iif tun0 lookup 7700')
  t.equal(ruleText(7713, 'from 0.0.0.0/32 iif lo lookup 1'), '7713: from 0.0.0.0 iif lo lookup 1')
  t.equal(ruleText(7713, 'from fd00::1/128 unreachable'), '7713: from fd00::1 unreachable')
  t.equal(ruleText(7713, 'from ::/1 nop'), '7713: from ::/1 nop', 'other lengths stay')
  t.equal(ruleWords('7703: from all iif eth0 blackhole').join(' '), 'pref 7703 from all iif eth0 blackhole protocol 119')
  t.end()
})

t.test('routes: those of main that are not ours, and ours of all tables', (t) => {
  const { main, own } = familyFacts(
    `default via 10.0.0.1 dev eth0 proto dhcp metric 100
10.0.0.0/24 dev eth0 table 7700 proto 119 scope link
192.0.2.0/24 dev tun0 proto 119 scope link
local 10.0.0.2 dev eth0 table local proto kernel scope host
unreachable default table 7700 proto 119 metric 4294967295
`,
    '',
  )
  t.same(
    main.map((r) => r.destination),
    ['default'],
  )
  t.same(
    own.map((r) => `${r.type} ${r.destination} ${r.table}`),
    ['unicast 10.0.0.0/24 7700', 'unicast 192.0.2.0/24 main', 'unreachable default 7700'],
  )
  t.end()
})

t.test('links: names, state and addresses', (t) => {
  const { links, deviceByAddress } = linkFacts(
    JSON.stringify([
      {},
      { ifindex: 2, ifname: 'eth0', mtu: 1450, flags: ['BROADCAST', 'UP', 'LOWER_UP'], addr_info: [{ local: '10.0.0.2' }, {}] },
      { ifindex: 3, ifname: 'eth1', mtu: 1500, flags: [] },
    ]),
  )
  t.same(links.get('eth0'), { index: 2, name: 'eth0', mtu: 1450, isUp: true, hasCarrier: true, addresses: ['10.0.0.2'] })
  t.equal(links.get('eth1')?.isUp, false)
  t.equal(deviceByAddress.get('10.0.0.2'), 'eth0')
  t.end()
})
