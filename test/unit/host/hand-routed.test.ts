import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { HostFacts } from '../../../src/host/facts.js'
import { handRoutedPlan, type HandRoutedOptions } from '../../../src/host/hand-routed.js'
import { formatPlan } from '../../../src/host/plan.js'

const FACTS: HostFacts = {
  routes4: [
    'default via 10.0.0.2 dev eth0 proto dhcp metric 100',
    '10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.1',
    '203.0.113.0/24 dev tun0',
    '10.1.0.0/24 dev eth1 scope link',
  ],
  routes6: ['fe80::/64 dev eth0 proto kernel metric 256 pref medium', 'default via fe80::1 dev eth0 metric 1024 pref medium'],
  mtus: new Map([
    ['eth0', 1500],
    ['eth1', 1500],
    ['tun0', 65_535],
  ]),
  deviceByAddress: new Map(),
  sysctl: (key) => (key === 'net/ipv4/conf/eth1/forwarding' ? '1' : '0'),
}

const OPTIONS: HandRoutedOptions = {
  tun: 'tun0',
  mtu: 65_535,
  families: [
    { family: 4, address: '198.18.0.1', prefixLen: 29, prefix: '198.18.0.0/29' },
    { family: 6, address: 'fd00:198:18::1', prefixLen: 64, prefix: 'fd00:198:18::/64' },
  ],
  egresses: [{ family: 4, source: '198.18.0.3', device: 'eth1', gateway: '10.1.0.9', index: 0 }],
}

t.test('the plan keeps the rules of the host set-up', (t) => {
  const text = formatPlan(handRoutedPlan(FACTS, OPTIONS))
  const has = (line: string) => t.ok(text.includes(line), line)
  has('ip link set dev tun0 mtu 65535 txqueuelen 5000 up')
  has('ip -4 address add 198.18.0.1/29 dev tun0')
  has('ip -6 address add fd00:198:18::1/64 dev tun0 nodad')
  has('ip -4 route add default proto 119 table 7700 via 10.0.0.2 dev eth0 metric 100')
  has('ip -4 route add 198.18.0.0/29 dev tun0 proto 119 table 7700')
  has('ip -4 route add unreachable default metric 4294967295 proto 119 table 7700')
  has('ip -4 route add default dev tun0 src 198.18.0.1 proto 119 table 7701')
  has('ip -4 route add default via 10.1.0.9 dev eth1 proto 119 table 7702')
  has('ip -4 rule add pref 7696 from 198.18.0.3 lookup 7702')
  has('ip -4 rule add pref 7697 from 198.18.0.3 unreachable')
  has('ip -4 rule add pref 7702 iif eth0 to 198.18.0.0/29 lookup main')
  has('ip -4 rule add pref 7703 iif eth0 blackhole')
  has('ip -6 rule add pref 32765 from 8000::/1 iif lo lookup 7700')
  has('sysctl -w net.ipv4.conf.eth0.forwarding=1')
  t.notOk(
    text.some((line) => line.includes('203.0.113.0/24')),
    'routes through the TUN are not copied',
  )
  t.notOk(
    text.some((line) => line.includes('fe80::/64')),
    'nor link-local ones',
  )
  t.notOk(
    text.some((line) => line.includes('pref 7703 iif eth1')),
    'an interface that forwarded before is left a router',
  )
  t.notOk(
    text.some((line) => line.includes('ip_forward') || line.includes('all.forwarding')),
    'forwarding is never switched on globally',
  )
  const at = (part: string) => text.findIndex((line) => line.includes(part))
  t.ok(at('7697') < at('7696') && at('7711') < at('7710'), 'unreachable stands before the rule that it guards')
  t.ok(at('7703 iif eth0') < at('eth0.forwarding'), 'neighbours are shut out before forwarding is on')
  t.end()
})

t.test('before 6.17 accept_ra comes before all.forwarding, or the advertised default route is lost', (t) => {
  const facts: HostFacts = {
    ...FACTS,
    sysctl: (key) => (key.includes('force_forwarding') ? null : key.endsWith('accept_ra') ? '1' : '0'),
  }
  const text = formatPlan(handRoutedPlan(facts, OPTIONS))
  const accept = text.indexOf('sysctl -w net.ipv6.conf.eth0.accept_ra=2')
  const all = text.indexOf('sysctl -w net.ipv6.conf.all.forwarding=1')
  t.ok(accept >= 0 && accept < all)
  t.end()
})

const isRoot = process.getuid?.() === 0
t.test('applied and rolled back in a network namespace, nothing is left', { skip: isRoot ? false : 'needs root' }, (t) => {
  const fixture = fileURLToPath(new URL('netns-round.fixture.ts', import.meta.url))
  const out = execFileSync('unshare', ['-n', process.execPath, '--import', 'tsx', fixture], {
    encoding: 'utf8',
    env: { ...process.env, TAP: '' },
  })
  const { before, during, after, failures, table } = JSON.parse(out) as Record<string, string> & { failures: string[] }
  t.same(failures, [])
  t.not(during, before, 'positive control: something was changed')
  t.match(table, /masquerade/)
  t.equal(after, before, 'rules, routes, nftables and sysctls as before')
  t.end()
})
