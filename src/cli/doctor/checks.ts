import type { DaemonConfig } from '../../config/daemon-config.js'
import type { Route } from '../../host/route-text.js'
import { OFFLOAD_GRO, OFFLOAD_GSO, OFFLOAD_TSO, OFFLOAD_TX_CHECKSUM } from '../../tun/native.js'
import { CAP_NET_ADMIN, hasCap } from '../privileges.js'
import { detours } from './detours.js'
import { type Finding, fail, ok, warn } from './finding.js'
import type { DoctorWorld } from './world.js'

/** Everything about the host that a daemon with this configuration depends on, in the order in which it would be met. */
export async function examine(world: DoctorWorld, config: DaemonConfig): Promise<Finding[]> {
  return [
    program(world),
    kernel(world),
    capabilities(world),
    tunDevice(world),
    tunName(world, config),
    ...(await nftables(world)),
    ...(await foreignFirewall(world)),
    conntrack(world),
    ...routes(world, config),
    reversePath(world),
    ...offloads(world, config),
    ipv6(world, config),
    clock(world),
    fileLimit(world),
    leftovers(world),
    ...(await detours(world, config)),
  ]
}

function program(world: DoctorWorld): Finding {
  if (typeof world.addon === 'string')
    return fail('program', world.addon, 'install the package anew, or build it: npm ci && npm run native')
  return ok('program', `Node.js ${world.node}, addon loaded`)
}

/** Tables with an owner, which the daemon needs, came with Linux 5.12. */
const OLDEST_KERNEL = [5, 12] as const

function kernel(world: DoctorWorld): Finding {
  const [major = 0, minor = 0] = world.kernel.split('.').map((part) => Number.parseInt(part, 10))
  if (major < OLDEST_KERNEL[0] || (major === OLDEST_KERNEL[0] && minor < OLDEST_KERNEL[1]))
    return fail('kernel', `Linux ${world.kernel} is too old`, 'use Linux 5.12 or later (Debian 12 has 6.1)')
  const hasForce = world.read('/proc/sys/net/ipv6/conf/all/force_forwarding') !== null
  return ok('kernel', `Linux ${world.kernel}, IPv6 forwarding ${hasForce ? 'per interface' : 'global (per interface from 6.17 on)'}`)
}

function capabilities(world: DoctorWorld): Finding {
  if (typeof world.addon === 'string') return warn('privileges', 'unknown without the addon', 'see program')
  if (hasCap(world.addon.capabilities().effective, CAP_NET_ADMIN)) return ok('privileges', `CAP_NET_ADMIN is there, as user ${world.uid}`)
  return fail('privileges', `user ${world.uid} has no CAP_NET_ADMIN`, 'run as root, or give the process that capability')
}

const TUN_REMEDIES: Readonly<Record<string, string>> = {
  ENOENT: 'modprobe tun (in a container: give it the device /dev/net/tun)',
  ENODEV: 'modprobe tun (the device file is there, the driver is not)',
  EACCES: 'run as root, or let this user open it: chmod or chown /dev/net/tun',
  EPERM: 'in a container: allow the device /dev/net/tun (c 10:200 rwm)',
}

function tunDevice(world: DoctorWorld): Finding {
  const code = world.openDevice('/dev/net/tun')
  if (code === null) return ok('tun', '/dev/net/tun can be opened')
  return fail('tun', `/dev/net/tun cannot be opened: ${code}`, TUN_REMEDIES[code] ?? 'see dmesg for what is wrong with the driver tun')
}

function tunName(world: DoctorWorld, { tun }: DaemonConfig): Finding {
  const check = 'interface'
  if (typeof world.facts === 'string') return fail(check, world.facts, 'install iproute2 (the command ip), or run as root')
  const daemon = world.states.find(({ state, isRunning }) => state.tun === tun && isRunning)
  if (daemon !== undefined) return ok(check, `${tun} belongs to the daemon that runs, pid ${daemon.state.pid}`)
  if (!world.facts.links.has(tun)) return ok(check, `the name ${tun} is free`)
  return fail(check, `an interface ${tun} exists and is not ours`, `stop who uses it, or choose another name: --tun mptcp0`)
}

/** All that our table consists of; checked by the kernel, never applied. */
const TRIAL =
  'add table inet mptcpd_user_trial { flags owner; }; ' +
  'add chain inet mptcpd_user_trial post { type nat hook postrouting priority srcnat; }; ' +
  'add rule inet mptcpd_user_trial post ip saddr 198.18.0.0/29 counter masquerade; ' +
  'add chain inet mptcpd_user_trial forw { type filter hook forward priority filter; }; ' +
  'add rule inet mptcpd_user_trial forw ct state invalid counter drop'

