import t from 'tap'
import { EgressCopy, NO_NEWS } from '../../../src/host/egress-copy.js'
import type { FamilyFacts, HostFacts, Link } from '../../../src/host/facts.js'
import { releasedSwitches, type Switch } from '../../../src/host/forwarding.js'
import { formatPlan } from '../../../src/host/plan.js'
import { reconcile, restoreSwitches } from '../../../src/host/reconcile.js'
import { parseRoutes } from '../../../src/host/route-text.js'
import { type CapturePlan, type HostOptions, NO_CAPTURE, type WantedFamily, wantedFamily } from '../../../src/host/wanted.js'

const family = (main: string): FamilyFacts => ({ main: parseRoutes(main), own: [], ownRules: [] })
const link = (name: string): [string, Link] => [
  name,
  { index: 1, name, mtu: 1500, isUp: true, hasCarrier: true, addresses: [`${name}-address`] },
]

const FACTS: HostFacts = {
  v4: family(`default via 10.0.0.2 dev eth0 proto dhcp metric 100
10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.1
203.0.113.0/24 dev tun0
10.1.0.0/24 dev eth1 scope link
`),
  v6: family('fe80::/64 dev eth0 proto kernel metric 256 pref medium\ndefault via fe80::1 dev eth0 metric 1024 pref medium\n'),
  links: new Map([link('eth0'), link('eth1'), link('lan0'), link('tun0')]),
  deviceByAddress: new Map(),
  sysctl: (key) => (key === 'net/ipv4/conf/eth1/forwarding' ? '1' : '0'),
}

const OPTIONS: HostOptions = {
  tun: 'tun0',
  mtu: 65_535,
  families: [
    { family: 4, address: '198.18.0.1', prefixLen: 29, prefix: '198.18.0.0/29' },
    { family: 6, address: 'fd00:198:18::1', prefixLen: 64, prefix: 'fd00:198:18::/64' },
  ],
  egresses: [{ family: 4, source: '198.18.0.3', device: 'eth1', gateway: '10.1.0.9', index: 0 }],
  capture: NO_CAPTURE,
  failClosed: false,
}

function wantedOf(facts: HostFacts, options: HostOptions, owned: readonly Switch[] = []): Map<4 | 6, WantedFamily> {
  return new Map(
    options.families.map((f) => {
      const copy = new EgressCopy(options.tun)
      copy.update((f.family === 4 ? facts.v4 : (facts.v6 as FamilyFacts)).main, NO_NEWS, facts.links)
      return [f.family, wantedFamily(facts, options, f, copy, owned, true)]
    }),
  )
}

const commands = (facts: HostFacts, options: HostOptions): string[] => formatPlan(reconcile(facts, wantedOf(facts, options), new Map()))
const capturing = (capture: Partial<CapturePlan>, more: Partial<HostOptions> = {}): string[] =>
  commands(FACTS, { ...OPTIONS, ...more, capture: { ...NO_CAPTURE, ...capture } })

t.test('the plan keeps the rules of the host set-up', (t) => {
  const text = commands(FACTS, OPTIONS)
  const has = (line: string) => t.ok(text.includes(line), line)
  has('ip -4 route add default via 10.0.0.2 dev eth0 metric 100 proto 119 table 7700')
  has('ip -4 route add 198.18.0.0/29 dev tun0 proto 119 table 7700')
  has('ip -4 rule add pref 7701 from all iif tun0 unreachable protocol 119')
  has('ip -6 rule add pref 7701 from all fwmark 0x77 unreachable protocol 119')
  has('ip -4 route add default dev tun0 src 198.18.0.1 proto 119 table 7701')
  has('ip -4 route add default via 10.1.0.9 dev eth1 proto 119 table 7702')
  has('ip -4 rule add pref 7696 from 198.18.0.3 lookup 7702 protocol 119')
  has('ip -4 rule add pref 7697 from 198.18.0.3 unreachable protocol 119')
  has('ip -4 rule add pref 7702 from all to 198.18.0.0/29 iif eth0 lookup main suppress_prefixlength 1 protocol 119')
  has('ip -4 rule add pref 7703 from all iif eth0 blackhole protocol 119')
  has('ip -6 rule add pref 32763 from 8000::/1 iif lo lookup 7700 protocol 119')
  has('sysctl -w net.ipv4.conf.eth0.forwarding=1')
  has('sysctl -w net.ipv6.conf.eth0.force_forwarding=1')
  const lacks = (pattern: RegExp, why: string) =>
    t.notOk(
      text.some((line) => pattern.test(line)),
      why,
    )
  lacks(/203\.0\.113\.0/, 'routes through the TUN are not copied')
  lacks(/fe80::\/64/, 'nor link-local ones')
  lacks(/pref 7703 .*iif eth1/, 'an interface that forwarded before is left a router')
  lacks(/ip_forward|all\.forwarding/, 'forwarding is never switched on globally')
  lacks(/pref 771[2-9]/, 'nothing is captured but what the user routes')
  const at = (part: string) => text.findIndex((line) => line.includes(part))
  t.ok(at('7697') < at('7696') && at('7711') < at('7710'), 'unreachable stands before the rule that it guards')
  t.ok(at('iif eth0 blackhole') < at('eth0.forwarding'), 'neighbours are shut out before forwarding is on')
  t.ok(at('10.0.0.0/24 dev eth0') < at('default via 10.0.0.2'), 'a next hop is reachable before it is used')
  t.end()
})

