import t from 'tap'
import type { Micros } from '../../../src/base/time.js'
import { path } from '../../../src/pathmgr/path.js'
import { REINJECT_RTO } from '../../../src/scheduler/scheduler.js'
import { CLIENT_2, DROP, Link, type LinkOptions, PASS, pattern, type Seen, strip } from './harness.js'

const MS = 1000

/** Two subflows, with `delays` as one-way extra time of each. */
function open(delays: readonly [number, number], o: LinkOptions = {}): { link: Link; path: (i: number, up: boolean) => void } {
  const link = new Link({ isCut: true, ...o })
  const alive = [true, true]
  link.filter = (p: Seen) => (alive[p.flow] === false ? DROP : (delays[p.flow] ?? 0))
  link.establish()
  link.client.write(pattern(1))
  link.run(200 * MS)
  link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(500 * MS)
  return { link, path: (i, up) => (alive[i] = up) }
}

/** Keeps the client's buffer full for `us`; the longest time without a new byte at the reader. */
function upload(link: Link, us: Micros): Micros {
  const until = link.now + us
  let last = link.server.received
  let at = link.now
  let stall = 0
  let sent = link.client.c.sendQueue.readyEnd
  while (link.now < until) {
    sent += link.client.write(pattern(50_000, sent))
    link.run(5 * MS)
    if (link.server.received > last) {
      last = link.server.received
      at = link.now
    }
    stall = Math.max(stall, link.now - at)
  }
  return stall
}

function drained(link: Link): boolean {
  const all = pattern(link.client.c.sendQueue.readyEnd)
  return link.run(60_000 * MS, () => link.server.hasReceived(all))
}

t.test('a path is cut in mid-transfer: the upload stalls at most 600 ms, and the path is back in use 2 s after it returns', async (tt) => {
  for (const cut of [0, 1]) {
    for (const delays of [
      [5 * MS, 10 * MS],
      [10 * MS, 5 * MS],
    ] as const) {
      const { link, path: set } = open(delays, { capacity: 150_000, isCut: false, client: { checksum: true } })
      upload(link, 400 * MS)
      const dropped = link.dropped
      set(cut, false)
      const stall = upload(link, 4_000 * MS)
      tt.ok(link.dropped > dropped, 'the cut took place')
      tt.ok(stall <= 600 * MS, `path ${cut} cut, delays ${delays.join('/')}: stalled ${stall / MS} ms`)
      tt.equal(link.client.counters.SubflowStale, 1)
      set(cut, true)
      const from = link.seen.length
      const back = link.now
      upload(link, 2_100 * MS)
      const first = link.seen.slice(from).find((p) => p.flow === cut && p.fromClient && p.pkt.payLen > 0)
      tt.ok(first !== undefined && first.at - back <= 2_000 * MS, `in use after ${((first?.at ?? Infinity) - back) / MS} ms`)
      tt.equal(link.client.counters.SubflowRecover, 1)
      tt.ok(drained(link), 'byte-exact')
      tt.equal(link.client.c.subflows.length, 2)
      tt.same(
        [link.server.counters.DataCsumErr, link.server.counters.DSSNotMatching],
        [0, 0],
        'what the cut subflow brings late is the same',
      )
      link.run(10_000 * MS)
      tt.equal(link.client.arena.pagesInUse, 0)
    }
  }
})

t.test('all paths are cut for 30 s: it resumes within 2 s, byte-exact', async (tt) => {
  const { link, path: set } = open([0, 5 * MS])
  upload(link, 300 * MS)
  set(0, false)
  set(1, false)
  upload(link, 30_000 * MS)
  set(0, true)
  set(1, true)
  const back = link.now
  const before = link.server.received
  tt.ok(link.run(10_000 * MS, () => link.server.received > before))
  tt.ok(link.now - back <= 2_000 * MS, `resumed after ${(link.now - back) / MS} ms`)
  tt.ok(drained(link))
})

t.test('a slow subflow blocks the window: what it holds up goes out again on the fast one', async (tt) => {
  const { link } = open([0, 300 * MS], { capacity: 120_000 })
  const stall = upload(link, 4_000 * MS)
  tt.ok(link.client.counters.OpportunisticBytes > 0, `${link.client.counters.OpportunisticBytes} bytes`)
  tt.ok(stall < 300 * MS, `no wait for the slow path: ${stall / MS} ms`)
  tt.ok(link.client.counters.OpportunisticBytes < link.server.received / 4, 'each byte once')
  tt.ok(drained(link))
})

t.test('one subflow: nothing is sent twice, however full the window', async (tt) => {
  const link = new Link({ capacity: 60_000 }).establish()
  upload(link, 500 * MS)
  tt.equal(link.client.counters.OpportunisticBytes + link.client.counters.ReinjectedBytes, 0)
})

t.test('rfc8684 3.3.6: bytes that were to go elsewhere go out where they were lost when there is no elsewhere any more', async (tt) => {
  const link = new Link({ isCut: true }).establish()
  link.client.write(pattern(1))
  link.run(100_000)
  link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(100_000)
  // flow 1 ends; what flow 0 then acknowledges without being able to place it was queued for another subflow
  link.client.c.subflows[1]?.ep.abort()
  link.run(50_000)
  let hits = 0
  link.filter = (p) => {
    if (p.fromClient && p.pkt.payLen > 0 && hits < 3) hits += strip(p.bytes)
    return PASS
  }
  link.client.write(pattern(3000, 1))
  link.run(30_000)
  const { snd, rtx, subflows } = link.client.c
  tt.equal(subflows.length, 1)
  rtx.add(snd.una, snd.nxt, subflows[0]?.id ?? -1, REINJECT_RTO)
  tt.ok(hits > 0)
  tt.ok(
    link.run(10_000_000, () => link.server.hasReceived(pattern(3001))),
    `${link.server.received} bytes`,
  )
})
