import t from 'tap'
import { examine } from '../../../src/cli/doctor/checks.js'
import { formatFindings } from '../../../src/cli/doctor/finding.js'
import type { DoctorWorld, Ran } from '../../../src/cli/doctor/world.js'
import { daemonConfig } from '../../../src/config/daemon-config.js'
import { familyFacts, type HostFacts, linkFacts } from '../../../src/host/facts.js'
import type { HostState } from '../../../src/host/state-file.js'

const LINKS = JSON.stringify([
  { ifindex: 2, ifname: 'eth0', mtu: 1500, flags: ['UP'], addr_info: [{ local: '192.0.2.7' }] },
  { ifindex: 3, ifname: 'eth1', mtu: 1500, flags: ['UP'], addr_info: [] },
])

function facts(over: { routes4?: string; routes6?: string | null; rules4?: string; links?: string } = {}): HostFacts {
  const {
    routes4 = 'default via 192.0.2.1 dev eth0\n',
    routes6 = 'default via fe80::1 dev eth0 proto static\n',
    rules4 = '',
    links = LINKS,
  } = over
  return {
    v4: familyFacts(routes4, rules4),
    v6: routes6 === null ? null : familyFacts(routes6, ''),
    ...linkFacts(links),
    sysctl: () => '0',
  }
}

const FILES: Readonly<Record<string, string>> = {
  '/proc/sys/net/ipv6/conf/all/force_forwarding': '0\n',
  '/proc/sys/net/netfilter/nf_conntrack_max': '262144\n',
  '/proc/sys/net/netfilter/nf_conntrack_count': '12\n',
  '/proc/sys/net/ipv4/conf/eth0/rp_filter': '1\n',
  '/proc/sys/net/ipv4/conf/all/rp_filter': '2\n',
  '/proc/self/limits': 'Limit  Soft Limit  Hard Limit  Units\nMax open files            20000                20000                files\n',
}

const ran = (stdout: string): Ran => ({ code: 0, stdout, stderr: '' })

/** A host on which all is well, with differences. */
function world(
  over: Partial<DoctorWorld> & { files?: Record<string, string | null>; nft?: Record<string, Ran>; bits?: number } = {},
): DoctorWorld {
  const { files = {}, nft = {}, bits = 15, ...rest } = over
  return {
    uid: 0,
    node: '20.20.2',
    kernel: '6.18.1-test',
    now: new Date(Date.UTC(2026, 5, 1)),
    read: (path) => (path in files ? (files[path] ?? null) : (FILES[path] ?? null)),
    openDevice: () => null,
    run: async (argv) => nft[argv[1] as string] ?? ran(argv[1] === '--version' ? 'nftables v1.0.6\n' : ''),
    addon: {
      capabilities: () => ({ effective: 2 ** 12, permitted: 2 ** 12, bounding: 2 ** 12 }),
      offloads: () => bits,
      isClockSynchronised: () => true,
    },
    facts: facts(),
    states: [],
    ...rest,
  }
}

async function find(check: string, over: Parameters<typeof world>[0] = {}, config: Parameters<typeof daemonConfig>[0] = {}) {
  const found = (await examine(world(over), daemonConfig(config))).filter((finding) => finding.check === check)
  if (found.length !== 1) throw new Error(`${found.length} findings of ${check}`)
  return found[0]
}

t.test('on a sound host everything is well', async (t) => {
  const findings = await examine(world(), daemonConfig({ paths: ['eth1'] }))
  t.same(
    findings.filter((finding) => finding.level !== 'ok'),
    [],
  )
  for (const finding of findings) t.equal(finding.remedy, null, finding.check)
  t.equal(new Set(findings.map((finding) => finding.check)).size, findings.length, 'every check has a name of its own')
})

