import t from 'tap'
import { minRtt } from '../../../src/scheduler/min-rtt.js'
import { DEFAULT_SCHEDULER, registerScheduler, schedulerFactory, schedulerNames } from '../../../src/scheduler/registry.js'

t.test('schedulers are found by name', async (tt) => {
  tt.equal(schedulerFactory(DEFAULT_SCHEDULER)().name, DEFAULT_SCHEDULER)
  tt.throws(() => schedulerFactory('nonsense'), { code: 'ERR_MPTCP_SCHEDULER' })
  registerScheduler('mine', minRtt)
  tt.ok(schedulerNames().includes('mine'))
  tt.throws(() => registerScheduler('mine', minRtt), { code: 'ERR_MPTCP_SCHEDULER' })
})
