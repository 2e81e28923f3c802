import type { DaemonConfig } from '../config/daemon-config.js'
import { dryRun } from '../host/dry-run.js'
import { type HostFacts, readFacts } from '../host/facts.js'
import type { EgressPlan } from '../host/wanted.js'
import { native } from '../tun/native.js'
import { checkDetours, interfacesOf } from './detours.js'
import { Egresses } from './egresses.js'
import { hostOptions } from './host-options.js'
import { computeSetup, type Setup } from './setup.js'

/** The commands by which the host would be set up, one a line. Changes nothing. @throws {MptcpError} */
export async function dryRunCommands(config: DaemonConfig): Promise<string[]> {
  const facts = await readFacts()
  const setup = computeSetup(config, facts)
  checkDetours(
    config,
    setup.families.map((f) => f.family),
    facts,
  )
  return dryRun(hostOptions(config, setup, await plannedEgresses(config, setup, facts)), native())
}

/** The egresses of interfaces that are there; a VPN's is made when it is connected. */
async function plannedEgresses(config: DaemonConfig, setup: Setup, facts: HostFacts): Promise<EgressPlan[]> {
  const plans: EgressPlan[] = []
  const addEgress = async (plan: EgressPlan): Promise<void> => {
    plans.push(plan)
  }
  const egresses = new Egresses(setup.book, { addEgress, removeEgress: async () => {} }, [])
  const families = setup.families.map((f) => f.family)
  for (const { family, device, gateway } of interfacesOf(config, families, facts)) await egresses.open(family, device, gateway)
  return plans
}