t.test('what is in the way is found, each with a remedy', async (t) => {
  const state = { tun: 'tun0', pid: 77 } as HostState
  const cases: [string, 'warn' | 'fail', RegExp, Parameters<typeof world>[0], Parameters<typeof daemonConfig>[0]?][] = [
    ['program', 'fail', /npm run native/, { addon: 'the native addon is not there' }],
    ['kernel', 'fail', /5\.12/, { kernel: '5.10.0-21-amd64' }],
    [
      'privileges',
      'fail',
      /root/,
      { uid: 1000, addon: { ...addonOf(world()), capabilities: () => ({ effective: 0, permitted: 0, bounding: 0 }) } },
    ],
    ['tun', 'fail', /modprobe tun/, { openDevice: () => 'ENOENT' }],
    ['tun', 'fail', /container/, { openDevice: () => 'EPERM' }],
    ['tun', 'fail', /dmesg/, { openDevice: () => 'EIO' }],
    ['interface', 'fail', /--tun/, { facts: facts({ links: LINKS.replace('eth1', 'tun0') }) }],
    ['interface', 'fail', /iproute2/, { facts: 'spawn ip ENOENT' }],
    ['nftables', 'fail', /apt-get install nftables/, { nft: { '--version': { code: -1, stdout: '', stderr: 'ENOENT' } } }],
    ['nftables', 'fail', /run as root/, { nft: { '--check': { code: 1, stdout: '', stderr: 'Operation not permitted' } } }],
    ['nftables', 'fail', /nft_masq/, { nft: { '--check': { code: 1, stdout: '', stderr: 'No such file or directory' } } }],
    [
      'firewall',
      'warn',
      /--fix-firewall/,
      { nft: { list: ran('table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n') } },
    ],
    ['conntrack', 'fail', /nf_conntrack_max=/, { files: { '/proc/sys/net/netfilter/nf_conntrack_count': '260000' } }],
    ['conntrack', 'warn', /nf_conntrack_max=/, { files: { '/proc/sys/net/netfilter/nf_conntrack_count': '200000' } }],
    ['conntrack', 'warn', /nf_conntrack_max=/, { files: { '/proc/sys/net/netfilter/nf_conntrack_max': '4096' } }],
    ['egress-ipv4', 'warn', /add one/, { facts: facts({ routes4: '10.0.0.0/8 dev eth1\n' }) }],
    ['offloads-eth0', 'warn', /^ethtool -K eth0 tso on gro on$/, { bits: 5 }],
    ['ipv6', 'warn', /address6/, {}, { address6: 'none' }],
    ['ipv6', 'fail', /disable_ipv6=0/, { facts: facts({ routes6: null }) }, { address4: 'none' }],
    ['clock', 'warn', /set-ntp/, { addon: { ...addonOf(world()), isClockSynchronised: () => false } }],
    ['clock', 'fail', /set-ntp/, { now: new Date(0) }],
    ['files', 'warn', /ulimit/, { files: { '/proc/self/limits': 'Max open files   256   4096   files\n' } }],
    ['leftovers', 'warn', /cleanup/, { states: [{ state, isRunning: false }] }],
    ['leftovers', 'warn', /cleanup/, { facts: facts({ rules4: '7700:\tfrom all iif tun0 lookup 7700 proto 119\n' }) }],
  ]
  for (const [check, level, remedy, over, config] of cases) {
    const finding = await find(check, over, config)
    t.equal(finding?.level, level, `${check}: ${finding?.message}`)
    t.match(finding?.remedy, remedy, check)
  }
})

t.test('what belongs to a daemon that runs is no finding', async (t) => {
  const states = [{ state: { tun: 'tun0', pid: 77 } as HostState, isRunning: true }]
  const running = facts({ links: LINKS.replace('eth1', 'tun0'), rules4: '7700:\tfrom all iif tun0 lookup 7700 proto 119\n' })
  t.match(await find('interface', { states, facts: running }), { level: 'ok', message: /pid 77/ })
  t.match(await find('leftovers', { states, facts: running }), { level: 'ok' })
  const own = 'table inet mptcpd_user_tun0 {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n'
  t.match(await find('firewall', { nft: { list: ran(own) } }), { level: 'ok' })
})

t.test('findings for people: level, name, what, and the remedy below', (t) => {
  const text = formatFindings([
    { check: 'tun', level: 'ok', message: 'fine', remedy: null },
    { check: 'conntrack', level: 'warn', message: 'nearly full', remedy: 'sysctl' },
  ])
  t.equal(text, 'ok    tun        fine\nwarn  conntrack  nearly full\n                 -> sysctl\n\n1 ok, 1 to improve, 0 in the way\n')
  t.end()
})

function addonOf(w: DoctorWorld): Exclude<DoctorWorld['addon'], string> {
  if (typeof w.addon === 'string') throw new Error('no addon')
  return w.addon
}

t.test('detours: openvpn and its file, interfaces', async (t) => {
  const file = '/etc/mptcpd-user/office.ovpn'
  const config = daemonConfig({
    detour: [
      { type: 'openvpn', file },
      { type: 'interface', device: 'eth0' },
      { type: 'interface', device: 'wlan0' },
    ],
  })
  const levels = async (over: Parameters<typeof world>[0]) => {
    const found = await examine(world(over), config)
    return found.filter((finding) => finding.check.startsWith('detour-')).map((f) => `${f.check} ${f.level} ${f.message}`)
  }
  const links = LINKS.replace('"UP"', '"UP","LOWER_UP"')
  const text = 'client\nremote 192.0.2.9 1194\n'
  t.match(await levels({ files: { [file]: text }, facts: facts({ links }) }), [
    /^detour-office ok /,
    'detour-eth0 ok eth0 is up, 192.0.2.7',
    /^detour-wlan0 warn wlan0 is not there/,
  ])
  t.match(await levels({ files: { [file]: `${text}up x\n` } }), [/^detour-office fail .*:3: 'up' runs a program/])
  t.match(await levels({}), [/^detour-office fail .* cannot be read/])
  t.match(await levels({ run: async () => ({ code: -1, stdout: '', stderr: '' }) }), [/^detour-office fail openvpn is not installed/])
})
