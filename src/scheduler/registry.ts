import { MptcpError } from '../base/errors.js'
import { adaptive } from './adaptive.js'
import { blest } from './blest.js'
import { cheapest } from './cheapest.js'
import { ecf } from './ecf.js'
import { minRtt } from './min-rtt.js'
import { redundant } from './redundant.js'
import { roundRobin } from './round-robin.js'
import type { SchedulerFactory } from './scheduler.js'

const factories = new Map<string, SchedulerFactory>([
  ['min-rtt', minRtt],
  ['round-robin', roundRobin],
  ['redundant', redundant],
  ['adaptive', adaptive],
  ['blest', blest],
  ['cheapest', cheapest],
  ['ecf', ecf],
])

export const DEFAULT_SCHEDULER = 'min-rtt'

/** Makes a scheduler known under `name`, for embedding programs. @throws MptcpError ERR_MPTCP_SCHEDULER when the name is taken. */
export function registerScheduler(name: string, factory: SchedulerFactory): void {
  if (factories.has(name)) throw new MptcpError('ERR_MPTCP_SCHEDULER', `scheduler '${name}' exists already; choose another name`)
  factories.set(name, factory)
}

/** @throws MptcpError ERR_MPTCP_SCHEDULER when there is none of that name. */
export function schedulerFactory(name: string): SchedulerFactory {
  const factory = factories.get(name)
  if (factory === undefined) {
    throw new MptcpError('ERR_MPTCP_SCHEDULER', `no scheduler '${name}'; known are: ${[...factories.keys()].join(', ')}`)
  }
  return factory
}

/** Names that `schedulerFactory` knows. */
export function schedulerNames(): string[] {
  return [...factories.keys()]
}
