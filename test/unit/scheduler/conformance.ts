import type { Test } from 'tap'
import { Grant, GRANT_MAX, type SchedulerFactory, type SchedulerView, type SubflowView } from '../../../src/scheduler/scheduler.js'

/** A subflow that is whatever the test says. */
export interface Fake extends SubflowView {
  space: number
}

export function fake(over: Partial<{ -readonly [K in keyof Fake]: Fake[K] }> = {}): Fake {
  return {
    srttUs: 10_000,
    rttvarUs: 1000,
    cwnd: 14_600,
    inFlight: 0,
    mss: 1460,
    isBackup: false,
    isUsable: true,
    isBlocked: false,
    rtoCount: 0,
    cost: 0,
    carriedTo: 0,
    bytesAcked: 1 << 20,
    space: 14_600,
    sendSpace(): number {
      return this.space
    },
    ...over,
  }
}

/** A view of these, with [una, nxt) in flight. */
export function viewOf(subflows: Fake[], dataUna = 0, dataNxt = 0): SchedulerView & { subflows: Fake[] } {
  return { subflows, dataUna, dataNxt }
}

/** What every scheduler has to respect, whatever its policy. */
export function conformance(t: Test, make: SchedulerFactory): void {
  const grant = new Grant()
  const select = (subflows: Fake[], pending = 100_000, window = 100_000): boolean => {
    grant.clear()
    return make().select(viewOf(subflows), pending, window, 0, grant)
  }

  t.test('grants nothing to nobody', async (tt) => {
    tt.notOk(select([]))
    tt.notOk(select([fake({ isUsable: false })]))
    tt.notOk(select([fake({ isBlocked: true })]))
    tt.notOk(select([fake({ space: 0 })]))
    tt.notOk(select([fake()], 0))
    tt.notOk(select([fake()], 100, 0))
  })

  t.test('grants at most one mapping, the pending bytes, the window', async (tt) => {
    tt.ok(select([fake({ space: 1 << 20 })], 1 << 20, 1 << 20))
    tt.ok(grant.len >= 1 && grant.len <= GRANT_MAX)
    tt.ok(select([fake()], 77))
    tt.ok(grant.len <= 77)
    tt.ok(select([fake()], 1000, 99))
    tt.ok(grant.len <= 99)
  })

  t.test('grants to subflows that exist and are usable', async (tt) => {
    const subflows = [fake({ isUsable: false }), fake(), fake({ isBlocked: true })]
    tt.ok(select(subflows))
    tt.equal(grant.mask & ~0b010, 0)
    tt.not(grant.mask, 0)
  })

  t.test('rfc8684 3.3.8: a backup is used only without a usable regular subflow', async (tt) => {
    tt.ok(select([fake({ isBackup: true, srttUs: 1 }), fake()]))
    tt.equal(grant.mask, 0b10)
    tt.notOk(select([fake({ isBackup: true }), fake({ space: 0 })]), 'also when that one has no room now')
    tt.notOk(select([fake({ isBackup: true }), fake({ isBlocked: true })]))
    tt.ok(select([fake({ isBackup: true }), fake({ isUsable: false })]))
    tt.equal(grant.mask, 0b01)
  })

  t.test('a silent subflow gives way to one that answers, and is used when there is no other', async (tt) => {
    tt.ok(select([fake({ rtoCount: 3, srttUs: 1 }), fake()]))
    tt.equal(grant.mask, 0b10)
    tt.ok(select([fake({ rtoCount: 3 }), fake({ isBackup: true })]))
    tt.equal(grant.mask, 0b10, 'even to a backup')
    tt.ok(select([fake({ rtoCount: 3 })]))
  })

  t.test('a reinjection goes to none of the excluded', async (tt) => {
    grant.clear()
    tt.ok(make().reinject(viewOf([fake({ srttUs: 1 }), fake()]), 0b01, 500, 0, 0, grant))
    tt.equal(grant.mask, 0b10)
    tt.ok(grant.len <= 500)
    grant.clear()
    tt.notOk(make().reinject(viewOf([fake()]), 0b01, 500, 0, 0, grant))
  })
}
