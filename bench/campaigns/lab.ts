import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Laboratory, type LabReport } from '../lab/laboratory.js'
import type { Campaign } from './campaign.js'

const SENDER = fileURLToPath(new URL('../lab/udp-send.py', import.meta.url))
const LOSSES = [0.5, 1, 2, 5]
const LOSS_PACKETS = 20_000
const MBITS = [10, 100, 200, 300]
const TRUSTED_MBIT = 200
const FLOOD_SECONDS = 3
const PROBES = 500

/** The laboratory against what it is told to be: rates, delays, losses, and what that costs. */
export const campaign: Campaign = {
  summary: 'accuracy of bench/lab: TCP and RTT over the evaluation topology, losses, rates to 300 Mbit/s; about 3 min',
  async run() {
    let isGood = true
    for (const part of [topologyPart, lossPart, ratePart]) isGood = (await part()) && isGood
    return isGood
  },
}

/** iperf3 over a laboratory that goes away afterwards. */
async function inLab(file: string, server: string, run: (lab: Laboratory) => Promise<boolean>): Promise<boolean> {
  const path = fileURLToPath(new URL(`../lab/topologies/${file}.toml`, import.meta.url))
  const lab = await Laboratory.up(path, { name: `campaign-${process.pid}` })
  try {
    await lab.spawn(server, ['iperf3', '--server', '--forceflush']).waitLine(/listening/i)
    return await run(lab)
  } finally {
    await lab.down()
  }
}

function topologyPart(): Promise<boolean> {
  return inLab('core-limited', 'server', async (lab) => {
    await lab.stats({ reset: true })
    // ping: 84 bytes of IP; three links with an Ethernet header each, there and back.
    const nominalMs = 30 + (2 * (84 + 14) * 8 * (1 / 20 + 1 / 10 + 1 / 20)) / 1e3
    const rtts = await ping(lab, 'client', '10.9.2.2', PROBES)
    const rtt = quantile(rtts, 0.5)
    const isRttGood = Math.abs(rtt - nominalMs) <= 0.2
    line(
      `RTT over three links: median ${rtt.toFixed(3)} ms, p99 ${quantile(rtts, 0.99).toFixed(3)}, nominal ${nominalMs.toFixed(3)}`,
      isRttGood,
    )
    timing(await lab.stats({ reset: true }))
    const mbit = await tcp(lab, 'client', '10.9.2.2', 10)
    const isTcpGood = Math.abs(mbit - 9.55) <= 0.03
    line(`TCP (cubic) over three links: ${mbit.toFixed(3)} of 9.564 Mbit/s`, isTcpGood)
    timing(await lab.stats())
    return isRttGood && isTcpGood
  })
}

function lossPart(): Promise<boolean> {
  return inLab('core-limited', 'server', async (lab) => {
    let isGood = true
    for (const percent of LOSSES) {
      await lab.set('r1-r2', { loss: `${percent}%` }, 'r1')
      const before = await lab.direction('r1-r2', 'r1')
      const arrivedBefore = (await received(lab, 'server', 'r2')).packets
      await lab.ok('client', ['python3', SENDER, '10.9.2.2', '9', '100', String(LOSS_PACKETS), '5000'])
      await sleep(100) // the last ones are on the way for 15 ms
      const after = await lab.direction('r1-r2', 'r1')
      const sent = after.packetsIn - before.packetsIn
      const lost = sent - ((await received(lab, 'server', 'r2')).packets - arrivedBefore)
      const counted = after.droppedLoss - before.droppedLoss
      const p = percent / 100
      const bound = 4 * Math.sqrt(sent * p * (1 - p))
      const isRight = sent === LOSS_PACKETS && Math.abs(lost - sent * p) <= bound && counted === lost
      line(
        `loss ${percent} %: ${lost} of ${sent} did not arrive (${(sent * p).toFixed(0)} +- ${bound.toFixed(0)}), ${counted} counted`,
        isRight,
      )
      isGood &&= isRight
    }
    return isGood
  })
}

