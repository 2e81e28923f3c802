import t from 'tap'
import type { Rng } from '../../../src/base/rng.js'
import { AckReport } from '../../../src/tcp/ack-report.js'
import { Flight, FlightPool, RECORDS_MAX } from '../../../src/tcp/scoreboard.js'
import { NaiveFlight } from '../../oracle/naive-flight.js'
import { forSeeds } from '../../oracle/seeds.js'
import { PlainFlow } from '../../../src/tcp/plain.js'
import type { StreamQueue } from '../../../src/base/stream-queue.js'

const report = new AckReport()
const noQueue = null as unknown as StreamQueue

/** Notes what is reported lost. */
class Losses extends PlainFlow {
  bytes = 0
  override onLoss(...args: unknown[]): void {
    this.bytes += (args[1] as number) - (args[0] as number)
  }
}

/** Throws where they differ: one assertion per step would drown the output. */
function compare(f: Flight, n: NaiveFlight, step: string): void {
  const pairs: [string, number, number][] = [
    ['start', f.start, n.start],
    ['end', f.end, n.end],
    ['sacked', f.sacked, n.sacked],
    ['lost', f.lost, n.lost],
    ['retrans', f.retrans, n.retrans],
    ['pipe', f.pipe, n.pipe],
    ['nextLost', f.nextLost(), n.nextLost()],
  ]
  for (const [what, found, wanted] of pairs) if (found !== wanted) throw new Error(`${what} is ${found}, not ${wanted}, after ${step}`)
}

interface Mix {
  readonly steps: number
  readonly window: number
  readonly pushMax: number
  readonly sackMax: number
}

/** Returns the largest number of records seen. */
function play(rng: Rng, mix: Mix): number {
  const f = new Flight()
  const at = rng.below(1000)
  f.open(at)
  const n = new NaiveFlight(at)
  const losses = new Losses(noQueue, noQueue)
  let now = 1000
  let most = 0
  for (let i = 0; i < mix.steps; i++) {
    now += rng.below(50)
    const inFlight = n.end - n.start
    let step = `step ${i}: `
    const what = rng.below(12)
    if (what < 3 && inFlight < mix.window) {
      const len = rng.between(1, mix.pushMax)
      step += `push ${len}`
      f.push(len, now)
      n.push(len, now)
    } else if (what === 3 && inFlight > 0) {
      const una = n.start + rng.between(1, rng.chance(0.05) ? inFlight : Math.min(inFlight, mix.pushMax))
      step += `ack ${una}`
      report.reset(now)
      f.ack(una, report)
      const wanted = n.ack(una, now)
      for (const key of ['acked', 'delivered', 'sentAt', 'resentAt'] as const) {
        if (report[key] !== wanted[key]) throw new Error(`${key} is ${report[key]}, not ${wanted[key]}, after ${step}`)
      }
    } else if (what < 8 && inFlight > 1) {
      // the oldest byte is missing, else it would have been acknowledged; unless the receiver is mad
      const left = n.start + (rng.chance(0.02) ? 0 : rng.between(1, inFlight - 1))
      const right = Math.min(n.end, left + rng.between(1, mix.sackMax))
      step += `sack ${left}:${right}`
      report.reset(now)
      f.sack(left, right, report)
      const fresh = n.sack(left, right, now)
      if (report.newlySacked !== fresh || report.delivered !== fresh) throw new Error(`newly SACKed ${report.newlySacked}, not ${fresh}`)
    } else if (what === 8 && inFlight > 0) {
      const window = rng.below(100)
      step += `detect ${window}`
      const before = n.lost
      losses.bytes = 0
      const found = f.detectByTime(window, losses, now)
      const { marked, wait } = n.detectByTime(window, now)
      if (found !== marked) throw new Error(`newly lost ${found}, not ${marked}, after ${step}`)
      if (f.reorderWaitUs !== wait) throw new Error(`waits ${f.reorderWaitUs}, not ${wait}, after ${step}`)
      if (losses.bytes !== n.lost - before) throw new Error(`reported ${losses.bytes} as lost, not ${n.lost - before}`)
    } else if (what < 11) {
      const from = n.nextLost()
      if (from < 0) continue
      const max = rng.between(1, 3 * mix.pushMax)
      const len = f.lostLen(from, max)
      if (len !== n.lostLen(from, max)) throw new Error(`lostLen(${from}, ${max}) is ${len}, not ${n.lostLen(from, max)}`)
      const sent = rng.between(1, len)
      step += `retransmit ${from}+${sent}`
      f.retransmitted(from, sent, now)
      n.retransmitted(from, sent, now)
    } else if (rng.chance(0.1)) {
      step += 'timeout'
      f.markAllLost()
      n.markAllLost()
    } else if (rng.below(10) === 0) {
      step += 'undo'
      f.unmarkLost()
      n.unmarkLost()
    } else if (inFlight > 0) {
      const len = rng.between(1, mix.pushMax)
      step += `head ${len}`
      f.markHeadLost(len)
      n.markHeadLost(len)
    }
    compare(f, n, step)
    most = Math.max(most, f.records)
  }
  return most
}

