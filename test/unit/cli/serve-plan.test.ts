import t from 'tap'
import { planServe, type ServePlan, type ServeRequest } from '../../../src/cli/serve-plan.js'
import { computeSetup } from '../../../src/cli/setup.js'
import { daemonConfig } from '../../../src/config/daemon-config.js'
import type { HostFacts } from '../../../src/host/facts.js'
import { ownTable } from '../../../src/host/nft.js'

const none = { main: [], own: [], ownRules: [] }
const facts: HostFacts = {
  v4: none,
  v6: none,
  links: new Map(),
  deviceByAddress: new Map([
    ['192.0.2.7', 'eth0'],
    ['198.51.100.7', 'eth1'],
    ['203.0.113.1', 'lo'],
  ]),
  sysctl: () => null,
}

function plan(request: Partial<ServeRequest>): ServePlan {
  const setup = computeSetup(daemonConfig({}), facts)
  return planServe({ listen: [], to: ['127.0.0.1:80'], announce: [], ...request }, setup, facts, () => ['eth0'])
}

t.test('each address that peers use has a stack address of its own, and an egress where the default route does not serve it', async (t) => {
  const { services, served, announced, egresses } = plan({
    listen: ['192.0.2.7:443', '192.0.2.7:444'],
    to: ['127.0.0.1:8443', 'localhost:8444'],
    announce: ['198.51.100.7', '203.0.113.99:8443=203.0.113.1:443'],
  })
  t.same(
    services.map((s) => [s.address.toString(), s.port, s.host, s.targetPort]),
    [
      [services[0]?.address.toString(), 443, '127.0.0.1', 8443],
      [services[0]?.address.toString(), 444, 'localhost', 8444],
    ],
  )
  t.equal(new Set([services[0]?.address.toString(), ...announced.map((a) => a.local.toString())]).size, 3)
  t.same(
    announced.map((a) => [a.id, a.address.toString(), a.port]),
    [
      [1, '198.51.100.7', 0],
      [2, '203.0.113.99', 8443],
    ],
  )
  t.same(
    egresses.map((e) => [e.device, e.source.toString()]),
    [['eth1', announced[0]?.local.toString()]],
  )
  t.equal(served.length, 5, 'an announced address without port leads to every port')
  const rules = ownTable('tun0', [], served).join('\n')
  t.match(rules, `ip daddr 198.51.100.7 tcp dport 444 counter dnat ip to ${announced[0]?.local}`)
  t.match(rules, `ip daddr 203.0.113.1 tcp dport 443 counter dnat ip to ${announced[1]?.local}`, 'a translated one by its address here')
})

t.test('every address of the host, and what is refused', async (t) => {
  t.match(plan({ listen: ['0.0.0.0:80', '[::]:80'] }).served, [
    { family: 4, address: null, port: 80 },
    { family: 6, address: null, port: 80 },
  ])
  t.throws(() => plan({ listen: ['192.0.2.8:80'] }), { code: 'ERR_CONFIG' }, 'no address of this host')
  t.throws(() => plan({ listen: ['192.0.2.7'] }), { code: 'ERR_ADDRESS' }, 'no port')
  t.throws(() => plan({ listen: ['192.0.2.7:80', '192.0.2.7:81', '192.0.2.7:82'], to: ['a:1', 'b:2'] }), { code: 'ERR_CONFIG' })
  t.throws(() => plan({ listen: ['192.0.2.7:80'], to: ['a:0'] }), { code: 'ERR_ADDRESS' })
})
