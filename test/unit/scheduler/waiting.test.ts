import t from 'tap'
import { adaptive } from '../../../src/scheduler/adaptive.js'
import { blest } from '../../../src/scheduler/blest.js'
import { cheapest } from '../../../src/scheduler/cheapest.js'
import { ecf } from '../../../src/scheduler/ecf.js'
import { Grant, REINJECT_BLOCKED } from '../../../src/scheduler/scheduler.js'
import { conformance, type Fake, fake, viewOf } from './conformance.js'

for (const make of [adaptive, blest, cheapest, ecf]) t.test(make().name, async (tt) => conformance(tt, make))

const g = new Grant()
/** A fast subflow whose window is full, and a slow one that is idle. */
const fullFast = (over: Partial<Fake> = {}): Fake => fake({ srttUs: 10_000, cwnd: 14_600, inFlight: 14_600, space: 0, ...over })
const idleSlow = (over: Partial<Fake> = {}): Fake => fake({ srttUs: 100_000, cwnd: 14_600, ...over })

t.test('blest: the slow subflow is left idle when its bytes would fill the window of the fast one', async (tt) => {
  const view = viewOf([fullFast(), idleSlow()])
  // X = (14 600 + 1460 * 9 / 2) * 10 = 211 700; times 1.19 after the first round
  const s = blest()
  tt.notOk(s.select(view, 1e6, 200_000, 0, g), 'wait')
  tt.ok(s.select(view, 1e6, 400_000, 0, g), 'there is room for both')
  tt.equal(g.mask, 0b10)
  tt.ok(blest().select(viewOf([fullFast({ inFlight: 0 }), idleSlow()]), 1e6, 1000, 0, g), 'nothing to wait for')
  tt.ok(blest().select(viewOf([fullFast({ rtoCount: 1 }), idleSlow({ rtoCount: 1 })]), 1e6, 1000, 0, g), 'nor for one that is silent')
  // lambda: 1 at least when nothing ever blocks, more when something does
  const calm = blest()
  for (let now = 0; now < 1_000_000; now += 10_000) calm.select(view, 1e6, 0x7fffffff, now, g)
  tt.ok(calm.select(view, 1e6, 216_000, 1_000_000, g))
  const busy = blest()
  for (let now = 0; now < 1_000_000; now += 10_000) {
    busy.reinject(view, 0, 100, REINJECT_BLOCKED, now, g)
    busy.select(view, 1e6, 0x7fffffff, now, g)
  }
  tt.notOk(busy.select(view, 1e6, 1.28 * 211_700, 1_000_000, g))
})

t.test('ecf: the end of what is to be sent waits for the fast subflow, a lot does not', async (tt) => {
  const view = viewOf([fullFast(), idleSlow()])
  // n = 1 + k / cwnd_f rounds of 10 ms on the fast one against 100 ms + 1 ms on the slow one
  tt.notOk(ecf().select(view, 14_600, 1e6, 0, g), 'two rounds of 10 ms are sooner, and there is enough to make it worth it')
  tt.ok(ecf().select(view, 1_000_000, 1e6, 0, g), 'seventy rounds are not')
  tt.equal(g.mask, 0b10)
  tt.ok(ecf().select(viewOf([fullFast(), idleSlow({ cwnd: 1e6 })]), 14_600, 1e6, 0, g), 'little on a wide slow path is through by itself')
  // hysteresis: between 101 ms and 126 ms whoever waits goes on waiting
  const k = 14_600 * 10
  tt.ok(ecf().select(view, k, 1e6, 0, g))
  const s = ecf()
  tt.notOk(s.select(view, 14_600, 1e6, 0, g))
  tt.notOk(s.select(view, k, 1e6, 0, g))
  tt.ok(s.select(view, 14_600 * 13, 1e6, 0, g))
  tt.ok(s.select(view, k, 1e6, 0, g), 'not waiting any more')
})

t.test('cheapest: price before delay', async (tt) => {
  const view = viewOf([fake({ cost: 5, srttUs: 1000 }), fake({ cost: 1, srttUs: 90_000 }), fake({ cost: 1, srttUs: 50_000 })])
  const s = cheapest()
  tt.ok(s.select(view, 1000, 1000, 0, g))
  tt.equal(g.mask, 0b100)
  for (const i of [1, 2]) (view.subflows[i] as Fake).space = 0
  tt.ok(s.select(view, 1000, 1000, 0, g))
  tt.equal(g.mask, 0b001, 'the dear one carries what the others have no room for')
})

t.test('adaptive: copies on a new subflow and while the application is the limit, bandwidth while the network is', async (tt) => {
  const s = adaptive()
  const old = fake({ carriedTo: 20_000 })
  const fresh = fake({ srttUs: 1, bytesAcked: 5000, carriedTo: 0 })
  const view = viewOf([old, fresh], 5000, 20_000)
  tt.ok(s.select(view, 1000, 1000, 0, g))
  tt.equal(g.mask, 0b01, 'nothing new on the new one, though it is faster')
  tt.ok(s.repeat?.(view, 1000, 0, g))
  tt.same([g.mask, g.off, g.len], [0b10, 5000, 15_000])
  fresh.space = 0
  tt.notOk(s.repeat?.(view, 1000, 0, g))
  const proven = viewOf([old, fake({ srttUs: 1, carriedTo: 3000 })], 5000, 20_000)
  tt.notOk(s.repeat?.(proven, 1000, 0, g), 'the network is the limit')
  tt.ok(s.repeat?.(proven, 0, 0, g), 'the application is')
  tt.equal(g.mask, 0b10)
  tt.ok(s.select(viewOf([fake({ bytesAcked: 0 })]), 1000, 1000, 0, g), 'the first one has to do the work')
})
