import t from 'tap'
import { IpAddress } from '../../../src/base/address.js'
import { readU16, writeU16 } from '../../../src/base/bytes.js'
import { VNET_HDR_LEN } from '../../../src/base/rings.js'
import { NEVER } from '../../../src/base/time.js'
import { parseAddress } from '../../../src/config/address-text.js'
import { AddressRange } from '../../../src/engine/address-range.js'
import { EngineConfig } from '../../../src/engine/config.js'
import { createEngine, type Engine } from '../../../src/engine/engine.js'
import { Probe } from '../../../src/engine/probe.js'
import { buildIcmpUnreachable, buildPacketTooBig, UNREACH_PORT } from '../../../src/wire/icmp.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_UDP, pseudoSumAt, writeIpHeader } from '../../../src/wire/ip.js'
import { PARSE_OK, Packet, parsePacket } from '../../../src/wire/packet.js'
import { ACK, RST, SYN } from '../../../src/wire/tcp.js'
import { naiveSum } from '../../oracle/naive-checksum.js'
import { A, FakeDevice, SERVER, seededHost, segment, STACK, World } from './world.js'

const A6 = parseAddress('fd00:198:18::1')
const STACK6 = parseAddress('fd00:198:18::2')
const SERVER6 = parseAddress('2001:db8:113::5')

/** The checksum over `bytes` and a pseudo-header's sum; 0 when the field inside is right. */
function naiveChecksum(bytes: Uint8Array, pseudo: number): number {
  const sum = naiveSum(bytes, 0, bytes.length) + pseudo
  return ~((sum & 0xffff) + (sum >>> 16)) & 0xffff
}

interface Bench {
  readonly engine: Engine
  /** Hands packets in; returns what comes out. */
  pass(...packets: Uint8Array[]): Uint8Array[]
}

function bench(): Bench {
  const device = new FakeDevice()
  const engine = createEngine(
    seededHost(3),
    [device],
    new EngineConfig({
      memoryPages: 64,
      ownRanges: [new AddressRange(A, 29), new AddressRange(A6, 64)],
      hostAddresses: [A, A6],
      stackAddresses: [
        { address: STACK, isDefault: true },
        { address: STACK6, isDefault: true },
      ],
      onInternalError: (error) => {
        throw error
      },
    }),
  )
  return {
    engine,
    pass: (...packets) => {
      device.incoming.push(...packets)
      engine.turn(0)
      return device.outgoing.splice(0)
    },
  }
}

type Sum = 'full' | 'partial' | 'none'

/** A packet with its vnet header: IP, `head` of the transport (its checksum at `sumAt`), payload. */
function packet(from: IpAddress, to: IpAddress, proto: number, head: number[], sumAt: number, payloadLen: number, sum: Sum): Uint8Array {
  const ipLen = from.isV4 ? 20 : 40
  const l4Len = head.length + payloadLen
  const mem = new Uint8Array(VNET_HDR_LEN + ipLen + l4Len)
  writeIpHeader(mem, VNET_HDR_LEN, from, to, proto, l4Len, 0, 60)
  const l4 = VNET_HDR_LEN + ipLen
  mem.set(head, l4)
  for (let i = 0; i < payloadLen; i++) mem[l4 + head.length + i] = (i * 37 + 1) & 255
  if (sum === 'none') return mem
  const pseudo = proto === PROTO_ICMP ? 0 : pseudoSumAt(mem, VNET_HDR_LEN, proto, l4Len)
  if (sum === 'full') writeU16(mem, l4 + sumAt, naiveChecksum(mem.subarray(l4), pseudo))
  else {
    writeU16(mem, l4 + sumAt, pseudo)
    mem[0] = 1 // NEEDS_CSUM; start and offset little-endian
    mem[6] = ipLen
    mem[8] = sumAt
  }
  return mem
}

function udp(from: IpAddress, fromPort: number, to: IpAddress, toPort: number, payloadLen = 20, sum: Sum = 'full'): Uint8Array {
  const len = 8 + payloadLen
  return packet(
    from,
    to,
    PROTO_UDP,
    [fromPort >> 8, fromPort & 255, toPort >> 8, toPort & 255, len >> 8, len & 255, 0, 0],
    6,
    payloadLen,
    sum,
  )
}

function echo(from: IpAddress, to: IpAddress, isReply: boolean, id: number): Uint8Array {
  const isV4 = from.isV4
  const type = isV4 ? (isReply ? 0 : 8) : isReply ? 129 : 128
  return packet(from, to, isV4 ? PROTO_ICMP : PROTO_ICMPV6, [type, 0, 0, 0, id >> 8, id & 255, 0, 1], 2, 56, 'full')
}

interface Seen {
  readonly from: string
  readonly to: string
  readonly isSumRight: boolean
  readonly pkt: Packet
}

