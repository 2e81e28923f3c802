import t from 'tap'
import { readI32, readU16 } from '../../src/base/bytes.js'
import { sumBytes } from '../../src/base/checksum.js'
import { Rng } from '../../src/base/rng.js'
import { craftTcp } from './craft.js'
import { Odds } from './links.js'
import { VirtualLoop } from './loop.js'
import { icmpError, Mtu, Nat, OPTION_MPTCP, OptionStripper, PayloadRewriter } from './middlebox.js'
import { chain } from './node.js'
import * as pk from './packet.js'

const INSIDE = 0x0a000001
const OUTSIDE = 0x0a000002
const PUBLIC = 0xc6336401 | 0

function collect(): { packets: Uint8Array[]; sink: (p: Uint8Array) => void } {
  const packets: Uint8Array[] = []
  return { packets, sink: (p) => packets.push(p) }
}

function isIntact(p: Uint8Array): boolean {
  return (!pk.isV4(p) || sumBytes(p, 0, 20) === 0xffff) && pk.tcpSum(p) === 0xffff
}

t.test('an option stripper takes out its kind only, and the checksum stays right', async (t) => {
  const stripper = new OptionStripper(new VirtualLoop())
  const { packets, sink } = collect()
  const entry = chain([stripper], sink)
  const options = Uint8Array.of(2, 4, 5, 180, OPTION_MPTCP, 4, 0x81, 0, 1, 1, 4, 2)
  for (const isV6 of [false, true]) entry(craftTcp({ options, isV6, payload: Uint8Array.of(1, 2, 3) }))
  entry(craftTcp({}))
  t.equal(stripper.stripped, 2)
  for (const p of packets) {
    t.equal(isIntact(p), true)
    t.equal(pk.hasOption(p, OPTION_MPTCP), false)
  }
  t.equal(pk.hasOption(packets[0] as Uint8Array, 2), true)
  t.equal(pk.hasOption(packets[0] as Uint8Array, 4), true)
  const picky = new OptionStripper(new VirtualLoop(), OPTION_MPTCP, (p) => (pk.flagsOf(p) & pk.SYN) !== 0)
  chain([picky], sink)(craftTcp({ options, flags: pk.ACK }))
  t.equal(picky.stripped, 0)
})

t.test('a payload rewriter leaves no trace in the TCP checksum', async (t) => {
  const rng = new Rng(1)
  const rewriter = new PayloadRewriter(new VirtualLoop(), new Odds(rng, 1), rng)
  const { packets, sink } = collect()
  const entry = chain([rewriter], sink)
  entry(craftTcp({ payload: new Uint8Array(100) }))
  entry(craftTcp({}))
  t.equal(rewriter.rewritten, 1)
  t.equal(isIntact(packets[0] as Uint8Array), true)
  t.notSame((packets[0] as Uint8Array).subarray(40), new Uint8Array(100))
})

t.test('an MTU answers with the right ICMP error, or with silence', async (t) => {
  const { packets, sink } = collect()
  const replies = collect()
  const loop = new VirtualLoop()
  const v4 = new Mtu(loop, 1000, Uint8Array.of(10, 0, 0, 9), replies.sink)
  const big = craftTcp({ payload: new Uint8Array(961) })
  const entry = chain([v4], sink)
  entry(craftTcp({ payload: new Uint8Array(960) }))
  entry(big)
  t.equal(packets.length, 1)
  t.equal(v4.dropped, 1)
  const reply = replies.packets[0] as Uint8Array
  t.equal(pk.protoOf(reply), pk.PROTO_ICMP)
  t.equal(pk.dstWord(reply), INSIDE)
  t.same([...reply.subarray(20, 22)], [3, 4])
  t.equal(readI32(reply, 24), 1000)
  t.equal(sumBytes(reply, 20, reply.length - 20), 0xffff)
  t.same(reply.subarray(28, 60), big.subarray(0, 32))
  const v6 = new Mtu(loop, 1280, new Uint8Array(16).fill(7), replies.sink)
  chain([v6], sink)(craftTcp({ isV6: true, payload: new Uint8Array(1300) }))
  const reply6 = replies.packets[1] as Uint8Array
  t.equal(pk.protoOf(reply6), pk.PROTO_ICMP6)
  t.same([...reply6.subarray(40, 42)], [2, 0])
  t.equal(readI32(reply6, 44), 1280)
  t.equal(pk.tcpSum(reply6), 0xffff)
  const silent = new Mtu(loop, 1000, new Uint8Array(4), null)
  chain([silent], sink)(craftTcp({ payload: new Uint8Array(961) }))
  t.equal(silent.dropped, 1)
  t.equal(replies.packets.length, 2)
})

t.test('a NAT translates both ways, by port, and refuses what it does not know', async (t) => {
  const loop = new VirtualLoop()
  const nat = new Nat(loop, PUBLIC, 1000)
  const out = collect()
  const back = collect()
  const up = chain([nat.up], out.sink)
  const down = chain([nat.down], back.sink)
  up(craftTcp({ srcPort: 5000 }))
  up(craftTcp({ srcPort: 5001 }))
  up(craftTcp({ srcPort: 5000 }))
  const ports = out.packets.map(pk.srcPort)
  t.equal(ports[0], ports[2])
  t.not(ports[0], ports[1])
  t.ok(out.packets.every((p) => isIntact(p) && pk.srcWord(p) === PUBLIC && pk.dstWord(p) === OUTSIDE))
  down(craftTcp({ src: OUTSIDE, dst: PUBLIC, srcPort: 80, dstPort: ports[1] as number }))
  const answer = back.packets[0] as Uint8Array
  t.equal(isIntact(answer), true)
  t.equal(pk.dstWord(answer), INSIDE)
  t.equal(pk.dstPort(answer), 5001)
  down(craftTcp({ src: OUTSIDE, dst: PUBLIC, dstPort: 9 }))
  t.equal(nat.refused, 1)

  // RFC 5508: the quotation inside an error is translated as well
  down(icmpError(out.packets[1] as Uint8Array, Uint8Array.of(10, 0, 0, 9), 3, 4, 1400))
  const error = back.packets[1] as Uint8Array
  t.equal(pk.dstWord(error), INSIDE)
  t.equal(readI32(error, 28 + 12), INSIDE)
  t.equal(readU16(error, 28 + 20), 5001)
  t.equal(sumBytes(error, 20, error.length - 20), 0xffff)
  t.equal(sumBytes(error, 0, 20), 0xffff)

  loop.run(() => false, 2000)
  down(craftTcp({ src: OUTSIDE, dst: PUBLIC, dstPort: ports[1] as number }))
  t.equal(nat.expired, 1)
  t.equal(nat.refused, 2)
  up(craftTcp({ srcPort: 5001 }))
  t.not(pk.srcPort(out.packets[3] as Uint8Array), ports[1], 'a new binding after expiry')
  nat.reset()
  down(craftTcp({ src: OUTSIDE, dst: PUBLIC, dstPort: pk.srcPort(out.packets[3] as Uint8Array) }))
  t.equal(nat.refused, 3)
})

t.test('a NAT does not hide an earlier corruption', async (t) => {
  const { packets, sink } = collect()
  const p = craftTcp({ payload: new Uint8Array(50) })
  p[60] = 1
  chain([new Nat(new VirtualLoop(), PUBLIC).up], sink)(p)
  t.equal(pk.tcpSum(packets[0] as Uint8Array) === 0xffff, false)
})
