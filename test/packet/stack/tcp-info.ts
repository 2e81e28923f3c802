import type { TcpEndpoint } from '../../../src/tcp/endpoint.js'
import { US_PER_MS } from '../../../src/base/time.js'
import { DUP_THRESH } from '../../../src/tcp/recovery.js'
import * as st from '../../../src/tcp/state.js'
import type { Connection } from './connection.js'

/** Linux's numbers of connection states. */
const LINUX_STATE: readonly number[] = [7, 2, 3, 1, 4, 5, 8, 11, 9, 6]

/** Constants that code may compare with. */
export const INFO_CONSTANTS: Readonly<Record<string, number>> = {
  TCP_ESTABLISHED: 1,
  TCP_SYN_SENT: 2,
  TCP_SYN_RECV: 3,
  TCP_FIN_WAIT1: 4,
  TCP_FIN_WAIT2: 5,
  TCP_TIME_WAIT: 6,
  TCP_CLOSE: 7,
  TCP_CLOSE_WAIT: 8,
  TCP_LAST_ACK: 9,
  TCP_LISTEN: 10,
  TCP_CLOSING: 11,
  TCP_CA_Open: 0,
  TCP_CA_Disorder: 1,
  TCP_CA_CWR: 2,
  TCP_CA_Recovery: 3,
  TCP_CA_Loss: 4,
  TCPI_OPT_TIMESTAMPS: 1,
  TCPI_OPT_SACK: 2,
  TCPI_OPT_WSCALE: 4,
  TCPI_OPT_ECN: 8,
  TCPI_OPT_SYN_DATA: 32,
}

function caState(ep: TcpEndpoint): number {
  const recovery = ep.snd.flight?.recovery
  if (recovery === undefined) return 0
  if (recovery.isLossRecovery) return 4
  if (!recovery.isOpen) return 3
  return (ep.snd.flight?.sacked ?? 0) > 0 || recovery.dupAcks > 0 ? 1 : 0
}

/** Names of `struct tcp_info` that we can tell, in Linux's units: segments, microseconds. */
const FIELDS: Readonly<Record<string, (ep: TcpEndpoint, conn: Connection) => number>> = {
  tcpi_state: (ep) => LINUX_STATE[ep.state] as number,
  tcpi_ca_state: caState,
  tcpi_retransmits: (ep) => ep.rtoCount,
  tcpi_probes: (ep) => (ep.snd.flight === null ? ep.retries : 0),
  tcpi_retrans: (ep) => Math.ceil((ep.snd.flight?.retrans ?? 0) / ep.mss),
  tcpi_reordering: () => DUP_THRESH, // it never adapts: RACK's window does instead
  tcpi_advmss: (ep) => (ep.tuple.local.isV4 ? ep.cfg.mss4 : ep.cfg.mss6) - (ep.hasTimestamps ? 12 : 0),
  tcpi_rcv_mss: (ep) => ep.rcv.segLen,
  // the SYN counts, with the data that it had
  tcpi_delivered: (ep, conn) => Math.ceil(((ep.snd.flight?.deliveredTotal ?? ep.sndUna) - 1 - conn.synAcked) / ep.mss) + 1,
  tcpi_last_data_recv: (_, conn) => Math.floor((conn.world.now - conn.lastDataAt) / US_PER_MS),
  tcpi_busy_time: (_, conn) => conn.busyUs,
  tcpi_rwnd_limited: (_, conn) => conn.windowLimitedUs,
  tcpi_segs_out: (ep) => ep.segsOut,
  tcpi_backoff: (ep) => ep.snd.rtt.backoff,
  tcpi_options: (ep, conn) =>
    (ep.hasTimestamps ? 1 : 0) | (ep.isSackOk ? 2 : 0) | (ep.sndWscale + ep.rcvWscale > 0 ? 4 : 0) | (conn.isSynDataTaken ? 32 : 0),
  tcpi_snd_wscale: (ep) => ep.sndWscale,
  tcpi_rcv_wscale: (ep) => ep.rcvWscale,
  tcpi_rto: (ep) => ep.rtoUs(),
  tcpi_snd_mss: (ep) => ep.mss,
  tcpi_unacked: (ep) => Math.ceil(Math.max(0, ep.sndNxt - ep.sndUna) / ep.mss),
  tcpi_sacked: (ep) => Math.ceil((ep.snd.flight?.sacked ?? 0) / ep.mss),
  tcpi_lost: (ep) => Math.ceil((ep.snd.flight?.lost ?? 0) / ep.mss),
  tcpi_rtt: (ep) => ep.srttUs,
  tcpi_rttvar: (ep) => ep.rttvarUs,
  tcpi_min_rtt: (ep) => ep.minRttUs,
  tcpi_snd_ssthresh: (ep) => (ep.ssthresh >= 1 << 30 ? 0x7fffffff : Math.floor(ep.ssthresh / ep.mss)),
  tcpi_snd_cwnd: (ep) => Math.floor(ep.cwnd / ep.mss),
  tcpi_total_retrans: (ep) => ep.retransSegs,
  tcpi_bytes_acked: (ep) => ep.bytesAcked,
  tcpi_bytes_received: (ep) => ep.bytesReceived,
  tcpi_bytes_retrans: (ep) => ep.retransBytes,
  tcpi_segs_in: (ep) => ep.segsIn,
  tcpi_notsent_bytes: (ep, conn) => (ep.state === st.CLOSED ? 0 : Math.max(0, conn.out.readyEnd - (Math.max(1, ep.sndNxt) - 1))),
  tcpi_snd_wnd: (ep) => ep.sndEdge - ep.sndUna,
}

/** The value, or null for a field that we do not have. */
export function tcpInfo(conn: Connection, name: string): number | null {
  return FIELDS[name]?.(conn.endpoint, conn) ?? null
}

export const KNOWN_INFO: readonly string[] = Object.keys(FIELDS)
