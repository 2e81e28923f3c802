import t from 'tap'
import { type Micros, US_PER_MS, US_PER_S } from '../../src/base/time.js'
import type { Box } from './box.js'
import { Valve } from './links.js'
import { MptcpPair, type MptcpPairConfig } from './mptcp-pair.js'
import type { PathPairConfig } from './paths.js'
import { Peer, payload } from './transfer.js'

const BITS_PER_SECOND = 10_000_000
const RTT_US: Micros = 30 * US_PER_MS
/** 100 ms. */
const QUEUE_BYTES = BITS_PER_SECOND / 8 / 10
const SAMPLE_US: Micros = 5 * US_PER_MS

/** Two rate-limited paths that can be cut, silently, in both directions. */
class CutWorld {
  readonly pair: MptcpPair
  private readonly valves: Valve[][] = [[], []]
  private readonly progress: { at: Micros; bytes: number }[] = []
  private local!: Peer
  private remote: Peer | null = null

  constructor(seed: number, over: Partial<MptcpPairConfig> = {}) {
    const direction = { bitsPerSecond: BITS_PER_SECOND, queueBytes: QUEUE_BYTES, delayUs: RTT_US / 2 }
    const paths = [0, 1].map(
      (i): PathPairConfig => ({
        up: direction,
        down: direction,
        boxes: (loop): Box[] => {
          const [up, down] = [new Valve(loop), new Valve(loop)]
          this.valves[i] = [up, down]
          return [{ up, down }]
        },
      }),
    )
    this.pair = new MptcpPair({ seed, paths, ...over })
  }

  /** Begins an upload and, or, a download. */
  start(upLen: number, downLen: number): void {
    const { loop, rng } = this.pair
    const [request, response] = [payload(rng, upLen), payload(rng, downLen)]
    this.pair.listen((socket) => {
      this.remote ??= new Peer(loop, socket, response, request)
    })
    this.local = new Peer(loop, this.pair.connect(), request, response)
    const sample = (): void => {
      this.progress.push({ at: loop.now, bytes: this.local.received + (this.remote?.received ?? 0) })
      if (!this.isDone) loop.after(SAMPLE_US, sample)
    }
    sample()
  }

  cut(paths: readonly number[], isCut: boolean): void {
    for (const i of paths) for (const valve of this.valves[i] as Valve[]) valve.isOpen = !isCut
  }

  get dropped(): number {
    return this.valves.flat().reduce((n, valve) => n + valve.dropped, 0)
  }

  get isDone(): boolean {
    return this.local.isDone && this.remote?.isDone === true
  }

  get isExact(): boolean {
    return this.isDone && this.local.wrongAt < 0 && this.remote?.wrongAt === -1
  }

  run(us: Micros): void {
    this.pair.loop.run(() => this.isDone, this.pair.loop.now + us)
  }

  /** Longest time without a new byte at the reader since `from`. */
  stall(from: Micros): Micros {
    let last = -1
    let since = from
    let longest = 0
    for (const { at, bytes } of this.progress) {
      if (at < from) continue
      if (bytes > last) since = at
      last = Math.max(last, bytes)
      longest = Math.max(longest, at - since)
    }
    return longest
  }

  /** Bytes that left on path `i` since the simulation began, both ways. */
  carried(i: number): number {
    const path = this.pair.paths.pairs[i]
    return path === undefined ? 0 : path.up.rate.bytesOut + path.down.rate.bytesOut
  }
}

for (const way of ['upload', 'download'] as const) {
  for (const path of [0, 1]) {
    t.test(`path ${path} is cut in mid-${way}: it stalls at most 600 ms; the path is in full use 2 s after its return`, async (t) => {
      const world = new CutWorld(path + 1)
      world.start(way === 'upload' ? 15_000_000 : 0, way === 'download' ? 15_000_000 : 0)
      world.run((path === 1 ? 2 : 2.05) * US_PER_S)
      t.ok(world.carried(0) > 500_000 && world.carried(1) > 500_000, 'both paths are in use')
      world.cut([path], true)
      const cutAt = world.pair.loop.now
      world.run(3 * US_PER_S)
      t.ok(world.dropped > 0, 'the cut took place')
      const stall = world.stall(cutAt)
      t.comment(`longest stall ${stall / US_PER_MS} ms`)
      t.ok(stall <= 600 * US_PER_MS, `${stall / US_PER_MS} ms`)
      world.cut([path], false)
      world.run(1.5 * US_PER_S)
      const before = world.carried(path)
      world.run(0.5 * US_PER_S)
      t.ok(world.carried(path) - before > 200_000, `${world.carried(path) - before} bytes in the fourth half second`)
      world.run(60 * US_PER_S)
      t.ok(world.isExact)
    })
  }
}

t.test('all paths are cut for 30 s: it resumes within 2 s, byte-exact', async (t) => {
  for (const way of ['upload', 'download']) {
    const world = new CutWorld(7)
    world.start(way === 'upload' ? 6_000_000 : 0, way === 'download' ? 6_000_000 : 0)
    world.run(US_PER_S)
    world.cut([0, 1], true)
    world.run(30 * US_PER_S)
    t.ok(world.dropped > 0 && !world.isDone)
    world.cut([0, 1], false)
    const backAt = world.pair.loop.now
    world.run(5 * US_PER_S)
    const stall = world.stall(backAt)
    t.comment(`${way}: ${stall / US_PER_MS} ms after the return`)
    t.ok(stall <= 2 * US_PER_S, `${way}: ${stall / US_PER_MS} ms`)
    world.run(60 * US_PER_S)
    t.ok(world.isExact, way)
  }
})
