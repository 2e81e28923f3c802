import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { DetourStatus } from '../../src/detour/daemon/status.js'
import { DETOUR_ADDRESS, DetourLab } from '../../test/e2e/lib/detour-lab.js'
import type { Campaign } from './campaign.js'

const CLIENT = fileURLToPath(new URL('../detour/flood-client.ts', import.meta.url))
const RATE = '20000'
/** Mappings of the key that asks for more than it may have. */
const GREEDY_LEASES = 2

interface Flood {
  readonly sent: Record<string, number>
  readonly sentTotal: number
  readonly perSecond: number
}

interface Legitimate {
  readonly answered: number
  readonly failed: number
  readonly unanswered: number
  readonly resent: number
  readonly p99: number
}

/** The daemon under 20 000 datagrams a second of which none must do anything, and a client with a right to be answered. */
export const campaign: Campaign = {
  summary: 'detour daemon: 20 000 bad datagrams a second, and one honest client [SECONDS=10]; root',
  async run([seconds = '10']) {
    const lab = await DetourLab.create()
    try {
      const text = async (name: string, ...args: string[]) => (await lab.keygen(name, ...args)).text()
      const victim = await text('victim')
      const greedy = await text('greedy', '--quota-leases', String(GREEDY_LEASES))
      const honest = await text('honest', '--quota-leases', '60000', '--quota-rate', '1000')
      const daemon = await lab.serve('--allow-destination', '10.77.2.0/24', '--leases', '60000', '--rate', '1000', '--max-lease', '3600')
      const run = (role: string, ...tokens: string[]) =>
        lab.client.ok(['node', '--import', 'tsx', CLIENT, role, DETOUR_ADDRESS.detour4, seconds, RATE, ...tokens], {
          timeoutMs: Number(seconds) * 1000 + 60_000,
        })
      const quiet = JSON.parse(
        (await lab.client.ok(['node', '--import', 'tsx', CLIENT, 'legitimate', DETOUR_ADDRESS.detour4, '3', RATE, honest])).stdout,
      ) as Legitimate
      const cpuBefore = cpuSeconds(daemon.pid)
      const [floodText, honestText] = await Promise.all([run('flood', victim, greedy), run('legitimate', honest)])
      const cpu = cpuSeconds(daemon.pid) - cpuBefore
      const flood = JSON.parse(floodText.stdout) as Flood
      const asked = JSON.parse(honestText.stdout) as Legitimate
      const { counters } = (await lab.status()) as DetourStatus
      const of = (name: string) => counters[name] ?? 0
      const lost = flood.sentTotal + 1 + asked.answered + asked.resent + quiet.answered + quiet.resent - of('received')
      const begun = of('mappingsBegun') - asked.answered - quiet.answered
      const seen = Object.fromEntries(Object.entries(counters).filter(([, n]) => n !== 0))
      process.stdout.write(
        `without flood: ${JSON.stringify(quiet)}\nunder flood:   ${JSON.stringify(asked)}\nflood: ${JSON.stringify(flood)}\n` +
          `daemon: ${JSON.stringify(seen)}\ndatagrams that the kernel dropped before the daemon: ${lost}\n` +
          `mappings created by the flood: ${begun - 1 - GREEDY_LEASES}, beyond the ${1 + GREEDY_LEASES} that were allowed\n` +
          `bytes in ${of('receivedBytes')}, bytes out ${of('sentBytes')}; CPU of the daemon ${((cpu * 100) / Number(seconds)).toFixed(0)} %\n`,
      )
      const isSeen = ['forged', 'unknownKey', 'malformed', 'replayed', 'wrongTime', 'overQuota'].every((name) => of(name) > 0)
      const isQuick = asked.p99 <= 20 && asked.failed + asked.unanswered === 0 && asked.answered > Number(seconds) * 10
      const isSilent = of('sentBytes') <= of('receivedBytes') && begun === 1 + GREEDY_LEASES
      const isEven = flood.perSecond > Number(RATE) * 0.9
      const isGone = (await daemon.stop()) === 0
      process.stdout.write(`${JSON.stringify({ isSeen, isQuick, isSilent, isEven, isGone })}\n`)
      return isSeen && isQuick && isSilent && isEven && isGone
    } finally {
      lab.close()
    }
  },
}

/** CPU time of a process in user and kernel mode; a clock tick is 10 ms on all of Linux. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}
