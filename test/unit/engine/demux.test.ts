import t from 'tap'
import type { Tuple } from '../../../src/base/address.js'
import { VNET_HDR_LEN } from '../../../src/base/rings.js'
import { Rng } from '../../../src/base/rng.js'
import { parseAddress } from '../../../src/config/address-text.js'
import { SYN_SENT } from '../../../src/tcp/state.js'
import { ACK, FIN, RST, SYN } from '../../../src/wire/tcp.js'
import { seeds } from '../../oracle/seeds.js'
import { segment, World } from './world.js'

type Tap = Pick<typeof t, 'comment' | 'equal' | 'ok'>

const tuple = (from: string, fromPort: number, to: string, toPort: number): Tuple => ({
  local: parseAddress(from),
  localPort: fromPort,
  remote: parseAddress(to),
  remotePort: toPort,
})

t.test('rfc9293 3.10.7.1: a segment of no connection is answered by RST, on both sides', (t) => {
  const world = new World()
  world.inject(segment(tuple('203.0.113.5', 80, '198.18.0.2', 4000), { flags: ACK, seq: 100, ack: 7777 }))
  world.settle()
  t.match(world.take().join('\n'), /198\.18\.0\.2\.4000 > 203\.0\.113\.5\.80: Flags \[R\], seq 7777/)
  world.inject(segment(tuple('198.18.0.1', 4000, '203.0.113.5', 80), { flags: FIN | ACK, seq: 100, ack: 9 }))
  world.settle()
  t.match(world.take().join('\n'), /203\.0\.113\.5\.80 > 198\.18\.0\.1\.4000: Flags \[R\], seq 9/)
  world.inject(segment(tuple('203.0.113.5', 80, '198.18.0.2', 22), { flags: SYN, seq: 100 }))
  world.settle()
  t.match(world.take().join('\n'), /198\.18\.0\.2\.22 > 203\.0\.113\.5\.80: Flags \[R\.\], seq 0, ack 101/, 'a SYN to the stack itself')
  t.equal(world.engine.counters.TcpOutRsts, 3)
  world.inject(segment(tuple('203.0.113.5', 80, '198.18.0.2', 4000), { flags: RST, seq: 100 }))
  world.settle()
  t.same(world.take(), [], 'but never a RST')
  t.end()
})

t.test('martians and packets of our own are dropped and counted', (t) => {
  const world = new World()
  const martians = [
    tuple('127.0.0.1', 1, '203.0.113.5', 80),
    tuple('198.18.0.1', 1, '224.0.0.1', 80),
    tuple('198.18.0.1', 1, '255.255.255.255', 80),
    tuple('0.0.0.0', 1, '203.0.113.5', 80),
    tuple('198.18.0.1', 0, '203.0.113.5', 80),
    tuple('198.18.0.1', 1, '203.0.113.5', 0),
    tuple('203.0.113.5', 80, '203.0.113.5', 80),
    tuple('fe80::1', 1, '2001:db8::5', 80),
  ]
  for (const m of martians) world.inject(segment(m, { flags: SYN }))
  world.settle()
  t.equal(world.engine.counters.EngineDropMartian, martians.length)
  world.inject(segment(tuple('198.18.0.2', 4000, '203.0.113.5', 80), { flags: SYN }))
  world.settle()
  t.equal(world.engine.counters.EngineDropLoop, 1)
  t.same(world.take(), [])
  t.equal(world.engine.flowCount, 0)
  t.end()
})

t.test('with interception off a SYN is refused', (t) => {
  const world = new World({ intercept: false })
  world.inject(segment(tuple('198.18.0.1', 4000, '203.0.113.5', 80), { flags: SYN, seq: 5 }))
  world.settle()
  t.match(world.take().join('\n'), /Flags \[R\.\], seq 0, ack 6/)
  t.end()
})

t.test('other protocols, fragments and damaged packets are dropped and counted', (t) => {
  const world = new World()
  const udp = segment(tuple('198.18.0.1', 4000, '203.0.113.5', 53), { flags: 0 })
  udp[VNET_HDR_LEN + 9] = 17
  udp[VNET_HDR_LEN + 10] = 0
  udp[VNET_HDR_LEN + 11] = 0
  world.inject(udp) // its IPv4 checksum is wrong as well
  world.inject(udp.slice(0, 20))
  world.inject(new Uint8Array(0))
  const version = segment(tuple('198.18.0.1', 4000, '203.0.113.5', 53), { flags: SYN })
  version[VNET_HDR_LEN] = 0x75
  world.inject(version)
  world.settle()
  t.equal(world.engine.counters.IpInHdrErrors, 4)
  t.same(world.take(), [])
  t.end()
})

t.test('random bytes and mutated segments never throw and leave nothing behind', (t) => {
  for (const seed of seeds([1])) fuzz(t, seed)
  t.end()
})

function fuzz(t: Tap, seed: number): void {
  t.comment(`SEED=${seed}`)
  const rng = new Rng(seed)
  const world = new World({ heldMax: 50 })
  world.mode = 'silent'
  const app = world.connect(5000)
  world.settle()
  t.equal(app.ep.state, SYN_SENT)
  for (let i = 0; i < 20_000; i++) {
    const base = rng.chance(0.5)
      ? segment(tuple('198.18.0.1', rng.between(1, 65_535), '203.0.113.5', 80), {
          flags: rng.below(256),
          seq: rng.int32(),
          ack: rng.int32(),
        })
      : segment(tuple('203.0.113.5', 80, '198.18.0.2', rng.between(1, 65_535)), {
          flags: rng.below(256),
          seq: rng.int32(),
          ack: rng.int32(),
        })
    for (let n = rng.below(4); n > 0; n--) base[rng.below(base.length)] = rng.int32()
    world.device.incoming.push(rng.chance(0.1) ? base.subarray(0, rng.below(base.length)) : base)
    if (i % 64 === 0) {
      world.engine.turn(world.now)
      world.device.outgoing.length = 0
    }
  }
  world.settle()
  t.ok(world.engine.counters.IpInHdrErrors > 100 && world.engine.counters.TcpOutRsts > 100, 'positive control')
  t.ok(world.engine.interceptor.held <= 50)
  t.equal(world.engine.counters.EngineInternalErrors, 0)
  world.peers.clear()
  world.advance(200_000_000)
  t.equal(world.engine.flowCount, 0)
  t.equal(world.engine.budget.inUse, 0)
}
