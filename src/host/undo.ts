import { MptcpError } from '../base/errors.js'
import { factsOf, type HostFacts } from './facts.js'
import { FAMILIES, type Family } from './numbers.js'
import type { Step } from './plan.js'
import { reconcile, restoreSwitches } from './reconcile.js'
import { addWords, parseRoute, type Route } from './route-text.js'
import { type HostState, isRunning, readStates, STATE_DIR } from './state-file.js'

/** Where this folder tells what it did. */
export interface HostLog {
  info(message: string, details?: object): void
  warn(message: string, details?: object): void
  error(message: string, details?: object): void
}

/** States of killed daemons. @throws {MptcpError} ERR_ALREADY_RUNNING when one lives: two of them would undo each other. */
export function leftStates(netns: string, stateDir = STATE_DIR): HostState[] {
  const states = readStates(netns, stateDir)
  const running = states.find((state) => isRunning(state) && state.pid !== process.pid)
  if (running !== undefined) {
    throw new MptcpError(
      'ERR_ALREADY_RUNNING',
      `a daemon runs already on ${running.tun}, pid ${running.pid}: end it by \`mptcpd-user down\``,
    )
  }
  return states
}

/** The steps that take everything of ours back, except what goes with the TUN and the nft child. */
export function undoPlan(facts: HostFacts, state: Pick<HostState, 'switches' | 'displaced' | 'addresses'>, tun: string): Step[] {
  const back = displacedBack(facts, state.displaced, tun)
  const rest = restoreSwitches(facts.sysctl, state.switches)
  return [...reconcile(facts, new Map(), new Map()), ...loopbackUndo(facts, state.addresses), ...back, ...rest]
}

/** Puts routes back into main that one at a TUN displaced, which has gone. */
export function displacedBack(facts: HostFacts, displaced: HostState['displaced'], tun: string): Step[] {
  return FAMILIES.flatMap((family) =>
    (displaced[family] ?? []).flatMap((text): Step[] => {
      const route = restorable(parseRoute(text), facts, family, tun)
      return route === null ? [] : [{ kind: 'route', family, words: ['replace', ...addWords(route)], mayFail: true }]
    }),
  )
}

/** Takes the addresses that blocking needed off lo again. */
export function loopbackUndo(facts: HostFacts, addresses: readonly string[]): Step[] {
  const there = facts.links.get('lo')?.addresses ?? []
  const ours = addresses.filter((address) => address.includes(':') && there.includes(address))
  return [...new Set(ours)].map((address) => ({ kind: 'exec', argv: ['ip', '-6', 'address', 'del', `${address}/128`, 'dev', 'lo'] }))
}

/** A displaced route goes back unless main has got another one in its place that is not the TUN's. */
function restorable(route: Route | null, facts: HostFacts, family: Family, tun: string): Route | null {
  if (route === null || !route.devices.every((device) => facts.links.get(device)?.isUp === true)) return null
  const main = factsOf(facts, family)?.main ?? []
  const others = main.filter((r) => r.destination === route.destination && r.metric === route.metric && !r.devices.includes(tun))
  return others.length > 0 ? null : route
}
