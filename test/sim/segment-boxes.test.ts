import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import t from 'tap'
import { readI32 } from '../../src/base/bytes.js'
import { Rng } from '../../src/base/rng.js'
import { adversarialTransfer } from './adversarial-transfer.js'
import { type Box, lanes } from './box.js'
import { craftTcp } from './craft.js'
import { GilbertOdds, Loss, Odds } from './links.js'
import { type Loop, VirtualLoop } from './loop.js'
import { OPTION_MPTCP } from './middlebox.js'
import { MptcpPair } from './mptcp-pair.js'
import { chain } from './node.js'
import * as pk from './packet.js'
import { replay } from './recording.js'
import { Coalescer, IsnRewriter, Splitter, UnknownOptions } from './segment-boxes.js'
import { complaint } from './transfer.js'

const DSS = Uint8Array.of(1, 1, OPTION_MPTCP, 4, 0x20, 0, 1, 1)
const always = (): Odds => new Odds(new Rng(1), 1)

function collect(): { packets: Uint8Array[]; sink: (p: Uint8Array) => void } {
  const packets: Uint8Array[] = []
  return { packets, sink: (p) => packets.push(p) }
}

const isIntact = (p: Uint8Array): boolean => pk.tcpSum(p) === 0xffff

t.test('unknown options are blanked, or cost the packet; those of plain TCP pass', async (t) => {
  const { packets, sink } = collect()
  const blank = new UnknownOptions(new VirtualLoop(), 'blank')
  const drop = new UnknownOptions(new VirtualLoop(), 'drop')
  for (const box of [blank, drop]) {
    const entry = chain([box], sink)
    entry(craftTcp({ options: Uint8Array.of(2, 4, 5, 180, OPTION_MPTCP, 4, 0, 0) }))
    entry(craftTcp({ options: Uint8Array.of(2, 4, 5, 180) }))
  }
  t.equal(blank.blanked, 1)
  t.equal(drop.dropped, 1)
  t.equal(packets.length, 3)
  t.ok(packets.every((p) => isIntact(p) && pk.hasOption(p, 2) && !pk.hasOption(p, OPTION_MPTCP)))
})

t.test('an ISN rewriter moves sequence numbers one way, acknowledgements and SACK blocks back', async (t) => {
  const box = new IsnRewriter(new VirtualLoop(), () => 1000)
  const { packets, sink } = collect()
  chain([box.up], sink)(craftTcp({ seq: 5, srcPort: 7 }))
  const sack = Uint8Array.of(1, 1, 5, 10, 0, 0, 4, 0, 0, 0, 8, 0)
  const back = craftTcp({ seq: 9, dstPort: 7, flags: pk.ACK, options: sack })
  chain([box.down], sink)(back)
  const [up, down] = packets as [Uint8Array, Uint8Array]
  t.equal(pk.seqOfPacket(up), 1005)
  t.equal(pk.seqOfPacket(down), 9)
  t.equal(readI32(down, 20 + 8), -1000)
  t.equal(readI32(down, 20 + 20 + 4), 0x400 - 1000)
  t.equal(readI32(down, 20 + 20 + 8), 0x800 - 1000)
  t.ok(isIntact(up) && isIntact(down))
  t.equal(box.rewritten, 2)
  const broken = craftTcp({ payload: new Uint8Array(9) })
  broken[45] = 1
  chain([box.up], sink)(broken)
  t.notOk(isIntact(broken), 'an earlier corruption stays visible')
})

