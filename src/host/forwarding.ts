import type { HostFacts } from './facts.js'
import type { Family } from './numbers.js'

/** A kernel parameter that we change. Keys with slashes, below /proc/sys. */
export interface Switch {
  readonly key: string
  readonly value: string
  /** What stood there before us, and comes back. */
  readonly old: string
  /** Somebody has set this one meanwhile: then ours is theirs, and is left as it is. */
  readonly unless?: { readonly key: string; readonly value: string }
}

/** What of the host forwarding depends on. */
export interface ForwardingFacts {
  readonly sysctl: HostFacts['sysctl']
  /** By name. */
  readonly links: Pick<ReadonlyMap<string, unknown>, 'keys'>
}

export interface Forwarding {
  readonly switches: readonly Switch[]
  /** Devices that forward because of us. */
  readonly opened: readonly string[]
}

/**
 * Forwarding on `devices`, never globally, and only where it is off.
 * @param owned switches that are on because of us already (of this run, or of one that was killed).
 */
export function forwardingOf(facts: ForwardingFacts, family: Family, devices: readonly string[], owned: readonly Switch[]): Forwarding {
  const wanted = devices.filter((device) => device !== 'lo')
  if (family === 4) return forwarding4(facts, wanted, owned)
  // Whoever forwards globally (Docker, a router) wants a router; nothing of that is ours.
  const isRouter = facts.sysctl(ALL6) === '1' && !owned.some((s) => s.key === ALL6)
  if (isRouter) return { switches: [], opened: [] }
  // Linux 6.17: force_forwarding forwards whatever `all` says, and leaves router advertisements alone.
  const hasForce = facts.sysctl('net/ipv6/conf/lo/force_forwarding') !== null
  return hasForce
    ? each(facts, (device) => `net/ipv6/conf/${device}/force_forwarding`, wanted, owned, null)
    : globally6(facts, wanted, owned)
}

/**
 * Switches of single interfaces by which nothing of ours leaves any more. Where forwarding is global, all of them belong together.
 * @param owned those that are on because of us; @param wanted what every family that is carried wants now
 */
export function releasedSwitches(
  owned: readonly Switch[],
  wanted: ReadonlyMap<Family, { readonly switches: readonly Switch[] }>,
): Switch[] {
  const kept = new Set([...wanted.values()].flatMap((w) => w.switches.map((s) => s.key)))
  const isGlobal6 = owned.some((s) => s.key === ALL6)
  return owned.filter((s) => {
    const family: Family = s.key.startsWith('net/ipv4/') ? 4 : 6
    return wanted.has(family) && !kept.has(s.key) && !(family === 6 && isGlobal6)
  })
}

const ALL4 = 'net/ipv4/conf/all/forwarding'
const ALL6 = 'net/ipv6/conf/all/forwarding'

/** Switching `all` on sets it for every interface: then what was ours is theirs. */
function forwarding4(facts: ForwardingFacts, devices: readonly string[], owned: readonly Switch[]): Forwarding {
  const isRouter = facts.sysctl(ALL4) === '1'
  const mine = isRouter ? owned.filter((s) => s.unless === undefined) : owned
  return each(facts, (device) => `net/ipv4/conf/${device}/forwarding`, devices, mine, isRouter ? null : { key: ALL4, value: '1' })
}

function each(
  facts: ForwardingFacts,
  keyOf: (device: string) => string,
  devices: readonly string[],
  owned: readonly Switch[],
  unless: { readonly key: string; readonly value: string } | null,
): Forwarding {
  const switches: Switch[] = []
  const opened: string[] = []
  for (const device of devices) {
    const key = keyOf(device)
    const mine = owned.find((s) => s.key === key)
    const now = facts.sysctl(key)
    if (now === null || (mine === undefined && now !== '0')) continue
    switches.push(mine ?? { key, value: '1', old: '0', ...(unless === null ? {} : { unless }) })
    opened.push(device)
  }
  return { switches, opened }
}

/**
 * Linux before 6.17: IPv6 forwarding is global. It deletes a router-advertised default route at once unless accept_ra is 2 first, and
 * switching it off clears every interface's own switch, so those are written down too: they come back after `all`.
 */
function globally6(facts: ForwardingFacts, devices: readonly string[], owned: readonly Switch[]): Forwarding {
  const mine = (key: string, value: string): Switch[] => {
    const known = owned.find((s) => s.key === key)
    if (known !== undefined) return [known]
    const old = facts.sysctl(key)
    return old === null ? [] : [{ key, value, old }]
  }
  const names = [...facts.links.keys()]
  const accept = names.flatMap((device) => {
    const key = `net/ipv6/conf/${device}/accept_ra`
    return facts.sysctl(key) === '1' || owned.some((s) => s.key === key) ? mine(key, '2') : []
  })
  const single = names.flatMap((device) => mine(`net/ipv6/conf/${device}/forwarding`, '1'))
  return { switches: [...accept, ...single, ...mine(ALL6, '1')], opened: devices }
}
