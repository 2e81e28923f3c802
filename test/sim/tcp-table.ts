import { Rng } from '../../src/base/rng.js'
import { US_PER_MS, US_PER_S } from '../../src/base/time.js'
import { bbr } from '../../src/tcp/cc/bbr.js'
import type { CongestionFactory } from '../../src/tcp/cc/controller.js'
import { cubic } from '../../src/tcp/cc/cubic.js'
import { cubicResponse, friendlyResponse, pftkResponse, randomLossResponse } from '../oracle/response.js'
import { type BulkFlow, BulkSim } from './bulk.js'

/** Payload of a full packet of 1500 bytes with timestamps. */
const PAYLOAD = 1448
const PACKET = 1500
const MBIT = 1_000_000
/** Loss events that pass before loss rows are measured: slow start is over. */
const WARM_UP = 10
/** Losses of the ideal flow that a loss row is compared with. */
const IDEAL_LOSSES = 20_000

export type ControlName = 'cubic' | 'bbr'

const FACTORIES: Readonly<Record<ControlName, CongestionFactory>> = { cubic, bbr }

/** One run: a row and a seed. Plain data, so that another process can do it. */
export type TableJob =
  | { readonly kind: 'use'; readonly cc: ControlName; readonly mbit: number; readonly rttMs: number; readonly seconds: number }
  | { readonly kind: 'loss'; readonly rttMs: number; readonly p: number; readonly events: number; readonly seed: number }
  | { readonly kind: 'bbr-loss'; readonly mbit: number; readonly rttMs: number; readonly seconds: number; readonly seed: number }
  | {
      readonly kind: 'reorder'
      readonly cc: ControlName
      readonly mbit: number
      readonly rttMs: number
      readonly seconds: number
      readonly seed: number
    }
  | { readonly kind: 'share'; readonly cc: ControlName; readonly seed: number }

export interface TableResult {
  /** The figure that the row is judged by: a share of 1, or packets per second in a loss row. */
  readonly value: number
  /** How often what the row is about really happened: losses, packets held back, packets of the flow. */
  readonly faults: number
}

/** Queue of one bandwidth-delay product, 20 packets at least. */
export function queueFor(mbit: number, rttMs: number): number {
  return Math.max(20, Math.ceil(bdpPackets(mbit, rttMs)))
}

export function bdpPackets(mbit: number, rttMs: number): number {
  return (mbit * MBIT * rttMs) / 1000 / 8 / PACKET
}

export function runJob(job: TableJob): TableResult {
  switch (job.kind) {
    case 'use':
      return use(job.cc, job.mbit, job.rttMs, job.seconds)
    case 'loss':
      return loss(job.rttMs, job.p, job.events, job.seed)
    case 'bbr-loss':
      return bbrLoss(job.mbit, job.rttMs, job.seconds, job.seed)
    case 'reorder':
      return reorder(job.cc, job.mbit, job.rttMs, job.seconds, job.seed)
    case 'share':
      return share(job.cc, job.seed)
  }
}

function simOf(cc: ControlName, mbit: number, rttMs: number, seed: number, over: { loss?: number; reorder?: number } = {}): BulkSim {
  return new BulkSim({
    seed,
    bitsPerSecond: mbit * MBIT,
    rttUs: rttMs * US_PER_MS,
    queuePackets: queueFor(mbit, rttMs),
    congestion: FACTORIES[cc],
    holdUs: (rttMs * US_PER_MS) / 4,
    ...over,
  })
}

function onlyFlow(sim: BulkSim): BulkFlow {
  return sim.flows[0] as BulkFlow
}

/** Runs until slow start is over. */
function start(sim: BulkSim): void {
  const flow = onlyFlow(sim)
  sim.run(120 * US_PER_S, () => flow.sender.isSynchronized && flow.hasLeftSlowStart)
  if (!flow.hasLeftSlowStart) throw new Error('two minutes of slow start')
}

/** Share of the bottleneck's time in which it transmits, from the end of slow start on. */
function use(cc: ControlName, mbit: number, rttMs: number, seconds: number): TableResult {
  const sim = simOf(cc, mbit, rttMs, 1)
  start(sim)
  const [at, before] = [sim.now, sim.wireBytes]
  sim.run(at + seconds * US_PER_S)
  return { value: ((sim.wireBytes - before) * 8) / (seconds * mbit * MBIT), faults: onlyFlow(sim).packets }
}

