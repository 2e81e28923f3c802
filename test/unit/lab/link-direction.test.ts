import t from 'tap'
import { LinkDirection } from '../../../bench/lab/link-direction.js'
import { DEFAULT_SETTINGS, type LinkSettings } from '../../../bench/lab/link-settings.js'
import { Rng } from '../../../src/base/rng.js'
import { VirtualLoop } from '../../sim/loop.js'

interface Arrival {
  readonly id: number
  readonly at: number
}

/** A direction in virtual time; packets are numbered by their first two bytes. */
class Bench {
  readonly loop = new VirtualLoop()
  readonly arrivals: Arrival[] = []
  readonly lost: number[] = []
  readonly direction: LinkDirection
  private next = 0

  constructor(settings: Partial<LinkSettings>, seed = 1) {
    const id = (packet: Uint8Array): number => ((packet[0] as number) << 8) | (packet[1] as number)
    this.direction = new LinkDirection(
      this.loop,
      new Rng(seed),
      { ...DEFAULT_SETTINGS, ...settings },
      (packet) => this.arrivals.push({ id: id(packet), at: this.loop.now }),
      (packet) => this.lost.push(id(packet)),
    )
  }

  /** Sends `count` packets of `len` bytes, one every `gapUs`, and waits for the last one. */
  send(count: number, len: number, gapUs: number): void {
    const from = this.loop.now
    for (let i = 0; i < count; i++) {
      const packet = new Uint8Array(len)
      packet[0] = this.next >> 8
      packet[1] = this.next++ & 255
      this.loop.at(from + i * gapUs, () => this.direction.entry(packet))
    }
    this.loop.run()
  }
}

t.test('the rate counts the overhead of each packet', async (t) => {
  const bench = new Bench({ rate: 10e6, overhead: 14, delay: 5000 })
  bench.send(100, 1500, 0)
  t.equal(bench.arrivals.length, 100)
  t.equal(bench.arrivals.at(-1)?.at, Math.ceil((100 * 1514 * 8) / 10) + 5000)
  t.equal(bench.direction.stats().bytesOut, 150_000, 'bytes do not')
})

t.test('a full queue drops what comes on top, and says so', async (t) => {
  const bench = new Bench({ rate: 1e6, queue: 10 })
  bench.send(25, 1000, 0)
  t.same(
    bench.arrivals.map(({ id }) => id),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  )
  t.equal(bench.direction.stats().droppedQueue, 15)
  t.equal(bench.lost.length, 15)
  const byBytes = new Bench({ rate: 1e6, queueBytes: 4500 })
  byBytes.send(25, 1000, 0)
  t.equal(byBytes.direction.stats().packetsOut, 4)
})

t.test('losses are within binomial bounds, follow the seed, and use none of the rate', async (t) => {
  const run = (seed: number): Bench => {
    const bench = new Bench({ loss: 0.02 }, seed)
    bench.send(2000, 100, 1)
    return bench
  }
  const unlimited = new Bench({ loss: 0.02, queue: Number.POSITIVE_INFINITY }, 7)
  unlimited.send(20_000, 100, 1)
  const { droppedLoss, packetsOut } = unlimited.direction.stats()
  t.ok(Math.abs(droppedLoss - 400) < 4 * Math.sqrt(20_000 * 0.02 * 0.98), 'about 400', { droppedLoss })
  t.equal(packetsOut + droppedLoss, 20_000)
  t.equal(unlimited.lost.length, droppedLoss)
  t.same(run(7).lost, run(7).lost, 'the same seed loses the same packets')
  t.strictNotSame(run(7).lost, run(8).lost)
  const without = new Bench({})
  without.send(20_000, 100, 1)
  t.equal(without.direction.stats().packetsOut, 20_000, 'none without')
  const slow = new Bench({ loss: 0.5, rate: 1e6 })
  slow.send(100, 1000, 0)
  t.equal(slow.arrivals.at(-1)?.at, slow.arrivals.length * 8000, 'what is lost takes no time of the transmitter')
})

t.test('jitter spreads around the delay and keeps the order', async (t) => {
  const bench = new Bench({ delay: 5000, jitter: 2000 })
  bench.send(2000, 100, 5000)
  const delays = bench.arrivals.map(({ at, id }) => at - id * 5000)
  const mean = delays.reduce((sum, delay) => sum + delay, 0) / delays.length
  t.ok(Math.min(...delays) >= 3000 && Math.max(...delays) <= 7001)
  t.ok(Math.min(...delays) < 3100 && Math.max(...delays) > 6900, 'all of the range is used')
  t.ok(Math.abs(mean - 5000) < 150, 'its middle is the delay', { mean })
  const dense = new Bench({ delay: 5000, jitter: 2000 })
  dense.send(2000, 100, 10)
  t.same(
    dense.arrivals.map(({ id }) => id),
    Array.from({ length: 2000 }, (_, id) => id),
  )
})

t.test('reordering lets later packets overtake', async (t) => {
  const bench = new Bench({ delay: 5000, reorder: 0.05, reorderHold: 1000 })
  bench.send(2000, 100, 100)
  const { reordered, packetsOut } = bench.direction.stats()
  t.equal(packetsOut, 2000)
  t.ok(reordered > 50 && reordered < 160, 'about 100', { reordered })
  t.ok(bench.arrivals.some(({ id }, i) => id < (bench.arrivals[i - 1]?.id ?? -1)))
})

t.test('reordering can concern one port alone', async (t) => {
  const bench = new Bench({ reorder: 1, reorderHold: 1000, reorderPort: 45_672 })
  const send = (isV4: boolean, protocol: number, from: number, to: number): void => {
    const packet = new Uint8Array(48)
    packet[0] = isV4 ? 0x45 : 0x60
    packet[isV4 ? 9 : 6] = protocol
    new DataView(packet.buffer, isV4 ? 20 : 40).setUint32(0, from * 65_536 + to)
    bench.direction.entry(packet)
  }
  for (const isV4 of [true, false]) {
    send(isV4, 17, 45_672, 5000)
    send(isV4, 17, 5000, 45_672)
    send(isV4, 17, 5000, 5001)
    send(isV4, 6, 5000, 5001)
    send(isV4, 1, 45_672, 45_672)
  }
  bench.direction.entry(new Uint8Array(20).fill(0x45))
  bench.loop.run()
  const heldBack = bench.arrivals.filter(({ at }) => at >= 1000)
  t.equal(heldBack.length, 4, 'UDP from and to that port, IPv4 and IPv6')
  t.equal(bench.arrivals.length, 11)
})

t.test('a cut link drops everything until it is back', async (t) => {
  const bench = new Bench({})
  bench.direction.set({ up: false })
  bench.send(5, 100, 10)
  bench.direction.set({ up: true })
  bench.send(5, 100, 10)
  t.same(
    bench.arrivals.map(({ id }) => id),
    [5, 6, 7, 8, 9],
  )
  t.equal(bench.direction.stats().droppedCut, 5)
})

t.test('settings change at once, unless they contradict each other', async (t) => {
  const bench = new Bench({ delay: 1000 })
  bench.send(1, 100, 0)
  bench.direction.set({ delay: 3000 })
  const sentAt = bench.loop.now
  bench.send(1, 100, 0)
  t.equal((bench.arrivals[1]?.at ?? 0) - sentAt, 3000)
  t.throws(() => bench.direction.set({ jitter: 3001 }), { code: 'ERR_LAB_VALUE' })
  t.equal(bench.direction.settings.jitter, 0)
})
