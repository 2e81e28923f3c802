import t from 'tap'
import { checkDetours, interfacesOf } from '../../../src/cli/detours.js'
import { AddressBook, Egresses } from '../../../src/cli/egresses.js'
import { computeSetup } from '../../../src/cli/setup.js'
import { parsePrefix } from '../../../src/config/address-text.js'
import { daemonConfig, type DaemonInput } from '../../../src/config/daemon-config.js'
import type { StackAddress } from '../../../src/engine/config.js'
import type { FamilyFacts, HostFacts, Link } from '../../../src/host/facts.js'
import { parseRoutes } from '../../../src/host/route-text.js'
import type { EgressPlan } from '../../../src/host/wanted.js'

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
  t.equal(computeSetup(daemonConfig({}), { ...FACTS, v6: null }).families.length, 1, 'IPv6 off on the host: only IPv4')
  t.end()
})

t.test('interfaces serve the families that their gateway and destination leave them', (t) => {
  const of = (input: DaemonInput) => interfacesOf(daemonConfig(input), [4, 6], FACTS).map((i) => `${i.family} ${i.device} ${i.gateway}`)
  t.same(of({ paths: ['eth1', '10.1.0.1,192.0.2.9:5001', 'default,192.0.2.8'] }), ['4 eth1 null', '6 eth1 null', '4 eth1 null'])
  t.same(of({ paths: ['eth1@10.1.0.9'] }), ['4 eth1 10.1.0.9'])
  t.same(of({ detour: [{ type: 'interface', device: 'eth1', gateway: 'fe80::9' }] }), ['6 eth1 fe80::9'])
  t.same(of({ detour: [{ type: 'interface', device: 'wlan0' }] }), [], 'it may come later')
  t.end()
})

t.test('what can be seen to be wrong is named before anything is begun', (t) => {
  const check = (input: DaemonInput, families: (4 | 6)[] = [4, 6]) => checkDetours(daemonConfig(input), families, FACTS)
  t.throws(() => check({ paths: ['eth9'] }), { code: 'ERR_PATH_SOURCE' })
  t.throws(() => check({ paths: ['default,192.0.2.8'] }, [6]), { code: 'ERR_PATH_SOURCE', message: /not carried/ })
  t.throws(() => check({ detour: [{ type: 'openvpn', file: '/nowhere/x.ovpn' }] }), { code: 'ERR_DETOUR_FILE', message: /no such file/ })
  t.doesNotThrow(() => check({ paths: ['eth1'], detour: [{ type: 'interface', device: 'wlan0' }] }))
  t.end()
})

t.test('the same egress has one stack address for all who name it, and gives it back with the last', async (t) => {
  const plans: EgressPlan[] = []
  const stack: StackAddress[] = []
  const book = new AddressBook([parsePrefix('198.18.0.1/29'), parsePrefix('fd00:198:18::1/64')])
  t.equal(book.take(4).prefix, '198.18.0.2', 'the default egress')
  const keeper = {
    addEgress: async (plan: EgressPlan) => {
      plans.push(plan)
    },
    removeEgress: async (plan: EgressPlan) => {
      plans.splice(plans.indexOf(plan), 1)
    },
  }
  const egresses = new Egresses(book, keeper, stack)
  const first = await egresses.open(4, 'eth1', null)
  const again = await egresses.open(4, 'eth1', null)
  const other = await egresses.open(4, 'eth1', '10.1.0.9')
  const six = await egresses.open(6, 'eth1', null)
  t.equal(first, again)
  t.same(
    [first, other, six].map((e) => e.source.toString()),
    ['198.18.0.3', '198.18.0.4', 'fd00:198:18::2'],
  )
  t.same(
    plans.map((plan) => plan.index),
    [0, 1, 2],
  )
  await egresses.close(first)
  t.equal(plans.length, 3, 'somebody still has it')
  await egresses.close(again)
  t.same([plans.length, stack.length], [2, 2])
  const next = await egresses.open(4, 'eth2', null)
  t.equal(next.source.toString(), '198.18.0.5', 'an address that was given back rests')
  t.equal(plans.at(-1)?.index, 0, 'a routing table does not')
  await egresses.open(4, 'eth3', null)
  t.equal((await egresses.open(4, 'eth4', null)).source.toString(), '198.18.0.3')
  await t.rejects(egresses.open(4, 'eth5', null), { code: 'ERR_CONFIG', message: /198\.18\.0\.0\/29 has no address left/ })
  t.end()
})

t.test('an egress whose rules cannot be made leaves nothing', async (t) => {
  const stack: StackAddress[] = []
  const removed: EgressPlan[] = []
  const book = new AddressBook([parsePrefix('198.18.0.1/30')])
  const keeper = {
    addEgress: () => Promise.reject(new Error('no')),
    removeEgress: async (plan: EgressPlan) => {
      removed.push(plan)
    },
  }
  const egresses = new Egresses(book, keeper, stack)
  for (let i = 0; i < 3; i++) await t.rejects(egresses.open(4, 'eth1', null), { message: 'no' })
  t.same([stack.length, removed.length], [0, 3])
  t.end()
})

t.test('several addresses of an egress are a prefix of their own', (t) => {
  const book = new AddressBook([parsePrefix('198.18.0.1/28'), parsePrefix('fd00:198:18::1/64')], 4)
  const show = (family: 4 | 6) => {
    const { addresses, prefix } = book.take(family)
    return [prefix, addresses.length, addresses[0].toString(), addresses.at(-1)?.toString()]
  }
  t.same(show(4), ['198.18.0.4/30', 4, '198.18.0.4', '198.18.0.7'])
  t.same(show(4), ['198.18.0.8/30', 4, '198.18.0.8', '198.18.0.11'])
  t.throws(() => book.take(4), { code: 'ERR_CONFIG' }, 'the last block holds the broadcast address')
  t.same(show(6), ['fd00:198:18::4/126', 4, 'fd00:198:18::4', 'fd00:198:18::7'])
  const setup = computeSetup(daemonConfig({ addressesPerEgress: 2 }), FACTS)
  t.same(
    setup.stackAddresses.map((s) => [s.address.toString(), s.more?.map(String)]),
    [
      ['198.18.0.2', ['198.18.0.3']],
      ['fd00:198:18::2', ['fd00:198:18::3']],
    ],
  )
  t.end()
})
