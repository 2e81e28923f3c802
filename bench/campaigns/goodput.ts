import { Daemon } from '../../test/e2e/lib/daemon.js'
import { iperf, startIperfServer } from '../../test/e2e/lib/iperf.js'
import { ADDRESS, Lab } from '../../test/e2e/lib/lab.js'
import { errorsIn, nstat } from '../../test/e2e/lib/stats.js'
import { startBareRelay } from '../bare-relay.js'
import { superSegments } from '../super-segments.js'
import type { Campaign } from './campaign.js'

const SECONDS = 3
/** What the issue of the relay asks: the daemon against the bare relay, and the relay against the kernel for the run to count. */
const MIN_OF_RELAY = 0.5
const MIN_RELAY_OF_KERNEL = 0.35

const DIRECTIONS = ['up', 'down'] as const
const CONTENDERS = ['kernel', 'relay', 'daemon'] as const

/** One stream through the daemon, through a bare relay on the same path, and kernel to kernel; interleaved rounds, medians. */
export const campaign: Campaign = {
  summary: 'goodput of one stream: daemon, bare relay, kernel; 7 interleaved rounds, about 3 min',
  async run(args) {
    const rounds = Number(args[0] ?? 7)
    const relayLab = await Lab.create('mptcpd-bench')
    const daemonLab = await Lab.create('mptcpd-bench')
    try {
      return await measure(relayLab, daemonLab, rounds)
    } finally {
      await relayLab.close()
      await daemonLab.close()
    }
  },
}

async function measure(relayLab: Lab, daemonLab: Lab, rounds: number): Promise<boolean> {
  await startIperfServer(relayLab, true)
  await startIperfServer(daemonLab, true)
  await startBareRelay(relayLab)
  const daemon = await Daemon.start(daemonLab)
  const targets = {
    kernel: [relayLab.client, ADDRESS.serverLink4[0]],
    relay: [relayLab.client, ADDRESS.server4],
    daemon: [daemonLab.client, ADDRESS.server4],
  } as const
  const rates = new Map<string, number[]>()
  for (let round = 0; round < rounds; round++) {
    for (const direction of DIRECTIONS) {
      const line: string[] = []
      for (const name of CONTENDERS) {
        const [ns, host] = targets[name]
        const { upBps, downBps } = await iperf(ns, host, direction, SECONDS)
        const gbps = (upBps ?? downBps ?? 0) / 1e9
        const key = `${name} ${direction}`
        rates.set(key, [...(rates.get(key) ?? []), gbps])
        line.push(`${name} ${gbps.toFixed(2)}`)
      }
      process.stdout.write(`round ${round + 1} ${direction.padEnd(4)} Gbit/s: ${line.join(', ')}\n`)
    }
  }
  let isGood = true
  for (const direction of DIRECTIONS) {
    const [kernel, relay, own] = CONTENDERS.map((name) => median(rates.get(`${name} ${direction}`) ?? []))
    if (kernel === undefined || relay === undefined || own === undefined) return false
    const isValid = relay / kernel >= MIN_RELAY_OF_KERNEL
    const isEnough = own / relay >= MIN_OF_RELAY
    isGood &&= isValid && isEnough
    process.stdout.write(
      `${direction}: daemon ${own.toFixed(2)} = ${(own / relay).toFixed(2)} of the relay (${isEnough ? 'enough' : 'TOO LITTLE'}), ` +
        `relay ${relay.toFixed(2)} = ${(relay / kernel).toFixed(2)} of the kernel's ${kernel.toFixed(2)} (${isValid ? 'valid' : 'NOT VALID'})\n`,
    )
  }
  for (const direction of DIRECTIONS) {
    process.stdout.write(`data packets on ${daemon.tun}, ${direction}:\n`)
    for (const leg of await superSegments(daemonLab, daemon.tun, direction)) {
      process.stdout.write(
        `  ${leg.name.padEnd(24)} ${leg.packets} packets, ${leg.packetsPerSecond.toFixed(0)} a second, ${leg.meanLen.toFixed(0)} bytes of payload each\n`,
      )
    }
  }
  const errors = errorsIn(await nstat(daemonLab.server))
  process.stdout.write(`error counters of the server: ${JSON.stringify(errors)}\n`)
  return isGood && Object.keys(errors).length === 0
}

function median(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[values.length >> 1]
}
