import t from 'tap'
import { NEVER } from '../../../src/base/time.js'
import { EngineClock, MAX_LATE_US } from '../../../src/engine/clock.js'

t.test('the engine time starts at 0 and follows the raw clock', (t) => {
  let raw = 5_000_000
  const clock = new EngineClock(() => raw)
  t.equal(clock.now(), 0)
  raw += 1234
  t.equal(clock.now(), 1234)
  t.equal(clock.due(2000), 5_002_000, 'a deadline in raw time')
  t.end()
})

t.test('a stall beyond the deadline is taken out, idle time is not', (t) => {
  let raw = 0
  const clock = new EngineClock(() => raw)
  clock.due(1000)
  raw = 3_000_000
  t.equal(clock.now(), 1000 + MAX_LATE_US)
  t.equal(clock.skippedUs, 3_000_000 - 1000 - MAX_LATE_US)
  const before = clock.now()
  raw += 500
  t.equal(clock.now(), before + 500, 'only once')
  clock.due(NEVER)
  raw += 60_000_000
  t.equal(clock.now(), before + 500 + 60_000_000)
  t.end()
})