t.test('Flight does as its naive twin, which keeps one cell per byte', async (t) => {
  let most = 0
  await forSeeds(t, [1, 2, 3, 4, 5, 6], (rng) => {
    most = Math.max(most, play(rng, { steps: 3000, window: 1500, pushMax: 150, sackMax: 200 }))
  })
  t.ok(most > 16, `grew beyond its first 16 records: ${most}`)
  t.end()
})

t.test('small pieces: splits, growth and compaction', async (t) => {
  let most = 0
  await forSeeds(t, [11, 12, 13], (rng) => {
    most = Math.max(most, play(rng, { steps: 3000, window: 600, pushMax: 12, sackMax: 6 }))
  })
  t.ok(most > 64, `up to ${most} records`)
  t.end()
})

t.test('super-segments: records of many segments, SACKed and lost in segments', async (t) => {
  await forSeeds(t, [21, 22], (rng) => {
    play(rng, { steps: 100, window: 40_000, pushMax: 20_000, sackMax: 3_000 })
  })
  t.end()
})

t.test('more than 1000 records, acknowledged in every pattern', async (t) => {
  await forSeeds(t, [31, 32], (rng) => {
    const f = new Flight()
    f.open(1)
    const n = new NaiveFlight(1)
    for (let i = 0; i < 1500; i++) {
      f.push(2, i)
      n.push(2, i)
    }
    for (let i = 0; i < 700; i++) {
      const left = 2 + rng.below(2900)
      f.sack(left, left + 1, report)
      n.sack(left, left + 1)
    }
    t.ok(f.records > 2000, `${f.records} records`)
    compare(f, n, 'sacks')
    f.detectByTime(0, new Losses(noQueue, noQueue), 9000)
    n.detectByTime(0, 9000)
    compare(f, n, 'loss')
    while (n.end > n.start) {
      const una = Math.min(n.end, n.start + 1 + rng.below(300))
      f.ack(una, report)
      n.ack(una)
      f.push(1, 3000)
      n.push(1, 3000)
      compare(f, n, `ack ${una}`)
      if (rng.chance(0.05)) break
    }
    f.ack(n.end, report)
    n.ack(n.end)
    compare(f, n, 'the last ACK')
    t.equal(f.isEmpty, true)
    t.equal(f.pipe, 0)
  })
  t.end()
})

t.test('the number of records is bounded, whatever the peer SACKs; then SACK blocks count as far as they cover whole records', (t) => {
  const f = new Flight()
  f.open(1)
  f.push(1 << 20, 0)
  for (let at = 3; at < 1 << 20; at += 2) f.sack(at, at + 1, report)
  t.ok(f.records <= RECORDS_MAX + 2, `${f.records} records`)
  const sacked = f.sacked
  f.sack(2, f.end, report)
  t.equal(f.sacked, f.end - 2 > sacked ? f.sacked : -1)
  t.ok(f.sacked > sacked, 'what lies within the block counts')
  t.ok(f.sacked <= f.end - 2)
  report.reset()
  f.ack(f.end, report)
  t.equal(f.isEmpty, true)
  t.equal(f.sacked, 0)
  t.equal(f.pipe, 0)
  t.end()
})

t.test('FlightPool recycles what it gets back, clean, and does not keep giants', (t) => {
  const pool = new FlightPool()
  const a = pool.take(7)
  a.push(100, 1)
  a.sack(20, 30, report)
  a.markAllLost()
  a.recovery.recoverAt = 50
  pool.give(a)
  const b = pool.take(1000)
  t.equal(b, a, 'the same object')
  t.same([b.start, b.end, b.sacked, b.lost, b.retrans, b.pipe, b.recovery.recoverAt, b.records], [1000, 1000, 0, 0, 0, 0, -1, 0])
  for (let i = 0; i < 5000; i++) b.push(1, i)
  pool.give(b)
  t.not(pool.take(1), b)
  t.end()
})
