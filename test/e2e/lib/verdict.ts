import type { Test } from 'tap'
import type { Lab } from './lab.js'
import { type Counters, counter, errorsIn, FALLBACK_COUNTERS, nstat } from './stats.js'

/** The server's kernel saw MPTCP (at least one connection), no fallback, and nothing that it counts as an error. Returns its counters. */
export async function assertCleanMptcp(t: Test, lab: Lab): Promise<Counters> {
  const counters = await nstat(lab.server)
  t.ok(counter(counters, 'MPTcpExtMPCapableACKRX') > 0, 'the server completed MPTCP handshakes')
  t.same(errorsIn(counters, FALLBACK_COUNTERS), {}, 'no connection fell back')
  t.same(errorsIn(counters), {}, 'the server counts no protocol error')
  return counters
}
