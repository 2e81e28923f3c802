import t from 'tap'
import { Signals } from '../../../src/cli/signals.js'

/** Signals are delivered between turns of the loop; the test raises them by hand, as the process's own event. */
const raise = (name: NodeJS.Signals) => process.emit(name, name)

t.test('signals before anybody listens are kept, in their meaning', (t) => {
  const signals = new Signals()
  t.teardown(() => signals.close())
  raise('SIGHUP')
  raise('SIGTERM')
  raise('SIGINT')
  const said: string[] = []
  signals.handle({ end: () => said.push('end'), hurry: () => said.push('hurry'), reload: () => said.push('reload') })
  t.same(said, ['reload', 'end', 'hurry'])
  t.end()
})

t.test('the first ends, every further one hurries; SIGHUP reloads', (t) => {
  const signals = new Signals()
  const said: string[] = []
  signals.handle({ end: () => said.push('end'), hurry: () => said.push('hurry'), reload: () => said.push('reload') })
  for (const name of ['SIGHUP', 'SIGHUP', 'SIGINT', 'SIGTERM', 'SIGTERM'] as const) raise(name)
  t.same(said, ['reload', 'reload', 'end', 'hurry', 'hurry'])
  const count = process.listenerCount('SIGHUP')
  signals.close()
  t.equal(process.listenerCount('SIGHUP'), count - 1, 'and afterwards they have their usual meaning')
  t.end()
})
