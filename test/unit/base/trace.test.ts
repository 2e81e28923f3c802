import t from 'tap'
import { Trace } from '../../../src/base/trace.js'

t.test('a trace is off until enabled, and then keeps the newest records', async (t) => {
  const trace = new Trace()
  t.equal(trace.on, false)
  trace.add(1, 2, 3, 4, 5, 6)
  t.same(trace.records(), [])
  trace.enable(3)
  for (let i = 0; i < 5; i++) trace.add(i, 10, 20, i, -i, 0.5)
  t.equal(trace.total, 5)
  t.same(
    trace.records(),
    [2, 3, 4].map((i) => ({ at: i, kind: 10, id: 20, a: i, b: -i, c: 0.5 })),
  )
  trace.disable()
  t.equal(trace.on, false)
  t.equal(trace.records().length, 3, 'records stay readable')
  trace.enable(3)
  t.same(trace.records(), [])
})