t.test('what the host originates and is not TCP stays out, in both families', (t) => {
  const text = commands(FACTS, OPTIONS)
  const stays = text
    .filter((line) => /pref 3276/.test(line))
    .map((line) => line.replace(/ip -(\d) rule add pref /, '$1 ').replace(' protocol 119', ''))
  t.same(stays, [
    '4 32764 from 0.0.0.0 iif lo ipproto 6 goto 32766',
    '4 32765 from all iif lo lookup 7700',
    '6 32761 from all to fe80::/10 iif lo goto 32766',
    '6 32762 from ::/1 iif lo lookup 7700',
    '6 32763 from 8000::/1 iif lo lookup 7700',
    '6 32764 from all iif lo ipproto 6 goto 32766',
    '6 32765 from all iif lo lookup 7700',
  ])
  t.end()
})

t.test('--all: connected and specific routes win, unless local ones are included; traffic is brought last', (t) => {
  const text = capturing({ all: true })
  const rules = (lines: string[]) => lines.filter((line) => /pref 771[2-6]/.test(line)).length
  t.equal(rules(text), 2 + 5)
  t.equal(rules(capturing({ all: true, includeLocal: true })), 1 + 4)
  const first = text.findIndex((line) => /pref 771[2-6]/.test(line))
  t.ok(
    text.slice(first).every((line) => /pref 771[2-6]/.test(line)),
    'after everything else',
  )
  t.end()
})

t.test('--route: prefixes at the TUN, as ip prints them', (t) => {
  const text = capturing({ routes: ['192.0.2.0/24', '192.0.2.9/32', '2001:db8::/32'] })
  t.same(
    text.filter((line) => line.includes('route add') && !line.includes('table')),
    [
      'ip -4 route add 192.0.2.0/24 dev tun0 proto 119',
      'ip -4 route add 192.0.2.9 dev tun0 proto 119',
      'ip -6 route add 2001:db8::/32 dev tun0 metric 1024 proto 119',
    ],
  )
  t.end()
})

t.test('--fail-closed: behind everything that brings traffic to the TUN stands a route that rejects', (t) => {
  const text = capturing({ all: true, routes: ['192.0.2.0/24'] }, { failClosed: true })
  t.ok(text.includes('ip -4 route add unreachable default metric 4294967294 proto 119 table 7701'))
  t.ok(text.includes('ip -6 route add default dev lo src fd00:198:18::1 metric 4294967294 proto 119 table 7701'), 'IPv6 looks up twice')
  t.ok(text.includes('ip -4 route add unreachable 192.0.2.0/24 metric 1 proto 119'))
  t.ok(text.includes('ip -4 route add unreachable 203.0.113.0/24 metric 1 proto 119'), 'for the routes of the user too')
  t.end()
})

t.test('--lan: forwarded TCP only where the host was a router, everything where it was none; never past the TUN', (t) => {
  const opened = capturing({ lan: ['lan0'] }).filter((line) => line.includes('lan0') && line.startsWith('ip -4'))
  t.same(opened, [
    'ip -4 rule add pref 7720 from all iif lan0 unreachable protocol 119',
    'ip -4 rule add pref 7719 from all iif lan0 lookup 7701 protocol 119',
  ])
  const router: HostFacts = { ...FACTS, sysctl: () => '1' }
  const text = commands(router, { ...OPTIONS, capture: { ...NO_CAPTURE, lan: ['lan0'] } })
  t.ok(text.includes('ip -4 rule add pref 7718 from all iif lan0 ipproto 6 lookup main suppress_prefixlength 1 protocol 119'))
  t.ok(text.includes('ip -4 rule add pref 7720 from all iif lan0 ipproto 6 unreachable protocol 119'))
  t.notOk(
    text.some((line) => /pref 770[23]|sysctl/.test(line)),
    'a router stays one',
  )
  t.end()
})

