import type { Background } from './exec.js'
import type { Lab, Namespace } from './lab.js'
import { PORT } from './peers.js'

/** Bits per second as the receivers saw them: from the client to the server, and back; null for a direction that was not used. */
export interface IperfResult {
  readonly upBps: number | null
  readonly downBps: number | null
}

/** Starts an iperf3 server in the server's namespace; over kernel MPTCP, or over TCP. */
export async function startIperfServer(lab: Lab, isMptcp: boolean, port: number = PORT.iperf): Promise<Background> {
  const iperf = ['iperf3', '--server', '--port', String(port), '--forceflush']
  const server = lab.server.spawn(isMptcp ? ['mptcpize', 'run', ...iperf] : iperf)
  await server.waitLine(/listening/i)
  return server
}

// Linux: `congctl` of a route does not reach a socket whose source address selects another table afterwards; iperf3 sets it on both ends.
const CONGESTION_CONTROL = 'cubic'

/** Runs iperf3 for `seconds` and returns what its receivers report. @throws when a sender used another congestion control than cubic. */
export async function iperf(
  ns: Namespace,
  host: string,
  mode: 'up' | 'down' | 'both',
  seconds: number,
  port: number = PORT.iperf,
): Promise<IperfResult> {
  const flags = { up: [], down: ['--reverse'], both: ['--bidir'] }[mode]
  const argv = ['iperf3', '--client', host, '--port', String(port), '--time', String(seconds), '--json', '--congestion', CONGESTION_CONTROL]
  const { stdout } = await ns.ok([...argv, ...flags], { timeoutMs: (seconds + 20) * 1000 })
  const { end } = JSON.parse(stdout) as {
    end: Record<'sum_received' | 'sum_received_bidir_reverse', { bits_per_second: number } | undefined> & {
      sender_tcp_congestion: string
    }
  }
  if (end.sender_tcp_congestion !== CONGESTION_CONTROL) throw new Error(`iperf3 to ${host} sent by ${end.sender_tcp_congestion}`)
  const forward = end.sum_received?.bits_per_second ?? 0
  if (mode === 'down') return { upBps: null, downBps: forward }
  return { upBps: forward, downBps: mode === 'both' ? (end.sum_received_bidir_reverse?.bits_per_second ?? 0) : null }
}
