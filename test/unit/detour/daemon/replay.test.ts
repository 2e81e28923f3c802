import t from 'tap'
import { RateLimit } from '../../../../src/detour/daemon/rate.js'
import { ReplayWindow } from '../../../../src/detour/daemon/replay.js'

t.test('a nonce is taken once, for as long as its time can be valid', (t) => {
  const window = new ReplayWindow(0, 30_000, 1000)
  for (let at = 0; at < 300_000; at += 7001) {
    // Of the farthest future that is valid: it stays valid for two tolerances.
    t.ok(window.add(`n${at}`, at))
    for (const later of [0, 1, 29_999, 59_999]) {
      const copy = new ReplayWindow(0, 30_000, 1000)
      copy.add('x', at)
      t.notOk(copy.add('x', at + later), `again after ${later}`)
    }
  }
  t.notOk(window.has('n0', 300_000), 'and forgotten afterwards')
  t.end()
})

t.test('bounded: a full window takes nothing new, and still knows what it took', (t) => {
  const window = new ReplayWindow(0, 30_000, 100)
  let taken = 0
  for (let i = 0; i < 1000; i++) if (window.add(String(i), 0)) taken++
  t.equal(taken, 100)
  t.ok(window.has('0', 0))
  t.ok(window.add('1000', 60_000), 'room again in the next generation')
  t.notOk(window.add('0', 60_000), 'the last one is still known')
  t.ok(window.add('0', 240_000))
  t.end()
})

t.test('what is kept is known for ever, of very many the last ones', (t) => {
  const window = new ReplayWindow(0, 30_000, 100)
  window.keep('x')
  t.ok(window.has('x', 1e9))
  t.notOk(window.add('x', 2e9))
  for (let i = 0; i < 5000; i++) window.keep(String(i))
  t.notOk(window.has('x', 2e9))
  t.ok(window.has('4999', 2e9) && window.has('2000', 2e9))
  t.end()
})

t.test('a rate limit grants its burst at once and its rate over time, whatever the clock does', (t) => {
  const limit = new RateLimit(10, 5, 0)
  const take = (now: number, n: number) => Array.from({ length: n }, () => limit.take(now)).filter(Boolean).length
  t.equal(take(0, 100), 5)
  t.equal(take(1000, 100), 5, 'no more than the burst')
  t.equal(take(500, 100), 0, 'a clock that goes back gives nothing')
  let granted = 0
  for (let now = 1000; now <= 11_000; now += 10) granted += take(now, 3)
  t.ok(granted >= 99 && granted <= 106, 'ten a second', { granted })
  t.end()
})
