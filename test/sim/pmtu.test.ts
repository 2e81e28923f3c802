import t from 'tap'
import { US_PER_MS, US_PER_S } from '../../src/base/time.js'
import { seeds } from '../oracle/seeds.js'
import { Tap } from './links.js'
import { Mtu } from './middlebox.js'
import * as pk from './packet.js'
import { TcpPair } from './tcp-pair.js'
import type { TcpSocket } from './tcp-host.js'
import { complaint } from './transfer.js'

const LINK = { bitsPerSecond: 20_000_000, delayUs: 10 * US_PER_MS, queueBytes: 200_000 }

/** A pair whose way up swallows what is longer than `mtu`, saying nothing, from `fromUs` on. */
function blackHole(seed: number, mtu: number, isV6: boolean, gso: boolean) {
  const seen = { longest: 0, box: null as Mtu | null, gapUs: 0, lastAt: 0 }
  const pair = new TcpPair({
    seed,
    up: LINK,
    down: LINK,
    isV6,
    client: { gso },
    middle: (loop) => {
      const box = new Mtu(loop, mtu, new Uint8Array(0), null)
      seen.box = box
      const look = new Tap(loop, (p) => {
        if (pk.payLen(p) === 0) return
        seen.longest = Math.max(seen.longest, p.length)
        if (seen.lastAt > 0) seen.gapUs = Math.max(seen.gapUs, loop.now - seen.lastAt)
        seen.lastAt = loop.now
      })
      return { up: [box, look] }
    },
  })
  return { pair, seen }
}

for (const seed of seeds([])) {
  t.comment(`SEED=${seed}`)

  for (const [isV6, mtu, gso] of [
    [false, 1400, true],
    [false, 1280, false],
    [false, 1006, true],
    [true, 1300, true],
  ] as const) {
    t.test(
      `rfc8899: a path of ${mtu} bytes that says nothing is found out, IPv${isV6 ? 6 : 4}, ${gso ? 'with' : 'without'} super-segments`,
      async (t) => {
        const { pair, seen } = blackHole(seed, mtu, isV6, gso)
        let client: TcpSocket | null = null
        const connect = pair.client.connect.bind(pair.client)
        pair.client.connect = (...args) => {
          client = connect(...args)
          return client
        }
        const result = pair.transfer(16_000_000, 100_000)
        t.equal(complaint(result), '')
        const box = seen.box as Mtu
        t.ok(box.dropped > 0, 'the hole swallowed segments')
        t.ok(seen.longest <= mtu && seen.longest > mtu - 40, `segments of ${seen.longest} bytes in the end`)
        // an RTO is 220 ms here: the first segments fill the hole, twice, and the third is small; below 1200 bytes it takes another one
        t.ok(result.us < (mtu < 1200 ? 12 : 11) * US_PER_S, `${result.us} µs for 16 MB of 20 Mbit/s`)
        const ep = (client as TcpSocket | null)?.endpoint
        t.ok(ep !== undefined && ep.retransSegs < 600, `${ep?.retransSegs} sent again`)
        t.ok(seen.gapUs < 300 * US_PER_MS, `no later silence: ${seen.gapUs} µs`)
      },
    )
  }

  t.test('rfc8899: a path that was only dead for a while has its segment size back soon', async (t) => {
    const { pair, seen } = blackHole(seed, 1500, false, true)
    const box = seen.box as Mtu
    pair.loop.at(500 * US_PER_MS, () => {
      box.mtu = 0
    })
    pair.loop.at(2_500 * US_PER_MS, () => {
      box.mtu = 1500
      seen.longest = 0
    })
    const result = pair.transfer(12_000_000, 0)
    t.equal(complaint(result), '')
    t.ok(box.dropped > 3)
    t.equal(seen.longest, 1500)
    t.ok(result.us < 11 * US_PER_S, `${result.us} µs`)
  })

  t.test('rfc4821: a path that becomes smaller under way, and larger again', async (t) => {
    const { pair, seen } = blackHole(seed, 1500, false, true)
    const box = seen.box as Mtu
    pair.loop.at(1 * US_PER_S, () => {
      box.mtu = 1300
    })
    let small = 0
    pair.loop.at(5 * US_PER_S, () => {
      small = box.dropped
      box.mtu = 1500
      seen.longest = 0
    })
    const result = pair.transfer(15_000_000, 0)
    t.equal(complaint(result), '')
    t.ok(small > 0)
    t.ok(seen.longest > 1240 && seen.longest <= 1500, `${seen.longest}`)
    t.ok(result.us < 12 * US_PER_S, `${result.us} µs`)
  })
}
