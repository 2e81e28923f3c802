import t from 'tap'
import { DefaultEgress } from '../../../src/cli/default-egress.js'
import type { HostFacts, Link } from '../../../src/host/facts.js'
import type { Family } from '../../../src/host/numbers.js'

const link = (name: string, index: number, ...addresses: string[]): Link => ({
  index,
  name,
  mtu: 1500,
  isUp: true,
  hasCarrier: true,
  addresses,
})

const facts = (...links: Link[]): HostFacts => ({
  v4: { main: [], own: [], ownRules: [] },
  v6: null,
  links: new Map(links.map((one) => [one.name, one])),
  deviceByAddress: new Map(),
  sysctl: () => null,
})

const by = (four: string[], six: string[] = []): Map<Family, string[]> =>
  new Map<Family, string[]>([
    [4, four],
    [6, six],
  ])

t.test('another interface or another address is another egress; no way out for a while is none', (t) => {
  const egress = new DefaultEgress()
  const eth0 = link('eth0', 2, '192.0.2.1', '2001:db8::1', 'fe80::1')
  t.same(egress.look(facts(eth0), by(['eth0'], ['eth0'])), [], 'the first look')
  t.same(egress.look(facts(eth0, link('wlan0', 3, '192.0.2.9')), by(['wlan0', 'eth0'], ['eth0'])), [4], 'another interface')
  t.same(egress.look(facts(eth0), by([], ['eth0'])), [])
  t.same(egress.look(facts(link('wlan0', 3)), by(['wlan0'])), [], 'without address')
  t.same(egress.look(facts(link('wlan0', 3, '192.0.2.9')), by(['wlan0'])), [], 'back, as it was')
  t.same(egress.look(facts(link('wlan0', 3, '192.0.2.8', '192.0.2.9')), by(['wlan0'])), [], 'one more address')
  t.same(egress.look(facts(link('wlan0', 3, '192.0.2.8')), by(['wlan0'])), [4], 'another address')
  t.same(egress.look(facts(link('wlan0', 4, '192.0.2.8')), by(['wlan0'])), [4], 'an interface made anew')
  t.end()
})
