import t from 'tap'
import { Rng } from '../../src/base/rng.js'
import { US_PER_MS, US_PER_S } from '../../src/base/time.js'
import { CAUSE_REFUSED, CAUSE_RESET, CAUSE_UNREACHABLE } from '../../src/tcp/state.js'
import { seeds } from '../oracle/seeds.js'
import { EngineWorld, type EngineWorldConfig, PORT } from './engine-world.js'
import type { FaultyPathConfig } from './faulty-path.js'
import { Filter, Odds, Valve } from './links.js'
import { VirtualLoop } from './loop.js'
import { icmpError, Mtu, Nat, OPTION_MPTCP, OptionStripper, PayloadRewriter } from './middlebox.js'
import type { MptcpHost } from './mptcp-host.js'
import type { Node } from './node.js'
import * as pk from './packet.js'
import type { PathPairConfig } from './paths.js'
import { complaint, Peer, payload } from './transfer.js'

t.setTimeout(600_000)

const MBIT = 1_000_000

function clean(mbit: number, delayMs: number, over: Partial<FaultyPathConfig> = {}): FaultyPathConfig {
  // A queue of twice the bandwidth-delay product and 100 packets, so that it does not limit a single loss-based flow.
  const bdp = (mbit * MBIT * 2 * delayMs) / 1000 / 8
  return { bitsPerSecond: mbit * MBIT, delayUs: delayMs * US_PER_MS, queueBytes: 2 * bdp + 150_000, ...over }
}

const symmetric = (c: FaultyPathConfig) => ({ up: c, down: c })

function world(seed: number, over: Partial<EngineWorldConfig> = {}): EngineWorld {
  return new EngineWorld({ seed, paths: [symmetric(clean(50, 5))], server: 'mptcp', ...over })
}

/** Share of what the links could carry, headers included. */
function share(bytes: number, us: number, mbit: number): number {
  return (bytes * 8) / (us * mbit)
}