function look(bytes: Uint8Array): Seen {
  const pkt = new Packet()
  parsePacket(bytes, 0, bytes.length, pkt)
  const address = (w0: number, w1: number, w2: number, w3: number) => new IpAddress(w0, w1, w2, w3).toString()
  const l4 = bytes.subarray(pkt.l4Off, pkt.l4Off + pkt.l4Len)
  const pseudo = pkt.proto === PROTO_ICMP ? 0 : pseudoSumAt(bytes, pkt.off, pkt.proto, pkt.l4Len)
  const sumAt = pkt.l4Off + (pkt.proto === PROTO_UDP ? 6 : 2)
  const isSumRight = pkt.needsCsum ? readU16(bytes, sumAt) === pseudo : naiveChecksum(l4, pseudo) === 0
  return {
    from: address(pkt.src0, pkt.src1, pkt.src2, pkt.src3),
    to: address(pkt.dst0, pkt.dst1, pkt.dst2, pkt.dst3),
    isSumRight,
    pkt,
  }
}

for (const [name, app, stack, server] of [
  ['IPv4', A, STACK, SERVER],
  ['IPv6', A6, STACK6, SERVER6],
] as const) {
  for (const [what, len, sum] of [
    ['small', 20, 'full'],
    ['partial checksum', 333, 'partial'],
    ['of an odd length', 1401, 'full'],
    ['larger than a page', 40_001, 'full'],
  ] as const) {
    t.test(`${name}: UDP goes out with a stack address and comes back to the application, ${what}`, (t) => {
      const { engine, pass } = bench()
      const out = pass(udp(app, 5000, server, 53, len, sum))
      t.equal(out.length, 1)
      const seen = look(out[0] as Uint8Array)
      t.match(seen, { from: stack.toString(), to: server.toString(), isSumRight: true, pkt: { srcPort: 5000, dstPort: 53 } })
      t.same((out[0] as Uint8Array).subarray(-len), udp(app, 5000, server, 53, len, sum).subarray(-len), 'the payload is the same')
      const back = pass(udp(server, 53, stack, 5000, len, sum))
      t.match(look(back[0] as Uint8Array), {
        from: server.toString(),
        to: app.toString(),
        isSumRight: true,
        pkt: { srcPort: 53, dstPort: 5000 },
      })
      t.match(engine.counters, { EnginePassOut: 1, EnginePassIn: 1 })
      t.equal(engine.arena.pagesInUse, 0, 'no page is held')
      t.end()
    })
  }

  t.test(`${name}: echo and its reply`, (t) => {
    const { pass } = bench()
    t.match(look(pass(echo(app, server, false, 77))[0] as Uint8Array), { from: stack.toString(), to: server.toString(), isSumRight: true })
    t.match(look(pass(echo(server, stack, true, 77))[0] as Uint8Array), { from: server.toString(), to: app.toString(), isSumRight: true })
    t.same(pass(echo(server, stack, true, 78)), [], 'a reply that nobody asked for is dropped')
    t.end()
  })

  t.test(`${name}: an ICMP error is mapped back inside and outside, so that path MTU discovery works`, (t) => {
    const { engine, pass } = bench()
    const first = pass(udp(app, 5000, server, 53))[0] as Uint8Array
    const router = name === 'IPv4' ? parseAddress('192.0.2.1') : parseAddress('2001:db8::1')
    for (const build of [buildPacketTooBig, buildIcmpUnreachable] as const) {
      const mem = new Uint8Array(320)
      const len =
        build === buildPacketTooBig
          ? buildPacketTooBig(mem, 0, 1280, router, first, VNET_HDR_LEN, first.length - VNET_HDR_LEN)
          : buildIcmpUnreachable(mem, 0, UNREACH_PORT, router, first, VNET_HDR_LEN, first.length - VNET_HDR_LEN)
      const seen = look(pass(mem.slice(0, len))[0] as Uint8Array)
      t.match(seen, {
        from: router.toString(),
        to: app.toString(),
        isSumRight: true,
        pkt: { qProto: PROTO_UDP, qSrcPort: 5000, qDstPort: 53 },
      })
      const inside = new IpAddress(seen.pkt.qSrc0, seen.pkt.qSrc1, seen.pkt.qSrc2, seen.pkt.qSrc3)
      t.ok(inside.equals(app), 'it quotes what the application sent')
    }
    t.equal(engine.counters.EnginePassErrors, 2)
    t.end()
  })
}

t.test('a UDP checksum that is not there stays away', (t) => {
  const { pass } = bench()
  const out = pass(udp(A, 5000, SERVER, 53, 20, 'none'))[0] as Uint8Array
  t.equal(readU16(out, VNET_HDR_LEN + 20 + 6), 0)
  t.end()
})

