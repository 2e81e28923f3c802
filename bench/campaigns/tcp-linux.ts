import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { PROGRAM } from '../../test/e2e/lib/daemon.js'
import { Laboratory } from '../lab/laboratory.js'
import type { Campaign } from './campaign.js'

/** Rows of the evaluation table that concern one path: loss or delay on r1-r2. */
const ROWS: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ['no loss', { loss: '0%', delay: '5ms' }],
  ['20 ms', { loss: '0%', delay: '20ms' }],
  ['100 ms', { loss: '0%', delay: '100ms' }],
  ['0.5 % loss', { loss: '0.5%', delay: '5ms' }],
  ['1 % loss', { loss: '1%', delay: '5ms' }],
  ['2 % loss', { loss: '2%', delay: '5ms' }],
  ['5 % loss', { loss: '5%', delay: '5ms' }],
]
const SERVER = '10.9.2.2'
/** The same server by an address that is routed through the daemon. */
const VIA_DAEMON = '10.9.2.3'
const CONGESTION = 'cubic'
const MIN_LOSSLESS = 0.98
const MIN_LOSSY = 0.9

/** Our TCP against Linux's, same congestion control, plain-TCP server, over the default path of the evaluation topology, interleaved. */
export const campaign: Campaign = {
  summary: 'upload by our TCP and by Linux over emulated paths, with loss and delay; [trials] [seconds], about 20 min',
  async run(args) {
    const trials = Number(args[0] ?? 5)
    const seconds = Number(args[1] ?? 8)
    const file = fileURLToPath(new URL('../lab/topologies/core-limited.toml', import.meta.url))
    const lab = await Laboratory.up(file, { name: `tcp-${process.pid}` })
    try {
      return await measure(lab, trials, seconds)
    } finally {
      await lab.down()
    }
  },
}

async function measure(lab: Laboratory, trials: number, seconds: number): Promise<boolean> {
  await lab.ok('server', ['ip', 'addr', 'add', `${VIA_DAEMON}/32`, 'dev', 'lo'])
  await lab.spawn('server', ['iperf3', '--server', '--forceflush']).waitLine(/listening/i)
  const tun = `tb${process.pid % 100_000}`
  const daemon = lab.spawn('client', ['node', PROGRAM, '--tun', tun, '--no-mptcp'])
  await daemon.waitLine(/\bready\b/, 20_000)
  await lab.ok('client', ['ip', 'route', 'add', `${VIA_DAEMON}/32`, 'dev', tun])
  let isGood = true
  let ours = 0
  let theirs = 0
  for (const [name, values] of ROWS) {
    await lab.set('r1-r2', values)
    const kernel: number[] = []
    const own: number[] = []
    for (let i = 0; i < trials; i++) {
      kernel.push(await upload(lab, SERVER, seconds))
      own.push(await upload(lab, VIA_DAEMON, seconds))
    }
    const isLossy = values.loss !== '0%'
    const [a, b] = isLossy ? [mean(own), mean(kernel)] : [median(own), median(kernel)]
    if (isLossy) {
      ours += a
      theirs += b
    }
    const isRight = a / b >= (isLossy ? MIN_LOSSY : MIN_LOSSLESS)
    isGood &&= isRight
    const list = (values: number[]) => values.map((v) => v.toFixed(2)).join(' ')
    process.stdout.write(
      `${name.padEnd(10)} ours ${a.toFixed(2)}, Linux ${b.toFixed(2)} Mbit/s: ${(a / b).toFixed(3)}${isRight ? '' : ' TOO LITTLE'}   (${list(own)} | ${list(kernel)})\n`,
    )
  }
  process.stdout.write(`loss rows pooled: ${(ours / theirs).toFixed(3)}\n`)
  return isGood && ours >= theirs
}

/** Goodput in Mbit/s as the receiver saw it. A server that is still busy with the end of the trial before is asked again. */
async function upload(lab: Laboratory, host: string, seconds: number, tries = 20): Promise<number> {
  const argv = ['iperf3', '--client', host, '--time', String(seconds), '--congestion', CONGESTION, '--json']
  const { stdout } = await lab.exec('client', argv, { timeoutMs: (seconds + 60) * 1e3 })
  const { end, error } = JSON.parse(stdout) as {
    end: { sum_received: { bits_per_second: number }; sender_tcp_congestion: string }
    error?: string
  }
  if (error !== undefined && /busy/.test(error) && tries > 0) {
    await sleep(1000)
    return upload(lab, host, seconds, tries - 1)
  }
  if (error !== undefined) throw new Error(`iperf3 to ${host}: ${error}`)
  if (end.sender_tcp_congestion !== CONGESTION) throw new Error(`iperf3 sent by ${end.sender_tcp_congestion}`)
  return end.sum_received.bits_per_second / 1e6
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}
