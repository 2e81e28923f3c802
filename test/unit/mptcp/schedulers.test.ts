import t from 'tap'
import { path } from '../../../src/pathmgr/path.js'
import { schedulerFactory } from '../../../src/scheduler/registry.js'
import { CLIENT_2, DROP, Link, PASS, pattern, type Seen } from './harness.js'
import { WireRules } from './wire-rules.js'

function open(scheduler: string): { link: Link; rules: WireRules } {
  const cfg = { scheduler: schedulerFactory(scheduler) }
  const link = new Link({ capacity: 200_000, client: cfg, server: cfg, isCut: true }).establish()
  const rules = new WireRules()
  link.filter = (p) => {
    rules.observe(p)
    return PASS
  }
  link.client.write(pattern(1))
  link.run(100_000)
  link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(100_000)
  return { link, rules }
}

function payloadOf(link: Link, flow: number): number {
  return link.seen.filter((p) => p.fromClient && p.flow === flow).reduce((sum, p) => sum + p.pkt.payLen, 0)
}

for (const name of ['min-rtt', 'round-robin', 'redundant']) {
  t.test(`${name}: both ways, lossy, byte-exact and within the rules`, async (tt) => {
    const { link, rules } = open(name)
    let n = 0
    link.filter = (p: Seen) => {
      rules.observe(p)
      return p.pkt.payLen > 0 && ++n % 37 === 0 ? DROP : PASS
    }
    const total = 400_000
    let sent = 1
    let back = 0
    while (sent < total) {
      sent += link.client.write(pattern(Math.min(50_000, total - sent), sent))
      back += link.server.write(pattern(Math.min(50_000, total - back), back))
      link.run(20_000)
    }
    tt.ok(link.run(60_000_000, () => link.server.hasReceived(pattern(total)) && link.client.received === back))
    tt.ok(link.dropped > 10)
    tt.same(rules.broken, [])
    tt.ok(payloadOf(link, 0) > total / 10 && payloadOf(link, 1) > total / 10, `${payloadOf(link, 0)} and ${payloadOf(link, 1)} bytes`)
    const twice = payloadOf(link, 0) + payloadOf(link, 1) - total
    tt.comment(`${twice} bytes twice`)
    // retransmissions count too, and min-rtt's opportunistic ones; round-robin shows what the losses alone come to
    if (name === 'redundant') tt.ok(twice > 0.06 * total, 'all for which both had room')
    if (name === 'round-robin') tt.ok(twice < 0.06 * total, 'each byte once')
    tt.equal(link.client.c.info().scheduler, name)
  })
}

t.test('redundant: a path is cut and nobody notices', async (tt) => {
  const { link } = open('redundant')
  link.filter = (p) => (p.flow === 0 ? DROP : PASS)
  let sent = 1
  let worst = 0
  for (let i = 0; i < 100; i++) {
    sent += link.client.write(pattern(500, sent))
    const from = link.now
    tt.ok(link.run(1_000_000, () => link.server.received === sent))
    worst = Math.max(worst, link.now - from)
  }
  tt.ok(link.dropped > 0)
  tt.ok(worst <= 60_000, `slowest message took ${worst / 1000} ms`)
  tt.ok(link.server.hasReceived(pattern(sent)))
})
