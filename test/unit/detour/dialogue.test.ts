import t from 'tap'
import { forSeeds } from '../../oracle/seeds.js'
import type { Rng } from '../../../src/base/rng.js'
import { MS, NatPair, S } from './nat-harness.js'

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
    const used = new Map<number, number>()
    for (let i = 0; i < 150; i++) step(pair, rng, used, faults)

    // healed: whatever a subflow uses or somebody wants has exactly one lease, at the port where the path leads
    pair.drop = () => false
    pair.copies = () => [0]
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
