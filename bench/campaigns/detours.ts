import { type DetourKind, Evaluation, SERVER, VIA_DAEMON } from '../lab/evaluation.js'
import { counter, errorsIn } from '../../test/e2e/lib/stats.js'
import type { Campaign } from './campaign.js'

/** What is compared; `null`: the kernel's TCP, past the daemon. */
const MECHANISMS: readonly (readonly [string, readonly DetourKind[] | null])[] = [
  ['TCP', null],
  ['MPTCP', []],
  ['+ NAT', ['nat']],
  ['+ VPN', ['openvpn']],
  ['+ both', ['nat', 'openvpn']],
]

/** Link r1-r2 in the rows of the evaluation table. */
const VARIANTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  plain: { loss: '0%', delay: '5ms' },
  '0.5%': { loss: '0.5%', delay: '5ms' },
  '1%': { loss: '1%', delay: '5ms' },
  '2%': { loss: '2%', delay: '5ms' },
  '5%': { loss: '5%', delay: '5ms' },
  '20ms': { loss: '0%', delay: '20ms' },
  '50ms': { loss: '0%', delay: '50ms' },
  '100ms': { loss: '0%', delay: '100ms' },
}

const TOPOLOGIES = ['core-limited', 'symmetric'] as const

/** Parts of the reference that a mechanism must reach without loss; core-limited: of twice the TCP goodput, symmetric: of it. */
const LEAST: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  'core-limited': { '+ NAT': 0.983, '+ VPN': 0.955 },
  symmetric: { '+ NAT': 0.98, '+ VPN': 0.98 },
}

/** The evaluation table of the thesis that this comes from, on real kernels: unmodified iperf3, server on stock Linux MPTCP. */
export const campaign: Campaign = {
  summary:
    'upload with and without detours over the evaluation topologies; [trials] [seconds] [topology|all] [row|all], default 5 10 all plain: 10 min',
  async run(args) {
    const trials = Number(args[0] ?? 5)
    const seconds = Number(args[1] ?? 10)
    const topologies = TOPOLOGIES.filter((name) => (args[2] ?? 'all') === 'all' || name === args[2])
    const rows = Object.keys(VARIANTS).filter((name) => args[3] === 'all' || name === (args[3] ?? 'plain'))
    if (topologies.length === 0 || rows.length === 0)
      throw new Error(`topologies: ${TOPOLOGIES.join(', ')}; rows: ${Object.keys(VARIANTS).join(', ')}`)
    let isGood = true
    for (const topology of topologies) {
      const evaluation = await Evaluation.up(topology)
      try {
        await evaluation.startIperf()
        for (const row of rows) isGood = (await measure(evaluation, topology, row, trials, seconds)) && isGood
        const errors = errorsIn(await evaluation.serverCounters())
        if (Object.keys(errors).length > 0) throw new Error(`protocol errors: ${JSON.stringify(errors)}`)
      } finally {
        await evaluation.down()
      }
    }
    return isGood
  },
}

/** One row: the mechanisms take turns, so that what disturbs one trial disturbs all of them. */
async function measure(evaluation: Evaluation, topology: string, row: string, trials: number, seconds: number): Promise<boolean> {
  const values = new Map<string, number[]>(MECHANISMS.map(([name]) => [name, []]))
  await evaluation.lab.set('r1-r2', VARIANTS[row] as Readonly<Record<string, string>>)
  await evaluation.lab.stats({ reset: true })
  for (let i = 0; i < trials; i++) {
    for (const [name, kinds] of MECHANISMS) {
      // Without the daemon in the baseline: what an ended iperf3 left in its buffers would still be on its way.
      if (kinds === null) await evaluation.stopDaemon()
      else await evaluation.useDetours(kinds)
      const joins = counter(await evaluation.serverCounters(), 'MPTcpExtMPJoinAckRx')
      values.get(name)?.push(await evaluation.upload(kinds === null ? SERVER : VIA_DAEMON, seconds))
      const more = counter(await evaluation.serverCounters(), 'MPTcpExtMPJoinAckRx') - joins
      if (more < (kinds?.length ?? 0)) throw new Error(`${topology}, ${name}: ${more} joins have come to the server`)
    }
  }
  await evaluation.stopDaemon()
  const tcp = median(values.get('TCP') ?? [])
  const reference = topology === 'core-limited' ? 2 * tcp : tcp
  let isGood = true
  const cells = [...values].map(([name, list]) => {
    const least = row === 'plain' ? LEAST[topology]?.[name] : undefined
    const part = median(list) / reference
    if (least !== undefined && part < least) isGood = false
    const verdict = least === undefined ? '' : `, ${(100 * part).toFixed(1)} %${part < least ? ` < ${100 * least} %` : ''}`
    return `${name} ${median(list).toFixed(2)} (${list.map((value) => value.toFixed(2)).join(' ')})${verdict}`
  })
  const { worstStallUs } = (await evaluation.lab.stats()).timing
  process.stdout.write(`${topology}, ${row}: ${cells.join('; ')}   worst stall of the emulator ${(worstStallUs / 1e3).toFixed(1)} ms\n`)
  return isGood
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}
