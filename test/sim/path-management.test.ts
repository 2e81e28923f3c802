import t from 'tap'
import { IpAddress } from '../../src/base/address.js'
import { type Micros, US_PER_MS, US_PER_S } from '../../src/base/time.js'
import { path, type Path } from '../../src/pathmgr/path.js'
import type { PathLimits } from '../../src/pathmgr/path-manager.js'
import { statusOf } from '../../src/engine/status.js'
import { seeds } from '../oracle/seeds.js'
import { EngineWorld, PORT, SERVER4, stack4 } from './engine-world.js'
import type { FaultyPathConfig } from './faulty-path.js'
import { Tap, Valve } from './links.js'
import { VirtualLoop } from './loop.js'
import type { MptcpHost, MptcpSocket } from './mptcp-host.js'
import type { PathPairConfig } from './paths.js'
import { complaint } from './transfer.js'

t.setTimeout(120_000)

/** The second address of the server, and where a detour stands. */
const SERVER4B = IpAddress.v4(SERVER4.w3 + 1)
const DETOUR4 = IpAddress.v4(SERVER4.w3 + 2)

const DEFAULT = path()
const second = (over: Partial<Path> = {}): Path => path({ id: 1, kind: 'interface', label: 'eth1', source: stack4(1), ...over })
const third = (over: Partial<Path> = {}): Path => path({ id: 2, kind: 'interface', label: 'eth2', source: stack4(2), ...over })

/** A path that can be cut, and that counts what comes through. */
class Lane {
  readonly up = new Valve(new VirtualLoop())
  readonly down = new Valve(new VirtualLoop())
  /** Bytes that came through, both ways. */
  bytes = 0
  readonly config: PathPairConfig

  constructor(mbit: number, delayMs: number) {
    const tap = () => new Tap(new VirtualLoop(), (packet) => this.count(packet))
    const one = (valve: Valve): FaultyPathConfig => ({
      bitsPerSecond: mbit * 1e6,
      delayUs: delayMs * US_PER_MS,
      queueBytes: 2 * ((mbit * 1e6 * 2 * delayMs) / 8000) + 60_000,
      middle: [valve, tap()],
    })
    this.config = { up: one(this.up), down: one(this.down) }
  }

  private count(packet: Uint8Array): void {
    this.bytes += packet.length
  }

  set isOpen(isOpen: boolean) {
    this.up.isOpen = isOpen
    this.down.isOpen = isOpen
  }

  get dropped(): number {
    return this.up.dropped + this.down.dropped
  }
}

/** A world whose engine knows the default path, and `paths`. */
function world(seed: number, lanes: readonly Lane[], paths: readonly Path[], limits: Partial<PathLimits> = {}): EngineWorld {
  return new EngineWorld({
    seed,
    paths: lanes.map((lane) => lane.config),
    server: 'mptcp',
    engine: { paths: [DEFAULT, ...paths], pathLimits: { extraSubflows: 2, addAddrAccepted: 2, replaceUs: 0, ...limits } },
  })
}

/** Decisions of the only connection, as text; null: it is over. */
function decisions(w: EngineWorld): string[] {
  return [...w.engine.connections].flatMap((connection) => (connection.control?.decisions ?? []).map((one) => one.what))
}

/** When `lane` has carried `len` bytes after `from`, by looking every 10 ms. */
function watchUse(w: EngineWorld, lane: Lane, from: Micros, len: number): { at: Micros } {
  const use = { at: -1 }
  const look = (before: number): void => {
    if (lane.bytes - before >= len) use.at = w.loop.now - from
    else if (w.loop.now < from + 60 * US_PER_S) w.loop.after(10 * US_PER_MS, () => look(before))
  }
  w.loop.at(from, () => look(lane.bytes))
  return use
}

