import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { PROGRAM } from '../../test/e2e/lib/daemon.js'
import { Laboratory } from '../lab/laboratory.js'
import type { Campaign } from './campaign.js'

/** Rows of the evaluation table that concern one path: loss or delay on r1-r2. */
const ROWS: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ['no loss', { loss: '0%', delay: '5ms' }],
  ['20 ms', { loss: '0%', delay: '20ms' }],
  ['50 ms', { loss: '0%', delay: '50ms' }],
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
const MIN_POOLED = 1
/** A trial during which the emulator was later than this, or lost a packet of its own, is repeated so often. */
const LATE_P99_US = 1000
const STALL_US = 25_000
const REPEATS = 3
const USAGE = '[--trials N] [--lossless N] [--seconds N] [--rows TEXT]'

/**
 * Our TCP against Linux's, same congestion control, plain-TCP server, over the default path of the evaluation topology. All rows and
 * both sides take turns, so that a slow hour of the machine hits all alike; the kernel keeps no metrics from one trial to the next.
 */
export const campaign: Campaign = {
  summary: `upload by our TCP and by Linux over emulated paths, with loss and delay; ${USAGE}; 12, 5, 8 unless told: 25 min`,
  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        trials: { type: 'string', default: '12' },
        lossless: { type: 'string', default: '5' },
        seconds: { type: 'string', default: '8' },
        rows: { type: 'string', default: '' },
      },
    })
    const [trials, lossless, seconds] = [Number(values.trials), Number(values.lossless), Number(values.seconds)]
    const rows = ROWS.filter(([name]) => name.includes(values.rows)).map((row) => new Row(row[0], row[1], trials, lossless))
    if (!(trials >= 1 && lossless >= 1 && seconds >= 1) || rows.length === 0) {
      process.stdout.write(`tcp-linux: usage: ${USAGE}; rows: ${ROWS.map(([name]) => name).join(', ')}\n`)
      return false
    }
    const file = fileURLToPath(new URL('../lab/topologies/core-limited.toml', import.meta.url))
    const lab = await Laboratory.up(file, { name: `tcp-${process.pid}` })
    try {
      await measure(lab, rows, seconds)
    } finally {
      await lab.down()
    }
    return report(rows)
  },
}

/** One row: goodput in Mbit/s, trial by trial. */
class Row {
  readonly name: string
  readonly values: Readonly<Record<string, string>>
  readonly trials: number
  readonly isLossy: boolean
  readonly own: number[] = []
  readonly kernel: number[] = []
  /** Packets that the link lost. */
  lost = 0
  /** Trials thrown away because of the emulator; and of those that count, how many were unsound as well. */
  repeated = 0
  unsound = 0

  constructor(name: string, values: Readonly<Record<string, string>>, lossy: number, lossless: number) {
    this.name = name
    this.values = values
    this.isLossy = values.loss !== '0%'
    this.trials = this.isLossy ? lossy : lossless
  }

  /** Mean of lossy trials, median of others. */
  get figures(): { own: number; kernel: number } {
    const of = this.isLossy ? mean : median
    return { own: of(this.own), kernel: of(this.kernel) }
  }
}

async function measure(lab: Laboratory, rows: readonly Row[], seconds: number): Promise<void> {
  await lab.ok('server', ['ip', 'addr', 'add', `${VIA_DAEMON}/32`, 'dev', 'lo'])
  await lab.ok('client', ['sysctl', '-qw', 'net.ipv4.tcp_no_metrics_save=1'])
  await lab.spawn('server', ['iperf3', '--server', '--forceflush']).waitLine(/listening/i)
  const tun = `tb${process.pid % 100_000}`
  const daemon = lab.spawn('client', ['node', PROGRAM, '--tun', tun, '--no-mptcp'])
  await daemon.waitLine(/\bready\b/, 20_000)
  await lab.ok('client', ['ip', 'route', 'add', `${VIA_DAEMON}/32`, 'dev', tun])
  for (let i = 0; i < Math.max(...rows.map((row) => row.trials)); i++) {
    for (const row of rows) {
      if (i >= row.trials) continue
      await lab.set('r1-r2', row.values)
      // neither side is always the first
      for (const isOwn of i % 2 === 0 ? [false, true] : [true, false]) {
        const mbit = await trial(lab, row, isOwn ? VIA_DAEMON : SERVER, seconds)
        ;(isOwn ? row.own : row.kernel).push(mbit)
      }
      const [own, kernel] = [row.own.at(-1) as number, row.kernel.at(-1) as number]
      process.stdout.write(`${row.name.padEnd(10)} ${i + 1}/${row.trials}: ours ${own.toFixed(2)}, Linux ${kernel.toFixed(2)} Mbit/s\n`)
    }
  }
}

