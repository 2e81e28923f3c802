import t from 'tap'
import { forSeeds } from '../../oracle/seeds.js'
import type { Rng } from '../../../src/base/rng.js'
import { IpAddress } from '../../../src/base/address.js'
import type { MappedOp, Result } from '../../../src/detour/protocol/ops.js'
import { MS, NatPair, S } from './nat-harness.js'

/** An answer that is well sealed and means little. */
function nonsense(rng: Rng): Partial<MappedOp> {
  const detour = new IpAddress(rng.int32(), rng.int32(), rng.int32(), rng.int32())
  const leaseS = rng.chance(0.5) ? rng.below(4) : rng.int32() >>> 0
  return {
    result: rng.below(7) as Result,
    leaseS,
    detour,
    detourPort: rng.below(65_536),
    epoch: rng.int32() >>> 0,
    quotaLeft: rng.below(9),
  }
}

/** What may happen to the two, one step of it. */
function step(
  pair: NatPair,
  rng: Rng,
  used: Map<number, number>,
  faults: { restarts: number; silences: number; jumps: number; byes: number },
): void {
  const n = rng.below(12)
  const fault = rng.chance(0.2) ? rng.below(4) : 4 + rng.below(8)
  switch (fault) {
    case 0:
      pair.daemon.isRunning = false
      pair.run(rng.logUniform(1 * MS, 60 * S))
      pair.daemon.isRunning = true
      faults.silences++
      break
    case 1:
      pair.daemon.restart()
      faults.restarts++
      break
    case 2:
      pair.daemon.aheadUs += rng.between(-100, 100) * S
      faults.jumps++
      break
    case 3:
      pair.down(pair.daemon.bye(pair.now, rng.int32()))
      faults.byes++
      break
    case 4:
      pair.plain(n)
      break
    case 5:
    case 6:
      for (const id of pair.paths.keys()) {
        if (!rng.chance(0.3)) continue
        pair.use(id, 1)
        used.set(id, (used.get(id) ?? 0) + 1)
      }
      break
    case 7:
      for (const [id, count] of used) {
        if (!pair.paths.has(id)) used.delete(id)
        else if (count > 0 && rng.chance(0.5)) {
          pair.use(id, -1)
          used.set(id, count - 1)
        }
      }
      break
    default:
      pair.connect(n)
  }
  pair.run(rng.logUniform(1 * MS, 60 * S))
}

t.test('client and daemon agree again after any faults, and nothing is left over', async (tt) => {
  const faults = { restarts: 0, silences: 0, jumps: 0, byes: 0 }
  let dropped = 0
  let replays = 0
  let corrections = 0
  let downs = 0
  let confirmed = 0
  await forSeeds(tt, [1, 2, 3, 4, 5, 6, 7, 8], (rng, seed) => {
    const pair = new NatPair({ seed })
    pair.drop = () => rng.chance(0.2)
    pair.copies = () => (rng.chance(0.2) ? [0, rng.below(300 * MS)] : [rng.chance(0.2) ? rng.below(300 * MS) : 0])
    pair.daemon.override = () => (rng.chance(0.05) ? nonsense(rng) : null)
    const used = new Map<number, number>()
    for (let i = 0; i < 150; i++) step(pair, rng, used, faults)

    // healed: whatever a subflow uses or somebody wants has exactly one lease, at the port where the path leads
    pair.drop = () => false
    pair.copies = () => [0]
    pair.daemon.override = null
    pair.daemon.isRunning = true
    pair.run(200 * S)
    for (let n = 100; n < 110; n++) pair.connect(n)
    pair.run(1 * S)
    if (pair.client.state !== 'up') throw new Error(`the detour stays ${pair.client.state}`)
    for (const path of pair.paths.values()) if (!used.has(path.id)) pair.use(path.id, 1)
    for (const id of pair.paths.keys()) used.set(id, 1)
    pair.run(200 * S)
    const leases = pair.daemon.leases.leasesOf(pair.daemon.owner)
    if (leases.length !== pair.paths.size) throw new Error(`${leases.length} leases for ${pair.paths.size} paths`)
    for (const path of pair.paths.values()) {
      const lease = leases.find((one) => path.remote?.address.equals(one.remote) === true && path.remote.port === one.remotePort)
      if (path.isTentative || lease?.port !== path.destinationPort) throw new Error(`path ${path.id} leads nowhere`)
      confirmed++
    }

    // the end
    pair.client.stop(pair.now)
    pair.run(1 * S)
    if (pair.paths.size !== 0 || pair.daemon.live() !== 0 || !pair.client.isQuiet) throw new Error('something is left over')
    dropped += pair.dropped
    replays += pair.daemon.replays
    corrections += pair.client.counters.corrections
    downs += pair.client.counters.downs
  })
  for (const [name, n] of Object.entries({ ...faults, dropped, replays, corrections, downs, confirmed })) tt.ok(n > 0, `${name}: ${n}`)
})

t.test('a daemon that answers nonsense, another epoch each time, makes no storm and no harm', async (tt) => {
  await forSeeds(tt, [1, 2], (rng, seed) => {
    const pair = new NatPair({ seed })
    pair.daemon.override = () => nonsense(rng)
    for (let n = 0; n < 40; n++) pair.connect(n)
    pair.run(60 * S)
    const { epochs, sent } = pair.client.counters
    tt.ok(epochs > 10, `${epochs} epochs`)
    tt.ok(sent < 60 * 40 * 3, `${sent} datagrams in a minute`)
    pair.client.stop(pair.now)
    tt.equal(pair.paths.size, 0)
  })
})
