import type { Status } from '../engine/status.js'
import { bitRate, table } from './table.js'

/** One path between two looks. */
interface PathRate {
  readonly label: string
  subflows: number
  /** Bytes since the look before. */
  sent: number
  received: number
  /** Round trip, weighted by what was carried; 0: not measured. */
  rttUs: number
  weight: number
}

/** What each path carried between two looks at the daemon, for `status --watch`. */
export class PathWatch {
  private before = new Map<string, { readonly sent: number; readonly received: number }>()
  private at = 0

  /** @param nowMs when `status` was taken. @returns a line per path, the default one first; null: there is nothing to compare with yet */
  look(status: Status, nowMs: number): string[] | null {
    const rates = new Map<string, PathRate>()
    const rateOf = (label: string): PathRate => {
      const known = rates.get(label) ?? { label, subflows: 0, sent: 0, received: 0, rttUs: 0, weight: 0 }
      rates.set(label, known)
      return known
    }
    for (const path of status.paths) rateOf(path.label)
    const now = new Map<string, { readonly sent: number; readonly received: number }>()
    for (const connection of status.connections) {
      for (const s of connection.subflows) {
        const key = `${connection.id} ${s.local} ${s.remote}`
        const known = this.before.get(key)
        // A subflow's numbers only grow: with smaller ones it is another one at the same port.
        const isSame = known !== undefined && known.sent <= s.bytesSent && known.received <= s.bytesReceived
        const [sent, received] = isSame ? [s.bytesSent - known.sent, s.bytesReceived - known.received] : [s.bytesSent, s.bytesReceived]
        now.set(key, { sent: s.bytesSent, received: s.bytesReceived })
        const rate = rateOf(s.path)
        const weight = sent + received + 1
        rate.subflows++
        rate.sent += sent
        rate.received += received
        if (s.rttUs === 0) continue
        rate.rttUs = (rate.rttUs * rate.weight + s.rttUs * weight) / (rate.weight + weight)
        rate.weight += weight
      }
    }
    const seconds = (nowMs - this.at) / 1000
    const isFirst = this.at === 0
    this.before = now
    this.at = nowMs
    return isFirst || seconds <= 0 ? null : linesOf([...rates.values()], seconds)
  }
}

function linesOf(rates: readonly PathRate[], seconds: number): string[] {
  const total = rates.reduce((sum, rate) => sum + rate.sent + rate.received, 0)
  const rows = rates.map((rate) => [
    rate.label,
    String(rate.subflows),
    bitRate(rate.received / seconds),
    bitRate(rate.sent / seconds),
    rate.rttUs === 0 ? '-' : `${(rate.rttUs / 1000).toFixed(1)} ms`,
    total === 0 ? '-' : `${Math.round(((rate.sent + rate.received) * 100) / total)} %`,
  ])
  return table([['path', 'subflows', 'down', 'up', 'rtt', 'share'], ...rows])
}
