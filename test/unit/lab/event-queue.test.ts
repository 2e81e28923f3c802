import t from 'tap'
import { EventQueue } from '../../../bench/lab/event-queue.js'
import { forSeeds } from '../../oracle/seeds.js'

t.test('events come by time, those of one instant in the order of insertion, as sorting says', async (t) => {
  await forSeeds(t, [1, 2], (rng) => {
    const queue = new EventQueue()
    let pending: { at: number; order: number }[] = []
    let got = -1
    for (let order = 0; order < 1500; order++) {
      const at = rng.below(200)
      pending.push({ at, order })
      queue.push(at, () => (got = order), null, null)
      while (rng.chance(0.45) && pending.length > 0) {
        pending = pending.toSorted((a, b) => a.at - b.at || a.order - b.order)
        const expected = pending.shift()
        const event = queue.pop()
        event.run?.()
        if (event.at !== expected?.at || got !== expected.order) t.fail(`event ${got} at ${event.at}`, { expected })
        queue.recycle(event)
      }
      if (queue.size !== pending.length) t.fail('wrong size')
    }
    t.ok(pending.length > 0, 'the queue was in use')
  })
})

t.test('events are recycled and forget what they held', async (t) => {
  const queue = new EventQueue()
  const packet = new Uint8Array(1)
  queue.push(5, null, () => {}, packet)
  const first = queue.pop()
  t.equal(first.packet, packet)
  queue.recycle(first)
  t.equal(first.packet, null)
  queue.push(6, null, null, null)
  t.equal(queue.first(), first, 'the same object again')
})
