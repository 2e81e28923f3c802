import t, { type Test } from 'tap'
import type { StreamQueue } from '../../../src/base/stream-queue.js'
import type { Run, SegmentSink, SegmentSource, TcpExtension } from '../../../src/tcp/extension.js'
import { PlainFlow } from '../../../src/tcp/plain.js'
import * as st from '../../../src/tcp/state.js'
import { forSeeds } from '../../oracle/seeds.js'
import { Dialogue, MS, S } from './dialogue.js'
import { Pair, pattern } from './harness.js'

const TURNS = [2 ** 31 - 1, 2 ** 31 - 500, -1, -500, 2 ** 32 - 1, 0]

t.test('rfc9293 3.4: a dialogue reads the same wherever the sequence numbers wrap, for both sides', (t) => {
  for (const iss of TURNS) {
    for (const irs of TURNS) {
      const d = new Dialogue(t, { iss, irs, rttUs: 50 * MS, capacity: 1 << 20 })
      d.connect()
      d.expect('[S] 0 win 65535 mss 1460 sackOK wscale 0')
      d.now += 50 * MS
      d.on('[S.] 0 ack 1 mss 1000 sackOK', '[.] 1 ack 1 win 65535')
      d.write(3000)
      d.expect('[.] 1+1000 ack 1 win 65535', '[.] 1001+1000 ack 1 win 65535', '[P.] 2001+1000 ack 1 win 65535')
      d.on('[.] 1001+500 ack 1', '[.] 3001 ack 1 win 65535 sack 1001:1501')
      d.on('[.] 1+1000 ack 1 sack 2001:3001', '[.] 3001 ack 1501 win 65535')
      d.on('[.] 400+200 ack 2001', '[.] 3001 ack 1501 win 65535 sack 400:600')
      d.on('[R] 1600', '[.] 3001 ack 1501 win 65535')
      d.on('[.] 1501 ack 3001')
      d.end()
      d.expect('[F.] 3001 ack 1501 win 65535')
      d.on('[F.] 1501+100 ack 3002', '[.] 3002 ack 1602 win 65434')
      d.received(1600)
      t.equal(d.ep.state, st.TIME_WAIT, `${iss} ${irs}`)
    }
  }
  t.end()
})

t.test('rfc9293 3.4: transfers with losses across the wrap are byte-exact', async (t) => {
  await forSeeds(t, [3], (rng) => {
    for (const iss of TURNS) {
      const p = Pair.of({ timeWaitUs: S, windowScale: 7, gso: false })
      const data = pattern(200_000)
      p.filter = () => (rng.chance(0.03) ? -1 : 0)
      p.a.connect(p.now, iss - 50_000)
      p.a.write(data)
      p.a.out.setFin(data.length)
      p.b.out.setFin(0)
      const ok = p.run(1000 * S, () => p.a.ep?.state === st.CLOSED && p.b.ep?.state === st.CLOSED)
      if (!ok || !p.b.hasReceived(data)) throw new Error(`ISN ${iss}: not byte-exact`)
      t.ok(p.dropped > 0, `ISN ${iss}: ${p.dropped} lost`)
    }
  })
  t.end()
})

/** Both queues as far away as if `far` bytes had gone each way. */
class FarFlow extends PlainFlow implements SegmentSource, SegmentSink, TcpExtension {
  far = 0
  override prepare(seqOff: number, maxLen: number, now: number, run: Run): boolean {
    return super.prepare(seqOff - this.far, maxLen, now, run)
  }
  override commit(seqOff: number, run: Run, n: number, now: number): void {
    super.commit(seqOff - this.far, run, n, now)
  }
  override runAt(seqOff: number, maxLen: number, run: Run): boolean {
    return super.runAt(seqOff - this.far, maxLen, run)
  }
  override acked(seqOff: number, now: number): void {
    super.acked(seqOff - this.far, now)
  }
  override finAt(): number {
    const at = super.finAt()
    return at < 0 ? at : at + this.far
  }
  override accept(seqOff: number, mem: Uint8Array, off: number, len: number, now: number): number {
    return super.accept(seqOff - this.far, mem, off, len, now)
  }
  override edge(): number {
    return super.edge() + this.far
  }
  override onFin(seqOff: number, now: number): void {
    super.onFin(seqOff - this.far, now)
  }
  override ownWindow(rcvNxt: number): number {
    return super.ownWindow(rcvNxt - this.far)
  }
}

/** Puts an established endpoint `far` bytes further on. */
function advance(t: Test, p: Pair, far: number): void {
  p.a.connect(p.now)
  p.run(p.now + S, () => p.a.ep?.state === st.ESTABLISHED && p.b.ep?.state === st.ESTABLISHED)
  for (const side of [p.a, p.b]) {
    const ep = side.ep
    if (ep === null) throw new Error('no endpoint')
    t.equal(ep.inFlight, 0)
    ep.snd.sndUna += far
    ep.snd.sndNxt += far
    ep.snd.sndEdge += far
    ep.rcv.rcvNxt += far
    ep.rcv.edge += far
    ep.rcv.lastAckSent += far
  }
}

for (const far of [2 ** 32 - 100_000, 2 ** 32 + 7, 5 * 2 ** 32 - 50_000, 2 ** 48 - 3]) {
  t.test(`more than 4 GiB in one connection: offsets around ${far}, with losses`, (t) => {
    const made: FarFlow[] = []
    const make = (o: StreamQueue, i: StreamQueue) => {
      const flow = new FarFlow(o, i)
      made.push(flow)
      return flow
    }
    const p = Pair.of({ timeWaitUs: S, gso: false }, 1 << 20, make, make)
    advance(t, p, far)
    for (const flow of made) flow.far = far
    const [data, back] = [pattern(300_000), pattern(100_000, 5)]
    let n = 0
    p.filter = () => (++n % 23 === 0 ? -1 : 0)
    p.a.write(data)
    p.b.write(back)
    p.a.out.setFin(data.length)
    p.b.out.setFin(back.length)
    t.ok(p.run(p.now + 1000 * S, () => p.a.ep?.state === st.CLOSED && p.b.ep?.state === st.CLOSED))
    t.ok(p.b.hasReceived(data), 'byte-exact')
    t.ok(p.a.hasReceived(back), 'byte-exact')
    t.ok(p.dropped > 5)
    t.equal(p.a.ep?.bytesAcked, far + data.length)
    t.end()
  })
}
t.end()
