import t from 'tap'
import { Arena } from '../../../src/base/arena.js'
import { StreamQueue } from '../../../src/base/stream-queue.js'
import { NEVER } from '../../../src/base/time.js'
import { DataRtx } from '../../../src/mptcp/data-rtx.js'
import { dssChecksum, sumQueue } from '../../../src/mptcp/dss-checksum.js'
import { Coordinates } from '../../../src/mptcp/mapping.js'
import { MptcpCounters } from '../../../src/mptcp/counters.js'
import { RecvState } from '../../../src/mptcp/recv-state.js'
import { RxMappings } from '../../../src/mptcp/rx-mappings.js'
import { DATA_ACK_ADVANCED, DATA_ACK_BAD, DATA_ACK_OLD, SendState } from '../../../src/mptcp/send-state.js'
import { Staging } from '../../../src/mptcp/staging.js'
import { TxMappings } from '../../../src/mptcp/tx-mappings.js'
import { pattern } from './harness.js'

t.test('rfc8684 3.3.5: the right edge never moves left; a DATA_ACK of what was never sent is ignored', async (tt) => {
  const s = new SendState()
  s.edge = 1000
  s.nxt = 500
  tt.equal(s.onDataAck(501, 1_000_000), DATA_ACK_BAD)
  tt.equal(s.edge, 1000)
  tt.equal(s.onDataAck(200, 500), DATA_ACK_ADVANCED)
  tt.equal(s.edge, 1000)
  tt.equal(s.onDataAck(300, 2000), DATA_ACK_ADVANCED)
  tt.equal(s.edge, 2300)
  tt.equal(s.onDataAck(200, 100), DATA_ACK_OLD, 'overtaken')
  tt.equal(s.una, 300)
  tt.equal(s.edge, 2300)
  s.isFinSent = true
  tt.equal(s.onDataAck(500, 100), DATA_ACK_ADVANCED)
  tt.notOk(s.isSettled)
  tt.equal(s.onDataAck(501, 100), DATA_ACK_ADVANCED)
  tt.ok(s.isFinAcked && s.isSettled)
  tt.equal(s.una, 500)
})

t.test('rfc8684 3.3.3: the DATA_FIN counts one octet once everything before it has come', async (tt) => {
  const arena = new Arena(0, 16)
  const queue = new StreamQueue(arena, 10_000)
  const coords = new Coordinates()
  coords.shift = 7 // as after Fast Open
  queue.append(pattern(7), 0, 7)
  const r = new RecvState(queue, coords, new MptcpCounters())
  tt.equal(r.dataAck, 0)
  tt.ok(r.onFin(100))
  tt.ok(r.onFin(100), 'again')
  tt.notOk(r.onFin(101), 'a contradiction')
  tt.equal(r.dataAck, 0)
  queue.append(pattern(100), 0, 100)
  tt.equal(r.dataAck, 101)
  tt.ok(r.isComplete)
})

t.test('rfc8684 3.3.1: DSS checksum over data and pseudo-header', async (tt) => {
  const arena = new Arena(0, 16)
  const queue = new StreamQueue(arena, 100_000)
  const data = new Uint8Array(1001).map((_, i) => i * 131 + (i >> 8) * 31)
  queue.append(data, 0, data.length)
  // computed with python3
  tt.equal(dssChecksum(sumQueue(queue, 0, 1001), 0x11223344, 0x55667788, 77, 1001), 0x6623)
})

t.test('staging: late mappings, holes that were delivered before, what stays', async (tt) => {
  const arena = new Arena(0, 64)
  const got = new StreamQueue(arena, 1 << 20)
  const sink = { receive: (off: number, mem: Uint8Array, at: number, len: number) => got.insert(off, mem, at, len) }
  const bytes = pattern(1000)
  const rx = new RxMappings()
  const s = new Staging(arena, 101, 100_000)
  // SeqOff 101..300 unmapped, 301..400 delivered directly, 401..500 mapped but staged
  got.insert(200, bytes, 200, 100)
  s.accept(101, bytes, 0, 200)
  s.accept(401, bytes, 300, 100)
  rx.add(301, 200, 200, -1, 101)
  s.fillTo(501)
  tt.equal(s.deliver(rx, false, sink), -1)
  tt.equal(got.readyEnd, 0)
  tt.equal(got.sparse?.covered, 200, 'what is mapped is delivered past what is not')
  tt.ok(s.isHeadUnmapped(rx))
  tt.equal(s.unmappedLen(rx), 200)
  rx.add(101, 0, 200, -1, 101)
  s.rescan(101)
  s.deliver(rx, false, sink)
  tt.equal(got.readyEnd, 400)
  tt.ok(s.queue.isEmpty)
  const out = new Uint8Array(400)
  got.copyOut(0, out, 0, 400)
  tt.same(out, bytes.subarray(0, 400))
  s.dispose()
  got.clear()
  tt.equal(arena.pagesInUse, 0)
})

t.test('data-level timer: period, back-off, progress', async (tt) => {
  const r = new DataRtx()
  r.arm(true, 200, 1000)
  tt.equal(r.deadline, 1200)
  r.arm(true, 999, 1100)
  tt.equal(r.deadline, 1200, 'stays')
  r.fired(0)
  r.arm(true, 200, 1200)
  tt.equal(r.deadline, 1600)
  r.progress()
  r.arm(true, 200, 1300)
  tt.equal(r.deadline, 1500)
  r.arm(false, 200, 1400)
  tt.equal(r.deadline, NEVER)
  r.arm(true, NEVER, 1400)
  tt.equal(r.deadline, NEVER, 'no subflow to time with')
})

t.test('reinjections: merged, cut by DATA_ACKs, bounded', async (tt) => {
  const r = new DataRtx()
  r.add(100, 200, 1, 0)
  r.add(200, 300, 1, 0)
  r.add(300, 400, 2, 0)
  tt.equal(r.count, 2)
  tt.ok(r.next(150))
  tt.same([r.from, r.to, r.except], [150, 300, 1])
  r.sent(50)
  tt.equal(r.from, 200)
  tt.ok(r.next(350))
  tt.same([r.from, r.to, r.except], [350, 400, 2])
  tt.notOk(r.next(400))
  for (let i = 0; i < 10_000; i++) r.add(1000 + 2 * i, 1001 + 2 * i, -1, 0)
  tt.ok(r.count <= 512)
  let n = 0
  while (r.next(0)) {
    r.sent(1)
    n++
  }
  tt.ok(n > 500 && n <= 512)
})

t.test('rfc8684 3.3.6: of a subflow that is lost also what it had acknowledged goes out again', async (tt) => {
  const m = new TxMappings()
  m.push(1, 0, 100, -1)
  m.push(101, 100, 100, -1)
  m.ackTo(150)
  const live = new DataRtx()
  live.addUnacked(m, 0, 3, 0)
  tt.ok(live.next(0))
  tt.same([live.from, live.to, live.except], [149, 200, 3])
  const lost = new DataRtx()
  lost.addAll(m, 20, -1, 1)
  tt.ok(lost.next(0))
  tt.same([lost.from, lost.to, lost.except], [20, 200, -1])
})
