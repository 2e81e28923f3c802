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

for (const name of ['min-rtt', 'round-robin', 'redundant', 'adaptive', 'blest', 'cheapest', 'ecf']) {
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
    // what the slower one had no room for in time it skips. Retransmissions count too, and min-rtt's opportunistic ones; round-robin shows what the losses alone come to
    if (name === 'redundant') tt.ok(twice > 0.3 * total, `${twice} bytes twice`)
    if (name === 'round-robin') tt.ok(twice < 0.06 * total, `${twice} bytes twice`)
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

t.test(
  'redundant: what an application says now and then goes out on both paths at once; 20 % loss on one of them costs no time',
  async (tt) => {
    const { link } = open('redundant')
    let n = 0
    let lost = 0
    link.filter = (p: Seen) => {
      if (p.flow === 0) return 10_000 // one way longer
      if (p.pkt.payLen === 0 || ++n % 5 !== 0) return PASS
      lost++
      return DROP
    }
    const before = payloadOf(link, 0) + payloadOf(link, 1)
    let sent = 1
    let late = 0
    for (let i = 0; i < 200; i++) {
      sent += link.client.write(pattern(800, sent))
      const from = link.now
      tt.ok(link.run(1_000_000, () => link.server.received === sent))
      // the slower path delivers after 15 ms; a timeout or a repair would take far longer
      if (link.now - from > 15_000) late++
      link.run(30_000)
    }
    const total = 200 * 800
    const twice = payloadOf(link, 0) + payloadOf(link, 1) - before - total
    tt.ok(lost > 20, `${lost} lost`)
    tt.equal(late, 0)
    tt.ok(twice > 0.8 * total, `${twice} of ${total} bytes twice`)
  },
)
