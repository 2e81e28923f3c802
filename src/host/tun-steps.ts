import type { HostFacts } from './facts.js'
import type { Step } from './plan.js'
import { type HostOptions, loopbackAddress } from './wanted.js'

/** The addresses on lo that blocking needs and that are not there. */
export function loopSteps(facts: HostFacts, options: HostOptions): Step[] {
  const there = facts.links.get('lo')?.addresses ?? []
  return options.families.flatMap((f): Step[] => {
    const wanted = loopbackAddress(options, f)
    if (wanted === null || there.includes(wanted)) return []
    return [{ kind: 'exec', argv: ['ip', `-${f.family}`, 'address', 'replace', `${wanted}/128`, 'dev', 'lo', 'nodad'] }]
  })
}

/** The device exists already and is ours, so that its addresses and routes go when it is closed. */
export function linkSteps(tun: string, mtu: number, families: HostOptions['families']): Step[] {
  return [
    { kind: 'exec', argv: ['ip', 'link', 'set', 'dev', tun, 'mtu', String(mtu), 'txqueuelen', String(TUN_QUEUE_LEN), 'up'] },
    ...families.map((f): Step => {
      const nodad = f.family === 6 ? ['nodad'] : []
      return { kind: 'exec', argv: ['ip', `-${f.family}`, 'address', 'replace', `${f.address}/${f.prefixLen}`, 'dev', tun, ...nodad] }
    }),
  ]
}

/** The TUN's own ring towards us: forwarded traffic has no back-pressure, what does not fit is lost. */
const TUN_QUEUE_LEN = 5000
