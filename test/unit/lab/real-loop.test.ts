import t from 'tap'
import { RealLoop } from '../../../bench/lab/real-loop.js'

/** A clock that stands still until it is moved, or moves by itself at every reading; a timer that tells what it was armed for. */
class FakeMachine {
  clock = 1_000_000
  stepUs = 0
  armedAt = Number.NaN
  armed = 0
  watched: boolean[] = []
  onPoll = (): void => {}
  readonly loop: RealLoop

  constructor(spinUs = 0) {
    this.loop = new RealLoop(
      {
        nowUs: () => {
          this.clock += this.stepUs
          return this.clock
        },
        arm: (at) => {
          this.armedAt = at
          this.armed++
        },
      },
      { watch: (isWatched) => this.watched.push(isWatched), poll: () => this.onPoll() },
      spinUs,
    )
  }

  fire(lateUs = 0): void {
    this.clock = Math.max(this.clock, this.armedAt + lateUs)
    this.loop.onTimer()
  }
}

t.test('a late event has the instant for which it was scheduled, and so has what follows', async (t) => {
  const machine = new FakeMachine()
  const { loop } = machine
  const seen: number[] = []
  loop.onArrival(() =>
    loop.at(loop.now + 100, () => {
      seen.push(loop.now, loop.lateUs)
      loop.at(loop.now + 100, () => seen.push(loop.now, loop.lateUs))
    }),
  )
  t.equal(machine.armedAt, 1_000_100)
  machine.fire(70)
  t.equal(machine.armedAt, 1_000_200, 'and not 70 µs later')
  machine.fire(5)
  t.same(seen, [1_000_100, 70, 1_000_200, 5])
  t.equal(loop.worstStallUs, 70)
})

t.test('what arrives from outside has the time of the clock, after all that was due', async (t) => {
  const machine = new FakeMachine()
  const { loop } = machine
  const seen: [string, number][] = []
  loop.onArrival(() => loop.at(loop.now + 100, () => seen.push(['event', loop.now])))
  machine.clock += 130
  loop.onArrival(() => seen.push(['arrival', loop.now]))
  t.same(seen, [
    ['event', 1_000_100],
    ['arrival', 1_000_130],
  ])
})

t.test('what is read after a very late event is not dated back by the whole stall', async (t) => {
  const machine = new FakeMachine()
  const { loop } = machine
  const seen: number[] = []
  const look = (): void => {
    loop.dateReads()
    seen.push(loop.now)
  }
  loop.onArrival(() => {
    loop.at(loop.now + 100, look)
    loop.at(loop.now + 200, look)
  })
  machine.fire(10_000)
  t.same(seen, [1_010_100 - 250, 1_010_100 - 250])
  loop.onArrival(() => loop.at(loop.now + 100, look))
  machine.fire(50)
  t.equal(seen.at(-1), 1_010_200, 'an ordinary lateness does not show')
})

t.test('the timer is armed early and the rest is waited for by reading the clock', async (t) => {
  const machine = new FakeMachine(20)
  const { loop } = machine
  let handledAt = 0
  loop.onArrival(() => loop.at(loop.now + 100, () => (handledAt = machine.clock)))
  t.equal(machine.armedAt, 1_000_080)
  machine.stepUs = 1
  machine.fire()
  t.equal(handledAt, 1_000_100, 'neither early nor late')
})

t.test('the timer is not armed again for the same instant', async (t) => {
  const machine = new FakeMachine()
  machine.loop.onArrival(() => machine.loop.at(machine.loop.now + 100, () => {}))
  machine.loop.onArrival(() => {})
  machine.loop.onArrival(() => {})
  t.equal(machine.armed, 1)
})

t.test('an endless row of due events is interrupted, and goes on', async (t) => {
  const machine = new FakeMachine()
  const { loop } = machine
  let n = 0
  const again = (): void => {
    if (++n < 10_000) loop.at(loop.now, again)
  }
  loop.onArrival(() => loop.at(loop.now, again))
  t.ok(n > 1000 && n < 10_000, 'others had their turn', { n })
  while (n < 10_000) machine.fire()
  t.equal(loop.pending, 0)
})

t.test('many wake-ups lead to polling at an even pace, few events back to waiting', async (t) => {
  const machine = new FakeMachine()
  const { loop } = machine
  for (let i = 0; i < 400; i++) {
    machine.clock += 50
    loop.onArrival(() => loop.at(loop.now + 20, () => {}))
  }
  t.same(machine.watched, [false], 'nothing wakes the loop but the timer')
  let polls = 0
  machine.onPoll = () => {
    polls++
    for (let i = 0; i < 4; i++) loop.at(loop.now + i * 20, () => {})
  }
  const from = machine.clock
  while (machine.clock < from + 20_000) machine.fire()
  t.equal(polls, 200, 'every 100 µs')
  t.same(machine.watched, [false])
  machine.onPoll = () => {}
  while (machine.clock < from + 60_000 && machine.watched.length < 2) machine.fire()
  t.same(machine.watched, [false, true])
  t.ok(loop.polledUs >= 20_000)
})