/** One link and three links in a row, of equal rate: a TCP stream, and a flood that keeps the first queue full. */
async function ratePart(): Promise<boolean> {
  const good: Record<string, number> = {}
  const run = async (file: string, [node, server, device]: readonly [string, string, string], host: string, links: readonly string[]) =>
    inLab(file, server, async (lab) => {
      for (const mbit of MBITS) {
        for (const link of links) await lab.set(link, { rate: `${mbit}mbit`, delay: '5ms', queue: '1000' })
        await lab.stats({ reset: true })
        const goodput = await tcp(lab, node, host, 5)
        const tcpReport = await lab.stats({ reset: true })
        const { wireBps, overflow } = await flood(lab, node, host, links[0] ?? '', () => arrivals(lab, server, device, FLOOD_SECONDS), mbit)
        const floodReport = await lab.stats()
        const tcpShare = goodput / ((mbit * 1448) / 1514)
        const floodShare = wireBps / (mbit * 1e6)
        const isRight = Math.abs(floodShare - 1) <= 0.01 && overflow > 0 && Math.abs(tcpShare - 1) <= 0.01
        const shares = `TCP ${goodput.toFixed(2)} Mbit/s (${(100 * tcpShare).toFixed(1)} %), flood ${(100 * floodShare).toFixed(2)} %`
        line(`${links.length} link(s) of ${mbit} Mbit/s: ${shares} of nominal`, isRight)
        timing(tcpReport)
        timing(floodReport)
        if (isRight && mbit === MBITS[MBITS.indexOf(good[file] ?? 0) + 1]) good[file] = mbit
      }
      return (good[file] ?? 0) >= TRUSTED_MBIT
    })
  const isGood = await run('line', ['left', 'right', 'left'], '10.9.0.2', ['line'])
  const isRowGood = await run('core-limited', ['client', 'server', 'r2'], '10.9.2.2', ['client-r1', 'r1-r2', 'r2-server'])
  process.stdout.write(`to be trusted up to ${good.line ?? 0} Mbit/s on one link, ${good['core-limited'] ?? 0} on three in a row\n`)
  return isGood && isRowGood
}

/** Sends a fifth more than a link carries while `measure` runs. */
async function flood(lab: Laboratory, node: string, host: string, link: string, measure: () => Promise<number>, mbit: number) {
  const perSecond = Math.round((1.2 * mbit * 1e6) / (8 * 1442))
  const before = (await lab.direction(link, node)).droppedQueue
  // At real-time priority, below the emulator's: a busy machine must not slow the flood down.
  const argv = ['chrt', '--fifo', '5', 'python3', SENDER, host, '9', '1400', String(perSecond * (FLOOD_SECONDS + 3)), String(perSecond)]
  const sending = lab.ok(node, argv)
  const wireBps = await measure()
  await sending
  return { wireBps, overflow: (await lab.direction(link, node)).droppedQueue - before }
}

/** Round trips in milliseconds. */
async function ping(lab: Laboratory, node: string, host: string, count: number): Promise<number[]> {
  const { stdout } = await lab.ok(node, ['ping', '-n', '-c', String(count), '-i', '0.01', host])
  return [...stdout.matchAll(/time=([\d.]+) ms/g)].map(([, ms]) => Number(ms))
}

/** Mbit/s that the receiver saw, without the first two seconds. */
async function tcp(lab: Laboratory, node: string, host: string, seconds: number): Promise<number> {
  const argv = ['iperf3', '--client', host, '--time', String(seconds), '--omit', '2', '--congestion', 'cubic', '--json']
  const { stdout } = await lab.ok(node, argv, { timeoutMs: (seconds + 30) * 1e3 })
  const { end } = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number }; sender_tcp_congestion: string } }
  if (end.sender_tcp_congestion !== 'cubic') throw new Error(`iperf3 sent by ${end.sender_tcp_congestion}`)
  return end.sum_received.bits_per_second / 1e6
}

interface Received {
  readonly ns: number
  readonly bytes: number
  readonly packets: number
}

/** What the kernel of a node counts at a device, by the clock. */
async function received(lab: Laboratory, node: string, device: string): Promise<Received> {
  const { stdout } = await lab.ok(node, ['sh', '-c', `date +%s%N; grep '${device}:' /proc/net/dev`])
  const [ns = '', text = ''] = stdout.split('\n')
  const [, bytes = '', packets = ''] = text.trim().split(/\s+/)
  return { ns: Number(ns), bytes: Number(bytes), packets: Number(packets) }
}

/** Bits a second that arrive at a device, Ethernet headers included, after a second of warming up. */
async function arrivals(lab: Laboratory, node: string, device: string, seconds: number): Promise<number> {
  await sleep(1000)
  const from = await received(lab, node, device)
  await sleep(seconds * 1000)
  const to = await received(lab, node, device)
  return (8 * (to.bytes - from.bytes + 14 * (to.packets - from.packets)) * 1e9) / (to.ns - from.ns)
}

function quantile(values: readonly number[], q: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(q * (values.length - 1))] ?? Number.NaN
}

function line(text: string, isGood: boolean): void {
  process.stdout.write(`${text}: ${isGood ? 'good' : 'BAD'}\n`)
}

function timing({ timing: t, isRealtime, droppedAtEntrance }: LabReport): void {
  process.stdout.write(
    `    late by ${t.lateP50Us} µs at the median, ${t.lateP99Us} at p99, ${t.lateMaxUs} at most; worst stall ${t.worstStallUs} µs; ` +
      `${t.departures} departures, ${(100 * t.cpuShare).toFixed(0)} % of a CPU, ${(100 * t.polledShare).toFixed(0)} % polled${isRealtime ? '' : ', NOT at real-time priority'}, ` +
      `dropped at the entrance ${JSON.stringify(droppedAtEntrance)}\n`,
  )
}