t.test('before 6.17 accept_ra comes before all.forwarding, or the advertised default route is lost; all comes back first', (t) => {
  const values: Record<string, string | null> = {}
  const sysctl = (key: string): string | null =>
    key in values
      ? (values[key] as string)
      : key.includes('force_forwarding')
        ? null
        : key.endsWith('accept_ra')
          ? '1'
          : key.includes('eth1/forwarding')
            ? '1'
            : '0'
  const facts: HostFacts = { ...FACTS, sysctl }
  const text = commands(facts, OPTIONS)
  const accept = text.indexOf('sysctl -w net.ipv6.conf.eth0.accept_ra=2')
  const all = text.indexOf('sysctl -w net.ipv6.conf.all.forwarding=1')
  t.ok(accept >= 0 && accept < all)
  const switches = (wantedOf(facts, OPTIONS).get(6) as WantedFamily).switches
  for (const s of switches) values[s.key] = s.value
  t.equal((wantedOf(facts, OPTIONS, switches).get(6) as WantedFamily).opened.length, 1, 'all.forwarding is known as ours')
  const back = formatPlan(restoreSwitches(sysctl, switches))
  t.equal(back[0], 'sysctl -w net.ipv6.conf.all.forwarding=0')
  t.ok(back.includes('sysctl -w net.ipv6.conf.eth1.forwarding=1'), 'what `all` dragged along comes back as it was')
  t.equal(back.at(-1)?.endsWith('accept_ra=1'), true)
  t.end()
})

t.test('when somebody makes the host a router, what we had opened is theirs', (t) => {
  const owned = (wantedOf(FACTS, OPTIONS).get(4) as WantedFamily).switches
  t.equal(owned.length, 2)
  const docker: HostFacts = { ...FACTS, sysctl: (key) => (key.startsWith('net/ipv4') ? '1' : '0') }
  t.same((wantedOf(docker, OPTIONS, owned).get(4) as WantedFamily).opened, [], 'neighbours are not shut out any more')
  t.same(restoreSwitches(docker.sysctl, owned), [], 'and nothing is switched off at the end')
  const on = (key: string) => (key.includes('/all/') ? '0' : '1')
  t.equal(restoreSwitches(on, owned).length, 2, 'positive control')
  t.end()
})

t.test('nothing to do when everything stands; everything of ours goes when nothing is wanted', (t) => {
  const wanted = wantedOf(FACTS, { ...OPTIONS, capture: { ...NO_CAPTURE, all: true, routes: ['192.0.2.0/24'] } })
  const stands = (facts: FamilyFacts, w: WantedFamily): FamilyFacts => ({
    ...facts,
    own: [...w.routes, ...w.captureRoutes],
    ownRules: [...w.rules, ...w.captureRules],
  })
  const after: HostFacts = {
    ...FACTS,
    v4: stands(FACTS.v4, wanted.get(4) as WantedFamily),
    v6: stands(FACTS.v6 as FamilyFacts, wanted.get(6) as WantedFamily),
    sysctl: () => '1',
  }
  t.same(reconcile(after, wanted, new Map()), [])
  const undo = formatPlan(reconcile(after, new Map(), new Map()))
  t.equal(undo.length, after.v4.own.length + after.v4.ownRules.length + (after.v6?.own.length ?? 0) + (after.v6?.ownRules.length ?? 0))
  t.ok(undo.every((line) => line.includes(' del ')))
  const at = (part: string) => undo.findIndex((line) => line.includes(part))
  t.ok(at('pref 7713') < at('pref 7700') && at('pref 7710') < at('pref 7711'), 'captures first, guards last')
  t.end()
})

t.test('what was switched on for an interface by which nothing leaves any more is put back', (t) => {
  const on = (key: string, value = '1', old = '0'): Switch => ({ key, value, old })
  const eth0 = on('net/ipv4/conf/eth0/forwarding')
  const vpn0 = on('net/ipv4/conf/vpn0/forwarding')
  const force6 = on('net/ipv6/conf/vpn0/force_forwarding')
  const wanted = (...families: [4 | 6, Switch[]][]) => new Map(families.map(([family, switches]) => [family, { switches }]))
  t.same(releasedSwitches([eth0, vpn0, force6], wanted([4, [eth0]], [6, []])), [vpn0, force6])
  t.same(releasedSwitches([eth0, vpn0, force6], wanted([4, [eth0]])), [vpn0], 'of families that are known at the moment')
  const all6 = on('net/ipv6/conf/all/forwarding')
  t.same(releasedSwitches([force6, all6], wanted([6, [all6]])), [], 'global forwarding is one whole')
  t.end()
})
