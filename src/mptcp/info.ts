import type { Tuple } from '../base/address.js'
import type { Micros } from '../base/time.js'
import { STATE_NAMES } from '../tcp/state.js'
import type { MptcpConnection } from './connection.js'
import { FALLBACK_NAMES } from './fallback.js'
import { PHASE_NAMES } from './phase.js'
import type { Subflow } from './subflow.js'

/** One subflow as `status` shows it; fields as `ss -ti` has them. Plain data. */
export interface SubflowInfo {
  readonly id: number
  readonly path: string
  readonly tuple: Tuple
  readonly state: string
  /** syn, unconfirmed, joining, open, plain, dead. */
  readonly phase: string
  readonly isBackup: boolean
  readonly localAddrId: number
  readonly remoteAddrId: number
  readonly srttUs: Micros
  readonly rttvarUs: Micros
  readonly rtoUs: Micros
  readonly cwnd: number
  /** Infinity until the first congestion event. */
  readonly ssthresh: number
  readonly mss: number
  readonly inFlight: number
  /** Payload acknowledged by the peer, received in order, retransmitted. */
  readonly bytesAcked: number
  readonly bytesReceived: number
  readonly bytesRetransmitted: number
  readonly segsOut: number
  readonly segsIn: number
  /** Reason of the peer's MP_TCPRST, -1: none. */
  readonly resetReason: number
}

/** A connection as `status` shows it; fields as MPTCP_INFO has them. Plain data; no keys. */
export interface ConnectionInfo {
  readonly isMptcp: boolean
  /** Text; `none` while it speaks MPTCP or has not decided. */
  readonly fallback: string
  /** Tokens as `ss -M` prints them, 0: none. */
  readonly localToken: number
  readonly remoteToken: number
  readonly isChecksummed: boolean
  readonly scheduler: string
  /** Stream bytes handed to us and acknowledged; received in order and taken by the reader. */
  readonly bytesWritten: number
  readonly bytesAcked: number
  readonly bytesReceived: number
  readonly bytesRead: number
  readonly subflows: readonly SubflowInfo[]
}

function subflowInfo(s: Subflow): SubflowInfo {
  const ep = s.ep
  return {
    id: s.id,
    path: s.path.label,
    tuple: ep.tuple,
    state: STATE_NAMES[ep.state] as string,
    phase: PHASE_NAMES[s.phase] as string,
    isBackup: s.isBackup,
    localAddrId: s.localAddrId,
    remoteAddrId: s.remoteAddrId,
    srttUs: ep.srttUs,
    rttvarUs: ep.rttvarUs,
    rtoUs: ep.rtoUs(),
    cwnd: ep.cwnd,
    ssthresh: ep.ssthresh,
    mss: ep.mss,
    inFlight: ep.inFlight,
    bytesAcked: ep.bytesAcked,
    bytesReceived: ep.bytesReceived,
    bytesRetransmitted: ep.retransBytes,
    segsOut: ep.segsOut,
    segsIn: ep.segsIn,
    resetReason: s.peerRstReason,
  }
}

export function connectionInfo(c: MptcpConnection): ConnectionInfo {
  return {
    isMptcp: c.isMptcp,
    fallback: FALLBACK_NAMES[c.fallbackReason] as string,
    localToken: c.localKey === null ? 0 : c.localKey.token >>> 0,
    remoteToken: c.remoteKey === null ? 0 : c.remoteKey.token >>> 0,
    isChecksummed: c.isChecksummed,
    scheduler: c.scheduler.name,
    bytesWritten: c.sendQueue.readyEnd,
    bytesAcked: c.isMptcp ? c.tx.streamOfData(c.snd.una) : c.sendQueue.base,
    bytesReceived: c.recvQueue.readyEnd,
    bytesRead: c.recvQueue.base,
    subflows: c.subflows.map(subflowInfo),
  }
}
