import t, { type Test } from 'tap'
import { Rng } from '../../../src/base/rng.js'
import { C_CLOSED } from '../../../src/mptcp/connection.js'
import { SPARSE_ALWAYS, SPARSE_AUTO } from '../../../src/mptcp/sparse.js'
import { path } from '../../../src/pathmgr/path.js'
import { CAUSE_FIN } from '../../../src/tcp/state.js'
import { SYN } from '../../../src/wire/tcp.js'
import { CLIENT_2, DROP, Link, PASS, pattern, type Seen } from './harness.js'
import { WireRules } from './wire-rules.js'

/** Replayed by SEED=n; otherwise fixed ones and a fresh one. */
const fresh = Math.floor(Math.random() * 2 ** 31)
const seeds = process.env.SEED === undefined ? [...Array(40).keys(), fresh] : [Number(process.env.SEED)]

interface Faults {
  readonly loss: number
  readonly dup: number
  readonly jitterUs: number
}

/** Mappings that were declared for more than one burst, in all transfers. */
let sparseMappings = 0

/** Returns how many packets were lost or doubled. */
function run(tt: Test, seed: number): number {
  const rng = new Rng(seed)
  const faults: Faults = { loss: rng.chance(0.7) ? rng.float() * 0.08 : 0, dup: rng.float() * 0.05, jitterUs: rng.below(8000) }
  const checksum = rng.chance(0.3)
  const capacity = rng.logUniform(20_000, 1 << 20)
  const sparse = seed % 2 === 0 ? SPARSE_ALWAYS : SPARSE_AUTO
  const link = new Link({
    seed,
    isCut: rng.chance(0.8),
    capacity,
    client: { checksum, sparse },
    server: { sparse },
    tcp: { mss4: rng.chance(0.2) ? 536 : 1460 },
  })
  const rules = new WireRules()
  let faulty = 0
  link.filter = (p: Seen) => {
    rules.observe(p)
    if (rng.chance(faults.loss)) {
      faulty++
      return DROP
    }
    if (rng.chance(faults.dup)) {
      faulty++
      const copy = new Uint8Array(p.bytes)
      const toServer = p.fromClient
      dups.push({ at: link.now + rng.below(20_000), copy, toServer })
    }
    return faults.jitterUs > 0 ? rng.below(faults.jitterUs) : PASS
  }
  const dups: { at: number; copy: Uint8Array; toServer: boolean }[] = []
  link.client.connect(link.now)
  const up = pattern(rng.logUniform(1, 300_000))
  const down = pattern(rng.logUniform(1, 300_000), 1)
  let upAt = 0
  let downAt = 0
  const joins = rng.below(3)
  let joined = 0
  const done = (): boolean => link.client.c.isClosed && (link.server.conn?.isClosed ?? false)
  for (let step = 0; step < 20_000 && !done(); step++) {
    link.run(rng.logUniform(100, 200_000), done)
    for (let i = dups.length - 1; i >= 0; i--) {
      const d = dups[i] as { at: number; copy: Uint8Array; toServer: boolean }
      if (d.at > link.now) continue
      link.deliver(d.copy, d.toServer)
      dups.splice(i, 1)
    }
    if (upAt < up.length) upAt += link.client.write(up.subarray(upAt, upAt + rng.logUniform(1, 100_000)))
    else link.client.end()
    if (link.server.conn !== null) {
      if (downAt < down.length) downAt += link.server.write(down.subarray(downAt, downAt + rng.logUniform(1, 100_000)))
      else link.server.end()
    }
    if (joined < joins && rng.chance(0.3) && link.client.c.addPath(path({ id: joined + 1, source: CLIENT_2 }), link.now)) joined++
    if (rng.chance(0.2)) link.server.isReading = !link.server.isReading
    if (rng.chance(0.2)) link.client.isReading = !link.client.isReading
    if (step > 200) link.server.isReading = link.client.isReading = true
  }
  link.server.read()
  link.client.read()
  const problems = [...rules.broken]
  if (!link.server.hasReceived(up)) problems.push(`up: ${link.server.received} of ${up.length}`)
  if (!link.client.hasReceived(down)) problems.push(`down: ${link.client.received} of ${down.length}`)
  for (const h of [link.client, link.server]) {
    if ((h.events & C_CLOSED) === 0 || h.conn?.cause !== CAUSE_FIN) problems.push(`not closed in order: ${h.conn?.cause}`)
    const n = h.counters
    const bad = n.DSSNotMatching + n.DSSNoMatchTCP + n.BadOption + n.DataCsumErr + n.UnmappedReset
    if (bad > 0) problems.push(`counters: ${JSON.stringify(n)}`)
    if (h.conn?.fallbackReason !== 0) problems.push(`fell back: ${h.conn?.fallbackReason}`)
  }
  link.filter = () => PASS
  link.run(200_000_000)
  for (const h of [link.client, link.server]) {
    if (h.flows.size > 0 || h.arena.pagesInUse > 0) problems.push(`left over: ${h.flows.size} flows, ${h.arena.pagesInUse} pages`)
  }
  if (problems.length > 0) tt.fail(`SEED=${seed} loss ${faults.loss.toFixed(3)} joins ${joined}: ${problems.join('; ')}`)
  sparseMappings += link.client.counters.SparseMappings + link.server.counters.SparseMappings
  return faulty
}

