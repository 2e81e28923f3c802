import { EgressCopy, NO_NEWS } from './egress-copy.js'
import { factsOf, type HostFacts, readFacts } from './facts.js'
import { openedSet, ownTable } from './nft.js'
import type { Family } from './numbers.js'
import { formatPlan } from './plan.js'
import { reconcile } from './reconcile.js'
import type { RtnetlinkSource } from './rtnetlink.js'
import { STATE_DIR } from './state-file.js'
import { linkSteps, loopSteps } from './tun-steps.js'
import { leftStates } from './undo.js'
import { type HostOptions, type WantedFamily, wantedFamily } from './wanted.js'

/** What is changed at the start, for `--dry-run`: nothing is written. @throws {MptcpError} */
export async function dryRun(options: HostOptions, native: RtnetlinkSource, stateDir = STATE_DIR): Promise<string[]> {
  const facts = await readFacts()
  const left = leftStates(native.netnsCookie(), stateDir)
  const owned = left.flatMap((s) => s.switches)
  const copies = new Map<Family, EgressCopy>()
  const wanted = new Map<Family, WantedFamily>()
  for (const f of options.families) {
    const copy = new EgressCopy(options.tun)
    copy.update(factsOf(facts, f.family)?.main ?? [], NO_NEWS, facts.links)
    copies.set(f.family, copy)
    wanted.set(f.family, wantedFamily(tunAssumed(facts, options.tun), options, f, copy, owned, true))
  }
  const opened = options.families.map((f) => openedSet(options.tun, f.family, wanted.get(f.family)?.opened ?? []))
  return formatPlan([
    { kind: 'exec', argv: ['ip', 'tuntap', 'add', 'dev', options.tun, 'mode', 'tun'] },
    ...linkSteps(options.tun, options.mtu, options.families),
    ...loopSteps(facts, options),
    { kind: 'nft', lines: [...ownTable(options.tun, options.families, options.served), ...opened] },
    ...reconcile(tunAssumed(facts, options.tun), wanted, copies),
  ])
}

/** The TUN is not there yet, so its switches cannot be read: a new interface has them off. */
function tunAssumed(facts: HostFacts, tun: string): HostFacts {
  if (facts.links.has(tun)) return facts
  const own = new RegExp(`^net/ipv[46]/conf/${tun.replaceAll('.', '\\.')}/(force_)?forwarding$`)
  return { ...facts, sysctl: (key) => (own.test(key) ? facts.sysctl(key.replace(`/conf/${tun}/`, '/conf/default/')) : facts.sysctl(key)) }
}