async function nftables(world: DoctorWorld): Promise<Finding[]> {
  const version = await world.run(['nft', '--version'])
  if (version.code !== 0) return [fail('nftables', 'there is no command nft', 'apt-get install nftables (or the like)')]
  const trial = await world.run(['nft', '--check', TRIAL])
  if (trial.code === 0) return [ok('nftables', `${version.stdout.trim()}: tables with owner, masquerade and conntrack work`)]
  const why = trial.stderr.trim().split('\n')[0] ?? ''
  const remedy = /not permitted|denied/i.test(why) ? 'run as root' : 'load the modules nf_tables, nft_masq, nft_ct and nf_nat'
  return [fail('nftables', `the kernel refuses a table like ours: ${why}`, remedy)]
}

/** Chains of others that drop what is forwarded unless they are told otherwise. Only a probe can say whether they drop ours. */
async function foreignFirewall(world: DoctorWorld): Promise<Finding[]> {
  const { code, stdout } = await world.run(['nft', 'list', 'chains'])
  if (code !== 0) return []
  const found: string[] = []
  let table = ''
  let chain = ''
  for (const line of stdout.split('\n')) {
    table = /^table (\S+ \S+) \{/.exec(line)?.[1] ?? table
    chain = /^\s+chain (\S+) \{/.exec(line)?.[1] ?? chain
    if (/type filter hook forward .*policy drop/.test(line) && !table.includes('mptcpd_user_')) found.push(`${table} ${chain}`)
  }
  if (found.length === 0) return [ok('firewall', 'no foreign chain drops forwarded packets by policy')]
  return [
    warn(
      'firewall',
      `forwarded packets are dropped by policy in ${found.join(', ')}`,
      'admit the stack there: mptcpd-user up --fix-firewall, or let the probe at the start say the command',
    ),
  ]
}

/** Below this many entries the table is a limit that users meet. */
const SMALL_CONNTRACK = 16_384

function conntrack(world: DoctorWorld): Finding {
  const number = (name: string) => Number(world.read(`/proc/sys/net/netfilter/${name}`) ?? Number.NaN)
  const [max, count] = [number('nf_conntrack_max'), number('nf_conntrack_count')]
  const check = 'conntrack'
  if (Number.isNaN(max) || Number.isNaN(count)) return ok(check, 'not loaded yet: our nftables table will load it')
  const text = `${count} of ${max} connections tracked`
  const grow = `sysctl -w net.netfilter.nf_conntrack_max=${Math.max(262_144, max * 4)}`
  if (count >= max * 0.95) return fail(check, `${text}: the table is full, new connections are dropped`, grow)
  if (count >= max * 0.75) return warn(check, `${text}: the table is nearly full`, grow)
  if (max < SMALL_CONNTRACK) return warn(check, `${text}: a small table, and every subflow takes an entry`, grow)
  return ok(check, text)
}

function routes(world: DoctorWorld, config: DaemonConfig): Finding[] {
  const { facts } = world
  if (typeof facts === 'string') return []
  const families = [
    { name: 'IPv4', isWanted: config.address4 !== null, main: facts.v4.main },
    { name: 'IPv6', isWanted: config.address6 !== null && facts.v6 !== null, main: facts.v6?.main ?? [] },
  ].filter(({ isWanted, name, main }) => isWanted && (name === 'IPv4' || main.length > 0))
  return families.map(({ name, main }) => {
    const check = `egress-${name.toLowerCase()}`
    const found = main.filter((route) => isDefault(route))
    if (found.length > 0) return ok(check, `${name} leaves by ${[...new Set(found.flatMap((route) => route.devices))].join(', ')}`)
    return warn(check, `there is no ${name} default route`, `add one, or only what has a route of its own can be reached over ${name}`)
  })
}

function reversePath(world: DoctorWorld): Finding {
  const values = [...egressDevices(world), 'all'].flatMap((device) => {
    const value = world.read(`/proc/sys/net/ipv4/conf/${device}/rp_filter`)?.trim()
    return value === undefined ? [] : [`${device} ${value}`]
  })
  // Strict filtering looks our replies up by the rules of their stack address, and so finds the egress that they came by.
  return ok('rp-filter', `${values.join(', ')}: 0, 1 and 2 all work`)
}

const OFFLOADS = [
  { bit: OFFLOAD_TX_CHECKSUM, name: 'tx' },
  { bit: OFFLOAD_TSO, name: 'tso' },
  { bit: OFFLOAD_GSO, name: 'gso' },
  { bit: OFFLOAD_GRO, name: 'gro' },
] as const

function offloads(world: DoctorWorld, config: DaemonConfig): Finding[] {
  const { addon } = world
  if (typeof addon === 'string' || typeof world.facts === 'string') return []
  const { links } = world.facts
  const sources = config.paths.map((text) => text.split(/[@,]/)[0] ?? '').filter((source) => links.has(source))
  return [...new Set([...egressDevices(world), ...sources])].flatMap((device) => {
    let bits: number
    try {
      bits = addon.offloads(device)
    } catch {
      return [] // gone meanwhile
    }
    const off = OFFLOADS.filter(({ bit }) => (bits & bit) === 0).map(({ name }) => name)
    const check = `offloads-${device}`
    if (off.length === 0) return [ok(check, 'checksum, TSO, GSO and GRO are on')]
    return [
      warn(
        check,
        `${off.join(', ')} off: every packet is cut and summed by the CPU`,
        `ethtool -K ${device} ${off.map((name) => `${name} on`).join(' ')}`,
      ),
    ]
  })
}

function ipv6(world: DoctorWorld, config: DaemonConfig): Finding {
  const check = 'ipv6'
  if (typeof world.facts === 'string') return warn(check, 'unknown', 'see interface')
  const { v6 } = world.facts
  if (v6 === null) {
    if (config.address4 !== null) return ok(check, 'off on this host: IPv4 is carried alone')
    return fail(check, 'off on this host, and nothing else is to be carried', 'sysctl -w net.ipv6.conf.all.disable_ipv6=0, or carry IPv4')
  }
  const hasDefault = v6.main.some((route) => isDefault(route))
  if (config.address6 === null) {
    if (!hasDefault) return ok(check, 'not carried, and there is no default route for it')
    return warn(check, 'not carried: connections over IPv6 leave without MPTCP', 'set address6, or leave out --no-ipv6, to carry it')
  }
  const isAdvertised = v6.main.some((route) => isDefault(route) && route.protocol === 'ra')
  const hasForce = world.read('/proc/sys/net/ipv6/conf/all/force_forwarding') !== null
  if (isAdvertised && !hasForce)
    return ok(check, 'carried; this kernel forwards globally, accept_ra=2 will keep the advertised default route')
  return ok(check, 'carried')
}

/** The clock was set by nobody if it shows less. */
const OLDEST_TIME = Date.UTC(2025, 0, 1)

function clock(world: DoctorWorld): Finding {
  const check = 'clock'
  const time = world.now.toISOString()
  if (world.now.getTime() < OLDEST_TIME)
    return fail(check, `it is ${time}, says the clock: it was never set`, 'set it: timedatectl set-ntp true')
  const isSynchronised = typeof world.addon !== 'string' && world.addon.isClockSynchronised()
  if (isSynchronised) return ok(check, `${time}, kept right by NTP or the like`)
  return warn(
    check,
    `${time}, but nobody keeps it right: certificates and the requests to detours depend on it`,
    'timedatectl set-ntp true (or run chrony; in a virtual machine the host may do it)',
  )
}

/** Children, sockets, devices and log: a few dozen; detours and their VPNs want more. */
const FEW_FILES = 1024

function fileLimit(world: DoctorWorld): Finding {
  const check = 'files'
  const soft = /^Max open files\s+(\S+)/m.exec(world.read('/proc/self/limits') ?? '')?.[1] ?? 'unlimited'
  if (soft === 'unlimited' || Number(soft) >= FEW_FILES) return ok(check, `${soft} may be open`)
  return warn(check, `only ${soft} may be open at the same time`, 'ulimit -n 65536, or LimitNOFILE=65536 in the unit')
}

function leftovers(world: DoctorWorld): Finding {
  const check = 'leftovers'
  const dead = world.states.filter(({ isRunning }) => !isRunning)
  const isAlone = dead.length === world.states.length
  const { facts } = world
  const rules = typeof facts === 'string' || !isAlone ? 0 : facts.v4.ownRules.length + (facts.v6?.ownRules.length ?? 0)
  if (dead.length === 0 && rules === 0) return ok(check, 'a killed daemon left nothing')
  const whose = dead.map(({ state }) => `${state.tun}, pid ${state.pid}`).join('; ')
  return warn(
    check,
    `a killed daemon${whose === '' ? '' : ` (${whose})`} left its changes of this host${rules > 0 ? `, ${rules} rules among them` : ''}`,
    'mptcpd-user cleanup (the next start does it too)',
  )
}

function isDefault(route: Route): boolean {
  return route.destination === 'default' && route.type === 'unicast'
}

function egressDevices(world: DoctorWorld): string[] {
  const { facts } = world
  if (typeof facts === 'string') return []
  const all = [...facts.v4.main, ...(facts.v6?.main ?? [])].filter((route) => isDefault(route))
  return [...new Set(all.flatMap((route) => route.devices))]
}
