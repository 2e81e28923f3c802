import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { isDerived, isToAnnounced, toAnnounced } from '../../../src/pathmgr/path.js'
import { PATH_MANAGERS } from '../../../src/pathmgr/registry.js'
import { Driver, pathOf, REMOTE } from './driver.js'

const NAT4 = pathOf(4, 'nat')
const NAT5 = pathOf(5, 'nat')
const VPN6 = pathOf(6, 'openvpn')
const ETH7 = pathOf(7, 'interface')
/** Paths to addresses that the server announces as 3 and 4. */
const TO3 = toAnnounced(pathOf(0, 'default'), 3, REMOTE, 80).id
const TO4 = toAnnounced(pathOf(0, 'default'), 4, REMOTE, 80).id
const HAND8 = pathOf(8, 'static')

function driver(limits = {}): Driver {
  return new Driver(PATH_MANAGERS.detour, limits)
}

t.test('VPNs and interfaces come before NAT detours, these oldest first, two by default; paths by hand always', async (t) => {
  const d = driver()
  d.establish([NAT4, NAT5, HAND8])
  t.same(d.used, [0, 4, 5, 8])
  const e = driver()
  e.establish([NAT4, NAT5, VPN6])
  t.same(e.used, [0, 4, 6])
  const f = driver({ extraSubflows: 1 })
  f.establish([NAT4, VPN6, ETH7])
  t.same(f.used, [0, 6])
  t.match(f.manager.reason(NAT4, f.now), /limit of 1 extra/)
  t.equal(f.manager.reason(VPN6, f.now), 'the join is on its way')
  f.answer()
  t.equal(f.manager.reason(VPN6, f.now), null)
})

t.test('nothing is opened before joins are allowed', async (t) => {
  const d = driver()
  d.tell({ kind: 'path-up', path: NAT4 })
  t.equal(d.log.length, 0)
})

t.test('a detour that appears is used at once, one that goes makes room for the next', async (t) => {
  const d = driver()
  d.establish([])
  d.tell({ kind: 'path-up', path: NAT4 })
  d.answer()
  t.same(d.used, [0, 4])
  d.tell({ kind: 'path-up', path: NAT5 })
  d.tell({ kind: 'path-up', path: VPN6 })
  d.answer()
  t.same(d.used, [0, 4, 5], 'what works is not given up for another one')
  const id = d.subflowBy(4)
  d.subflows.delete(id)
  d.tell({ kind: 'subflow-down', subflow: id, why: 'reset by us', isFault: false })
  d.tell({ kind: 'path-down', path: NAT4 })
  t.same(d.used, [0, 5, 6])
})

t.test('a subflow that is lost comes back, by another path when one is free', async (t) => {
  const d = driver()
  d.establish([NAT4])
  d.answer()
  d.pass(20)
  d.lose(4)
  t.same(d.used, [0], 'not at once')
  d.pass(2)
  t.same(d.used, [0, 4])
  d.answer()
  const e = driver({ extraSubflows: 1 })
  e.establish([NAT4, NAT5])
  e.answer()
  e.lose(4)
  t.same(e.used, [0, 5])
  t.match(e.manager.reason(NAT4, e.now), /reset .*again in 1 s/)
})

t.test('a path that never worked is tried at longer and longer intervals, a minute at most', async (t) => {
  const d = driver()
  d.refused.set(4, 'no port')
  d.establish([NAT4])
  d.pass(10)
  t.equal(d.count('open'), 1 + 3, 'after 1, 3 and 7 s')
  d.pass(600)
  const opened = d.count('open')
  t.ok(opened >= 12 && opened <= 16, `${opened} attempts in 610 s`)
  d.refused.clear()
  d.tell({ kind: 'path-up', path: { ...NAT4, isTentative: true } })
  t.same(d.used, [0, 4], 'at once when it has changed')
})

t.test('a path that worked before is asked every second or so: back within two seconds after it is', async (t) => {
  const d = driver()
  d.establish([NAT4])
  d.answer()
  d.pass(30)
  d.lose(4)
  const before = d.count('open')
  d.pass(30) // joins go unanswered
  const attempts = d.count('open') - before
  t.ok(attempts >= 12, `${attempts} attempts in 30 s`)
  t.equal(d.count('close'), attempts - d.subflows.size + 1, 'each given up before the next')
})

t.test('a silent subflow gets a successor by the same path, and goes when that one is up', async (t) => {
  const d = driver()
  d.establish([NAT4])
  d.answer()
  const old = d.subflowBy(4)
  d.silence(4, true)
  d.pass(2)
  t.equal(d.subflows.size, 3)
  d.answer()
  t.notOk(d.subflows.has(old))
  t.same(d.used, [0, 4])
})