/** One upload, repeated while the emulator is not what it should be. */
async function trial(lab: Laboratory, row: Row, host: string, seconds: number): Promise<number> {
  for (let i = 0; ; i++) {
    const before = await lab.stats({ reset: true })
    const mbit = await upload(lab, host, seconds)
    const after = await lab.stats()
    const lost = (report: typeof after) => sum(report.links['r1-r2']?.map((direction) => direction.droppedLoss) ?? [])
    const faults = (report: typeof after) =>
      sum(Object.values(report.droppedAtEntrance)) + sum(Object.values(report.links).flatMap((link) => link.map((d) => d.faults)))
    const { lateP99Us, worstStallUs } = after.timing
    const isSound = lateP99Us <= LATE_P99_US && worstStallUs <= STALL_US && faults(after) === faults(before)
    if (isSound || i === REPEATS) {
      row.lost += lost(after) - lost(before)
      if (!isSound) row.unsound++
      return mbit
    }
    row.repeated++
    process.stdout.write(`${row.name.padEnd(10)} again: emulator late by ${lateP99Us} µs (p99), held up for ${worstStallUs} µs\n`)
  }
}

/**
 * Goodput in Mbit/s as the receiver saw it. A server that is still busy with the end of the trial before is asked again: it says so in one
 * byte and resets, and where that byte is lost only the reset arrives.
 */
async function upload(lab: Laboratory, host: string, seconds: number, tries = 20): Promise<number> {
  const argv = ['iperf3', '--client', host, '--time', String(seconds), '--congestion', CONGESTION, '--json']
  const { stdout } = await lab.exec('client', argv, { timeoutMs: (seconds + 60) * 1e3 })
  const { end, error, intervals } = JSON.parse(stdout) as {
    intervals: readonly unknown[]
    end: { sum_received: { bits_per_second: number }; sender_tcp_congestion: string }
    error?: string
  }
  if (error !== undefined && intervals.length === 0 && /busy|reset by peer/.test(error) && tries > 0) {
    await sleep(1000)
    return upload(lab, host, seconds, tries - 1)
  }
  if (error !== undefined) throw new Error(`iperf3 to ${host}: ${error}`)
  if (end.sender_tcp_congestion !== CONGESTION) throw new Error(`iperf3 sent by ${end.sender_tcp_congestion}`)
  return end.sum_received.bits_per_second / 1e6
}

/** Prints a line a row and the lossy rows together; whether all are within their bounds. */
function report(rows: readonly Row[]): boolean {
  let isGood = true
  for (const row of rows) {
    const { own, kernel } = row.figures
    const ratio = own / kernel
    const isRight = ratio >= (row.isLossy ? MIN_LOSSY : MIN_LOSSLESS)
    const hasHappened = !row.isLossy || row.lost > 0
    const verdict = !hasHappened ? 'NOTHING WAS LOST' : row.unsound > 0 ? `${row.unsound} TRIALS UNSOUND` : isRight ? 'ok' : 'TOO LITTLE'
    isGood &&= isRight && hasHappened && row.unsound === 0
    const error = row.isLossy && row.trials > 1 ? ` +- ${ratioError(row).toFixed(3)}` : ''
    process.stdout.write(
      `${row.name.padEnd(10)} ours ${own.toFixed(2)}, Linux ${kernel.toFixed(2)} Mbit/s: ${ratio.toFixed(3)}${error}; ` +
        `${row.own.length} trials each, ${row.repeated} repeated, ${row.lost} lost: ${verdict}\n`,
    )
  }
  const lossy = rows.filter((row) => row.isLossy)
  if (lossy.length > 0) {
    const pooled = sum(lossy.map((row) => row.figures.own)) / sum(lossy.map((row) => row.figures.kernel))
    isGood &&= pooled >= MIN_POOLED
    process.stdout.write(`loss rows pooled: ${pooled.toFixed(3)}, at least ${MIN_POOLED}: ${pooled >= MIN_POOLED ? 'ok' : 'TOO LITTLE'}\n`)
  }
  return isGood
}

/** Standard error of the ratio of the two means. */
function ratioError(row: Row): number {
  const share = (values: readonly number[]) => {
    const m = mean(values)
    return sum(values.map((v) => (v - m) ** 2)) / (values.length - 1) / values.length / m ** 2
  }
  const { own, kernel } = row.figures
  return (own / kernel) * Math.sqrt(share(row.own) + share(row.kernel))
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0)
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}