/** Packets a second under random loss, without a bottleneck that matters. */
function loss(rttMs: number, p: number, events: number, seed: number): TableResult {
  const sim = new BulkSim({
    seed,
    bitsPerSecond: 10_000 * MBIT,
    rttUs: rttMs * US_PER_MS,
    queuePackets: 100_000,
    loss: p,
    congestion: cubic,
  })
  const flow = onlyFlow(sim)
  sim.run(Number.MAX_SAFE_INTEGER, () => flow.lossEvents >= WARM_UP)
  const [at, before] = [sim.now, flow.received]
  sim.run(Number.MAX_SAFE_INTEGER, () => flow.lossEvents >= WARM_UP + events)
  return { value: (flow.received - before) / PAYLOAD / ((sim.now - at) / US_PER_S), faults: flow.lost }
}

/** Share of what the bottleneck could carry of payload, less the packets that are lost behind it. */
function bbrLoss(mbit: number, rttMs: number, seconds: number, seed: number): TableResult {
  const p = 0.01
  const sim = simOf('bbr', mbit, rttMs, seed, { loss: p })
  const flow = onlyFlow(sim)
  start(sim)
  const [at, before] = [sim.now, flow.received]
  sim.run(at + seconds * US_PER_S)
  const capacity = ((mbit * MBIT) / 8) * (PAYLOAD / PACKET)
  return { value: (flow.received - before) / (capacity * seconds), faults: flow.lost }
}

/** Goodput with a fifth of the packets held back by up to a quarter of the round trip, over that of the same run without. */
function reorder(cc: ControlName, mbit: number, rttMs: number, seconds: number, seed: number): TableResult {
  const plain = simOf(cc, mbit, rttMs, seed)
  const shaken = simOf(cc, mbit, rttMs, seed, { reorder: 0.2 })
  for (const sim of [plain, shaken]) sim.run(seconds * US_PER_S)
  return { value: onlyFlow(shaken).received / onlyFlow(plain).received, faults: shaken.held }
}

/** How far the first of two equal flows is from half: its share of the last 60 s of 120 s, times two, less one. */
function share(cc: ControlName, seed: number): TableResult {
  const sim = new BulkSim(
    { seed, bitsPerSecond: 100 * MBIT, rttUs: 30 * US_PER_MS, queuePackets: queueFor(100, 30), congestion: FACTORIES[cc] },
    [0, 5 * US_PER_S],
  )
  sim.run(60 * US_PER_S)
  const before = sim.flows.map((flow) => flow.received)
  sim.run(120 * US_PER_S)
  const [a, b] = sim.flows.map((flow, i) => flow.received - (before[i] as number)) as [number, number]
  return { value: Math.abs((2 * a) / (a + b) - 1), faults: Math.min(a, b) / PAYLOAD }
}

/** One line of the table: its runs, and what becomes of their median. */
export interface TableRow {
  readonly part: TablePart
  readonly name: string
  readonly jobs: readonly TableJob[]
  /** What is shown and judged, from the median of the runs' values. */
  judge(median: number): { readonly text: string; readonly isRight: boolean }
}

export const TABLE_PARTS = ['use', 'loss', 'bbr-loss', 'reorder', 'share'] as const
export type TablePart = (typeof TABLE_PARTS)[number]

export interface TableSize {
  /** Seeds of the loss rows; the shares take two fifths, the others a tenth. */
  readonly seeds: number
  readonly lossEvents: number
  /** Seconds of the rows without seeds, after slow start. */
  readonly seconds: number
}

/** As the claims are stated. */
export const FULL_SIZE: TableSize = { seeds: 50, lossEvents: 2000, seconds: 60 }

/** All rows. */
export function tableRows(size: TableSize): TableRow[] {
  return [...useRows(size), ...lossRows(size), ...bbrLossRows(size), ...reorderRows(size), ...shareRows(size)]
}

const atLeast = (bound: number) => (median: number) => ({
  text: `${(100 * median).toFixed(2)} %, at least ${(100 * bound).toFixed(0)} %`,
  isRight: median >= bound,
})

function useRows(size: TableSize): TableRow[] {
  const rows: TableRow[] = []
  const links: (readonly [number, number])[] = []
  for (const mbit of [1, 10, 100, 1000]) for (const rttMs of [1, 10, 100]) links.push([mbit, rttMs])
  links.push([10_000, 10], [100, 300])
  for (const cc of ['cubic', 'bbr'] as const) {
    for (const [mbit, rttMs] of links) {
      const bound = cc === 'cubic' ? 0.98 : rttMs >= 300 ? 0.92 : 0.95
      rows.push({
        part: 'use',
        name: `${cc}, ${mbit} Mbit/s, ${rttMs} ms: wire in use`,
        jobs: [{ kind: 'use', cc, mbit, rttMs, seconds: size.seconds }],
        judge: atLeast(bound),
      })
    }
  }
  return rows
}

