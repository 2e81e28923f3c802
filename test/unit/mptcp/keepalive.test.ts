import t from 'tap'
import { path } from '../../../src/pathmgr/path.js'
import { CAUSE_TIMEOUT } from '../../../src/tcp/state.js'
import type { Subflow } from '../../../src/mptcp/subflow.js'
import { CLIENT_2, DROP, Link, PASS, pattern } from './harness.js'

const S = 1_000_000

/** Two subflows, silent. */
function idle(tcp: { keepaliveUs?: number; userTimeoutUs?: number }): Link {
  const link = new Link({ tcp }).establish()
  link.client.write(pattern(1))
  link.run(100_000)
  link.server.write(pattern(1))
  link.run(100_000)
  link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(1 * S)
  link.seen.length = 0
  return link
}

const flows = (link: Link): number[] => link.seen.map((p) => p.flow)

t.test('each idle subflow is kept alive, a backup is not', (t) => {
  const link = idle({ keepaliveUs: 240 * S })
  link.run(250 * S)
  t.same([...new Set(flows(link))].sort(), [0, 1])
  link.client.c.setBackup(link.client.c.subflows[1] as Subflow, true, link.now)
  link.run(1 * S)
  link.seen.length = 0
  link.run(1000 * S)
  t.ok(flows(link).length >= 6)
  t.notOk(flows(link).includes(1), 'nothing by the backup')
  t.equal(link.client.c.subflows.length, 2)
  t.end()
})

t.test('a subflow whose keepalives are not answered is given up, the connection is not', (t) => {
  const link = idle({ keepaliveUs: 240 * S })
  let dropped = 0
  link.filter = (p) => {
    if (p.flow !== 1) return PASS
    dropped++
    return DROP
  }
  link.run(300 * S)
  t.ok(dropped >= 5)
  t.equal(link.client.c.subflows.length, 1)
  t.equal(link.client.c.isClosed, false)
  link.client.write(pattern(1000, 1))
  t.ok(link.run(1 * S, () => link.server.hasReceived(pattern(1001))))
  t.end()
})

t.test('rfc5482: the user timeout holds for the connection: one subflow that delivers is enough, none is not', (t) => {
  const link = idle({ userTimeoutUs: 20 * S })
  let dropped = 0
  link.filter = (p) => (p.flow === 0 && ++dropped > 0 ? DROP : PASS)
  link.client.write(pattern(20_000, 1))
  t.ok(link.run(60 * S, () => link.server.hasReceived(pattern(20_001))))
  link.run(60 * S)
  t.ok(dropped > 0)
  t.equal(link.client.c.isClosed, false)
  link.filter = () => DROP
  link.client.write(pattern(1000, 20_001))
  link.run(19 * S)
  t.equal(link.client.c.isClosed, false)
  link.run(2 * S)
  t.equal(link.client.c.isClosed, true)
  t.equal(link.client.c.cause, CAUSE_TIMEOUT)
  t.end()
})
