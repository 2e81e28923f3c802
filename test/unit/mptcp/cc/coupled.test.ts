import { readFileSync } from 'node:fs'
import t from 'tap'
import type { CoupledController, CoupledFactory } from '../../../../src/mptcp/cc/coupled.js'
import { CoupledGroup } from '../../../../src/mptcp/cc/coupled.js'
import { lia } from '../../../../src/mptcp/cc/lia.js'
import { olia } from '../../../../src/mptcp/cc/olia.js'
import { path } from '../../../../src/pathmgr/path.js'
import { AckSample, SSTHRESH_MAX } from '../../../../src/tcp/cc/controller.js'
import { CLIENT_2, DROP, Link, PASS, pattern } from '../harness.js'

interface Case {
  readonly windows: number[]
  readonly rttUs: number[]
  readonly bytesBetweenLosses: number[]
  readonly mss: number
  readonly acked: number
  readonly lia: number[]
  readonly olia: number[]
}

const cases = JSON.parse(readFileSync(new URL('../../../vectors/coupled.json', import.meta.url), 'utf8')) as Case[]

function ack(delivered: number, srttUs: number, mss: number, isLimited: boolean): AckSample {
  const s = new AckSample()
  s.delivered = delivered
  s.srttUs = srttUs
  s.mss = mss
  s.isLimited = isLimited
  return s
}

/** Controllers in the state of the case, in congestion avoidance. */
function build(make: CoupledFactory, c: Case): CoupledController[] {
  const group = new CoupledGroup(make)
  return c.windows.map((w, i) => {
    const m = group.factory(w) as CoupledController
    m.ssthresh = 1
    m.onAck(ack(c.bytesBetweenLosses[i] as number, c.rttUs[i] as number, c.mss, false), 0)
    return m
  })
}

for (const [name, make] of [
  ['lia', lia],
  ['olia', olia],
] as const) {
  t.test(`${name}: increases as computed by another program`, async (tt) => {
    tt.ok(cases.length > 4)
    for (const c of cases) {
      const members = build(make, c)
      members.forEach((m, i) => {
        const want = c[name][i] as number
        const got = m.increase(c.acked)
        tt.ok(Math.abs(got - want) <= 1e-9 * Math.max(1, Math.abs(want)), `${c.windows.join('/')} of ${i}: ${got}, expected ${want}`)
      })
    }
  })

  t.test(`${name}: one subflow grows by one MSS per window, halves on loss, restarts on timeout`, async (tt) => {
    const group = new CoupledGroup(make)
    const m = group.factory(14_600) as CoupledController
    tt.equal(m.ssthresh, SSTHRESH_MAX)
    m.onAck(ack(14_600, 20_000, 1460, true), 0)
    tt.equal(m.cwnd, 29_200, 'slow start')
    m.onCongestion(29_200, 1460, 0)
    tt.equal(m.cwnd, 14_600)
    for (let i = 0; i < 10; i++) m.onAck(ack(1460, 20_000, 1460, true), 0)
    tt.ok(Math.abs(m.cwnd - 16_060) < 100, `one more after a window: ${m.cwnd}`)
    const before = m.cwnd
    m.onAck(ack(14_600, 20_000, 1460, false), 0)
    tt.equal(m.cwnd, before, 'an unused window does not grow')
    m.onCongestion(m.cwnd, 1460, 0)
    m.onSpurious(0)
    tt.equal(m.cwnd, before, 'undone')
    m.onRto(before, 1460, true, 0)
    tt.equal(m.cwnd, 1460)
    group.leave(m)
    tt.equal(group.members.length, 0)
  })

  t.test(`${name}: over a transfer with loss, windows of subflows that are gone do not count`, async (tt) => {
    const link = new Link({ capacity: 200_000, client: { coupled: make } }).establish()
    link.client.write(pattern(1))
    link.run(100_000)
    link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
    link.run(100_000)
    let n = 0
    link.filter = (p) => (p.pkt.payLen > 0 && ++n % 29 === 0 ? DROP : PASS)
    let sent = 1
    for (let i = 0; i < 40; i++) {
      sent += link.client.write(pattern(20_000, sent))
      link.run(20_000)
    }
    tt.ok(link.run(60_000_000, () => link.server.hasReceived(pattern(sent))))
    tt.ok(link.dropped > 5)
    const group = link.client.c.group as CoupledGroup
    tt.equal(group.members.length, 2)
    tt.equal(link.client.c.subflows[0]?.ep.snd.cc.name, name)
    link.client.c.subflows[1]?.reset(0)
    link.run(500_000)
    tt.equal(group.members.length, 1)
  })
}
