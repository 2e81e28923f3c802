import t from 'tap'
import { PARSE_OK, Packet, parsePacket } from '../../../src/wire/packet.js'
import { SYN } from '../../../src/wire/tcp.js'
import { Dialogue, S } from './dialogue.js'
import { Pair, pattern } from './harness.js'

// Rules that take part in few exchanges; each was found by a mutation that nothing else noticed (scripts/mutations/tcp.json).

t.test('rfc9293 3.4 table 6: data that ends where the window begins is not acceptable, and its ACK does not count', async (tt) => {
  const d = Dialogue.connected(tt)
  d.hear('[P.] 1+100 ack 1')
  d.write(1000)
  d.take()
  d.hear('[P.] 1+100 ack 1001')
  tt.equal(d.ep.sndUna, 1)
  d.hear('[.] 101 ack 1001')
  tt.equal(d.ep.sndUna, 1001)
})

t.test('rfc7413 4.1.3: a repeated SYN has neither cookie nor data', async (tt) => {
  const p = Pair.of()
  p.a.write(pattern(500))
  const ep = p.a.connect(p.now, 1000, new Uint8Array(8))
  const lengths: [number, number][] = []
  for (const at of [p.now, p.now + 1 * S, p.now + 3 * S]) {
    if (at > p.now) ep.onTimeout(at)
    for (const bytes of p.a.poll(at)) {
      const pkt = new Packet()
      tt.equal(parsePacket(bytes, 0, bytes.length, pkt), PARSE_OK)
      tt.equal(pkt.flags & SYN, SYN)
      lengths.push([pkt.payLen, pkt.optLen])
    }
  }
  tt.same(lengths, [
    [500, 32],
    [0, 20],
    [0, 20],
  ])
})