t.test('a silent subflow that answers again is kept, its successor is not needed', async (t) => {
  const d = driver()
  d.establish([NAT4])
  d.answer()
  const old = d.subflowBy(4)
  d.silence(4, true)
  d.pass(2)
  t.equal(d.subflows.size, 3)
  d.tell({ kind: 'subflow-back', subflow: old })
  t.ok(d.subflows.has(old))
  t.equal(d.subflows.size, 2)
  d.pass(10)
  t.equal(d.subflows.size, 2)
})

t.test('while a path is silent another one takes its place; when it is back the surplus goes', async (t) => {
  const d = driver({ extraSubflows: 1 })
  d.establish([VPN6, NAT4])
  d.answer()
  t.same(d.used, [0, 6])
  d.silence(6, true)
  t.same(d.used, [0, 4, 6])
  d.answer()
  d.silence(6, false)
  t.same(d.used, [0, 6], 'fail-back to the preferred one')
})

t.test('the default path is joined again when the first subflow is lost', async (t) => {
  const d = driver()
  d.establish([NAT4])
  d.answer()
  d.lose(0)
  t.same(d.used, [4])
  d.pass(2)
  t.same(d.used, [0, 4])
})

t.test('addresses that the server announces are joined, within their own limit, and left when withdrawn', async (t) => {
  const d = driver({ addAddrAccepted: 1 })
  d.establish([NAT4, NAT5])
  d.tell({ kind: 'announced', id: 3, address: IpAddress.v4(0xcb007206), port: 80 })
  d.tell({ kind: 'announced', id: 4, address: IpAddress.v4(0xcb007207), port: 80 })
  t.same(d.used, [0, 4, 5, TO3])
  const open = d.log.find((command) => command.kind === 'open' && command.path.id === TO3)
  t.ok(open?.kind === 'open' && open.path.destination?.w3 === 0xcb007206 << 0 && open.path.destinationPort === 80)
  d.answer()
  d.lose(TO3)
  d.tell({ kind: 'withdrawn', id: 3 })
  d.pass(5)
  t.same(d.used, [0, 4, 5, TO4])
})

t.test('replacement: a path that was never tried is tried against the worst, and stays only when it is better', async (t) => {
  const d = driver({ extraSubflows: 1, replaceUs: 5e6 })
  d.establish([NAT4, NAT5])
  d.answer()
  const rates = { 0: 1e6, 4: 1e5, 5: 8e5 }
  d.pass(12, rates)
  t.same(d.used, [0, 4, 5], 'make before break')
  d.answer()
  d.pass(12, rates)
  t.same(d.used, [0, 5])
  t.match(
    d.log.filter((c) => c.kind === 'close').map((c) => c.why),
    [/nat4 does 0.80 Mbit\/s, nat5 6.40/],
  )
  d.pass(600, rates)
  t.same(d.used, [0, 5])
  t.ok(d.count('open') <= 4 + 2, `does not flap: ${d.count('open')} joins in 10 minutes`)
})

t.test('replacement: a newcomer that is no better goes, and rests', async (t) => {
  const d = driver({ extraSubflows: 1, replaceUs: 5e6 })
  d.establish([NAT4, NAT5])
  d.answer()
  const rates = { 0: 1e6, 4: 5e5, 5: 5e5 }
  d.pass(7, rates)
  d.answer()
  d.pass(14, rates)
  t.same(d.used, [0, 4])
  t.equal(d.count('close'), 1)
  t.match(d.manager.reason(NAT5, d.now), /slower than the others/)
})

t.test('replacement: never on a connection that has nothing to send, and never when switched off', async (t) => {
  const d = driver({ extraSubflows: 1, replaceUs: 5e6 })
  d.establish([NAT4, NAT5])
  d.answer()
  d.pass(120, { 0: 1000, 4: 100 })
  t.same(d.used, [0, 4])
  t.ok(d.wakeAt - d.now > 10e6, 'it is looked at more and more rarely')
  const e = driver({ extraSubflows: 1 })
  e.establish([NAT4, NAT5])
  e.answer()
  e.pass(120, { 0: 1e6, 4: 1e4 })
  t.same(e.used, [0, 4])
  t.equal(e.count('open') + d.count('open'), 2)
  const traffic = { 0: 1e6, 4: 1e4, 5: 1e6 }
  d.pass(41, traffic)
  d.answer()
  d.pass(15, traffic)
  t.same(d.used, [0, 5], 'and replaced soon after it has something to send')
})

t.test('ids of paths do not run into those of announced addresses, after millions of mappings either', async (t) => {
  const late = pathOf(3_000_000, 'nat')
  const derived = toAnnounced(late, 255, REMOTE, 80)
  t.notOk(isToAnnounced(late))
  t.ok(isToAnnounced(derived) && Number.isSafeInteger(derived.id))
  t.ok(isDerived(derived.id, late.id) && isDerived(late.id, late.id))
  const d = driver({ extraSubflows: 1, addAddrAccepted: 0 })
  d.establish([late])
  t.same(d.used, [0, late.id])
})
