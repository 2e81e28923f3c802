import type { Capture } from './capture.js'
import type { Namespace } from './lab.js'

/** What a capture on the TUN says of one connection's first join; times in milliseconds. */
export interface JoinLatency {
  /** From the first DSS that came in, which permits joins (RFC 8684 §3.1), to the SYN with MP_JOIN that went out; null: none did. */
  readonly synMs: number | null
  /** To the SYN/ACK with MP_JOIN that came in; null: none did. */
  readonly answerMs: number | null
  /** SYNs with MP_JOIN until then. */
  readonly syns: number
}

/** A pcap filter for what `joinLatencies` needs: acknowledgements and SYNs, not the payload of downloads. */
export const JOIN_FILTER = 'tcp and (tcp[tcpflags] & tcp-syn != 0 or less 200)'

const PACKET = /^ *(\d+):(\d+):([\d.]+) IP ([\d.]+) > ([\d.]+): Flags \[([^\]]*)\].*\bmptcp \d+ (capable|join|dss)\b/
/** Addresses that the daemon's own packets have (RFC 2544's block). */
const STACK = /^198\.1[89]\./

/** The first join of each connection in a capture of one connection after the other. Ends the capture. */
export async function joinLatencies(capture: Capture, ns: Pick<Namespace, 'ok'>): Promise<JoinLatency[]> {
  let first = ''
  const found: { permitMs: number | null; synMs: number | null; answerMs: number | null; syns: number }[] = []
  for (const line of await capture.stop(ns)) {
    const [, hours, minutes, seconds, from = '', to = '', flags = '', option] = PACKET.exec(line) ?? []
    if (option === undefined) continue
    const atMs = (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000
    const isSyn = flags === 'S'
    if (isSyn && option === 'capable' && STACK.test(from)) {
      first = from
      found.push({ permitMs: null, synMs: null, answerMs: null, syns: 0 })
      continue
    }
    const one = found.at(-1)
    if (one === undefined) continue
    if (option === 'dss' && to === first) one.permitMs ??= atMs
    if (option !== 'join' || one.permitMs === null || one.answerMs !== null) continue
    if (isSyn && STACK.test(from)) {
      one.synMs ??= atMs - one.permitMs
      one.syns++
    } else if (flags === 'S.' && STACK.test(to)) one.answerMs = atMs - one.permitMs
  }
  return found.map(({ synMs, answerMs, syns }) => ({ synMs, answerMs, syns }))
}

/** The smallest value that a part `q` (0-1) of the values does not exceed. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN
}