for (const seed of seeds([1])) {
  t.comment(`SEED=${seed}`)

  for (const server of ['mptcp', 'tcp'] as const) {
    for (const [mbit, delayMs] of [
      [10, 10],
      [100, 1],
      [100, 10],
    ] as const) {
      t.test(`one clean path of ${mbit} Mbit/s and ${delayMs} ms, ${server} server: at least 80 % of it, each way`, async (t) => {
        const len = Math.min(12_000_000, Math.round((mbit * MBIT * 3) / 8))
        for (const isUp of [true, false]) {
          const w = world(seed, { server, paths: [symmetric(clean(mbit, delayMs))] })
          const result = w.transfer(isUp ? len : 0, isUp ? 0 : len)
          t.equal(complaint(result), '')
          const got = share(len, result.us, mbit)
          t.ok(got >= 0.8 && got <= 1, `${(100 * got).toFixed(1)} % ${isUp ? 'up' : 'down'}`)
          t.equal(w.engine.mptcpCounters.MPCapableSYNACKRX, server === 'mptcp' ? 1 : 0)
        }
      })
    }
  }

  t.test('both directions at once do not starve each other', async (t) => {
    const w = world(seed, { paths: [symmetric(clean(20, 5))] })
    const len = 5_000_000
    const result = w.transfer(len, len)
    t.equal(complaint(result), '')
    t.ok(share(len, result.us, 20) >= 0.7, `${(100 * share(len, result.us, 20)).toFixed(1)} % each way`)
  })

  t.test('two paths together carry at least 80 % of their sum, and both carry bytes', async (t) => {
    for (const isUp of [true, false]) {
      const w = world(seed, { paths: [symmetric(clean(10, 10)), symmetric(clean(10, 20))] })
      const len = 8_000_000
      const result = w.transfer(isUp ? len : 0, isUp ? 0 : len)
      t.equal(complaint(result), '')
      t.equal(w.engine.mptcpCounters.MPJoinSynAckRx, 1)
      t.equal((w.server as MptcpHost).counters.MPJoinAckRx, 1)
      for (const pair of w.paths.pairs) t.ok((isUp ? pair.up : pair.down).rate.bytesOut > len / 4)
      const got = share(len, result.us, 20)
      t.ok(got >= 0.8, `${(100 * got).toFixed(1)} % of the sum, ${isUp ? 'up' : 'down'}`)
    }
  })

  t.test('super-segments travel on both legs', async (t) => {
    const w = world(seed, { paths: [symmetric(clean(100, 5))], batchUs: 1000 })
    t.equal(complaint(w.transfer(4_000_000, 4_000_000)), '')
    t.ok(w.device.superSegmentsOut > 50, `${w.device.superSegmentsOut} super-segments out`)
    t.ok(w.device.superSegmentsIn > 500, `${w.device.superSegmentsIn} packets arrived merged into others`)
  })

  t.test('memory is given back when connections are over', async (t) => {
    const w = world(seed, { paths: [symmetric(clean(50, 5, { loss: 0.01 })), symmetric(clean(50, 5, { loss: 0.01 }))] })
    for (let i = 0; i < 5; i++) t.equal(complaint(w.transfer(300_000, 300_000)), '')
    w.loop.run(() => false, w.loop.now + 300 * US_PER_S)
    t.equal(w.engine.connections.size, 0)
    t.equal(w.engine.flowCount, 0)
    t.equal(w.engine.arena.pagesInUse, 0)
    t.equal(w.server.openFlows, 0)
    t.equal(w.server.arena.pagesInUse, 0)
    t.equal(w.app.arena.pagesInUse, 0)
    t.equal(w.engine.mptcpCounters.MPCurrEstab, 0)
  })

  t.test('200 connections at once share one engine', async (t) => {
    const w = world(seed, { paths: [symmetric(clean(100, 5, { loss: 0.002 }))] })
    const { rng, loop } = w
    const request = payload(rng, 20_000)
    const response = payload(rng, 20_000)
    const remotes: Peer[] = []
    w.listen((socket) => remotes.push(new Peer(loop, socket, response, request)))
    const locals = Array.from({ length: 200 }, () => new Peer(loop, w.connect(), request, response))
    loop.run(() => locals.every((p) => p.socket.isClosed) && remotes.every((p) => p.socket.isClosed), 600 * US_PER_S)
    t.equal(remotes.length, 200)
    t.equal([...locals, ...remotes].filter((p) => p.isDone && p.wrongAt < 0).length, 400)
  })

  t.test('a reader that stops for 10 s stops the sender, and nothing is lost', async (t) => {
    const w = world(seed, { engine: { sendBuffer: 1 << 20, receiveBuffer: 1 << 20 } })
    const len = 8_000_000
    const result = w.transfer(0, len, { client: { reading: { chunk: 2_000_000, pauseUs: 10 * US_PER_S } } })
    t.equal(complaint(result), '')
    t.ok(result.us > 10 * US_PER_S, 'the reader paused')
    t.equal(w.engine.counters.EngineInternalErrors, 0)
  })

  t.test('a port on which nobody listens is refused to the application', async (t) => {
    for (const server of ['mptcp', 'tcp'] as const) {
      const w = world(seed, { server })
      const socket = w.connect(PORT + 1)
      w.loop.run(() => socket.isClosed, 30 * US_PER_S)
      t.equal(socket.cause, CAUSE_REFUSED)
      t.equal(socket.isOpen, false)
    }
  })

  t.test('an unreachable host is unreachable to the application', async (t) => {
    for (const isV6 of [false, true]) {
      const w = world(seed, { isV6 })
      const router = isV6 ? new Uint8Array(16).fill(9) : Uint8Array.of(192, 0, 2, 1)
      const up = w.paths.pairs[0]?.up
      if (up === undefined) throw new Error('no path')
      up.corrupt.out = (p) => w.device.in(isV6 ? icmpError(p, router, 1, 3, 0) : icmpError(p, router, 3, 1, 0))
      const socket = w.connect()
      w.loop.run(() => socket.isClosed, 30 * US_PER_S)
      t.equal(socket.cause, CAUSE_UNREACHABLE)
    }
  })

  t.test('the server is told when the application resets, and the other way round', async (t) => {
    const w = world(seed)
    const sockets: { isClosed: boolean; abort(): void; cause?: number }[] = []
    w.listen((socket) => sockets.push(socket))
    const first = w.connect()
    w.loop.run(() => first.isOpen && sockets.length === 1, 10 * US_PER_S)
    first.abort()
    w.loop.run(() => sockets[0]?.isClosed === true, 20 * US_PER_S)
    t.equal(sockets[0]?.cause, CAUSE_RESET)
    const second = w.connect()
    w.loop.run(() => second.isOpen && sockets.length === 2, 30 * US_PER_S)
    sockets[1]?.abort()
    w.loop.run(() => second.isClosed, 40 * US_PER_S)
    t.equal(second.cause, CAUSE_RESET)
  })

  t.test('a middlebox that strips MPTCP options costs MPTCP, not the connection', async (t) => {
    const isSyn = (p: Uint8Array): boolean => (pk.flagsOf(p) & pk.SYN) !== 0
    const rules: [string, 'up' | 'down' | 'both', (p: Uint8Array) => boolean][] = [
      ['from everything', 'both', () => true],
      ['from SYNs', 'up', isSyn],
      ['from SYN/ACKs', 'down', isSyn],
      ['from everything but SYNs', 'both', (p) => !isSyn(p)],
      ['from everything but SYNs, upwards', 'up', (p) => !isSyn(p)],
      ['from everything but SYNs, downwards', 'down', (p) => !isSyn(p)],
    ]
    for (const [name, way, isMeant] of rules) {
      for (const [upLen, downLen] of [
        [200_000, 0],
        [0, 200_000],
        [200_000, 200_000],
      ] as const) {
        const strippers: OptionStripper[] = []
        const config = (isIt: boolean): FaultyPathConfig => {
          const middle: Node[] = []
          if (isIt) {
            const stripper = new OptionStripper(new VirtualLoop(), OPTION_MPTCP, isMeant)
            strippers.push(stripper)
            middle.push(stripper)
          }
          return clean(50, 5, { middle, loss: 0.005 })
        }
        const w = world(seed, { paths: [{ up: config(way !== 'down'), down: config(way !== 'up') }] })
        t.equal(complaint(w.transfer(upLen, downLen)), '', `${name}, ${upLen} up, ${downLen} down`)
        t.ok(strippers.some((s) => s.stripped > 0))
      }
    }
  })

  t.test('a path that is cut and comes back: the other one carries on meanwhile', async (t) => {
    const valves: Valve[] = []
    const valve = (): Valve => {
      const made = new Valve(new VirtualLoop())
      valves.push(made)
      return made
    }
    const config = (): PathPairConfig => ({ up: clean(10, 10, { middle: [valve()] }), down: clean(10, 10, { middle: [valve()] }) })
    const w = world(seed, { paths: [config(), config()] })
    const turn = (isOpen: boolean) => () => {
      for (const v of valves.slice(0, 2)) v.isOpen = isOpen
    }
    w.loop.at(2 * US_PER_S, turn(false))
    w.loop.at(7 * US_PER_S, turn(true))
    const len = 12_000_000
    const result = w.transfer(0, len)
    t.equal(complaint(result), '')
    t.ok((valves[1]?.dropped ?? 0) > 0, 'packets were lost in the cut')
    // 5 s are ideal; bytes that only the dead subflow misses pin the send buffer until its fourth timeout resets it, which costs
    // about 5 s, and then 10 Mbit/s are left
    t.ok(result.us < 15 * US_PER_S, `${(result.us / US_PER_S).toFixed(1)} s`)
  })

  t.test('behind a NAT, with two paths through it', async (t) => {
    const nats = [0xc6336401, 0xc6336402].map((address) => new Nat(new VirtualLoop(), address))
    const config = (nat: Nat): PathPairConfig => ({
      up: clean(20, 5, { middle: [nat.up], loss: 0.005 }),
      down: clean(20, 5, { middle: [nat.down], loss: 0.005 }),
    })
    const w = world(seed, { paths: nats.map(config), publicAddresses: [0xc6336401, 0xc6336402] })
    t.equal(complaint(w.transfer(1_000_000, 1_000_000)), '')
    t.equal((w.server as MptcpHost).counters.MPJoinAckRx, 1)
    for (const nat of nats) t.ok(nat.translated > 100)
  })

  t.test('a device that blocks now and then holds everything back, and loses nothing', async (t) => {
    const w = world(seed)
    let blocks = 0
    const toggle = (): void => {
      if (w.device.isBlocked) w.device.unblock()
      else {
        w.device.isBlocked = true
        blocks++
      }
      if (w.loop.now < 20 * US_PER_S) w.loop.after(w.rng.between(100, 5000), toggle)
    }
    w.loop.after(1000, toggle)
    t.equal(complaint(w.transfer(2_000_000, 2_000_000)), '')
    t.ok(blocks > 10 && w.engine.counters.EngineTxBlocked > 0, `${w.engine.counters.EngineTxBlocked} times blocked`)
  })

  t.test('with memory for a fraction of the windows all connections finish, one after the other', async (t) => {
    const w = world(seed, { engine: { memoryPages: 64 }, paths: [symmetric(clean(50, 5, { loss: 0.002 }))] })
    const { rng, loop } = w
    const request = payload(rng, 200_000)
    const response = payload(rng, 200_000)
    const remotes: Peer[] = []
    w.listen((socket) => remotes.push(new Peer(loop, socket, response, request)))
    const locals = Array.from({ length: 20 }, () => new Peer(loop, w.connect(), request, response))
    loop.run(() => locals.every((p) => p.socket.isClosed) && remotes.every((p) => p.socket.isClosed), 3600 * US_PER_S)
    t.equal([...locals, ...remotes].filter((p) => p.isDone && p.wrongAt < 0).length, 40)
  })

  t.test('SYNs with MP_CAPABLE that vanish give way to plain ones', async (t) => {
    const filter = new Filter(new VirtualLoop(), (p) => (pk.flagsOf(p) & pk.SYN) === 0 || !pk.hasOption(p, OPTION_MPTCP))
    const w = world(seed, { paths: [{ up: clean(50, 5, { middle: [filter] }), down: clean(50, 5) }] })
    t.equal(complaint(w.transfer(100_000, 100_000)), '')
    t.ok(filter.dropped >= 3, `${filter.dropped} SYNs vanished`)
    t.equal(w.engine.mptcpCounters.MPCapableSYNACKRX, 0)
  })

  t.test('a second path that swallows everything does no harm to the first', async (t) => {
    for (const isLate of [false, true]) {
      const filter = new Filter(new VirtualLoop(), (p) => isLate && pk.payLen(p) === 0)
      const w = world(seed, {
        paths: [symmetric(clean(20, 5)), { up: clean(20, 5, { middle: [filter] }), down: clean(20, 5) }],
      })
      const result = w.transfer(2_000_000, 0)
      t.equal(complaint(result), '')
      t.ok(filter.dropped > 0)
      t.ok(result.us < 4 * US_PER_S, `${(result.us / US_PER_S).toFixed(2)} s, ${isLate ? 'data' : 'SYNs'} swallowed`)
    }
  })

  t.test('a smaller MTU on one path is learnt from ICMP', async (t) => {
    const mtus: Mtu[] = []
    const w: EngineWorld = world(seed, {
      paths: [
        {
          up: clean(20, 5, {
            middle: [
              (() => {
                const mtu = new Mtu(new VirtualLoop(), 1300, Uint8Array.of(192, 0, 2, 1), (p) => w.device.in(p))
                mtus.push(mtu)
                return mtu
              })(),
            ],
          }),
          down: clean(20, 5),
        },
      ],
    })
    const result = w.transfer(1_000_000, 0)
    t.equal(complaint(result), '')
    const dropped = mtus[0]?.dropped ?? 0
    t.ok(dropped > 0 && dropped < 100, `${dropped} too big`)
    t.ok(result.us < 5 * US_PER_S, `${(result.us / US_PER_S).toFixed(2)} s`)
  })

  t.test('a changed payload is noticed by the DSS checksum, and never without it: positive control of all comparisons', async (t) => {
    for (const checksum of [false, true]) {
      const rewriters: PayloadRewriter[] = []
      const w = world(seed, {
        mptcp: { checksum },
        paths: [
          {
            up: clean(50, 5, { middle: [rewriter(rewriters, seed)] }),
            down: clean(50, 5),
          },
        ],
      })
      const result = w.transfer(500_000, 0, {}, 120 * US_PER_S)
      t.ok((rewriters[0]?.rewritten ?? 0) > 0)
      const server = w.server as MptcpHost
      if (checksum) t.ok(server.counters.DataCsumErr > 0, 'the server noticed')
      else {
        t.equal(server.counters.DataCsumErr, 0)
        t.ok((result.remote?.wrongAt ?? -1) >= 0, 'the comparison noticed')
      }
    }
  })
}

/** Changes exactly the 20th segment with payload. */
function rewriter(made: PayloadRewriter[], seed: number): PayloadRewriter {
  const rng = new Rng(seed)
  const node = new PayloadRewriter(new VirtualLoop(), new Odds(rng, 0, [20]), rng)
  made.push(node)
  return node
}
