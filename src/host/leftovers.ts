import { type HostFacts, readFacts } from './facts.js'
import type { FirewallUndo } from './firewall.js'
import { applyPlan } from './plan.js'
import { type HostRunner, run } from './runner.js'
import type { RtnetlinkSource } from './rtnetlink.js'
import { removeState, STATE_DIR } from './state-file.js'
import { type HostLog, leftStates, undoPlan } from './undo.js'

/** Ends TCP sockets whose source is one of `addresses`: nobody carries them any more, and their applications should know. */
export async function endOrphans(addresses: readonly string[], log: HostLog): Promise<number> {
  let ended = 0
  for (const address of addresses) {
    try {
      // Linux without CONFIG_INET_DIAG_DESTROY lists them and leaves them.
      const text = await run(['ss', '-H', '-K', '-t', '-n', 'src', address.includes(':') ? `[${address}]` : address])
      ended += text.split('\n').filter((line) => line.trim() !== '').length
    } catch (error) {
      log.warn(`sockets of ${address} could not be ended: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  if (ended > 0) log.info(`ended ${ended} orphaned connections of applications`)
  return ended
}

/** Takes back what was admitted in foreign firewalls; what is gone already is no failure. @returns the others */
export async function undoFirewall(undo: readonly FirewallUndo[], runner: HostRunner): Promise<string[]> {
  const failures: string[] = []
  for (const one of undo) {
    try {
      if (one.kind === 'exec') await runner.exec(one.argv)
      else
        for (const handle of await handlesOf(one)) await run(['nft', 'delete', 'rule', one.family, one.table, one.chain, 'handle', handle])
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      if (!/does not exist|doesn't exist|No such file|NOT_ENABLED|Bad rule/i.test(message)) failures.push(message)
    }
  }
  return failures
}

async function handlesOf(undo: FirewallUndo & { readonly kind: 'nft' }): Promise<string[]> {
  const text = await run(['nft', '-a', 'list', 'chain', undo.family, undo.table, undo.chain])
  return text.split('\n').flatMap((line) => (line.includes(`comment "${undo.comment}"`) ? (/# handle (\d+)/.exec(line)?.[1] ?? []) : []))
}

/** What `cleanup` did. */
export interface CleanupReport {
  /** Commands of everything that was taken back. */
  readonly steps: number
  readonly orphans: number
  readonly failures: readonly string[]
}

/**
 * Removes every leftover of killed daemons in this network namespace, and nothing else.
 * @param keepBlocked leave what `--fail-closed` blocks
 * @throws {MptcpError} ERR_ALREADY_RUNNING
 */
export async function cleanUp(
  native: RtnetlinkSource,
  runner: HostRunner,
  log: HostLog,
  keepBlocked: boolean,
  defaultAddresses: readonly string[],
  stateDir = STATE_DIR,
): Promise<CleanupReport> {
  const states = leftStates(native.netnsCookie(), stateDir)
  const facts = await readFacts()
  const addresses = [...new Set([...states.flatMap((s) => s.addresses), ...(hasOwnRules(facts) ? defaultAddresses : [])])]
  const orphans = await endOrphans(addresses, log)
  if (keepBlocked && states.some((s) => s.failClosed)) {
    log.info('what --fail-closed blocks stays blocked until the next start, or `mptcpd-user cleanup`')
    return { steps: 0, orphans, failures: [] }
  }
  const failures = await undoFirewall(
    states.flatMap((s) => s.firewall),
    runner,
  )
  const switches = states.flatMap((s) => s.switches)
  const displaced = { 4: states.flatMap((s) => s.displaced[4]), 6: states.flatMap((s) => s.displaced[6]) }
  const plan = undoPlan(facts, { switches, displaced, addresses }, states[0]?.tun ?? '')
  failures.push(...(await applyPlan(plan, runner)).map((failure) => failure.message))
  if (failures.length === 0) for (const state of states) removeState(state.tun, stateDir)
  return { steps: plan.length, orphans, failures }
}

function hasOwnRules(facts: HostFacts): boolean {
  return facts.v4.ownRules.length > 0 || (facts.v6?.ownRules.length ?? 0) > 0
}