t.test('transfers with loss, duplicates, reordering, joins, slow readers are byte-exact and obey the rules of the wire', async (tt) => {
  let faults = 0
  for (const seed of seeds) faults += run(tt, seed)
  tt.ok(faults > 0, `${faults} faults took place`)
  if (seeds.length > 1) tt.ok(sparseMappings > 30, `${sparseMappings} sparse mappings`)
  tt.comment(`fresh seed ${fresh}`)
  tt.pass(`${seeds.length} seeds`)
})

t.test('rfc8684 3.3.4: a reader that stops: the window closes for all subflows together, and opens again', async (tt) => {
  const link = new Link({ isCut: true, capacity: 200_000 })
  const rules = new WireRules()
  link.filter = (p) => {
    rules.observe(p)
    return PASS
  }
  link.establish()
  link.client.write(pattern(1))
  link.run(100_000)
  link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(100_000)
  link.server.isReading = false
  let sent = 1
  for (let i = 0; i < 50; i++) {
    sent += link.client.write(pattern(50_000, sent))
    link.run(20_000)
  }
  tt.ok(link.server.c.recvQueue.ready <= 200_000)
  tt.ok(link.server.c.recvQueue.ready > 150_000)
  tt.equal(link.server.counters.NoDSSInWindow, 0)
  link.run(20_000_000)
  link.server.isReading = true
  tt.ok(link.run(5_000_000, () => link.server.hasReceived(pattern(sent))))
  tt.same(rules.broken, [])
  for (const s of link.client.c.subflows) tt.ok(s.ep.bytesAcked > 20_000, `subflow ${s.id}: ${s.ep.bytesAcked}`)
})

t.test('rfc8684 3.3.4: the window update after zero window is lost: it is probed for', async (tt) => {
  const link = new Link({ isCut: true, capacity: 50_000 }).establish()
  link.server.isReading = false
  let sent = link.client.write(pattern(50_000))
  link.run(1_000_000)
  sent += link.client.write(pattern(30_000, sent))
  link.run(1_000_000)
  tt.equal(link.client.c.snd.edge - link.client.c.snd.nxt < 1400, true)
  let lost = 0
  link.filter = (p) => (!p.fromClient && lost++ === 0 ? DROP : PASS)
  link.server.isReading = true
  tt.ok(link.run(10_000_000, () => link.server.hasReceived(pattern(sent))))
  tt.ok(lost > 1)
})

t.test('rfc8684 3.3.2: bytes are freed only when DATA_ACKed and acknowledged on every subflow that carried them', async (tt) => {
  const link = new Link({ isCut: true }).establish()
  link.client.write(pattern(1))
  link.run(100_000)
  link.client.c.addPath(path({ id: 1, source: CLIENT_2 }), link.now)
  link.run(100_000)
  link.filter = (p) => (p.flow === 1 && (p.pkt.flags & SYN) === 0 ? DROP : PASS)
  link.client.write(pattern(200_000, 1))
  tt.ok(link.run(10_000_000, () => link.server.hasReceived(pattern(200_001))))
  link.run(50_000)
  const c = link.client.c
  tt.equal(c.snd.una, 200_001, 'all is DATA_ACKed')
  const silent = c.subflows.find((s) => s.tx !== null)
  tt.ok(silent !== undefined, 'one subflow still has unacknowledged bytes')
  tt.ok(c.sendQueue.ready > 0)
  tt.equal(c.sendQueue.base, silent?.tx?.minUnacked())
  link.filter = () => PASS
  link.run(10_000_000)
  tt.equal(c.sendQueue.ready, 0, 'freed once it is through there too')
})

t.test('rfc8684 3.3.1: the mapping stays as declared when the MSS falls', async (tt) => {
  const link = new Link({ isCut: true }).establish()
  const rules = new WireRules()
  let cut = 0
  link.filter = (p) => {
    rules.observe(p)
    // a path with a smaller MTU behind it
    if (p.fromClient && p.pkt.payLen > 600) {
      cut++
      return DROP
    }
    return PASS
  }
  link.client.write(pattern(60_000))
  link.run(20_000)
  tt.ok(cut > 0)
  link.client.c.subflows[0]?.ep.setMtu(632)
  tt.ok(link.run(10_000_000, () => link.server.hasReceived(pattern(60_000))))
  tt.same(rules.broken, [])
})

t.test('rfc9293 3.8.6.1: a peer that keeps its window closed is waited for, one that does not answer is given up', async (tt) => {
  for (const isAnswering of [true, false]) {
    const link = new Link({ isCut: true, capacity: 50_000, tcp: { dataRetries: 4 } }).establish()
    link.server.isReading = false
    link.client.write(pattern(50_000))
    link.run(3_000_000)
    link.client.write(pattern(10_000, 50_000))
    link.run(3_000_000)
    if (!isAnswering) link.filter = () => DROP
    link.run(400_000_000)
    tt.equal(link.client.c.isClosed, !isAnswering)
    tt.equal(link.client.c.subflows.length, isAnswering ? 1 : 0)
    if (!isAnswering) continue
    link.server.isReading = true
    tt.ok(link.run(60_000_000, () => link.server.hasReceived(pattern(60_000))))
  }
})
