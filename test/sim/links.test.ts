import t from 'tap'
import { Rng } from '../../src/base/rng.js'
import { US_PER_S } from '../../src/base/time.js'
import { forSeeds } from '../oracle/seeds.js'
import { craftTcp } from './craft.js'
import { Corrupt, Delay, Duplicate, Filter, Loss, Odds, Rate, Reorder, Tap, Valve } from './links.js'
import { VirtualLoop } from './loop.js'
import { chain, type Node, type Sink } from './node.js'
import * as pk from './packet.js'

interface Arrival {
  readonly at: number
  readonly id: number
}

/** Sends packets with ids 0.. every `gapUs` through the nodes. */
function send(loop: VirtualLoop, nodes: readonly Node[], count: number, len: number, gapUs: number): Arrival[] {
  const arrivals: Arrival[] = []
  const sink: Sink = (p) => arrivals.push({ at: loop.now, id: pk.seqOfPacket(p) })
  const entry = chain(nodes, sink)
  const payload = new Uint8Array(len - 40)
  for (let id = 0; id < count; id++) loop.at(id * gapUs, () => entry(craftTcp({ seq: id, payload })))
  loop.run()
  return arrivals
}

t.test('virtual time: events in order of instant, then of request', async (t) => {
  await forSeeds(t, [1], (rng) => {
    const loop = new VirtualLoop()
    const seen: [number, number][] = []
    for (let i = 0; i < 1000; i++) {
      const at = rng.below(100)
      loop.at(at, () => seen.push([at, i]))
    }
    loop.run(() => seen.length === 500)
    t.equal(seen.length, 500)
    loop.run()
    const sorted = [...seen].sort((a, b) => a[0] - b[0] || a[1] - b[1])
    t.same(seen, sorted)
    loop.at(0, () => t.equal(loop.now, 99, 'the past is now'))
    loop.run()
    loop.run(() => false, 500)
    t.equal(loop.now, 500)
  })
})

t.test('a rate spaces packets by their length, and its queue drops from the tail', async (t) => {
  const loop = new VirtualLoop()
  const rate = new Rate(loop, { bitsPerSecond: 8_000_000, queuePackets: 10 })
  const arrivals = send(loop, [rate], 20, 1000, 0)
  t.equal(arrivals.length, 10)
  t.equal(rate.dropped, 10)
  t.same(
    arrivals.map((a) => a.at),
    Array.from({ length: 10 }, (_, i) => (i + 1) * 1000),
  )
  t.equal(rate.queuePeak, 10_000)
})

t.test('a rate that is not exceeded drops nothing; a bound in bytes works too', async (t) => {
  const loop = new VirtualLoop()
  t.equal(send(loop, [new Rate(loop, { bitsPerSecond: 8_000_000, queuePackets: 1 })], 50, 1000, 1000).length, 50)
  const bytes = new Rate(loop, { bitsPerSecond: 8_000_000, queueBytes: 2500 })
  t.equal(send(loop, [bytes], 10, 1000, 0).length, 2)
})

t.test('a delay keeps order and spacing', async (t) => {
  const loop = new VirtualLoop()
  const arrivals = send(loop, [new Delay(loop, 5000)], 10, 100, 7)
  t.same(
    arrivals,
    Array.from({ length: 10 }, (_, id) => ({ at: 5000 + 7 * id, id })),
  )
})

t.test('faults happen at their probability, exactly where told, and not at all at 0', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    const loop = new VirtualLoop()
    const loss = new Loss(loop, new Odds(rng.fork(), 0.1))
    send(loop, [loss], 5000, 100, 1)
    t.ok(loss.dropped > 380 && loss.dropped < 630, `${loss.dropped} of 5000 lost`)
    const exact = new Loss(loop, new Odds(rng.fork(), 0, [0, 3]))
    t.same(
      send(loop, [exact], 5, 100, 1).map((a) => a.id),
      [1, 2, 4],
    )
    const twice = new Duplicate(loop, new Odds(rng.fork(), 0, [1]), 50)
    t.same(
      send(loop, [twice], 3, 100, 1).map((a) => a.id),
      [0, 1, 2, 1],
    )
    const never = new Loss(loop, new Odds(rng.fork(), 0))
    t.equal(send(loop, [never], 1000, 100, 1).length, 1000)
  })
})

t.test('a held packet is overtaken', async (t) => {
  const loop = new VirtualLoop()
  const reorder = new Reorder(loop, new Odds(new Rng(1), 0, [1]), 25)
  t.same(
    send(loop, [reorder], 5, 100, 10).map((a) => a.id),
    [0, 2, 3, 1, 4],
  )
  t.equal(reorder.held, 1)
  t.equal(reorder.overtaken, 1)
})

t.test('a flipped bit never passes the IPv4 and TCP checksums', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    const loop = new VirtualLoop()
    const corrupt = new Corrupt(loop, new Odds(rng.fork(), 1), rng.fork())
    let unnoticed = 0
    const entry = chain([corrupt], (p) => {
      const copy = p.slice()
      pk.fixIp(copy)
      const ipOk = copy.every((b, i) => b === p[i])
      // a changed header length or protocol is noticed by the IP checksum already
      if (ipOk && pk.tcpSum(p) === 0xffff) unnoticed++
    })
    for (let i = 0; i < 500; i++) entry(craftTcp({ payload: new Uint8Array(200).fill(i) }))
    t.equal(corrupt.corrupted, 500)
    t.equal(unnoticed, 0)
  })
})

t.test('valve, filter and tap', async (t) => {
  const loop = new VirtualLoop()
  const valve = new Valve(loop)
  const seen: number[] = []
  const tap = new Tap(loop, (p) => seen.push(pk.seqOfPacket(p)))
  const odd = new Filter(loop, (p) => pk.seqOfPacket(p) % 2 === 1)
  loop.at(35, () => {
    valve.isOpen = false
  })
  const arrivals = send(loop, [valve, tap, odd], 10, 100, 10)
  t.same(seen, [0, 1, 2, 3])
  t.same(
    arrivals.map((a) => a.id),
    [1, 3],
  )
  t.equal(valve.dropped, 6)
  t.equal(odd.dropped, 2)
})

t.test('a chain is as slow as its slowest part', async (t) => {
  const loop = new VirtualLoop()
  const nodes = [
    new Rate(loop, { bitsPerSecond: 100_000_000 }),
    new Delay(loop, 10_000),
    new Rate(loop, { bitsPerSecond: 10_000_000 }),
    new Delay(loop, 1),
  ]
  const arrivals = send(loop, nodes, 100, 1250, 0)
  t.equal(arrivals.length, 100)
  const last = arrivals[99] as Arrival
  t.equal(last.at, 10_001 + 100 + (100 * 1250 * 8 * US_PER_S) / 10_000_000)
})