t.test('two applications with one port to one destination are told apart', (t) => {
  const { pass } = bench()
  const other = parseAddress('192.168.7.9')
  const [a, b] = pass(udp(A, 5000, SERVER, 53), udp(other, 5000, SERVER, 53)).map(look)
  t.equal(a?.pkt.srcPort, 5000)
  t.not(b?.pkt.srcPort, 5000)
  t.match(look(pass(udp(SERVER, 53, STACK, b?.pkt.srcPort ?? 0))[0] as Uint8Array), { to: '192.168.7.9', pkt: { dstPort: 5000 } })
  t.end()
})

t.test('what is not passed on is dropped and counted', (t) => {
  const { engine, pass } = bench()
  t.same(pass(packet(A, SERVER, 47, [0, 0, 0, 0, 0, 0, 0, 0], 0, 10, 'none')), [], 'GRE')
  t.same(pass(udp(STACK, 5000, SERVER, 53)), [], 'our own packet, come back')
  t.same(pass(udp(A, 5000, parseAddress('224.0.0.251'), 5353)), [], 'multicast')
  t.same(pass(udp(SERVER, 53, STACK, 4)), [], 'an answer to nothing')
  t.match(engine.counters, {
    EngineDropOtherProtocol: 1,
    EngineDropLoop: 1,
    EngineDropMartian: 1,
    EngineDropPassUnknown: 1,
    EnginePassOut: 0,
  })
  t.end()
})

t.test('flows are bounded, and forgotten when idle; damaged packets never throw', (t) => {
  const { engine, pass } = bench()
  for (let i = 0; i < 5000; i++) pass(udp(A, 1 + i, SERVER, 53))
  t.equal(engine.passThrough.size, 4096)
  t.equal(engine.counters.EngineDropPassOverflow, 5000 - 4096)
  for (let now = 0; now <= 200e6; now += 10e6) engine.turn(now)
  t.equal(engine.passThrough.size, 0)
  t.equal(engine.nextDeadline, NEVER, 'no timer is left')
  const good = [udp(A, 5000, SERVER, 53), echo(A6, SERVER6, false, 3), udp(SERVER, 53, STACK, 5000)]
  for (let i = 0; i < 3000; i++) {
    const bytes = (good[i % 3] as Uint8Array).slice(0, 12 + ((i * 7) % 80))
    bytes[10 + ((i * 13) % (bytes.length - 10))] = (i * 31) & 255
    pass(bytes)
  }
  t.end()
})

t.test('a probe leaves with a short life and is answered by an error about it, but not by one of this host', async (t) => {
  const { engine, pass } = bench()
  const isLocal = (address: string) => address === A.toString()
  const probe = new Probe(engine, STACK, SERVER, isLocal)
  const answered = probe.run(10_000)
  const syn = pass()[0] as Uint8Array
  t.match(look(syn), { from: STACK.toString(), to: SERVER.toString(), pkt: { ttl: 2, flags: 2 } })
  const error = (from: IpAddress): Uint8Array => {
    const mem = new Uint8Array(320)
    const len = buildIcmpUnreachable(mem, 0, UNREACH_PORT, from, syn, VNET_HDR_LEN, syn.length - VNET_HDR_LEN)
    return mem.slice(0, len)
  }
  pass(error(A))
  t.equal(engine.probe, probe, 'our own firewall rejects')
  pass(segment({ local: SERVER, localPort: 9, remote: STACK, remotePort: probe.sourcePort }, { flags: RST }))
  t.equal(engine.probe, probe, 'a RST may be its work too')
  pass(error(parseAddress('192.0.2.1')))
  t.equal(await answered, true)
  const second = new Probe(engine, STACK, SERVER, isLocal)
  const accepted = second.run(10_000)
  pass()
  pass(segment({ local: SERVER, localPort: 9, remote: STACK, remotePort: second.sourcePort }, { flags: SYN | ACK }))
  t.equal(await accepted, true)
  t.equal(await new Probe(engine, STACK, SERVER, isLocal).run(1), false, 'silence')
  t.equal(engine.probe, null)
})

t.test('the DSCP of an application is on every packet of its subflows, and follows when it changes', (t) => {
  const world = new World()
  const app = world.connect(5000)
  app.ep.tuple.tclass = 0xb8
  const seen = (): number => {
    const pkt = new Packet()
    t.equal(parsePacket(world.lastToServer as Uint8Array, 0, (world.lastToServer as Uint8Array).length, pkt), PARSE_OK)
    return pkt.tclass
  }
  world.settle()
  t.equal(seen(), 0xb8, 'expedited forwarding')
  app.ep.tuple.tclass = 0x20
  app.send(new Uint8Array(100))
  world.settle()
  t.equal(seen(), 0x20)
  app.ep.tuple.tclass = 0
  app.send(new Uint8Array(100))
  world.settle()
  t.equal(seen(), 0)
  t.end()
})