for (const seed of seeds([1])) {
  t.comment(`SEED=${seed}`)

  t.test('a detour that appears in mid-transfer is used; whoever provides paths is told', async (t) => {
    const lanes = [new Lane(10, 10), new Lane(10, 10)]
    const w = world(seed, lanes, [])
    const told: string[] = []
    w.engine.paths.demand = {
      onConnect: (remote, port) => told.push(`connect ${remote}:${port}`),
      onPlain: () => told.push('plain'),
      onUse: (by, delta) => told.push(`${by.label} ${delta}`),
    }
    w.loop.at(US_PER_S, () => w.engine.paths.upsert(second(), w.loop.now))
    const result = w.transfer(5_000_000, 0)
    t.equal(complaint(result), '')
    t.ok((lanes[1] as Lane).bytes > 1_200_000, `${(lanes[1] as Lane).bytes} bytes by the detour`)
    t.ok(result.us < 3.3 * US_PER_S, `${(result.us / US_PER_S).toFixed(2)} s; 4.2 s by the default path alone`)
    t.same(told.slice(0, 3), [`connect ${SERVER4}:${PORT}`, 'default 1', 'eth1 1'])
    w.loop.run(() => false, w.loop.now + US_PER_S)
    t.same(told.slice(3).sort(), ['default -1', 'eth1 -1'], 'each once')
  })

  t.test('a destination without MPTCP is reported once, a plain connection not at all', async (t) => {
    for (const isEnabled of [true, false]) {
      const w = new EngineWorld({ seed, paths: [new Lane(10, 10).config], server: 'tcp', mptcp: { isEnabled } })
      const told: string[] = []
      w.engine.paths.demand = { onConnect: () => told.push('connect'), onPlain: () => told.push('plain'), onUse: () => told.push('use') }
      t.equal(complaint(w.transfer(10_000, 0)), '')
      t.same(told, isEnabled ? ['connect', 'plain'] : [])
    }
  })

  t.test('a path that goes takes its subflow with it, and its address only when no other path has it', async (t) => {
    const lanes = [new Lane(10, 10), new Lane(10, 10)]
    const w = world(seed, lanes, [second(), path({ id: 7, kind: 'nat', label: 'nat', destination: SERVER4B, destinationPort: PORT })])
    const ids: number[][] = []
    const note = (): void => {
      ids.push([...w.engine.connections].flatMap(({ conn }) => conn.subflows.filter((s) => s.isUsable).map((s) => s.path.id)))
    }
    const step = (at: number, run: () => void) => w.loop.at(at * US_PER_S, run)
    step(0.5, note)
    step(0.5, () => w.engine.paths.remove(7, w.loop.now))
    step(0.8, note)
    step(0.8, () => t.equal((w.server as MptcpHost).counters.RmAddr, 0, 'the address is the default one, too'))
    step(0.8, () => w.engine.paths.remove(1, w.loop.now))
    step(1.1, note)
    step(1.1, () => w.engine.paths.upsert(second({ id: 9 }), w.loop.now))
    step(1.4, note)
    t.equal(complaint(w.transfer(4_000_000, 0)), '')
    t.same(ids, [[0, 1, 7], [0, 1], [0], [0, 9]])
    t.equal((w.server as MptcpHost).counters.RmAddr, 1)
  })

  t.test('a server that pauses is asked whether it is there, and left alone when it is', async (t) => {
    const w = world(seed, [new Lane(10, 10), new Lane(10, 10)], [second()])
    let log: string[] = []
    w.loop.at(8 * US_PER_S, () => {
      log = decisions(w)
    })
    const result = w.transfer(0, 1_500_000, { server: { writing: { chunk: 500_000, pauseUs: 4 * US_PER_S } } })
    t.equal(complaint(result), '')
    t.ok(result.us > 8 * US_PER_S)
    t.same(log, ['open eth1: eth1 is free'])
  })

  for (const isUp of [true, false]) {
    t.test(`a path is silent for 5 s in mid-${isUp ? 'upload' : 'download'}: back in use within 2 s of its return`, async (t) => {
      for (const which of [0, 1]) {
        const lanes = [new Lane(10, 10), new Lane(10, 10)]
        const lane = lanes[which] as Lane
        const w = world(seed, lanes, [second()])
        w.loop.at(1 * US_PER_S, () => {
          lane.isOpen = false
        })
        w.loop.at(6 * US_PER_S, () => {
          lane.isOpen = true
        })
        const use = watchUse(w, lane, 6 * US_PER_S, 100_000)
        const result = w.transfer(isUp ? 14_000_000 : 0, isUp ? 0 : 14_000_000)
        t.equal(complaint(result), '')
        t.ok(lane.dropped > 0, `${lane.dropped} packets vanished`)
        t.ok(use.at >= 0 && use.at <= 2 * US_PER_S, `path ${which} in use again after ${use.at / US_PER_S} s`)
      }
    })
  }

  t.test('all paths are silent for 30 s: it goes on within 5 s, byte-exact', async (t) => {
    const lanes = [new Lane(10, 10), new Lane(10, 10)]
    const w = world(seed, lanes, [second()])
    const turn = (isOpen: boolean) => () => {
      for (const lane of lanes) lane.isOpen = isOpen
    }
    w.loop.at(1 * US_PER_S, turn(false))
    w.loop.at(31 * US_PER_S, turn(true))
    const uses = lanes.map((lane) => watchUse(w, lane, 31 * US_PER_S, 50_000))
    const result = w.transfer(5_000_000, 5_000_000)
    t.equal(complaint(result), '')
    for (const lane of lanes) t.ok(lane.dropped > 0)
    for (const use of uses) t.ok(use.at >= 0 && use.at <= 5 * US_PER_S, `again after ${use.at / US_PER_S} s`)
  })

  t.test('replacement finds the better detour once, and stays with it', async (t) => {
    const lanes = [new Lane(2, 10), new Lane(0.3, 40), new Lane(2, 10)]
    const w = world(seed, lanes, [second(), third()], { extraSubflows: 1, replaceUs: 2 * US_PER_S })
    let log: string[] = []
    let unused: readonly { path: string; why: string }[] = []
    let measures: readonly { label: string; rttUs: number | null; resent: number | null }[] = []
    w.loop.at(25 * US_PER_S, () => {
      log = decisions(w)
      const status = statusOf(w.engine, w.loop.now)
      unused = status.connections[0]?.unused ?? []
      measures = status.paths
    })
    const result = w.transfer(14_000_000, 0)
    t.equal(complaint(result), '')
    t.match(
      log.filter((what) => /trial|replaced|kept/.test(what)),
      [/^open eth2: trial: eth2 has not been tried/, /^close eth1: .*replaced$/],
    )
    t.match(unused, [{ path: 'eth1', why: /^slower than the others, tried again in \d+ s/ }])
    const [first, away, used] = measures
    t.ok((first?.rttUs ?? 0) >= 20 * US_PER_MS && (used?.rttUs ?? 0) >= 20 * US_PER_MS, 'paths are measured by their subflows')
    t.ok(used?.resent !== null && (used?.resent ?? 1) < 0.2)
    t.match(away, { label: 'eth1', rttUs: null, resent: null })
    const [, slow, fast] = lanes as [Lane, Lane, Lane]
    t.ok(fast.bytes > 4 * slow.bytes, `${fast.bytes} bytes by the better one, ${slow.bytes} by the other`)
  })

  t.test('an address that the server announces is joined', async (t) => {
    const w = world(seed, [new Lane(10, 10)], [])
    const server = w.server as MptcpHost
    const toSecond: boolean[] = []
    const listen = server.listen.bind(server)
    server.listen = (port, onSocket) =>
      listen(port, (socket: MptcpSocket) => {
        onSocket(socket)
        w.loop.at(US_PER_S / 2, () => t.ok(socket.conn.announce(3, SERVER4B, 0)))
        w.loop.at(US_PER_S, () => {
          for (const s of socket.conn.subflows) toSecond.push(s.ep.tuple.local.equals(SERVER4B))
        })
      })
    const result = w.transfer(2_000_000, 0)
    t.equal(complaint(result), '')
    t.same(toSecond, [false, true])
    t.equal(w.engine.mptcpCounters.AddAddr, 1)
  })

  t.test('a tentative detour: the SYN that came too early is repeated when the mapping is there, or may be', async (t) => {
    const lanes = [new Lane(10, 10), new Lane(10, 10)]
    const nat = (port: number, isTentative: boolean): Path =>
      second({ kind: 'nat', destination: DETOUR4, destinationPort: port, isTentative, remote: { address: SERVER4, port: PORT } })
    for (const what of ['confirmed', 'elsewhere', 'perhaps'] as const) {
      const w = world(seed, lanes, [nat(PORT, true)])
      const lane = lanes[1] as Lane
      lane.isOpen = false
      const dropped = lane.dropped
      let upAt = -1
      // the first SYN leaves after 20 ms, would be repeated after 1.02 s
      w.loop.at(300 * US_PER_MS, () => {
        lane.isOpen = true
        if (what === 'perhaps') w.engine.paths.repeatJoins(1, w.loop.now)
        else w.engine.paths.upsert(nat(what === 'elsewhere' ? PORT + 1 : PORT, false), w.loop.now)
      })
      ;(w.server as MptcpHost).listen(PORT + 1, () => {})
      const look = (): void => {
        const conn = [...w.engine.connections][0]?.conn
        if (conn?.subflows.some((s) => s.isJoin && s.isUsable)) upAt = w.loop.now
        else w.loop.after(US_PER_MS, look)
      }
      w.loop.at(300 * US_PER_MS, look)
      const result = w.transfer(2_000_000, 0)
      t.equal(complaint(result), '')
      t.ok(lane.dropped > dropped, 'the early SYN vanished')
      t.ok(upAt > 0 && upAt < 360 * US_PER_MS, `joined after ${upAt / US_PER_MS} ms`)
    }
  })
}
