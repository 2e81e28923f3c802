import { adversarialTransfer } from './adversarial-transfer.js'
import { noTroubles, type Troubles } from './adversary.js'
import { type FaultTally, noFaults } from './faulty-path.js'
import { replay } from './recording.js'

/** Sums over many adversarial transfers. */
export interface AdversarialTally {
  transfers: number
  bytes: number
  joined: number
  /** Fallen back, or never MPTCP. */
  plain: number
  /** Ended by a NAT that forgot the only path. */
  failed: number
  /** Subflows opened anew by the client. */
  revived: number
  /** Mappings of which only the first segment said so. */
  sparse: number
  readonly faults: FaultTally
  readonly troubles: Troubles
}

export const noTally = (): AdversarialTally => ({
  transfers: 0,
  bytes: 0,
  joined: 0,
  plain: 0,
  failed: 0,
  revived: 0,
  sparse: 0,
  faults: noFaults(),
  troubles: noTroubles(),
})

/** One transfer. @returns empty, or what is wrong with it and where its packets are. */
export function runAdversarial(seed: number, tally: AdversarialTally): string {
  let wrong: string
  try {
    const { pair, complaint, hasFailed, bytes, count } = adversarialTransfer(seed)
    tally.transfers++
    tally.bytes += bytes
    if (hasFailed) tally.failed++
    if (pair.client.counters.MPJoinSynAckRx > 0) tally.joined++
    if (!pair.socket.conn.isMptcp) tally.plain++
    tally.revived += pair.revived
    tally.sparse += pair.client.counters.SparseMappings + pair.server.counters.SparseMappings
    pair.paths.tally(tally.faults)
    count(tally.troubles)
    wrong = complaint
  } catch (error) {
    wrong = error instanceof Error ? (error.stack ?? error.message) : String(error)
  }
  return wrong === '' ? '' : `${wrong}; ${replay('adversarial', seed, adversarialTransfer)}`
}
