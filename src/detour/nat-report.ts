import type { Target } from './nat-memory.js'
import { type Result, RESULT_QUOTA } from './protocol/ops.js'

/** Everything that happened, by name. */
export class NatCounters {
  sent = 0
  received = 0
  /** No reply of this protocol, or sealed with another key. */
  forged = 0
  /** Genuine, but nobody waits for it: late, repeated or played back. */
  stray = 0
  retransmitted = 0
  granted = 0
  refused = 0
  /** Not asked: the server speaks no MPTCP there, the detour denied it, or it is full. */
  skipped = 0
  epochs = 0
  corrections = 0
  byes = 0
  downs = 0
}

/** Why a detour is down, for people. @param isV2 it is asked by the authenticated protocol */
export function downText(why: 'silent' | 'bye', isV2: boolean): string {
  if (why === 'bye') return 'its daemon has said that it ends: it is asked again until it is back'
  const common = 'no answer: the detour cannot be reached by UDP, its daemon does not run, or it'
  return isV2
    ? `${common} does not know the key of our token (it meets that with silence too): see \`mptcpd-user detour list\` there`
    : `${common} does not serve version 1 to this host (--allow-v1)`
}

/** That a target will not be asked for again soon. */
export function deniedText(target: Target, result: Result): string {
  return `the detour denies ${target.remote} port ${target.port} (result ${result}): its operator can allow it there by --allow-destination`
}

/** That a target waits. */
export function fullText(target: Target, result: Result): string {
  const where = `${target.remote} port ${target.port}`
  if (result !== RESULT_QUOTA) return `the detour has no room for ${where} now: it is asked again`
  return `the quota of our key is used up, ${where} waits: the operator of the detour can raise it`
}
