import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { Rng } from '../../../src/base/rng.js'
import { isDerived, isToAnnounced, type Path } from '../../../src/pathmgr/path.js'
import type { PathManagerFactory } from '../../../src/pathmgr/path-manager.js'
import { PATH_MANAGERS } from '../../../src/pathmgr/registry.js'
import { scripted } from '../../../src/pathmgr/scripted.js'
import { seeds } from '../../oracle/seeds.js'
import { Driver, LIMITS, pathOf } from './driver.js'

/** Every manager, whatever happens to paths and subflows: bounded, never by a path that is gone, never before joins are allowed. */
const managers: Readonly<Record<string, PathManagerFactory>> = {
  ...PATH_MANAGERS,
  scripted: scripted((event) => (event.kind === 'path-up' ? [{ kind: 'open', path: event.path, why: 'script' }] : [])),
}

const KINDS = ['nat', 'openvpn', 'interface', 'static'] as const

for (const seed of seeds([1, 2, 3])) {
  for (const [name, factory] of Object.entries(managers)) {
    t.test(`${name}: random events, SEED=${seed}`, async (t) => {
      const rng = new Rng(seed)
      const d = new Driver(factory, { replaceUs: 5e6 })
      const paths = new Map<number, Path>()
      const announced = new Set<number>()
      let nextPath = 1
      let opened = 0
      d.establish([])
      for (let i = 0; i < 400; i++) {
        const from = d.log.length
        const live = [...d.subflows.keys()]
        const victim = live[rng.below(Math.max(1, live.length))]
        switch (rng.below(9)) {
          case 0: {
            if (paths.size >= 6) break
            const kind = KINDS[rng.below(KINDS.length)] as (typeof KINDS)[number]
            const path = pathOf(nextPath++, kind)
            paths.set(path.id, path)
            d.tell({ kind: 'path-up', path })
            break
          }
          case 1: {
            const path = [...paths.values()][rng.below(Math.max(1, paths.size))]
            if (path === undefined) break
            paths.delete(path.id)
            d.tell({ kind: 'path-down', path })
            for (const [id, fake] of [...d.subflows]) {
              if (!isDerived(fake.path.id, path.id)) continue
              d.subflows.delete(id)
              d.tell({ kind: 'subflow-down', subflow: id, why: 'reset by us', isFault: false })
            }
            break
          }
          case 2:
            if (victim === undefined) break
            d.subflows.delete(victim)
            d.tell({ kind: 'subflow-down', subflow: victim, why: 'reset', isFault: true })
            break
          case 3:
            if (victim !== undefined) d.tell({ kind: rng.chance(0.5) ? 'subflow-silent' : 'subflow-back', subflow: victim })
            break
          case 4: {
            const id = 1 + rng.below(5)
            if (announced.has(id)) {
              announced.delete(id)
              const to = 0xcb007200 + id
              d.tell({ kind: 'withdrawn', id })
              for (const [subflow, fake] of [...d.subflows]) {
                if (fake.path.destination === null || fake.path.destination.w3 >>> 0 !== to) continue
                d.subflows.delete(subflow)
                d.tell({ kind: 'subflow-down', subflow, why: 'withdrawn', isFault: true })
              }
            } else {
              announced.add(id)
              d.tell({ kind: 'announced', id, address: IpAddress.v4(0xcb007200 + id), port: 80 })
            }
            break
          }
          case 5:
            if (rng.chance(0.3)) for (const path of paths.values()) d.refused.set(path.id, 'no port')
            else d.refused.clear()
            break
          case 6:
            d.answer()
            break
          default:
            d.pass(1 + rng.below(4), { 0: 1e6, 1: 1e5, 2: 5e5, 3: 2e6 })
        }
        for (const command of d.log.slice(from)) {
          if (command.kind !== 'open') continue
          opened++
          const { id, kind } = command.path
          if (!isToAnnounced(command.path) && kind !== 'default' && !paths.has(id)) t.fail(`a join by path ${id}, which is gone`)
        }
        // a trial, and a successor for each, come on top
        const most = name === 'detour' ? 2 * (1 + paths.size + announced.size) : 1 + LIMITS.extraSubflows
        if (name !== 'scripted' && d.subflows.size > Math.max(most, 1)) t.fail(`${d.subflows.size} subflows, at most ${most}`)
      }
      t.ok(opened > 20, `${opened} joins`)
      for (const path of paths.values()) {
        const isUsed = [...d.subflows.values()].some((fake) => fake.path.id === path.id && fake.isUp)
        if (!isUsed && name === 'detour') t.type(d.manager.reason(path, d.now), 'string', 'it says why a path is not used')
      }
    })
  }
}

t.test('full mesh: each path to each address of the server', async (t) => {
  const d = new Driver(PATH_MANAGERS['full-mesh'], { extraSubflows: 7 })
  d.establish([pathOf(1, 'interface')])
  d.tell({ kind: 'announced', id: 2, address: IpAddress.v4(0xcb007202), port: 80 })
  d.tell({ kind: 'announced', id: 3, address: IpAddress.v4(0xcb007203), port: 80 })
  t.equal(d.subflows.size, 6)
  d.tell({ kind: 'path-up', path: pathOf(4, 'nat', { destination: IpAddress.v4(0xc0000201), destinationPort: 20_001 }) })
  t.equal(d.subflows.size, 7, 'a detour leads to one address only')
})

t.test('ndiffports: so many more by the default path, again after a loss', async (t) => {
  const d = new Driver(PATH_MANAGERS.ndiffports, { extraSubflows: 3 })
  d.establish([pathOf(1, 'interface')])
  t.equal(d.subflows.size, 4)
  t.same(d.used, [0])
  d.answer()
  d.lose(0)
  d.pass(2)
  t.equal(d.subflows.size, 4)
})