t.test('a splitter repeats the options on both parts, or leaves the second bare; a coalescer keeps those of the first', async (t) => {
  const payload = Uint8Array.from({ length: 100 }, (_, i) => i)
  const whole = (isV6: boolean): Uint8Array => craftTcp({ isV6, options: DSS, payload, seq: 77, flags: pk.ACK | pk.FIN })
  for (const isV6 of [false, true]) {
    for (const isFirstOnly of [false, true]) {
      const { packets, sink } = collect()
      const box = new Splitter(new VirtualLoop(), always(), () => 30, isFirstOnly)
      chain([box], sink)(whole(isV6))
      const [a, b] = packets as [Uint8Array, Uint8Array]
      t.equal(box.split, 1)
      t.ok(isIntact(a) && isIntact(b))
      t.same([pk.payLen(a), pk.payLen(b)], [30, 70])
      t.same([pk.seqOfPacket(a), pk.seqOfPacket(b)], [77, 107])
      t.same([pk.flagsOf(a) & pk.FIN, pk.flagsOf(b) & pk.FIN], [0, pk.FIN])
      t.equal(pk.hasOption(b, OPTION_MPTCP), !isFirstOnly)

      const joined = collect()
      const loop = new VirtualLoop()
      const join = new Coalescer(loop, always())
      const entry = chain([join], joined.sink)
      entry(a)
      t.equal(joined.packets.length, 0, 'held')
      entry(b)
      t.equal(join.merged, 1)
      const p = joined.packets[0] as Uint8Array
      t.ok(isIntact(p) && pk.hasOption(p, OPTION_MPTCP))
      t.same(p.subarray(pk.payOff(p)), payload)
      entry(whole(isV6).slice())
      entry(craftTcp({ isV6, payload, seq: 500 }))
      loop.run()
      t.equal(joined.packets.length, 3, 'what does not continue is not merged, and what waits is let go in time')
    }
  }
})

t.test('Gilbert loss comes in bursts', async (t) => {
  const { packets, sink } = collect()
  const box = new Loss(new VirtualLoop(), new GilbertOdds(new Rng(5), 0.01, 0.25))
  const entry = chain([box], sink)
  for (let i = 0; i < 20_000; i++) entry(craftTcp())
  const share = box.dropped / 20_000
  const expected = 0.01 / (0.01 + 0.25)
  t.ok(share > 0.8 * expected && share < 1.2 * expected, `${share} of ${expected}`)
  const burst = box.dropped / box.odds.bursts
  t.ok(burst > 3.2 && burst < 4.8, `${burst} packets a burst`)
  t.equal(packets.length + box.dropped, 20_000)
})

t.test('all of them in one list on one path: byte-exact, each did its work', async (t) => {
  const boxes: Box[] = []
  const shift = { isn: null as IsnRewriter | null, split: null as Splitter | null, join: null as Coalescer | null }
  const path = {
    up: { bitsPerSecond: 50e6, queuePackets: 200, delayUs: 5000 },
    down: { bitsPerSecond: 50e6, queuePackets: 200, delayUs: 5000 },
    boxes: (loop: Loop, rng: Rng) => {
      shift.isn = new IsnRewriter(loop)
      shift.split = new Splitter(loop, new Odds(rng, 0.3))
      shift.join = new Coalescer(loop, new Odds(rng, 0.5))
      boxes.push(shift.isn, { up: shift.split, down: null }, { up: shift.join, down: null })
      return boxes
    },
  }
  const pair = new MptcpPair({ seed: 3, paths: [path] })
  t.equal(complaint(pair.transfer(300_000, 100_000)), '')
  t.ok((shift.isn?.rewritten ?? 0) > 200 && (shift.split?.split ?? 0) > 20 && (shift.join?.merged ?? 0) > 20)
  t.ok(pair.server.counters.MPCapableACKRX > 0 && pair.socket.conn.isMptcp, 'still MPTCP')
  t.same(lanes(boxes).up, [boxes[0]?.up, boxes[1]?.up, boxes[2]?.up])
})

t.test('a replay has one block per packet, and tcpdump reads it', async (t) => {
  let seen = 0
  const line = replay('replay-test', 4, (seed, watch) =>
    adversarialTransfer(seed, (packet, isUp, loop) => {
      seen++
      watch(packet, isUp, loop)
    }),
  )
  const file = line.slice(line.indexOf(' in ') + 4)
  t.match(line, `SEED=4: ${seen} packets`)
  const bytes = readFileSync(file)
  let packets = 0
  for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at + 4)) if (bytes.readUInt32LE(at) === 6) packets++
  t.ok(seen > 5)
  t.equal(packets, seen)
  if (existsSync('/usr/bin/tcpdump')) {
    const text = execFileSync('tcpdump', ['-nr', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    t.equal(text.trim().split('\n').length, seen)
    t.match(text, /mptcp/)
  }
  rmSync(file)
})
