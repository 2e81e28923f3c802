import t from 'tap'
import { computeSetup } from '../../../src/cli/setup.js'
import { daemonConfig } from '../../../src/config/daemon-config.js'
import type { FamilyFacts, HostFacts, Link } from '../../../src/host/facts.js'
import { parseRoutes } from '../../../src/host/route-text.js'

const family = (...lines: string[]): FamilyFacts => ({ main: parseRoutes(lines.join('\n')), own: [], ownRules: [] })
const link = (name: string, mtu: number): [string, Link] => [name, { index: 1, name, mtu, isUp: true, hasCarrier: true, addresses: [] }]

const FACTS: HostFacts = {
  v4: family('10.1.0.0/24 dev eth1 scope link', 'default via 10.0.0.2 dev eth0', '10.0.0.0/24 dev eth0 scope link'),
  v6: family('default via fe80::1 dev eth0'),
  links: new Map([link('eth0', 1450), link('eth1', 9000)]),
  deviceByAddress: new Map([['10.1.0.1', 'eth1']]),
  sysctl: () => '0',
}

t.test('the MSS comes from the default egress', (t) => {
  const setup = computeSetup(daemonConfig({}), FACTS)
  t.equal(setup.mss4, 1410)
  t.equal(setup.mss6, 1390)
  t.same(
    setup.stackAddresses.map((s) => s.address.toString()),
    ['198.18.0.2', 'fd00:198:18::2'],
  )
  t.equal(setup.paths.length, 1)
  t.end()
})

t.test('an egress has one stack address per family, however it is named', (t) => {
  const setup = computeSetup(daemonConfig({ paths: ['eth1', '10.1.0.1,192.0.2.9:5001', 'default,192.0.2.8'] }), FACTS)
  t.same(
    setup.paths.map((p) => [p.id, p.source?.toString() ?? null, p.destination?.toString() ?? null, p.destinationPort, p.mtu]),
    [
      [0, null, null, 0, 0],
      [1, '198.18.0.3', null, 0, 9000],
      [2, 'fd00:198:18::3', null, 0, 9000],
      [3, '198.18.0.3', '192.0.2.9', 5001, 9000],
      [4, null, '192.0.2.8', 0, 0],
    ],
  )
  t.same(
    setup.egresses.map((e) => [e.family, e.source, e.device, e.index]),
    [
      [4, '198.18.0.3', 'eth1', 0],
      [6, 'fd00:198:18::3', 'eth1', 1],
    ],
  )
  t.end()
})

t.test('IPv6 off on the host: only IPv4 is carried; unknown sources and full prefixes are named', (t) => {
  const setup = computeSetup(daemonConfig({}), { ...FACTS, v6: null })
  t.equal(setup.families.length, 1)
  t.throws(() => computeSetup(daemonConfig({ paths: ['eth9'] }), FACTS), { code: 'ERR_PATH_SOURCE' })
  t.throws(() => computeSetup(daemonConfig({ address4: '198.18.0.1/30', paths: ['eth1'] }), FACTS), { code: 'ERR_CONFIG' })
  t.throws(() => computeSetup(daemonConfig({ address4: null, paths: ['default,192.0.2.8'] }), FACTS), { code: 'ERR_PATH_SOURCE' })
  t.end()
})