function lossRows(size: TableSize): TableRow[] {
  const rows: TableRow[] = []
  const seeds = Array.from({ length: size.seeds }, (_, i) => i + 1)
  for (const rttMs of [10, 100]) {
    for (const percent of [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5]) {
      const p = percent / 100
      const rtt = rttMs / 1000
      rows.push({
        part: 'loss',
        name: `cubic, ${percent} % loss, ${rttMs} ms`,
        jobs: seeds.map((seed) => ({ kind: 'loss', rttMs, p, events: size.lossEvents, seed })),
        judge: (median) => (percent < 1 ? judgeCubic(median, p, rtt) : judgePftk(median, p, rtt)),
      })
    }
  }
  return rows
}

/**
 * Within 15 % of the better closed form, which knows only regular losses; where an ideal flow with random losses is above that by
 * more (both forms say about the same there), within 15 % of the ideal flow.
 */
function judgeCubic(rate: number, p: number, rtt: number): { text: string; isRight: boolean } {
  const closed = Math.max(cubicResponse(p, rtt), friendlyResponse(p, rtt))
  const rng = new Rng(1)
  const ideal = randomLossResponse(p, rtt, IDEAL_LOSSES, () => rng.float())
  const isNear = (model: number) => Math.abs(rate / model - 1) <= 0.15
  return {
    text: `${rate.toFixed(0)} packets/s: ${(rate / closed).toFixed(3)} of the response function, ${(rate / ideal).toFixed(3)} of an ideal flow, within 15 %`,
    isRight: isNear(closed) || (ideal / closed > 1.1 && isNear(ideal)),
  }
}

/** With every packet acknowledged, which is the larger; our receivers acknowledge every second one, but the window grows by bytes. */
function judgePftk(rate: number, p: number, rtt: number): { text: string; isRight: boolean } {
  const model = pftkResponse(p, rtt, rtt + 0.2, 1)
  return { text: `${rate.toFixed(0)} packets/s: ${(rate / model).toFixed(3)} of PFTK, at least 1`, isRight: rate >= model }
}

function bbrLossRows(size: TableSize): TableRow[] {
  const rows: TableRow[] = []
  for (const mbit of [10, 100, 1000]) {
    for (const rttMs of [1, 10, 30, 100]) {
      if (bdpPackets(mbit, rttMs) < 10) continue
      rows.push({
        part: 'bbr-loss',
        name: `bbr, 1 % loss, ${mbit} Mbit/s, ${rttMs} ms: payload`,
        jobs: few(size).map((seed) => ({ kind: 'bbr-loss', mbit, rttMs, seconds: size.seconds / 2, seed })),
        judge: atLeast(0.9),
      })
    }
  }
  return rows
}

function reorderRows(size: TableSize): TableRow[] {
  const rows: TableRow[] = []
  for (const cc of ['cubic', 'bbr'] as const) {
    for (const [mbit, rttMs] of [
      [10, 10],
      [10, 100],
      [100, 10],
      [100, 30],
      [100, 100],
      [1000, 10],
    ] as const) {
      rows.push({
        part: 'reorder',
        name: `${cc}, ${mbit} Mbit/s, ${rttMs} ms, 20 % reordered: of the run in order`,
        jobs: few(size).map((seed) => ({ kind: 'reorder', cc, mbit, rttMs, seconds: size.seconds / 2, seed })),
        judge: atLeast(0.9),
      })
    }
  }
  return rows
}

function shareRows(size: TableSize): TableRow[] {
  const seeds = Array.from({ length: Math.ceil(size.seeds * 0.4) }, (_, i) => i + 1)
  return (['cubic', 'bbr'] as const).map((cc) => ({
    part: 'share',
    name: `${cc}, two flows, 100 Mbit/s, 30 ms: from equal shares`,
    jobs: seeds.map((seed) => ({ kind: 'share', cc, seed })),
    judge: (median) => ({ text: `${(100 * median).toFixed(1)} %, at most 10 %`, isRight: median <= 0.1 }),
  }))
}

function few(size: TableSize): number[] {
  return Array.from({ length: Math.max(1, Math.round(size.seeds / 10)) }, (_, i) => i + 1)
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[half] as number) : ((sorted[half - 1] as number) + (sorted[half] as number)) / 2
}
