import t from 'tap'
import { Daemon } from './lib/daemon.js'
import { becomes } from './lib/exec.js'
import { startIperfServer } from './lib/iperf.js'
import { ADDRESS, CLIENT_DEVICES, Lab, SERVER_DEVICES } from './lib/lab.js'
import { PORT } from './lib/peers.js'
import { linkStats } from './lib/stats.js'
import { assertCleanMptcp } from './lib/verdict.js'

t.setTimeout(180_000)

const RATE_MBIT = 40
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Both links of the lab are shaped, so that a transfer lasts and both are needed. */
async function shape(lab: Lab): Promise<void> {
  for (const n of [0, 1] as const) {
    const args = ['root', 'tbf', 'rate', `${RATE_MBIT}mbit`, 'burst', '64kb', 'latency', '60ms']
    await lab.client.ok(['tc', 'qdisc', 'replace', 'dev', CLIENT_DEVICES[n], ...args])
    await lab.server.ok(['tc', 'qdisc', 'replace', 'dev', SERVER_DEVICES[n], ...args])
  }
}

/** Drops silently what arrives by link `n`, at both ends; counts it. */
async function cut(lab: Lab, n: 0 | 1): Promise<void> {
  const rules = (device: string) =>
    `table netdev cut {
      counter lost { }
      chain in {
        type filter hook ingress device ${device} priority 0
        counter name lost drop
      }
    }\n`
  await lab.client.ok(['nft', '-f', '-'], { input: rules(CLIENT_DEVICES[n]) })
  await lab.server.ok(['nft', '-f', '-'], { input: rules(SERVER_DEVICES[n]) })
}

/** @returns packets that were lost in the cut */
async function mend(lab: Lab): Promise<number> {
  let lost = 0
  for (const ns of [lab.client, lab.server]) {
    const { stdout } = await ns.ok(['nft', 'list', 'counter', 'netdev', 'cut', 'lost'])
    lost += Number(/packets (\d+)/.exec(stdout)?.[1] ?? 0)
    await ns.ok(['nft', 'delete', 'table', 'netdev', 'cut'])
  }
  return lost
}

for (const direction of ['upload', 'download'] as const) {
  const n = direction === 'upload' ? 0 : 1
  t.test(`${direction}: link ${n + 1} is silent for 4 s, the other one carries on; back in use within 2 s of its return`, async (t) => {
    const lab = await Lab.create()
    t.teardown(() => lab.close())
    await shape(lab)
    await startIperfServer(lab, true)
    const daemon = await Daemon.start(lab, { args: ['--path', `wan2@${ADDRESS.serverLink4[1]}`] })
    const carried = async (link: number): Promise<number> => {
      const { rxBytes, txBytes } = await linkStats(lab.client, CLIENT_DEVICES[link] as string)
      return direction === 'upload' ? txBytes : rxBytes
    }
    const argv = ['iperf3', '--client', ADDRESS.server4, '--port', String(PORT.iperf), '--time', '10', '--json', '--congestion', 'cubic']
    const run = lab.client.ok(direction === 'upload' ? argv : [...argv, '--reverse'], { timeoutMs: 60_000 })
    await sleep(2000)
    await cut(lab, n)
    const other = await carried(1 - n)
    await sleep(4000)
    const moved = (await carried(1 - n)) - other
    t.ok(moved > (RATE_MBIT / 8) * 1e6 * 4 * 0.6, `the other link carried ${(moved / 1e6).toFixed(1)} MB alone`)
    const lost = await mend(lab)
    t.ok(lost > 0, `${lost} packets vanished`)
    const [before, since] = [await carried(n), performance.now()]
    t.ok(await becomes(async () => (await carried(n)) - before > 300_000, 10_000), 'the link is used again')
    const ms = performance.now() - since
    t.ok(ms <= 2000, `after ${ms.toFixed(0)} ms`)
    const log = (await daemon.status()).connections.flatMap((c) => c.decisions.map(({ what }) => what))
    t.ok(
      log.some((what) => /does not answer/.test(what)),
      'the status says what was done',
      { log },
    )
    await run
    await assertCleanMptcp(t, lab)
  })
}
